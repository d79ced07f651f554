"""A phantom download of ChestXRay2017: the folders, file names and peculiarities of Kaggle's copy.

Bacterial pneumonia fills one lobe, viral pneumonia clouds both lungs from the hila outwards.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.sample.drawing import generator
from data_prep.sample.xray import Patient
from data_prep.sample.xray_signs import radiograph

NAME = "chest_xray"
SIZES = ((176, 208), (192, 240), (208, 224), (160, 216))
SIGNS: Mapping[str, Mapping[str, float]] = {"normal": {}, "bacteria": {"Consolidation": 1.0}, "virus": {"Edema": 1.0}}
IDENTICAL = ("train/PNEUMONIA/person3_bacteria_6.jpeg", "train/PNEUMONIA/person3_bacteria_7.jpeg")
EVERY_NTH_RGB = 9  # some of the released JPEGs have three alike channels


@dataclass(frozen=True)
class Series:
    """Persons who are numbered one after the other in one folder.

    Attributes:
        split: train, val or test.
        kind: normal, bacteria or virus.
        persons: first and last number.
        images: of each person, by turns.
        name: of a file, from ``person``, ``kind``, ``take`` (1 upwards a person) and ``image`` (numbered on).
        first_image: number of the first image.
    """

    split: str
    kind: str
    persons: tuple[int, int]
    images: tuple[int, ...]
    name: str
    first_image: int = 1


GERM = "person{person}_{kind}_{image}"
SCAN, SECOND_SCAN = "IM-{person:04d}-{take:04d}", "NORMAL2-IM-{person:04d}-{take:04d}"
# As in the release, bacteria and virus are numbered apart and on from one folder to the next: of train and val, persons
# 5 to 8 and 13 to 20 stand under both.
SERIES = (
    Series("test", "normal", (1, 5), (1,), SCAN),
    Series("train", "normal", (6, 17), (1, 2, 1), SCAN),
    Series("train", "normal", (15, 24), (1,), SECOND_SCAN),
    Series("val", "normal", (25, 26), (1,), SECOND_SCAN),
    Series("test", "normal", (10, 13), (1,), SECOND_SCAN),
    Series("train", "bacteria", (1, 8), (2, 1, 4), GERM),
    Series("test", "bacteria", (9, 12), (3, 2), GERM, 21),
    Series("train", "bacteria", (13, 18), (1, 2), GERM, 31),
    Series("val", "bacteria", (19, 20), (1,), GERM, 40),
    Series("test", "virus", (1, 4), (2, 1), GERM),
    Series("train", "virus", (5, 22), (1, 2, 1), GERM, 8),
    Series("test", "virus", (23, 26), (1,), GERM, 35),
)


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    number = 0
    for series in SERIES:
        image = series.first_image
        for person in range(series.persons[0], series.persons[1] + 1):
            child = Patient.draw(generator(seed, NAME, series.kind, series.name, person), female=False)
            for take in range(1, series.images[person % len(series.images)] + 1):
                stem = series.name.format(person=person, kind=series.kind, take=take, image=image)
                file = f"{series.split}/{'NORMAL' if series.kind == 'normal' else 'PNEUMONIA'}/{stem}.jpeg"
                _write(folder / NAME / file, child, SIGNS[series.kind], generator(seed, file), number)
                image, number = image + 1, number + 1
    original, copy = (folder / NAME / file for file in IDENTICAL)
    shutil.copyfile(original, copy)


def _write(path: Path, child: Patient, signs: Mapping[str, float], rng: np.random.Generator, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = SIZES[rng.integers(len(SIZES))]
    pixels = radiograph(rng, child, signs, "frontal", size, int(rng.choice((-1, 1))))
    picture = Image.fromarray(pixels)
    (picture.convert("RGB") if number % EVERY_NTH_RGB == 0 else picture).save(path, quality=90)
