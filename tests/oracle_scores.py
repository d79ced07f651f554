"""The scores as scikit-learn computes them, for tests to compare with."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)


def single_label(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has one class."""
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
        "auc_micro": float(roc_auc_score(one_hot, probabilities, average="micro")),
        "average_precision_micro": float(average_precision_score(one_hot, probabilities, average="micro")),
        "log_likelihood": -float(log_loss(labels, probabilities, labels=range(probabilities.shape[1]))),
    }


def multi_label(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Scores where each image has any number of classes."""
    positive = labels > 0.5
    return {
        "auc": _mean(roc_auc_score, positive, probabilities),
        "accuracy": float(np.mean((probabilities >= 0.5) == positive)),
        "average_precision": _mean(average_precision_score, positive, probabilities),
        "auc_micro": _mean(roc_auc_score, positive.reshape(-1, 1), probabilities.reshape(-1, 1)),
        "average_precision_micro": _mean(
            average_precision_score, positive.reshape(-1, 1), probabilities.reshape(-1, 1)
        ),
    }


def regression(labels: NDArray[np.floating], predicted: NDArray[np.floating]) -> dict[str, float]:
    """Scores of predicted numbers (n,)."""
    off = predicted - labels
    limit = 1.96 * off.std(ddof=1) if len(off) > 1 else math.nan
    return {
        "mae": float(mean_absolute_error(labels, predicted)),
        "rmse": float(root_mean_squared_error(labels, predicted)),
        "r2": float(r2_score(labels, predicted)) if np.ptp(labels) > 0 else math.nan,
        "bias": float(off.mean()),
        "loa_lower": float(off.mean() - limit),
        "loa_upper": float(off.mean() + limit),
    }


def recalls(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Share of each class's images that were given the class, NaN for a class without an image."""
    found = recall_score(labels, predicted, labels=np.arange(n_classes), average=None, zero_division=np.nan)
    return np.asarray(found, dtype=np.float64)


def binary(
    labels: NDArray[np.int64], scores: NDArray[np.floating], positive: int, threshold: float = 0.5
) -> dict[str, float]:
    """Scores of a two-class problem, told from the side of one class."""
    truth = labels == positive
    tn, fp, fn, tp = (
        confusion_matrix(truth, np.asarray(scores, np.float64) >= threshold, labels=[False, True]).ravel().astype(float)
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


def calibration(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Expected calibration error, Brier score and log-likelihood by their definitions."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * 15).astype(int), 1, 15)
    gaps = [abs((right[place == b] - confidence[place == b]).sum()) for b in range(1, 16)]
    squares = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean()
    halved = 2 if probabilities.shape[1] == 2 else 1
    surprise = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    return {"ece": float(sum(gaps) / len(labels)), "brier": float(squares / halved), "nll": float(surprise)}
