"""Metrics of a classifier from arrays. scikit-learn does the arithmetic; what is decided here is what an absent class
means."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

SINGLE_LABEL = ("accuracy", "class_weighted_accuracy", "f1_macro", "f1_weighted", "auc")
MULTI_LABEL = ("auc", "accuracy")


def single_label(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has one class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.

    Returns:
        ``accuracy``; ``class_weighted_accuracy`` (the papers' name for the mean recall, over the classes that occur);
        ``f1_macro`` (over the classes that occur) and ``f1_weighted`` (by support); ``auc`` (one class against the
        rest, mean over the classes that occur; NaN where fewer than two do).
    """
    predicted = probabilities.argmax(axis=1)
    occurring = np.unique(labels)
    macro = {"labels": occurring, "average": "macro", "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "class_weighted_accuracy": float(recall_score(labels, predicted, **macro)),
        "f1_macro": float(f1_score(labels, predicted, **macro)),
        "f1_weighted": float(f1_score(labels, predicted, average="weighted", zero_division=0)),
        "auc": _mean_auc(labels[:, np.newaxis] == np.arange(probabilities.shape[1]), probabilities),
    }


def multi_label(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has any number of classes.

    Args:
        labels: (n, n_classes) of 0 and 1.
        probabilities: (n, n_classes), each 0..1.

    Returns:
        ``auc`` (mean over the classes with both a positive and a negative image; NaN without one) and ``accuracy``
        (share of right yes-or-no answers at 0.5).
    """
    positive = labels > 0.5
    return {
        "auc": _mean_auc(positive, probabilities),
        "accuracy": float(np.mean((probabilities >= 0.5) == positive)),
    }


def _mean_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """ROC-AUC a class, averaged over the classes that can be ranked."""
    each = [
        roc_auc_score(positive[:, c], scores[:, c])
        for c in range(scores.shape[1])
        if 0 < positive[:, c].sum() < len(positive)
    ]
    return float(np.mean(each)) if each else math.nan
