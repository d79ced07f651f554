"""Phantoms of every two-dimensional MedMNIST set in the official .npz: drawings of 28 pixels whose label can be seen.

Each label is a disc at a place of its own on a circle, bright on tissue; of a multi-label set there are any number of
discs, also none. In RGB sets the disc's hue differs, too.
"""

from pathlib import Path
from typing import Any

import numpy as np

from data_prep.medmnist_sets import SETS, Subset
from data_prep.sample.drawing import Array, generator, noise, smooth_field, soft

SIZE = 28
COUNTS = {"train": 44, "val": 22, "test": 22}


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom downloads into `folder`; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, what in SETS.items():
        arrays: dict[str, Any] = {}
        for split, count in COUNTS.items():
            rng = generator(seed, name, split)
            labels = _labels(rng, what, count)
            drawn = [_draw(generator(seed, name, split, number), what, row) for number, row in enumerate(labels)]
            arrays[f"{split}_images"] = np.stack(drawn)
            arrays[f"{split}_labels"] = labels if what.multilabel else labels.argmax(axis=1).astype(np.uint8)[:, None]
        np.savez_compressed(folder / f"{name}.npz", **arrays)


def _labels(rng: np.random.Generator, what: Subset, count: int) -> Any:
    """(count, classes) of 0 and 1: every label occurs, and of several findings some pictures have none."""
    classes = len(what.classes)
    labels = np.eye(classes, dtype=np.int64)[rng.permutation(np.arange(count) % classes)]
    if what.multilabel:
        labels = labels | (rng.random(labels.shape) < 0.1)
        labels[: count // 4] = 0
    return labels


def _draw(rng: np.random.Generator, what: Subset, label: Any) -> Any:
    at = np.linspace(-1, 1, SIZE, dtype=np.float32)
    x, y = np.broadcast_arrays(at[None, :], at[:, None])
    grey: Array = 0.3 + 0.06 * smooth_field(rng, (SIZE, SIZE), (6, 6)) + 0.03 * noise(rng, (SIZE, SIZE), 1.0)
    image = np.repeat(grey[..., None], what.channels, axis=2)
    for place in np.flatnonzero(label):
        angle = 2 * np.pi * place / len(what.classes)
        off = rng.normal(0, 0.04, 2)
        disc = soft(np.hypot(x - 0.6 * np.cos(angle) - off[0], y - 0.6 * np.sin(angle) - off[1]) - 0.2, 0.08)
        hue = np.roll(np.array([0.5, 0.3, 0.2]), int(place))[: what.channels] if what.channels == 3 else np.array([0.5])
        image = image + disc[..., None] * hue.astype(np.float32)
    pixels = (255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)
    return pixels if what.channels == 3 else pixels[..., 0]
