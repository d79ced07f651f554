"""Scores with patients counted several times: what ``medtl.metrics.classification`` and ``medtl.metrics.calibration``
define, for many bootstrap replicates at once.

A scorer is prepared once from a split (images sorted, counts a patient) and then called with rows of weights, one row
a replicate. Weighting is the same as repeating a patient's images, but nothing is copied or sorted again.

A mean over classes takes the classes that the split defines. A replicate that lacks one of them has no such mean: the
mean of the others would be another figure, and often a better one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.calibration import BINS, bin_of, image_brier

# (r, n_patients) how often each patient counts, to metric to (r,) values, NaN where a replicate defines none
Scorer = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]


def by_patient(patients: Sequence[str] | NDArray) -> tuple[NDArray[np.int64], int]:
    """(n,) index 0..count-1 of each image's patient, and the count."""
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return index.astype(np.int64), len(names)


def single_label(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    patient: NDArray[np.int64],
    count: int,
    network: NDArray[np.int64] | None = None,
) -> Scorer:
    """Scorer where each image has one class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
        patient: (n,) index of each image's patient.
        count: number of patients.
        network: (n,) index of the network that predicted each image, of folds put together; None for one. Rankings
            compare images of one network only, for another's probabilities may lie higher or lower as a whole (Forman
            and Scholz 2010): ``auc`` is the share of its pairs, over all networks, that are in order.

    Returns:
        Scorer of ``classification.SINGLE_LABEL``, ``calibration.CALIBRATION``, and ``recall_<c>``, ``auc_<c>`` and
        ``average_precision_<c>`` of each class index.
    """
    n_classes = probabilities.shape[1]
    counted = of_predicted(labels, probabilities.argmax(axis=1), patient, count, n_classes)
    calibrated = _calibration(labels, probabilities, patient, count)
    ranked = _ranked(labels[:, np.newaxis] == np.arange(n_classes), probabilities, patient, network)
    return lambda times: counted(times) | ranked(times) | calibrated(times)


def of_predicted(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], patient: NDArray[np.int64], count: int, n_classes: int
) -> Scorer:
    """Scorer of what needs no probabilities: ``from_counts`` and ``recall_<c>``; arguments as of ``single_label``."""
    right = labels == predicted
    hits = _sums(patient[right], labels[right], count, n_classes)
    support, answers = (_sums(patient, which, count, n_classes) for which in (labels, predicted))
    occurs = np.asarray(support.any(axis=0))

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn_hits, drawn_support = times @ hits, times @ support
        each = _divide(drawn_hits, drawn_support)
        found = from_counts(drawn_hits, drawn_support, times @ answers, occurs)
        return found | {f"recall_{c}": each[:, c] for c in range(n_classes)}

    return score


def multi_label(
    labels: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    patient: NDArray[np.int64],
    count: int,
    network: NDArray[np.int64] | None = None,
) -> Scorer:
    """Scorer where each image has any number of classes.

    Args:
        labels: (n, n_classes) of 0 and 1.
        probabilities: (n, n_classes), each 0..1.
        patient: (n,) index of each image's patient.
        count: number of patients.
        network: as of ``single_label``.

    Returns:
        Scorer of ``classification.MULTI_LABEL``, and ``auc_<c>`` and ``average_precision_<c>`` of each class index.
    """
    positive = labels > 0.5
    right = ((probabilities >= 0.5) == positive).mean(axis=1)
    accurate = means({"accuracy": right}, patient, count)
    ranked = _ranked(positive, probabilities, patient, network)
    return lambda times: ranked(times) | accurate(times)


def binary(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patient: NDArray[np.int64],
    count: int,
    threshold: float = 0.5,
) -> Scorer:
    """Scorer of ``classification.BINARY``.

    Args:
        positive: (n,) which images are of the positive class.
        scores: (n,) higher is more positive.
        patient: (n,) index of each image's patient.
        count: number of patients.
        threshold: score from which on (inclusive) an image is called positive.
    """
    called = called_positive(scores, threshold)
    sides = np.array([positive.any(), not positive.all()])
    cells = _sums(patient, 2 * positive.astype(np.int64) + called, count, 4)
    ranked = _ladders(positive, scores, patient)

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        tn, fp, fn, tp = (times @ cells).T
        sensitivity, specificity = _divide(tp, tp + fn), _divide(tn, tn + fp)
        area, precision = ranked(np.ascontiguousarray(times.T))
        return {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "class_weighted_accuracy": _mean_over(sides, np.stack([sensitivity, specificity])),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": _divide(tp, tp + fp),
            "npv": _divide(tn, tn + fn),
            "f1": np.where(tp + fn > 0, _divide(2 * tp, 2 * tp + fp + fn), np.nan),
            "auc": area,
            "average_precision": precision,
        }

    return score


def called_positive(scores: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """(n,) which scores reach the threshold; compared as float64, since a threshold may lie between two float32."""
    return np.asarray(scores, dtype=np.float64) >= threshold


def means(values: Mapping[str, NDArray[np.floating]], patient: NDArray[np.int64], count: int) -> Scorer:
    """Scorer of means over images or cases, such as of Dice; a NaN is no value and is left out.

    Args:
        values: metric to (n,) values.
        patient: (n,) index of each image's patient.
        count: number of patients.
    """
    there = {name: np.isfinite(each) for name, each in values.items()}
    sums = {
        name: (
            _total(patient, np.where(there[name], each, 0.0), count),
            _total(patient, there[name], count),
        )
        for name, each in values.items()
    }
    return lambda times: {name: _divide(times @ total, times @ number) for name, (total, number) in sums.items()}


def mean_of(scorers: Sequence[Scorer]) -> Scorer:
    """Scorer of the mean over several trainings that predicted the same images."""

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        each = [scorer(times) for scorer in scorers]
        return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}

    return score


