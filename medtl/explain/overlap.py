"""How well the hottest part of a heat map covers a lesion, and how well it would by chance. Arrays in, floats out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.explain.heat import scaled
from medtl.metrics import weighted
from medtl.metrics.bootstrap import distribution, percentile
from medtl.metrics.segmentation import overlaps

THRESHOLD = 180.0
DICE = ("dice_180", "dice_180_random", "dice_180_centre")


@dataclass(frozen=True)
class Overlap:
    """A heat map against a lesion mask.

    Attributes:
        dice_180: Dice of the pixels above 180 of 255 with the mask (Mei et al., Radiology: Artificial Intelligence
            2022), 0..1.
        dice_180_random: the mean Dice of the same hot region moved over the picture to every place in turn (leaving at
            one edge, entering at the other): what a map gets that knows nothing of the picture.
        dice_180_centre: Dice of a disc of the hot region's area in the middle: what a map gets that knows only that
            lesions are photographed centrally.
        mask_area, hot_area: in pixels of the mask.
    """

    dice_180: float
    dice_180_random: float
    dice_180_centre: float
    mask_area: int
    hot_area: int


def overlap(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> Overlap:
    """Compare a heat map of any size with a mask.

    Args:
        values: (rows, columns), 0 or more.
        mask: (rows, columns) of the picture, True inside the lesion, somewhere True.
    """
    hot = scaled(values, *mask.shape) > THRESHOLD
    area, lesion = int(hot.sum()), int(mask.sum())
    # over all shifts each hot pixel falls on the lesion equally often
    random = 2 * area * lesion / mask.size / (area + lesion)
    return Overlap(_dice(hot, mask), random, _dice(disc(area, mask.shape), mask), lesion, area)


def disc(area: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the ``area`` pixels nearest to the middle of a picture of (rows, columns)."""
    rows, columns = np.indices(shape)
    distance = (rows - (shape[0] - 1) / 2) ** 2 + (columns - (shape[1] - 1) / 2) ** 2
    inside = np.zeros(distance.size, dtype=bool)
    inside[np.argsort(distance.ravel(), kind="stable")[:area]] = True
    return inside.reshape(shape)


def summary(found: Sequence[Overlap], patients: Sequence[str]) -> dict[str, float]:
    """Return the means over pictures with their 95 % intervals by patient.

    Args:
        found: (n,) at least one.
        patients: (n,) whose picture each is.

    Returns:
        ``dice_180``, the two references, and ``above_random`` and ``above_centre`` (Dice minus the reference, picture
        by picture), each with ``_lo`` and ``_hi`` where an interval is defined.
    """
    values = {name: np.array([getattr(each, name) for each in found]) for name in DICE}
    values["above_random"] = values["dice_180"] - values["dice_180_random"]
    values["above_centre"] = values["dice_180"] - values["dice_180_centre"]
    patient, count = weighted.by_patient(patients)
    drawn = distribution(weighted.means(values, patient, count), count) if count > 1 else {}
    result = {}
    for name, each in values.items():
        result[name] = float(each.mean())
        ends = percentile(drawn[name]) if drawn else (np.nan, np.nan)
        if np.isfinite(ends).all():
            result[f"{name}_lo"], result[f"{name}_hi"] = ends
    return result


def _dice(hot: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    return float(overlaps(mask.astype(np.int64), hot.astype(np.int64), 1)[1][0])
