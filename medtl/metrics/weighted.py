"""The machinery of scores with patients counted several times, for many bootstrap replicates at once.

A scorer is prepared once from a split (images sorted, counts a patient) and then called with rows of weights, one row
a replicate. Weighting is the same as repeating a patient's images, but nothing is copied or sorted again.

A mean over classes takes the classes that the split defines. A replicate that lacks one of them has no such mean: the
mean of the others would be another figure, and often a better one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# (r, n_patients) how often each patient counts, to metric to (r,) values, NaN where a replicate defines none
Scorer = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]


def by_patient(patients: Sequence[str] | NDArray) -> tuple[NDArray[np.int64], int]:
    """Return (n,) index 0..count-1 of each image's patient, and the count."""
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return index.astype(np.int64), len(names)


def called_positive(scores: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Return (n,) which scores reach the threshold; compared as float64, since a threshold may lie between two
    float32."""
    return np.asarray(scores, dtype=np.float64) >= threshold


def means(values: Mapping[str, NDArray[np.floating]], patient: NDArray[np.int64], count: int) -> Scorer:
    """Return the scorer of means over images or cases, such as of Dice; a NaN is no value and is left out.

    Args:
        values: metric to (n,) values.
        patient: (n,) index of each image's patient.
        count: number of patients.
    """
    there = {name: np.isfinite(each) for name, each in values.items()}
    both = {
        name: (
            total(patient, np.where(there[name], each, 0.0), count),
            total(patient, there[name], count),
        )
        for name, each in values.items()
    }
    return lambda times: {name: divide(times @ whole, times @ number) for name, (whole, number) in both.items()}


def mean_of(scorers: Sequence[Scorer]) -> Scorer:
    """Return the scorer of the mean over several trainings that predicted the same images."""

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        each = [scorer(times) for scorer in scorers]
        return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}

    return score


def sums(patient: NDArray[np.int64], column: NDArray[np.int64], count: int, width: int) -> NDArray[np.float64]:
    """Return (count, width) how many images of each patient fall into each column."""
    flat = np.bincount(patient * width + column, minlength=count * width)
    return flat.reshape(count, width).astype(np.float64)


def total(patient: NDArray[np.int64], values: NDArray, count: int) -> NDArray[np.float64]:
    """Return (count,) sum of (n,) values over each patient's images."""
    return np.asarray(np.bincount(patient, weights=values.astype(np.float64), minlength=count), dtype=np.float64)


def divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``part / whole``, NaN where that is not above 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def mean_over(rows: NDArray[np.bool_], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means over these of the first axis, NaN where one of them is or there are none."""
    return table[rows].mean(axis=0) if rows.any() else np.full(table.shape[1:], np.nan)
