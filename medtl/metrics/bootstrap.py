"""95 % intervals by resampling patients, not images: pictures of one patient are alike, and counting them as
independent makes intervals too narrow.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13) with whole patients as the units. Scores that are
functions of counts need no resampled arrays: each replicate weights the patients' counts by how often they were drawn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

REPLICATES = 2000
CHUNK = 200  # replicates at a time, so that memory stays small for tens of thousands of patients


def intervals(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    patients: Sequence[str],
    n_classes: int,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
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
        Metric to (low, high); empty with fewer than two patients, where no interval is defined.
    """
    _, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(patient.max(initial=-1)) + 1
    if count < 2:
        return {}
    hits, support, answers = (np.zeros((count, n_classes)) for _ in range(3))
    np.add.at(hits, (patient[labels == predicted], labels[labels == predicted]), 1)
    np.add.at(support, (patient, labels), 1)
    np.add.at(answers, (patient, predicted), 1)
    random = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, REPLICATES, CHUNK):
        size = min(CHUNK, REPLICATES - start)
        times = random.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        for name, values in from_counts(times @ hits, times @ support, times @ answers).items():
            drawn.setdefault(name, []).append(values)
    tail = 100 * (1 - level) / 2
    return {
        name: (float(low), float(high))
        for name, parts in drawn.items()
        for low, high in [np.percentile(np.concatenate(parts), (tail, 100 - tail))]
    }


def from_counts(
    hits: NDArray[np.float64], support: NDArray[np.float64], answers: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Scores from counts a class.

    Args:
        hits: (…, n_classes) images of the class that were recognised.
        support: (…, n_classes) images of the class.
        answers: (…, n_classes) images that were given the class.

    Returns:
        Metric to (…) values; means over classes take those that occur.
    """
    occurs = support > 0
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=occurs)
    both = support + answers
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    total = support.sum(axis=-1)
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "class_weighted_accuracy": recall.sum(axis=-1) / occurs.sum(axis=-1),
        "f1_macro": (f1 * occurs).sum(axis=-1) / occurs.sum(axis=-1),
        "f1_weighted": (f1 * support).sum(axis=-1) / total,
    }
