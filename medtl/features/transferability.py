"""Scores of features that need no head and no test split: LogME, and how pure a picture's neighbourhood is.

Such scores are known to fail on medical sets: they are shown beside what was measured, and nothing is chosen by them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from medtl.features.heads import NEIGHBOURS, TOGETHER, unit_rows

ROUNDS = 200
TOLERANCE = 1e-8
MOST = 1e100  # of alpha and beta; what is larger changes no digit of the evidence
NEGLIGIBLE = 1e-10  # of the largest eigenvalue: what is below is rounding

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What is said of features without a head.

    Attributes:
        logme: ``log_evidence``.
        knn_purity: ``purity``.
    """

    logme: float
    knn_purity: float


def scores(features: NDArray, labels: NDArray, n_classes: int) -> Scores:
    """Return both scores of training features; arguments as of ``log_evidence``."""
    return Scores(log_evidence(features, labels, n_classes), purity(features, labels, n_classes))


def log_evidence(features: NDArray, labels: NDArray, n_classes: int) -> float:
    """Return LogME (You, Liu, Wang and Long 2021, LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning, section 4): the largest log marginal likelihood a picture of a Bayesian linear regression y = F w + noise
    with w ~ N(0, 1/alpha) and noise ~ N(0, 1/beta), over alpha and beta; the mean over the classes, each against the
    rest.

    Args:
        features: (n, width), n at least 2.
        labels: class indices (n,), multi-hot (n, n_classes), or numbers (n,) with ``n_classes`` 0.
        n_classes: number of classes; a class that all or none of the pictures have is left out.

    Returns:
        In nats a picture; larger is better. NaN where no class can be told.
    """
    rows = np.asarray(features, dtype=np.float64)
    targets = _targets(labels, n_classes)
    squared, along = _spectrum(rows, targets)
    totals = (targets**2).sum(axis=0)
    each = [_largest(squared, along[:, c], float(totals[c]), rows.shape) for c in range(len(totals))]
    return float(np.mean(each)) if each else math.nan


def purity(features: NDArray, labels: NDArray, n_classes: int) -> float:
    """Return the share of the 20 nearest other pictures, by cosine, that have a picture's own class: the mean over the
    pictures. Of multi-hot labels the share of answers that agree; NaN where labels are numbers (``n_classes`` 0)."""
    if not n_classes or len(features) < 2:
        return math.nan
    unit = unit_rows(features)
    places = [np.arange(start, min(start + TOGETHER, len(unit))) for start in range(0, len(unit), TOGETHER)]
    nearest = np.concatenate([_nearest(unit, some) for some in places])
    own = labels[:, np.newaxis] if labels.ndim == 1 else labels[:, np.newaxis, :]
    return float((labels[nearest] == own).mean())


def _nearest(unit: Array, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places (k, 20) of the other rows that are most similar to the rows at some places (k,), the nearest first."""
    similar = unit[places] @ unit.T
    similar[np.arange(len(places)), places] = -np.inf
    order = np.argsort(-similar, axis=1, kind="stable")
    return order[:, : min(NEIGHBOURS, len(unit) - 1)].copy()  # a view would keep the whole order


def _targets(labels: NDArray, n_classes: int) -> Array:
    """(n, targets): the numbers, or 0 and 1 of each class that some and not all pictures have."""
    if not n_classes:
        return np.asarray(labels, dtype=np.float64)[:, np.newaxis]
    table = labels if labels.ndim == 2 else labels[:, np.newaxis] == np.arange(n_classes)
    hot = np.asarray(table, dtype=np.float64)
    return hot[:, (hot.min(axis=0) < 1) & (hot.max(axis=0) > 0)]


def _spectrum(rows: Array, targets: Array) -> tuple[Array, Array]:
    """Squared singular values (r,) of the features, and the targets (r, k) along their left singular vectors."""
    n, width = rows.shape
    values, vectors = eigh(rows @ rows.T if n <= width else rows.T @ rows)
    there = values > NEGLIGIBLE * max(values.max(), 0.0)
    values, vectors = values[there], vectors[:, there]
    along = vectors.T @ targets if n <= width else (rows @ vectors / np.sqrt(values)).T @ targets
    return values, along


def _largest(squared: Array, along: Array, total: float, shape: tuple[int, int]) -> float:
    """Log evidence a picture of one target at the fixed point of alpha and beta (MacKay 1992).

    Args:
        squared: (r,) squared singular values of the features.
        along: (r,) the target along their left singular vectors.
        total: squared length of the target.
        shape: (n, width) of the features.
    """
    n, width = shape
    beyond = max(total - float(along @ along), 0.0)  # of the target, what no weights reach
    alpha, beta = 1.0, 1.0
    for _ in range(ROUNDS):
        gamma, length, misfit = _moments(squared, along, beyond, alpha, beta)
        noise = n - len(squared) + float((alpha / (alpha + beta * squared)).sum())  # n - gamma, which may round to 0
        before = alpha, beta
        # of pictures that are fewer than the features and fit exactly, the noise vanishes: beta grows without end
        alpha, beta = min(gamma / max(length, 1e-300), MOST), min(noise / max(misfit, 1e-300), MOST)
        if max(abs(alpha / before[0] - 1), abs(beta / before[1] - 1)) < TOLERANCE:
            break
    _, length, misfit = _moments(squared, along, beyond, alpha, beta)
    determinant = np.log(alpha + beta * squared).sum() + (width - len(squared)) * math.log(alpha)
    evidence = n * math.log(beta) + width * math.log(alpha) - n * math.log(2 * math.pi)
    return float(evidence - beta * misfit - alpha * length - determinant) / (2 * n)


def _moments(squared: Array, along: Array, beyond: float, alpha: float, beta: float) -> tuple[float, float, float]:
    """Effective number of weights, squared length of the mean weights, and squared error of the fit."""
    whole = alpha + beta * squared
    gamma = float((beta * squared / whole).sum())
    length = float((beta**2 * squared * along**2 / whole**2).sum())
    misfit = float((alpha**2 * along**2 / whole**2).sum()) + beyond
    return gamma, length, misfit
