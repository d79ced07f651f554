"""Slides into patches: a grid at a stated magnification, without background, one zip of PNG pictures a patient.

The rule for background: a pixel is tissue where its saturation (HSV) is above 0.07 and its brightest colour above 50 of
255, which leaves out glass and black pen. A patch is valid where at least half of its pixels are tissue. This is
decided on the coarsest level at which a patch is 8 pixels wide or more, so that glass is never decoded at full size.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtl.errors import BadFileError
from medtl.files import replacing
from medtl.readers.slide import Slide
from medtl.writers.features import FIRST_DAY

SIDE = 512  # pixels of a patch
SATURATION, BLACK = 0.07, 50
LEAST_TISSUE = 0.5
COARSE = 8  # pixels along a patch that are enough to tell tissue from glass
NEAR = 1.02  # scanners say 40 and mean 39.8


@dataclass(frozen=True)
class Grid:
    """The patches of a slide.

    Attributes:
        span: pixels of level 0 along a patch.
        patches: positions in the grid.
        valid: (row, column) in the grid of those with enough tissue, all of them.
    """

    span: int
    patches: int
    valid: tuple[tuple[int, int], ...]


def grid_of(slide: Slide, magnification: float) -> Grid:
    """Return the grid of whole patches at a magnification, and which of them are valid.

    Raises:
        BadFileError: the slide was scanned at less, or has no level small enough to look at as a whole.
    """
    factor = slide.magnification / magnification
    if factor * NEAR < 1:
        raise BadFileError(f"is of magnification {slide.magnification:g}; {magnification:g} was asked for")
    span = round(SIDE * factor)
    rows, columns = (size // span for size in slide.shapes[0])
    coarse = max(k for k in range(len(slide.shapes)) if k == 0 or span / slide.downsample(k) >= COARSE)
    scale = slide.downsample(coarse)
    summed = np.pad(
        np.cumsum(np.cumsum(tissue(slide.region(coarse, 0, 0, *slide.shapes[coarse])), 0), 1), ((1, 0), (1, 0))
    )
    lines, places = ((np.arange(count + 1) * span / scale).round().astype(int) for count in (rows, columns))
    lines, places = lines.clip(max=summed.shape[0] - 1), places.clip(max=summed.shape[1] - 1)
    corner = summed[np.ix_(lines, places)]
    inside = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
    area = np.outer(np.diff(lines), np.diff(places)).clip(1)
    valid = tuple((int(row), int(column)) for row, column in np.argwhere(inside / area >= LEAST_TISSUE))
    return Grid(span, rows * columns, valid)


def tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which of the pixels (rows, columns, 3) are tissue."""
    brightest, darkest = pixels.max(axis=2), pixels.min(axis=2)
    saturation = (brightest - darkest) / np.maximum(brightest, 1)
    return (saturation > SATURATION) & (brightest > BLACK)


def patches_of(slide: Slide, grid: Grid, most: int) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield x and y in pixels of level 0, and the pixels (512, 512, 3), of at most so many valid patches of a slide,
    evenly spaced; 0 takes all."""
    chosen = grid.valid
    if 0 < most < len(chosen):
        chosen = tuple(chosen[k] for k in np.linspace(0, len(chosen) - 1, most).round().astype(int))
    level = max(k for k in range(len(slide.shapes)) if k == 0 or slide.downsample(k) <= grid.span / SIDE * NEAR)
    scale = slide.downsample(level)
    size = round(grid.span / scale)
    for row, column in chosen:
        top, left = (round(place * grid.span / scale) for place in (row, column))
        pixels = slide.region(level, top, left, size, size)
        if size != SIDE:
            pixels = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX))
        yield column * grid.span, row * grid.span, pixels


@dataclass(frozen=True)
class Counts:
    """As the paper's table 4 counts: slides, positions of patches, and valid patches."""

    slides: int
    patches: int
    valid: int


def write_patches(path: Path, slides: Sequence[Path], magnification: float, most: int) -> Counts:
    """Write the valid patches of a patient's slides as ``SLIDE_x_y.png`` into a zip, the same bytes each time.

    Args:
        path: of the zip.
        slides: of the patient.
        magnification: of the patches.
        most: of a slide; 0 for all.

    Raises:
        BadFileError: a slide cannot be used, or none has a valid patch; begins with the slide's name if there are
            several.
    """
    patches = valid = 0
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for place in slides:
            try:
                with Slide(place) as slide:
                    grid = grid_of(slide, magnification)
                    patches, valid = patches + grid.patches, valid + len(grid.valid)
                    for x, y, pixels in patches_of(slide, grid, most):
                        content = io.BytesIO()
                        Image.fromarray(pixels).save(content, "PNG")
                        archive.writestr(zipfile.ZipInfo(f"{place.stem}_{x}_{y}.png", FIRST_DAY), content.getvalue())
            except BadFileError as error:
                raise BadFileError(f"{place.name} {error}" if len(slides) > 1 else str(error)) from None
        if not valid:
            raise BadFileError("has no patch of which half is tissue")
    return Counts(len(slides), patches, valid)
