"""Drawn fundus pictures: dark vessels that branch from a bright disc with its cup. They show nobody."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from data_prep.sample.drawing import generator

SIDE = 96


def fundus(*keys: int | str, left: bool = True) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture (96, 96, 3), its vessels (96, 96) of 0 and 1, and its disc and cup (96, 96) of 0, 1 and 2.

    Args:
        keys: of the random numbers.
        left: on which side the disc lies.
    """
    rng = generator(*keys)
    vessels = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(vessels)
    start = np.array([30.0 if left else 66.0, 48.0])
    for branch in range(9):
        _branch(pen, rng, start, 2 * np.pi * branch / 9, 3)
    soft = np.asarray(vessels.filter(ImageFilter.GaussianBlur(0.5)), np.float32)[..., None] / 255
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    distance = np.hypot(columns - start[0], rows - start[1])
    disc, cup = rng.uniform(9, 13), rng.uniform(4, 7)
    optic = (distance < disc).astype(np.uint8) + (distance < cup)
    glow = np.exp(-((distance / disc) ** 4))[..., None] + 0.5 * np.exp(-((distance / cup) ** 4))[..., None]
    ground = np.array([150, 75, 40]) + glow * np.array([60, 75, 50]) + rng.normal(0, 6, (SIDE, SIDE, 3))
    picture = np.clip(ground * (1 - 0.45 * soft), 0, 255).astype(np.uint8)
    return picture, (np.asarray(vessels) > 127).astype(np.uint8), optic.astype(np.uint8)


def _branch(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, at: NDArray[np.float64], angle: float, width: int
) -> None:
    """Draw a vessel, and two thinner ones from its end."""
    end = at + rng.uniform(10, 22) * np.array([np.cos(angle), np.sin(angle)])
    pen.line([tuple(at), tuple(end)], fill=255, width=width)
    if width > 1:
        for turn in (-0.5, 0.4):
            _branch(pen, rng, end, angle + turn + rng.uniform(-0.2, 0.2), width - 1)
