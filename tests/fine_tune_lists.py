"""Tiny data lists for the fine-tune bundles; for their tests."""

from pathlib import Path

import numpy as np
from bundle_runs import draw
from PIL import Image

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.files import file_hash

CLASSES = {
    "chestxray2017": ("normal", "bacterial", "viral"),
    "tb": ("normal", "tuberculosis"),
    "breastmnist": ("malignant", "normal_or_benign"),
    "folder": ("crab", "fish", "bird"),  # any will do
}
POSITIVE = {"chestxray2017": None, "tb": "tuberculosis", "breastmnist": "malignant", "folder": None}
SIZES = {"training": 12, "validation": 14, "test": 9}


def some_list(
    folder: Path, classes: tuple[str, ...], channels: int = 1, folds: int = 0, sizes: dict[str, int] = SIZES
) -> Path:
    """Folder of a data list whose classes take turns; with ``folds`` the training entries are dealt into them and
    there is no validation split."""
    splits: dict[str, list[Entry]] = {}
    for seed, (split, size) in enumerate(sizes.items()):
        splits[split] = [draw(folder, f"{split}{n:02d}.png", n % len(classes), 100 * seed + n) for n in range(size)]
    if channels == 3:
        for entry in (entry for entries in splits.values() for entry in entries):
            colour(folder, entry)
    if folds:
        splits["training"] = [{**e, "fold": n // 2 % folds} for n, e in enumerate(splits["training"])]
        splits["validation"] = []
    datalist.write(DataList("made", classes, channels, "none", "test", False, **splits), folder)
    return folder


def colour(folder: Path, entry: Entry) -> None:
    """Make a grey picture one whose three channels differ."""
    path = folder / entry["image"]
    grey = np.asarray(Image.open(path))
    Image.fromarray(np.stack([grey, 255 - grey, grey[::-1]], axis=-1)).save(path)
    entry["sha256"] = file_hash(path)
