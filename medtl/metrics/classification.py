"""Metrics of a classifier from arrays. scikit-learn does the arithmetic; what is decided here is what an absent class
means: a mean over classes takes those that occur, and what cannot be said without a class is NaN, never 0 or 1."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from medtl.metrics.weighted import called_positive

SINGLE_LABEL = ("accuracy", "class_weighted_accuracy", "f1_macro", "f1_weighted", "auc", "average_precision")
MULTI_LABEL = ("auc", "accuracy", "average_precision")
AT_THRESHOLD = ("accuracy", "class_weighted_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")
BINARY = (*AT_THRESHOLD, "auc", "average_precision")


def single_label(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has one class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.

    Returns:
        ``accuracy``; ``class_weighted_accuracy`` (the papers' name for the mean recall, over the classes that occur);
        ``f1_macro`` (over the classes that occur) and ``f1_weighted`` (by support: the papers' F1 of several classes);
        ``auc`` and ``average_precision`` (one class against the rest, mean over the classes that occur; NaN where
        fewer than two do).
    """
    predicted = probabilities.argmax(axis=1)
    occurring = np.unique(labels)
    macro = {"labels": occurring, "average": "macro", "zero_division": 0}
    one_hot = labels[:, np.newaxis] == np.arange(probabilities.shape[1])
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "class_weighted_accuracy": float(recall_score(labels, predicted, **macro)),
        "f1_macro": float(f1_score(labels, predicted, **macro)),
        "f1_weighted": float(f1_score(labels, predicted, average="weighted", zero_division=0)),
        "auc": _mean(roc_auc_score, one_hot, probabilities),
        "average_precision": _mean(average_precision_score, one_hot, probabilities),
    }


def multi_label(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has any number of classes.

    Args:
        labels: (n, n_classes) of 0 and 1.
        probabilities: (n, n_classes), each 0..1.

    Returns:
        ``auc`` and ``average_precision`` (mean over the classes with both a positive and a negative image; NaN without
        one) and ``accuracy`` (share of right yes-or-no answers at 0.5).
    """
    positive = labels > 0.5
    return {
        "auc": _mean(roc_auc_score, positive, probabilities),
        "accuracy": float(np.mean((probabilities >= 0.5) == positive)),
        "average_precision": _mean(average_precision_score, positive, probabilities),
    }


def of_guessing(labels: NDArray, n_classes: int) -> dict[str, float]:
    """Scores of giving every image the same probabilities, the shares of the classes: what can be had without looking
    at one. ``auc`` is 0.5, ``class_weighted_accuracy`` 1 / k, ``accuracy`` the share of the commonest class,
    ``average_precision`` the mean share.

    Args:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1.
        n_classes: number of classes.
    """
    several = labels.ndim == 2
    positive = labels > 0.5 if several else labels[:, np.newaxis] == np.arange(n_classes)
    shares = np.tile(positive.mean(axis=0), (len(labels), 1))
    return multi_label(labels, shares) if several else single_label(labels, shares)


def recalls(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Share of each class's images that were given the class.

    Args:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        n_classes: number of classes.

    Returns:
        (n_classes,) values 0..1, NaN for a class without an image.
    """
    found = recall_score(labels, predicted, labels=np.arange(n_classes), average=None, zero_division=np.nan)
    return np.asarray(found, dtype=np.float64)


def binary(
    labels: NDArray[np.int64], scores: NDArray[np.floating], positive: int, threshold: float = 0.5
) -> dict[str, float]:
    """Scores of a two-class problem, told from the side of one class.

    Args:
        labels: (n,) class indices; whatever is not ``positive`` is negative.
        scores: (n,) of the positive class, higher is more positive.
        positive: index of the positive class.
        threshold: score from which on (inclusive) an image is called positive.

    Returns:
        The metrics ``BINARY``. NaN: ``sensitivity`` and ``f1`` without a positive image, ``specificity`` without a
        negative one, ``ppv`` where none is called positive, ``npv`` where none is called negative, ``auc`` and
        ``average_precision`` unless both classes occur. ``f1`` is 0 where positive images exist and none is found.
    """
    truth = labels == positive
    tn, fp, fn, tp = (
        confusion_matrix(truth, called_positive(scores, threshold), labels=[False, True]).ravel().astype(float)
    )
    sensitivity, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    return {
        "accuracy": _share(tp + tn, tp + tn + fp + fn),
        "class_weighted_accuracy": _mean_of_defined(sensitivity, specificity),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _share(tp, tp + fp),
        "npv": _share(tn, tn + fn),
        "f1": _share(2 * tp, 2 * tp + fp + fn) if tp + fn else math.nan,
        "auc": _mean(roc_auc_score, truth[:, np.newaxis], scores[:, np.newaxis]),
        "average_precision": _mean(average_precision_score, truth[:, np.newaxis], scores[:, np.newaxis]),
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _mean_of_defined(*values: float) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _mean(score: Callable[..., float], positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """A ranking score of each class, averaged over the classes that can be ranked."""
    each = [
        score(positive[:, c], scores[:, c]) for c in range(scores.shape[1]) if 0 < positive[:, c].sum() < len(positive)
    ]
    return float(np.mean(each)) if each else math.nan
