"""A phantom BreastMNIST: 64-pixel ultrasound drawings in the official .npz, and the lesions' masks beside it.

A benign lesion is a smooth oval lying flat, bright behind; a malignant one is ragged, upright, and casts a shadow.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.sample.drawing import Array, blend, ellipse, generator, noise, smooth_field, soft

SIZE = 64
NAME = f"breastmnist_{SIZE}"
# pictures of a malignant lesion, of a benign one, and of none
SPLITS = {"train": (26, 42, 12), "val": (6, 10, 2), "test": (9, 15, 4)}


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download into `folder`; the same seed gives the same bytes."""
    arrays: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    for split, (malignant, benign, normal) in SPLITS.items():
        order = generator(seed, NAME, split).permutation(malignant + benign + normal)
        drawn = [
            _draw(generator(seed, split, int(number)), number < malignant, number < malignant + benign)
            for number in order
        ]
        arrays[f"{split}_images"] = np.stack([image for image, _ in drawn])
        arrays[f"{split}_labels"] = (order >= malignant).astype(np.uint8)[:, None]
        masks[f"{split}_masks"] = np.stack([mask for _, mask in drawn])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{NAME}.npz", **arrays)
    np.savez_compressed(folder / f"{NAME}_lesion_masks.npz", **masks)


def ultrasound(key: str, malignant: bool, lesion: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return one picture and its lesion's mask (0 and 1), both 64 × 64; the same key gives the same."""
    return _draw(generator(0, key), malignant, lesion)


def _draw(rng: np.random.Generator, malignant: bool, lesion: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a picture and its lesion's mask; x runs to the right, y into the depth, both from -1 to 1."""
    at = np.linspace(-1, 1, SIZE, dtype=np.float32)
    x, y = np.broadcast_arrays(at[None, :], at[:, None])
    x, y = x + 0.02 * smooth_field(rng, x.shape, (6, 6)), y + 0.03 * smooth_field(rng, y.shape, (5, 5))
    image = _tissue(rng, x, y)
    level = np.ones_like(image)
    if lesion:
        level = _lesion(rng, image, x, y, malignant)
    speckle = np.abs(1 + 0.45 * noise(rng, image.shape, 1.0) + 0.25 * smooth_field(rng, image.shape, (28, 28)))
    bright = np.clip(image * (0.4 + 0.6 * speckle), 0, 1) ** np.float32(0.8)
    return (255 * bright + 0.5).astype(np.uint8), (level < 0).astype(np.uint8)


def _tissue(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Draw skin, fat, gland in streaks, muscle."""
    image = np.full(x.shape, 0.34, dtype=np.float32)
    blend(image, soft(y + 0.45 + 0.08 * np.sin(3 * x + rng.uniform(0, 6)), 0.1), 0.2)
    blend(image, soft(y + 0.88, 0.06), 0.75)
    streaks = smooth_field(rng, x.shape, (16, 5))
    blend(image, soft(-y - 0.4, 0.2) * soft(y - 0.55, 0.2) * 0.6, 0.38 + 0.1 * streaks)
    blend(image, soft(0.62 + 0.05 * np.sin(4 * x) - y, 0.08), 0.26 + 0.06 * smooth_field(rng, x.shape, (24, 4)))
    return image


def _lesion(rng: np.random.Generator, image: Array, x: Array, y: Array, malignant: bool) -> Array:
    """Draw a lesion and what it does to the tissue behind it; returns its level."""
    centre = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.2, 0.15)))
    flat, tall = float(rng.uniform(0.3, 0.42)), float(rng.uniform(0.17, 0.24))
    behind = soft(np.abs(x - centre[0]) - 0.75 * (tall if malignant else flat), 0.12) * soft(centre[1] + 0.15 - y, 0.2)
    if malignant:
        level = ellipse(x, y, centre, (tall * 1.1, flat * 0.95), float(rng.uniform(-0.3, 0.3)))
        level = level + np.float32(0.07) * smooth_field(rng, x.shape, (14, 14))
        blend(image, behind * 0.8, 0.05)
        blend(image, soft(level - 0.05, 0.1), 0.42)
        blend(image, soft(level, 0.05), 0.1 + 0.03 * smooth_field(rng, x.shape, (12, 12)))
    else:
        level = ellipse(x, y, centre, (flat, tall), float(rng.uniform(-0.15, 0.15)))
        blend(image, behind * 0.6, 0.6)
        blend(image, soft(np.abs(level) - 0.015, 0.03) * 0.7, 0.7)
        blend(image, soft(level + 0.01, 0.04), 0.12)
    return level