def from_counts(
    hits: NDArray[np.float64], support: NDArray[np.float64], answers: NDArray[np.float64], occurs: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Scores from counts a class.

    Args:
        hits: (…, n_classes) images of the class that were recognised.
        support: (…, n_classes) images of the class.
        answers: (…, n_classes) images that were given the class.
        occurs: (n_classes,) classes over which means are taken.

    Returns:
        Metric to (…) values; means over classes are NaN where one that occurs has no image.
    """
    recall = _divide(hits, support)
    both = support + answers
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    total = support.sum(axis=-1)
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "class_weighted_accuracy": recall[..., occurs].mean(axis=-1),
        "f1_macro": np.where(support > 0, f1, np.nan)[..., occurs].mean(axis=-1),
        "f1_weighted": (f1 * support).sum(axis=-1) / total,
    }


def _calibration(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], patient: NDArray[np.int64], count: int
) -> Scorer:
    confidence = probabilities.max(axis=1).astype(np.float64)
    surplus = confidence - (probabilities.argmax(axis=1) == labels)
    gaps = np.zeros((count, BINS))
    np.add.at(gaps, (patient, bin_of(confidence)), surplus)
    images = np.bincount(patient, minlength=count).astype(np.float64)
    brier = _total(patient, image_brier(labels, probabilities), count)

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total = times @ images
        return {"ece": np.abs(times @ gaps).sum(axis=1) / total, "brier": times @ brier / total}

    return score


def _ranked(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patient: NDArray[np.int64],
    network: NDArray[np.int64] | None,
) -> Scorer:
    """Ranking scores of each class, and their means over the classes that can be ranked."""
    ranked = np.asarray(positive.any(axis=0) & ~positive.all(axis=0))
    ladders = [_ladders(positive[:, c], scores[:, c], patient, network) for c in range(scores.shape[1])]

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = np.ascontiguousarray(times.T)
        areas, precisions = (np.stack(each) for each in zip(*(ladder(drawn) for ladder in ladders), strict=True))
        found = {"auc": _mean_over(ranked, areas), "average_precision": _mean_over(ranked, precisions)}
        for c, (area, precision) in enumerate(zip(areas, precisions, strict=True)):
            found |= {f"auc_{c}": area, f"average_precision_{c}": precision}
        return found

    return score


def _ladders(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patient: NDArray[np.int64],
    network: NDArray[np.int64] | None = None,
) -> Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Areas under the ROC curve (trapezoids: ties count half) and average precisions (steps) of one class, NaN where
    a replicate has no image on one side; of several networks the pairs, and the positive images, are put together.
    Called with (n_patients, r) weights: rows are added up faster than columns."""
    each = [np.ones(len(scores), bool)] if network is None else [network == k for k in np.unique(network)]
    ladders = [_ladder(positive[rows], scores[rows], patient[rows]) for rows in each]

    def score(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ordered, pairs, steps, ups = (
            np.sum(parts, axis=0) for parts in zip(*(ladder(drawn) for ladder in ladders), strict=True)
        )
        return _divide(ordered, pairs), _divide(steps, ups)

    return score


def _ladder(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], patient: NDArray[np.int64]
) -> Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], ...]]:
    """Of one network: ordered pairs, pairs, sum of precisions, and positive images, these two 0 where a replicate has
    no image on one side."""
    order = np.argsort(-scores, kind="stable")
    falling, who = scores[order], patient[order]
    ups = np.flatnonzero(positive[order])
    # images, and positive ones, that rank above the run of equal scores of each positive image; and with it
    first, last = (np.searchsorted(-falling, -falling[ups], side=side) for side in ("left", "right"))
    first_up, last_up = (np.searchsorted(ups, ends) for ends in (first, last))
    tied = bool((last - first > 1).any())

    def score(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        called = _running(drawn[who])
        weights = drawn[who[ups]]
        found = _running(weights)
        total, total_up = called[-1], found[-1]
        all_called, all_found = called[last], found[last_up]
        above = all_called - all_found  # negative images called before or with each positive one
        if tied:
            above = (above + called[first] - found[first_up]) / 2
        total_down = total - total_up
        pairs = total_up * total_down - np.einsum("kr,kr->r", weights, above)
        precision = np.divide(all_found, all_called, out=np.zeros_like(weights), where=all_called > 0)
        both = (total_up > 0) & (total_down > 0)
        steps = np.einsum("kr,kr->r", weights, precision)
        return pairs, total_up * total_down, steps * both, total_up * both

    return score


def _running(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n + 1, r) sums of the first 0, 1 … n rows."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def _sums(patient: NDArray[np.int64], column: NDArray[np.int64], count: int, width: int) -> NDArray[np.float64]:
    """(count, width) how many images of each patient fall into each column."""
    flat = np.bincount(patient * width + column, minlength=count * width)
    return flat.reshape(count, width).astype(np.float64)


def _total(patient: NDArray[np.int64], values: NDArray, count: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(patient, weights=values.astype(np.float64), minlength=count), dtype=np.float64)


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean_over(rows: NDArray[np.bool_], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over these of the first axis, NaN where one of them is or there are none."""
    return table[rows].mean(axis=0) if rows.any() else np.full(table.shape[1:], np.nan)
