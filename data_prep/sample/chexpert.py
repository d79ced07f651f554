"""A phantom download of CheXpert-v1.0-small: two tables and folders of grey JPEGs, in the official layout."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.sample.drawing import generator
from data_prep.sample.xray import Patient
from data_prep.sample.xray_signs import radiograph

NAME = "CheXpert-v1.0-small"
FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS)

TRAIN_IMAGES_PER_FINDING = 28
VALID_IMAGES_PER_FINDING = 3
TRAIN_STUDIES_WITHOUT_POSITIVE = 14
SIZES = ((288, 320), (320, 288), (256, 320), (320, 320), (288, 288), (320, 256))

# How plainly an uncertain finding is drawn: a reader would hesitate, too.
HINT = 0.3


@dataclass(frozen=True)
class Study:
    """One examination: what the table says of it, how strongly each finding is drawn, and which views were taken."""

    values: dict[str, float]
    strengths: dict[str, float]
    views: tuple[str, ...]


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    for split, first, images, without in (
        ("train", 1, TRAIN_IMAGES_PER_FINDING, TRAIN_STUDIES_WITHOUT_POSITIVE),
        ("valid", 64541, VALID_IMAGES_PER_FINDING, 0),
    ):
        rng = generator(seed, NAME, split)
        studies = _studies(rng, images, without, complete=split == "valid")
        rows = list(_write_images(rng, folder, split, first, studies, seed))
        with (folder / NAME / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)


def _studies(rng: np.random.Generator, images: int, without: int, complete: bool) -> list[Study]:
    """Draw lots for studies until every finding has at least `images` positive images, and `without` more with no
    positive at all.

    Args:
        rng: randomness.
        images: positive images wanted of each finding.
        without: studies whose findings are all uncertain or blank.
        complete: fill every blank with 0.0 and leave out uncertainty, as in valid.csv.
    """
    counts: Counter[str] = Counter()
    studies = []
    while min(counts[name] for name in FINDINGS) < images:
        positives = [min(FINDINGS, key=lambda name: (counts[name], name))]
        if rng.random() < 0.12:
            positives += _companion(rng, positives[0])
        study = _study(rng, positives, complete)
        counts.update(positives * len(study.views))
        studies.append(study)
    studies += [_study(rng, [], complete) for _ in range(without)]
    return [studies[i] for i in rng.permutation(len(studies))]


def _companion(rng: np.random.Generator, finding: str) -> list[str]:
    """Return a second positive finding: beside No Finding only support devices are possible."""
    if finding == "No Finding":
        return ["Support Devices"]
    return [str(rng.choice([name for name in FINDINGS if name not in ("No Finding", finding)]))]


def _study(rng: np.random.Generator, positives: list[str], complete: bool) -> Study:
    values = dict.fromkeys(positives, 1.0)
    strengths = dict.fromkeys(positives, 1.0)
    others = [name for name in FINDINGS[1:] if name not in positives]
    if complete:
        values |= {name: 0.0 for name in FINDINGS if name not in positives}
    else:
        values |= {name: 0.0 for name in others if rng.random() < 0.08}
        values |= {name: -1.0 for name in others if rng.random() < 0.03}
        if not positives:
            values |= {str(name): -1.0 for name in rng.choice(others, int(rng.integers(0, 3)), replace=False)}
        strengths |= {name: HINT for name in others if values.get(name) == -1.0 and rng.random() < 0.5}
    kind = rng.random()
    if kind < 0.66:
        views: tuple[str, ...] = ("frontal",)
    elif kind < 0.9:
        views = ("frontal", "lateral")
    else:
        views = ("lateral",) if kind > 0.97 else ("frontal", "frontal")
    return Study(values, strengths, views)


def _write_images(
    rng: np.random.Generator, folder: Path, split: str, first: int, studies: list[Study], seed: int
) -> Iterator[list[str]]:
    """Deal the studies out to patients, write their images, and yield the rows of the table."""
    number, left = first - 1, 0
    for study in studies:
        if left == 0:
            number += int(rng.integers(1, 3))  # some numbers are missing, as in the real set
            left = visits = int(rng.choice([1, 2, 3], p=[0.76, 0.16, 0.08]))
            sex, age = str(rng.choice(["Male", "Female"])), int(rng.integers(18, 91))
            person = Patient.draw(rng, female=sex == "Female")
        path = f"{NAME}/{split}/patient{number:05d}/study{visits - left + 1}"
        (folder / path).mkdir(parents=True)
        left -= 1
        side = int(rng.choice((-1, 1)))
        for k, view in enumerate(study.views, start=1):
            name = f"{path}/view{k}_{view}.jpg"
            take = generator(seed, name)
            size = SIZES[take.integers(len(SIZES))]
            pixels = radiograph(take, person, study.strengths, view, size, side)
            Image.fromarray(pixels).save(folder / name, quality=90)
            projection = str(take.choice(["AP", "PA"])) if view == "frontal" else ""
            cells = [str(study.values[finding]) if finding in study.values else "" for finding in FINDINGS]
            yield [name, sex, str(age), view.capitalize(), projection, *cells]
