"""Scores of a classifier from arrays, by the metrics that ``medtl.metrics.registry`` knows. What an absent class means
is the same for all: a mean over classes takes those that occur, and what cannot be said without a class is NaN, never 0
or 1."""

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import registry
from medtl.metrics.registry import split_of


def single_label(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Return the scores by which an epoch may be chosen, where each image has one class.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
    """
    return registry.of_epoch(split_of(labels, probabilities))


def multi_label(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Return the scores by which an epoch may be chosen, where each image has any number of classes.

    Args:
        labels: (n, n_classes) of 0 and 1.
        probabilities: (n, n_classes), each 0..1.
    """
    return registry.of_epoch(split_of(labels, probabilities))


def binary(
    labels: NDArray[np.int64], scores: NDArray[np.floating], positive: int, threshold: float = 0.5
) -> dict[str, float]:
    """Return the scores of a two-class problem, told from the side of one class.

    Args:
        labels: (n,) class indices; whatever is not ``positive`` is negative.
        scores: (n,) of the positive class, higher is more positive.
        positive: index of the positive class.
        threshold: score from which on (inclusive) an image is called positive.
    """
    return registry.values(one_side(labels, scores, positive, threshold))


def one_side(
    labels: NDArray[np.int64],
    scores: NDArray[np.floating],
    positive: int,
    threshold: float = 0.5,
    patients: NDArray | None = None,
) -> registry.Split:
    """Return the split that a positive class and its scores alone describe; arguments as of ``binary``, and
    ``patients`` (n,) whose image each is."""
    truth = (labels == positive).astype(np.int64)
    return split_of(truth, np.stack([1 - scores, scores], axis=1), patients, 1, threshold)


def of_guessing(labels: NDArray, n_classes: int, positive: int | None = None) -> dict[str, float]:
    """Return the scores of giving every image the same probabilities, the shares of the classes, or of a regression the
    mean of all numbers: what can be had without looking at an image. ``auc`` is 0.5,
    ``class_weighted_accuracy`` 1 / k, ``accuracy`` the share of the commonest class, ``average_precision`` the mean
    share, of two classes that of the positive one.

    Args:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1; floating-point numbers (n,) of a regression.
        n_classes: number of classes.
        positive: index of the positive class of two, as of ``registry.sides``.
    """
    if labels.ndim == 1 and labels.dtype.kind == "f":
        return registry.of_epoch(split_of(labels, np.full((len(labels), 1), labels.mean())))
    there = labels > 0.5 if labels.ndim == 2 else labels[:, np.newaxis] == np.arange(n_classes)
    return registry.of_epoch(split_of(labels, np.tile(there.mean(axis=0), (len(labels), 1))), positive)
