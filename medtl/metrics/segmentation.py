"""Scores of one case's organs in 3-D, and their means and intervals over cases. Arrays in, floats out.

What an absent organ gives (organ in the ground truth / in the prediction):

===========  =========  =====  =====  ===============  ======================================================
truth        predicted  IoU    Dice   surface Dice,    95 % Hausdorff distance
                                      boundary F
===========  =========  =====  =====  ===============  ======================================================
absent       absent     none   none   none             none: the case does not count for this organ
absent       present    0      0      0                the volume's diagonal: the farthest that two voxels lie
present      absent     0      0      0                the volume's diagonal
===========  =========  =====  =====  ===============  ======================================================

"none" is NaN, an empty field in predictions.csv, and is left out of means.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import contours, weighted
from medtl.metrics.bootstrap import REPLICATES, distribution, percentile
from medtl.metrics.weighted import Scorer

OVERLAPS = ("iou", "dice")

Scores = dict[str, float]


def names(organs: Sequence[str], distances: bool = True) -> tuple[str, ...]:
    """Return ``iou_<organ>…, dice_<organ>…`` and, with ``distances``, those of ``contours``, such as ``hd95_<organ>…``:
    the columns of a case."""
    return tuple(f"{kind}_{organ}" for kind in (kinds() if distances else OVERLAPS) for organ in organs)


def kinds() -> tuple[str, ...]:
    """Return what is measured of each organ: the first part of its columns."""
    return (*OVERLAPS, *(metric.name for metric in contours.case_metrics()))


def key_metrics(organs: Sequence[str]) -> tuple[str, ...]:
    """Return what an epoch can be chosen by; larger is better for each."""
    return (*(f"mean_{kind}" for kind in OVERLAPS), *names(organs, distances=False))


def overlaps(truth: NDArray, predicted: NDArray, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the intersection over union, and Dice, of each organ.

    Args:
        truth, predicted: integers of one shape; 0 is background, 1 to ``count`` are organs.
        count: number of organs.

    Returns:
        IoU and Dice (count,), 0..1, NaN for an organ that is in neither.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth of shape {truth.shape} and prediction of shape {predicted.shape}")
    pairs = truth.reshape(-1).astype(np.int64) * (count + 1) + predicted.reshape(-1)
    table = np.bincount(pairs, minlength=(count + 1) ** 2).reshape(count + 1, count + 1)
    shared = np.diagonal(table)[1:].astype(np.float64)
    both = table.sum(axis=1)[1:] + table.sum(axis=0)[1:]
    nothing = np.full(count, np.nan)
    iou = np.divide(shared, both - shared, out=nothing.copy(), where=both > 0)
    dice = np.divide(2 * shared, both, out=nothing, where=both > 0)
    return iou, dice


def case_scores(
    truth: NDArray,
    predicted: NDArray,
    organs: Sequence[str],
    spacing: Sequence[float] = (1, 1, 1),
    distances: bool = True,
) -> Scores:
    """Return all scores of one case.

    Args:
        truth, predicted: (x, y, z) whole numbers; 0 is background, 1 the first organ.
        organs: names in the order of their index.
        spacing: of the voxels along (x, y, z) in mm.
        distances: with what is measured of contours, which takes a second or more a case.

    Returns:
        Under ``names(organs, distances)``; NaN where the table above says none.
    """
    values = np.concatenate(overlaps(truth, predicted, len(organs))).tolist()
    if distances:
        each = [contours.scores(truth == i, predicted == i, spacing) for i in range(1, len(organs) + 1)]
        values += [found[metric.name] for metric in contours.case_metrics() for found in each]
    return dict(zip(names(organs, distances), values, strict=True))


def guess_scores(truth: NDArray, organs: Sequence[str]) -> Scores:
    """Return IoU and Dice of each organ if every voxel were called that organ: what can be had without looking at a
    picture.

    Args:
        truth: (x, y, z) whole numbers; 0 is background, 1 the first organ.
        organs: names in the order of their index.

    Returns:
        Under ``names(organs, distances=False)``; NaN for an organ that is not there.
    """
    counts = np.bincount(truth.reshape(-1), minlength=len(organs) + 1)[1:].astype(np.float64)
    share = np.where(counts > 0, counts / truth.size, np.nan)
    values = np.concatenate((share, 2 * share / (1 + share))).tolist()
    return dict(zip(names(organs, distances=False), values, strict=True))


def case_means(scores: Mapping[str, float]) -> Scores:
    """Return ``mean_iou``, ``mean_dice`` (and ``mean_hd95``, …) of one case over the organs that count for it."""
    return {
        f"mean_{kind}": _mean([value for name, value in scores.items() if name.startswith(f"{kind}_")])
        for kind in kinds()
        if any(name.startswith(f"{kind}_") for name in scores)
    }


def mean_scores(cases: Sequence[Mapping[str, float]]) -> Scores:
    """Return each score's mean over the cases that it counts for; ``mean_<kind>`` is the mean over organs of these."""
    each = {name: _mean([case[name] for case in cases]) for name in cases[0]}
    return {**case_means(each), **each}


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan


def intervals(
    cases: Sequence[Mapping[str, float]],
    patients: Sequence[str],
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, tuple[float, float]]:
    """Return the percentile bootstrap's intervals of ``mean_scores`` with whole patients as the units.

    Args:
        cases: scores of each case.
        patients: whose each is.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Score to (low, high), without those whose interval is not defined: none is with fewer than two patients.
    """
    patient, count = weighted.by_patient(patients)
    if count < 2:
        return {}
    drawn = distribution(_scorer(cases, patient, count), count, replicates, seed)
    found = {name: percentile(values, level) for name, values in drawn.items()}
    return {name: ends for name, ends in found.items() if not math.isnan(ends[0])}


def _scorer(cases: Sequence[Mapping[str, float]], patient: NDArray[np.int64], count: int) -> Scorer:
    columns = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    organs = weighted.means(columns, patient, count)
    there = {name for name, values in columns.items() if np.isfinite(values).any()}
    named = {kind: [name for name in columns if name.startswith(f"{kind}_")] for kind in kinds()}

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = organs(times)
        lacking = np.full(len(times), np.nan)
        return found | {
            f"mean_{kind}": np.mean([found[name] for name in names if name in there] or [lacking], axis=0)
            for kind, names in named.items()
            if names
        }

    return score
