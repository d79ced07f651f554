"""A phantom download of the TB sets: two sites that a network can tell apart, with what lies beside the pictures.

Tuberculosis shows as patches and a round focus in one lung. Montgomery's films are large, grey and dark, and bear a
marker; Shenzhen's are smaller, bright RGB files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.sample.drawing import generator
from data_prep.sample.xray import Patient
from data_prep.sample.xray_signs import radiograph

SIGNS: Mapping[int, Mapping[str, float]] = {0: {}, 1: {"Pneumonia": 1.0, "Lung Lesion": 0.9}}


@dataclass(frozen=True)
class Site:
    """One hospital's set.

    Attributes:
        folder: as in the official download.
        prefix: of the file names.
        counts: normal pictures, pictures with tuberculosis.
        shapes: rows and columns, by turns.
        gamma: of its films; above 1 they are darker.
        rgb: three alike channels in the file.
        marker: a bright letter in the corner.
        masks: folders of lung masks that repeat the pictures' names.
    """

    folder: str
    prefix: str
    counts: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]
    gamma: float
    rgb: bool
    marker: bool
    masks: tuple[str, ...]


SITES = (
    Site("MontgomerySet", "MCUCXR", (14, 12), ((528, 440), (440, 528)), 1.5, False, True, ("leftMask", "rightMask")),
    Site("ChinaSet_AllFiles", "CHNCXR", (32, 32), ((248, 240), (232, 240)), 0.8, True, False, ()),
)


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    for site in SITES:
        labels = [label for label, count in enumerate(site.counts) for _ in range(count)]
        for number, label in enumerate(labels, start=1):
            stem = f"{site.prefix}_{number:04d}_{label}"
            pixels = _draw(site, label, site.shapes[number % len(site.shapes)], generator(seed, stem))
            _save(folder / site.folder / "CXR_png" / f"{stem}.png", pixels, site.rgb)
            for masks in site.masks:
                _save(folder / site.folder / "ManualMask" / masks / f"{stem}.png", pixels // 255 * 255, False)
            readings = folder / site.folder / "ClinicalReadings" / f"{stem}.txt"
            readings.parent.mkdir(parents=True, exist_ok=True)
            readings.write_text("Patient's Sex: F\nPatient's Age: 040Y\na drawing, no patient\n", encoding="utf-8")
        (folder / site.folder / "CXR_png" / "Thumbs.db").write_bytes(b"left by a file browser")


def _draw(site: Site, label: int, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    person = Patient.draw(rng, female=bool(rng.random() < 0.4))
    pixels = radiograph(rng, person, SIGNS[label], "frontal", shape, int(rng.choice((-1, 1))))
    film = np.rint(255 * (pixels / 255) ** site.gamma).astype(np.uint8)
    if site.marker:
        rows, columns = shape
        top, left, wide = rows // 12, columns // 12, columns // 60
        film[top : top + rows // 14, left : left + wide] = 255
        film[top + rows // 14 : top + rows // 14 + wide, left : left + columns // 24] = 255
    return film


def _save(path: Path, pixels: NDArray[np.uint8], rgb: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture.convert("RGB") if rgb else picture).save(path, compress_level=1)
