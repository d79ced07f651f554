"""Metrics of answers: which class a network names, or, told from the positive class, which images reach a threshold."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.registry import Kind, Metric, Split
from medtl.metrics.weighted import Scorer, divide, mean_over, means, sums

ONE_CLASS: tuple[Kind, ...] = ("single_label",)


def answered(split: Split) -> Scorer:
    """Return the scorer of all metrics of this file that the split's kind defines, and with one class an image of
    ``recall_<c>`` of each class index, NaN for a class without an image."""
    if split.kind == "multi_label":
        return means({"accuracy": (split.truth == split.answers).mean(axis=1)}, split.patient, split.count)
    return _named(split) if split.positive is None else _told(split)


def _named(split: Split) -> Scorer:
    """Where each image has one class; means are over the classes that occur."""
    classes = split.probabilities.shape[1]
    right = split.truth == split.answers
    hits = sums(split.patient[right], split.labels[right], split.count, classes)
    support, given = (sums(split.patient, which, split.count, classes) for which in (split.labels, split.answers))
    occurs = np.asarray(support.any(axis=0))

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn_hits, drawn_support = times @ hits, times @ support
        recall = divide(drawn_hits, drawn_support)
        both = drawn_support + times @ given
        f1 = np.divide(2 * drawn_hits, both, out=np.zeros_like(both), where=both > 0)
        total = drawn_support.sum(axis=-1)
        return {
            "accuracy": drawn_hits.sum(axis=-1) / total,
            "class_weighted_accuracy": recall[:, occurs].mean(axis=-1),
            "f1_macro": np.where(drawn_support > 0, f1, np.nan)[:, occurs].mean(axis=-1),
            "f1_weighted": (f1 * drawn_support).sum(axis=-1) / total,
            **{f"recall_{c}": recall[:, c] for c in range(classes)},
        }

    return score


def _told(split: Split) -> Scorer:
    """Told from the positive class."""
    truth = split.truth
    sides = np.array([truth.any(), not truth.all()])
    cells = sums(split.patient, 2 * truth.astype(np.int64) + split.answers, split.count, 4)

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        tn, fp, fn, tp = (times @ cells).T
        sensitivity, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
        return {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "class_weighted_accuracy": mean_over(sides, np.stack([sensitivity, specificity])),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": divide(tp, tp + fp),
            "npv": divide(tn, tn + fn),
            "f1": np.where(tp + fn > 0, divide(2 * tp, 2 * tp + fp + fn), np.nan),
        }

    return score


def _of_all(split: Split) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    right = split.truth == split.answers
    whole = right if right.ndim == 1 else right.all(axis=1)
    # of several answers an image no exact bound is known
    return np.full(len(whole), right.ndim == 1), whole


def _of_positive(split: Split) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return split.truth, split.answers


def _of_negative(split: Split) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return ~split.truth, ~split.answers


_answers = partial(Metric, scorer=answered, needs="answers")
_positive = partial(_answers, kinds=("positive",))
METRICS = (
    # share of images whose class is named; of several labels the share of right yes-or-no answers at 0.5
    _answers("accuracy", "accuracy", order=10, trials=_of_all),
    # the papers' name of the mean recall
    _answers("class_weighted_accuracy", "class-weighted accuracy", kinds=("single_label", "positive"), order=20),
    _answers("f1_weighted", "F1, weighted by support", kinds=ONE_CLASS, tables=ONE_CLASS, order=30),
    _answers("f1_macro", "F1, mean over classes", kinds=ONE_CLASS, tables=ONE_CLASS, order=40),
    _positive("sensitivity", "sensitivity", order=50, trials=_of_positive),
    _positive("specificity", "specificity", order=60, trials=_of_negative),
    # 0 where positive images exist and none is found; not defined without one
    _positive("f1", "F1 of the positive class", order=70),
    # these two depend on how common the disease is in the split
    _positive("ppv", "positive predictive value", tables=(), order=80),
    _positive("npv", "negative predictive value", tables=(), order=81),
)
