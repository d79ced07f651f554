"""CHAOS: which mask belongs to which image, grey values to organ indices, and whether a CT mask lies on the liver.

Images and masks correspond by the natural order of their file names, never by the positions in the headers: on CT the
names run from the head down, so that a volume sorted by position meets the masks upside down.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.dicom_series import Series
from medtl.readers.raster import read_labels

# Mean HU of a liver. Healthy liver without contrast lies above 48 HU (Pickhardt et al., European Radiology 2012, 315
# donor candidates) and CHAOS is scanned in the portal venous phase, which adds about 50 HU; 250 HU is beyond any phase.
LIVER_HU = (48.0, 250.0)
# Noise of thin slices and the difference of vessel and tissue each reach about 40 HU, together less than 60; a mask
# that meets lung, fat or bone exceeds this by far.
LIVER_SD = 80.0
AXES = ("left-right", "up-down", "in slice order")


def natural(name: str) -> list[str | int]:
    """Sort key of a file name by which 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())]


def pair(series: Series, masks: Sequence[Path]) -> list[Path]:
    """Return the mask of each slice of a series, in the order of ``series.headers``.

    Raises:
        BadFileError: not one mask an image.
    """
    images = [header.path for header in series.headers]
    if len(set(images)) < len(images):
        raise BadFileError("several frames in one file; expected one file a slice, as its mask is")
    if len(images) != len(masks):
        raise BadFileError(f"{len(images)} images, but {len(masks)} masks in its ground truth")
    by_name = (sorted(paths, key=lambda path: natural(path.as_posix())) for paths in (images, masks))
    mask_of = dict(zip(*by_name, strict=True))
    return [mask_of[path] for path in images]


def read_mask(path: Path, greys: Mapping[str, tuple[int, int]] | None) -> NDArray[np.uint8]:
    """Return a mask as organ indices.

    Args:
        path: a PNG file.
        greys: organ to its lowest and highest grey value; the first organ becomes 1, and so on. None where anything
            above 0 is organ 1.

    Returns:
        (rows, columns), 0 is background.

    Raises:
        BadFileError: as of ``read_labels``; not a grey picture, or a grey value that stands for no organ.
    """
    grey = read_labels(path)
    if grey.ndim == 3:
        if np.ptp(grey, axis=2).any():
            raise BadFileError("is a colour picture, not a mask of grey values")
        grey = grey[..., 0]
    if greys is None:
        return (grey != 0).astype(np.uint8)
    indices = np.zeros(grey.shape, np.uint8)
    known = grey == 0
    for index, (low, high) in enumerate(greys.values(), start=1):
        organ = (grey >= low) & (grey <= high)
        indices[organ] = index
        known |= organ
    if not known.all():
        strange = np.unique(grey[~known]).tolist()
        named = ", ".join(str(value) for value in strange[:5]) + (" …" if len(strange) > 5 else "")
        raise BadFileError(f"holds grey values that stand for no organ: {named}")
    return indices


def check_liver(hounsfield: NDArray, mask: NDArray) -> None:
    """Refuse a mask that does not lie on the liver.

    Healthy liver is the most even large tissue there is, so the right pairing has a lower SD inside the mask than each
    of its seven flips: left-right, up-down, in slice order, and these combined. Beyond that, mean and SD must be a
    liver's. A shift by a slice or two is within what these can tell from a careless outline.

    Args:
        hounsfield: (columns, rows, slices) in HU.
        mask: the same shape, above 0 inside the liver.

    Raises:
        BadFileError: says which flip fits better, or mean and SD.
    """
    inside = np.nonzero(mask)
    if not len(inside[0]):
        raise BadFileError("the ground truth is empty: no pixel is liver")
    mean, sd = _mean_and_sd(hounsfield[inside])
    flips = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]
    # flipping the few coordinates inside the mask instead of the volume takes a tenth of the time
    turned = [size - 1 - at for size, at in zip(mask.shape, inside, strict=True)]
    flipped = {
        axes: _mean_and_sd(hounsfield[tuple((turned if axis in axes else inside)[axis] for axis in range(3))])
        for axes in flips
    }
    best = min(flips, key=lambda axes: flipped[axes][1])
    here = f"inside the liver mask {mean:.0f} ± {sd:.0f} HU"
    if flipped[best][1] <= sd:
        how = " and ".join(AXES[axis] for axis in best)
        there = "{:.0f} ± {:.0f} HU".format(*flipped[best])
        raise BadFileError(f"image and mask do not fit: {here}, with the mask flipped {how} {there}")
    if not LIVER_HU[0] <= mean <= LIVER_HU[1] or sd > LIVER_SD:
        raise BadFileError(
            f"image and mask do not fit: {here}; expected a mean of {LIVER_HU[0]:.0f} to {LIVER_HU[1]:.0f} HU and an SD"
            f" of at most {LIVER_SD:.0f} HU"
        )


def _mean_and_sd(values: NDArray) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
