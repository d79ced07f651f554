"""Tests of two models on the same images, and what many tests at once do to their p-values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest
from scipy.stats import wilcoxon as signed_rank

from medtl.metrics.weighted import by_patient


@dataclass(frozen=True)
class Discordance:
    """Where two models disagree.

    Attributes:
        first_only: images that only the first got right.
        second_only: images that only the second got right.
        p: two-sided, of both being right equally often; 1 where they never disagree.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    patients: Sequence[str] | NDArray | None = None,
) -> Discordance:
    """Return McNemar's exact test (1947) of two accuracies.

    Args:
        labels: (n,) class indices.
        first, second: (n,) predicted class indices.
        patients: (n,) whose image each is. Where a patient has several, images are no independent trials: the exact
            test then flips whole patients (each patient's surplus of images that one model got right keeps its size
            and takes either sign with probability 1/2), which is McNemar's exact test where each has one.
    """
    right, other = first == labels, second == labels
    b, c = int((right & ~other).sum()), int((other & ~right).sum())
    if b + c == 0:
        return Discordance(0, 0, 1.0)
    if patients is None:
        return Discordance(b, c, float(binomtest(b, b + c).pvalue))
    patient, count = by_patient(patients)
    surplus = np.bincount(patient[right & ~other], minlength=count) - np.bincount(
        patient[other & ~right], minlength=count
    )
    return Discordance(b, c, _flipped(surplus))


def wilcoxon(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test (1945) of scores a case, such as Dice.

    Args:
        first, second: (n,) of the same cases, one a patient; cases without a value (NaN) in either are left out.

    Returns:
        p; 1 where no case differs, NaN without a case.
    """
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return float("nan")
    return float(signed_rank(gaps).pvalue) if gaps.any() else 1.0


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values for several comparisons at once (Holm 1979): below 0.05 after it, with at most 5 % chance of any
    false alarm among them, however they depend on each other.

    Args:
        p_values: (n,); a NaN is no comparison and stays.

    Returns:
        (n,) in the same order.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    adjusted = raw.copy()
    tested = np.flatnonzero(np.isfinite(raw))
    order = tested[np.argsort(raw[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def _flipped(surplus: NDArray[np.int64]) -> float:
    """Two-sided p of a sum of integers whose signs are coin flips, from its exact distribution."""
    chance = np.ones(1)  # of the sums -reach, -reach + 2 …, reach
    for size, number in zip(*np.unique(np.abs(surplus[surplus != 0]), return_counts=True), strict=True):
        steps = np.zeros(size * number + 1)
        steps[::size] = binom.pmf(np.arange(number + 1), number, 0.5)
        chance = np.convolve(chance, steps)
    reach = len(chance) - 1
    far = np.abs(2 * np.arange(reach + 1) - reach) >= abs(int(surplus.sum()))
    return float(min(chance[far].sum(), 1.0))
