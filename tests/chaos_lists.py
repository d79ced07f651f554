"""A data list with masks that a network sees in seconds; for the tests of segmentation."""

from pathlib import Path

import numpy as np
from PIL import Image

from medtl import datalist
from medtl.datalist import DataList
from medtl.files import file_hash

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
BOXES = {1: (4, 20, 4, 22), 2: (24, 36, 4, 16), 3: (24, 36, 28, 40), 4: (4, 16, 28, 44)}  # rows and columns of organs
SPACING = (1.5, 2.0, 5.0)
SHAPE = (40, 48)


def draw_case(folder: Path, name: str, slices: int, organs: tuple[int, ...] = (1, 2, 3, 4)) -> list[dict]:
    """Slices of one patient's only case, each organ of its own brightness, empty at both ends; their entries."""
    random = np.random.default_rng([ord(letter) for letter in name])
    entries = []
    for number in range(slices):
        mask = np.zeros(SHAPE, np.uint8)
        for organ in organs if 0 < number < slices - 1 else ():
            top, bottom, left, right = BOXES[organ]
            mask[top + random.integers(0, 4) : bottom, left + random.integers(0, 4) : right] = organ
        picture = (mask * 45 + random.integers(0, 40, SHAPE)).astype(np.uint8)
        names = {"image": f"{name}_{number}.png", "label": f"{name}_{number}_mask.png"}
        for key, pixels in (("image", picture), ("label", mask)):
            Image.fromarray(pixels).save(folder / names[key])
        sha256 = file_hash(folder / names["image"])
        place = {"case": f"MR/{name}", "slice": number, "spacing": list(SPACING), "sequence": "T2SPIR"}
        entries.append({**names, "patient": f"chaos/MR/{name}", "source": "chaos", "sha256": sha256, **place})
    return entries


def write_list(folder: Path, training: list[dict], validation: list[dict], test: list[dict] | None = None) -> Path:
    """The data list of what was drawn there."""
    datalist.write(DataList("chaos", ORGANS, 1, "none", "test", False, training, validation, test or []), folder)
    return folder


def small_list(folder: Path) -> Path:
    """Three cases of six slices to train on, two to validate on, of which one has no spleen, and one to test on."""
    folder.mkdir(parents=True, exist_ok=True)
    training = [entry for name in ("1", "2", "3") for entry in draw_case(folder, name, 6)]
    validation = [*draw_case(folder, "5", 4), *draw_case(folder, "8", 5, organs=(1, 2, 3))]
    return write_list(folder, training, validation, draw_case(folder, "9", 4))
