"""95 % intervals by resampling patients, not images: pictures of one patient are alike, and counting them as
independent makes intervals too narrow.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13) with whole patients as the units, not stratified by
class: that a split holds so many positive patients is chance, too. Each replicate weights the patients by how often
they were drawn (``medtl.metrics.weighted``).

Two rules for what resampling cannot say. A replicate without a class that a metric needs defines no value and is left
out; if more replicates are left out than may lie outside the interval, there is no interval. And where all replicates
give one value, as after a perfect score, resampling knows nothing of its uncertainty: a share of images (``accuracy``,
``sensitivity``, ``specificity``) then gets the exact binomial bound with patients as the units, anything else no
interval.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import weighted
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
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    patients: Sequence[str] | NDArray,
    n_classes: int,
    level: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Intervals of ``accuracy``, ``class_weighted_accuracy``, ``f1_macro`` and ``f1_weighted`` as
    ``medtl.metrics.classification`` defines them.

    Args:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        patients: (n,) whose image each is.
        n_classes: number of classes.
        level: of confidence.
        seed: of the draws.

    Returns:
        Metric to (low, high), without metrics whose interval is not defined: none is with fewer than two patients.
    """
    patient, count = by_patient(patients)
    found = _of(weighted.of_predicted(labels, predicted, patient, count, n_classes), count, level, seed, REPLICATES)
    found |= _exact("accuracy", labels == predicted, patient, found, level)
    return {name: each for name, each in found.items() if not name.startswith("recall_")}


def single_label(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Intervals:
    """Intervals where each image has one class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
        patients: (n,) whose image each is.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Metric to (low, high), without metrics whose interval is not defined; metrics as of ``weighted.single_label``.
    """
    patient, count = by_patient(patients)
    found = _of(weighted.single_label(labels, probabilities, patient, count), count, level, seed, replicates)
    return found | _exact("accuracy", probabilities.argmax(axis=1) == labels, patient, found, level)


def multi_label(
    labels: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Intervals:
    """Intervals where each image has any number of classes; arguments as of ``single_label``, but labels (n,
    n_classes) of 0 and 1; metrics as of ``weighted.multi_label``."""
    patient, count = by_patient(patients)
    return _of(weighted.multi_label(labels, probabilities, patient, count), count, level, seed, replicates)


def binary(
    labels: NDArray[np.int64],
    scores: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    positive: int,
    threshold: float = 0.5,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Intervals:
    """Intervals of a two-class problem, told from the side of one class.

    Args:
        labels: (n,) class indices; whatever is not ``positive`` is negative.
        scores: (n,) of the positive class, higher is more positive.
        patients: (n,) whose image each is.
        positive: index of the positive class.
        threshold: score from which on (inclusive) an image is called positive; it is taken as given, so the interval
            says nothing about how it was chosen.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Metric to (low, high), without metrics whose interval is not defined; metrics as of ``classification.binary``.
    """
    patient, count = by_patient(patients)
    truth = labels == positive
    found = _of(weighted.binary(truth, scores, patient, count, threshold), count, level, seed, replicates)
    right = weighted.called_positive(scores, threshold) == truth
    found |= _exact("accuracy", right, patient, found, level)
    found |= _exact("sensitivity", right[truth], patient[truth], found, level)
    return found | _exact("specificity", right[~truth], patient[~truth], found, level)


def paired_difference(
    labels: NDArray,
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    positive: int | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, Difference]:
    """Differences of every metric between two models that saw the same images; each replicate draws the same patients
    for both.

    Args:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1 where an image has any number of classes.
        first, second: probabilities (n, n_classes); or (n_trainings, n, n_classes) of several trainings, whose scores
            are averaged.
        patients: (n,) whose image each is.
        positive: index of the positive class of two, to compare ``classification.AT_THRESHOLD`` and the ranking of
            that class instead.
        thresholds: of the first and the second model, used with ``positive`` only.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Metric to first minus second. The p-value is twice the share of replicates on the far side of 0, so it is never
        below 2 / (replicates + 1); like the interval it knows the patients' chance, not the trainings'.
    """
    patient, count = by_patient(patients)

    def scorer(probabilities: NDArray[np.floating], threshold: float) -> Scorer:
        if probabilities.ndim == 3:
            return weighted.mean_of([scorer(each, threshold) for each in probabilities])
        if positive is not None:
            return weighted.binary(labels == positive, probabilities[:, positive], patient, count, threshold)
        if labels.ndim == 2:
            return weighted.multi_label(labels, probabilities, patient, count)
        return weighted.single_label(labels, probabilities, patient, count)

    return paired(scorer(first, thresholds[0]), scorer(second, thresholds[1]), count, level, seed, replicates)


def paired(
    first: Scorer, second: Scorer, count: int, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> dict[str, Difference]:
    """Differences between two scorers of the same ``count`` patients, as ``paired_difference`` gives them."""

    def differ(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        ones, others = first(times), second(times)
        return {name: ones[name] - others[name] for name in ones if name in others}

    observed = differ(np.ones((1, count)))
    if count < 2:
        return {name: Difference(float(each[0]), *[math.nan] * 4) for name, each in observed.items()}
    drawn = distribution(differ, count, replicates, seed)
    return {name: _difference(float(each[0]), drawn[name], level) for name, each in observed.items()}


def distribution(scorer: Scorer, count: int, replicates: int = REPLICATES, seed: int = 0) -> dict[str, NDArray]:
    """Each replicate's values.

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
    """The middle ``level`` of the replicates' values; NaN where the rules above define no interval."""
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


def _of(scorer: Scorer, count: int, level: float, seed: int, replicates: int) -> Intervals:
    if count < 2:
        return {}
    each = {name: percentile(drawn, level) for name, drawn in distribution(scorer, count, replicates, seed).items()}
    return {name: ends for name, ends in each.items() if not math.isnan(ends[0])}


def _exact(
    name: str, right: NDArray[np.bool_], patient: NDArray[np.int64], found: Intervals, level: float
) -> Intervals:
    """The exact bound of Clopper and Pearson 1934 where all images, or none, are right: if less than this share of
    patients were all right, so many in a row would be rarer than the interval allows."""
    count = len(np.unique(patient))
    if name in found or count < 2 or right.any() != right.all():
        return {}
    bound = ((1 - level) / 2) ** (1 / count)
    return {name: (bound, 1.0) if right.all() else (0.0, 1 - bound)}


def _difference(value: float, drawn: NDArray[np.float64], level: float) -> Difference:
    defined = drawn[np.isfinite(drawn)]
    if math.isnan(value) or len(defined) < level * len(drawn):
        return Difference(value, *[math.nan] * 4)
    far = min(int((defined <= 1e-12).sum()), int((defined >= -1e-12).sum()))
    p = min(1.0, 2 * (far + 1) / (len(defined) + 1))
    return Difference(value, float(defined.std(ddof=1)), *percentile(drawn, level), p)
