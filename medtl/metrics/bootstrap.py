"""95 % intervals by resampling patients, not images: pictures of one patient are alike, and counting them as
independent makes intervals too narrow.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13) with whole patients as the units, not stratified by
class: that a split holds so many positive patients is chance, too. Each replicate weights the patients by how often
they were drawn (``medtl.metrics.weighted``).

Two rules for what resampling cannot say. A replicate without a class that a metric needs defines no value and is left
out; if more replicates are left out than may lie outside the interval, there is no interval. And where all replicates
give one value, as after a perfect score, resampling knows nothing of its uncertainty: a share of images (such as
``accuracy`` and ``sensitivity``) then gets the exact binomial bound with patients as the units, anything else no
interval.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import registry, weighted
from medtl.metrics.registry import Metric, Split
from medtl.metrics.weighted import Scorer, by_patient

REPLICATES = 2000
CHUNK = 20  # replicates at a time, so that memory stays small and arrays near the processor
Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Difference:
    """How much one model's score exceeds another's on the same images.

    Attributes:
        value: first minus second.
        se: standard error.
        low, high: of the interval; NaN where none is defined.
        p: two-sided; NaN where it is not defined.
    """

    value: float
    se: float
    low: float
    high: float
    p: float


def intervals(
    split: Split,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
    wanted: Iterable[Metric] | None = None,
) -> Intervals:
    """Return the intervals of a split's metrics, of one training: each by its own method where it has one
    (``Metric.interval``: DeLong's for the AUC), the others by resampling.

    Args:
        split: what the network said.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.
        wanted: metrics; None for all that the split's kind defines.

    Returns:
        Metric to (low, high), without metrics whose interval is not defined: none is with fewer than two patients.
    """
    if split.count < 2:
        return {}
    asked = registry.of_kind(split.kind) if wanted is None else list(wanted)
    drawn = distribution(registry.scorer(split, asked), split.count, replicates, seed)
    found = {name: percentile(values, level) for name, values in drawn.items()} | closed_intervals(split, level, asked)
    return {name: ends for name, ends in found.items() if not math.isnan(ends[0])}


def closed_intervals(split: Split, level: float = 0.95, wanted: Iterable[Metric] | None = None) -> Intervals:
    """Return the intervals of one training that need no resampling: DeLong's of the AUC, and the exact bound of a share
    of images of which all, or none, are right. NaN where a method says that it knows none. ``wanted`` as of
    ``intervals``."""
    found: Intervals = {}
    for metric in registry.of_kind(split.kind) if wanted is None else wanted:
        if metric.trials is not None:
            counted, right = metric.trials(split)
            found |= _exact(metric.name, right[counted], split.patient[counted], level)
        if metric.interval is not None and split.count > 1:
            found |= metric.interval(split, level)
    return found


def paired_difference(
    labels: NDArray,
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, Difference]:
    """Return the differences of every metric between two models that saw the same images; each replicate draws the same
    patients for both.

    Args:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1 where an image has any number of classes.
        first, second: probabilities (n, n_classes); or (n_trainings, n, n_classes) of several trainings, whose scores
            are averaged.
        patients: (n,) whose image each is.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Metric to first minus second. The p-value is twice the share of replicates on the far side of 0, so it is never
        below 2 / (replicates + 1); like the interval it knows the patients' chance, not the trainings'.
    """
    patient, count = by_patient(patients)

    def scorer(probabilities: NDArray[np.floating]) -> Scorer:
        if probabilities.ndim == 3:
            return weighted.mean_of([scorer(each) for each in probabilities])
        return registry.scorer_of_sides(Split(labels, probabilities, patient, count))

    return paired(scorer(first), scorer(second), count, level, seed, replicates)


def paired(
    first: Scorer, second: Scorer, count: int, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> dict[str, Difference]:
    """Return the differences between two scorers of the same ``count`` patients, as ``paired_difference`` gives
    them."""

    def differ(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        ones, others = first(times), second(times)
        return {name: ones[name] - others[name] for name in ones if name in others}

    observed = differ(np.ones((1, count)))
    if count < 2:
        return {name: Difference(float(each[0]), *[math.nan] * 4) for name, each in observed.items()}
    drawn = distribution(differ, count, replicates, seed)
    return {name: difference_of(float(each[0]), drawn[name], level) for name, each in observed.items()}


def distribution(scorer: Scorer, count: int, replicates: int = REPLICATES, seed: int = 0) -> dict[str, NDArray]:
    """Return each replicate's values.

    Args:
        scorer: of a split.
        count: number of its patients; each replicate draws as many, with replacement.
        replicates: number of draws.
        seed: of the draws.

    Returns:
        Metric to (replicates,) values, NaN where a replicate defines none.
    """
    parts = [scorer(times) for times in _draws(count, replicates, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentile(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the middle ``level`` of the replicates' values; NaN where the rules above define no interval."""
    defined = values[np.isfinite(values)]
    if len(defined) < level * len(values) or not len(defined) or np.ptp(defined) < 1e-12:
        return math.nan, math.nan
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(defined, (tail, 100 - tail))
    return float(low), float(high)


def _draws(count: int, replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    for start in range(0, replicates, CHUNK):
        rows = min(CHUNK, replicates - start)
        who = random.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, np.newaxis]
        yield np.bincount(who.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _exact(name: str, right: NDArray[np.bool_], patient: NDArray[np.int64], level: float) -> Intervals:
    """The exact bound of Clopper and Pearson 1934 where all images, or none, are right: if less than this share of
    patients were all right, so many in a row would be rarer than the interval allows."""
    count = len(np.unique(patient))
    if count < 2 or right.any() != right.all():
        return {}
    bound = ((1 - level) / 2) ** (1 / count)
    return {name: (bound, 1.0) if right.all() else (0.0, 1 - bound)}


def difference_of(value: float, drawn: NDArray[np.float64], level: float = 0.95) -> Difference:
    """Return a difference with what its replicates on drawn patients say: standard error, percentile interval, and the
    two-sided p, twice the share of replicates on the other side of 0; NaN where too few are defined."""
    defined = drawn[np.isfinite(drawn)]
    if math.isnan(value) or not len(defined) or len(defined) < level * len(drawn):
        return Difference(value, *[math.nan] * 4)
    far = min(int((defined <= 1e-12).sum()), int((defined >= -1e-12).sum()))
    p = min(1.0, 2 * (far + 1) / (len(defined) + 1))
    return Difference(value, float(defined.std(ddof=1)), *percentile(drawn, level), p)
