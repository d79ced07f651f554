"""A drawn slide: a pyramid of tiles with islands of tissue on glass."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.sample.drawing import generator

GLASS, PINK, PURPLE = (244, 244, 246), (226, 160, 196), (110, 70, 150)


def tissue_pixels(rows: int, columns: int, share: float, *seed: int | str) -> NDArray[np.uint8]:
    """Draw (rows, columns, 3): the left ``share`` is tissue with nuclei, the rest glass."""
    rng = generator("slide", *seed)
    pixels = np.empty((rows, columns, 3))
    pixels[:] = GLASS
    edge = round(columns * share)
    pixels[:, :edge] = PINK
    y, x = np.mgrid[:rows, :columns]
    for _ in range(rows * columns // 4000):
        top, left, radius = rng.uniform(0, rows), rng.uniform(0, max(edge, 1)), rng.uniform(3, 7)
        lines = slice(max(0, int(top - radius)), int(top + radius) + 1)
        places = slice(max(0, int(left - radius)), min(edge, int(left + radius) + 1))
        inside = (y[lines, places] - top) ** 2 + (x[lines, places] - left) ** 2 < radius**2
        pixels[lines, places][inside] = PURPLE
    return (pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8)


def write_slide(path: Path, pixels: NDArray[np.uint8], microns: float = 0.5, levels: int = 3) -> None:
    """Write pixels (rows, columns, 3) as a pyramidal TIFF, each level half as large, of so many microns a pixel."""
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            step = 2**level
            more: dict[str, Any] = {"subifds": levels - 1} if level == 0 else {"subfiletype": 1}
            resolution = (10_000 / microns / step, 10_000 / microns / step)
            writer.write(
                np.ascontiguousarray(pixels[::step, ::step]), resolution=resolution, resolutionunit="CENTIMETER",
                **options, **more,
            )  # fmt: skip
