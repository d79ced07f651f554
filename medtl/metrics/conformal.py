"""Sets of classes that hold the true one with a stated chance: split-conformal prediction, with patients as the units.

A set holds every class whose probability is at least 1 - q, where q is a quantile of 1 - p(true class) on validation
(Sadinle, Lei and Wasserman 2019). With several images a patient these scores are not exchangeable, so each patient
counts once: a patient's n images weigh 1 / n each, and the new patient stands among them with a score of infinity (Lee,
Barber and Willett 2023, hierarchical conformal prediction). With one image a patient that is ordinary split-conformal
prediction. What is promised: of new patients from the same source, a random image's set holds its class with a chance
of at least 1 - alpha, over the drawing of validation and of the new patient.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.weighted import by_patient

ALPHA = 0.1


def fit_quantile(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    patients: Sequence[str] | NDArray | None = None,
    alpha: float = ALPHA,
) -> float:
    """Return q, the score up to which a class belongs to the set. Fit it on validation, never on the split that is
    reported.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
        patients: (n,) whose image each is; None where no patient has two images.
        alpha: chance of missing the class that is allowed, above 0 and below 1.

    Returns:
        0..1; infinity, which takes every class, where there are too few patients for such a promise: fewer than
        1 / alpha - 1.

    Raises:
        ValueError: alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} must be above 0 and below 1")
    patient, count = by_patient(np.arange(len(labels)) if patients is None else patients)
    scores = 1 - probabilities[np.arange(len(labels)), labels].astype(np.float64)
    order = np.argsort(scores, kind="stable")
    weights = 1 / np.bincount(patient, minlength=count)[patient] / (count + 1)
    reached = np.cumsum(weights[order])
    enough = np.flatnonzero(reached >= 1 - alpha - 1e-12)
    return float(scores[order][enough[0]]) if len(enough) else math.inf


def sets(probabilities: NDArray[np.floating], quantile: float) -> NDArray[np.bool_]:
    """Return (n, n_classes), which class belongs to the set of each image. A set may be empty: no class is likely
    enough.

    Args:
        probabilities: (n, n_classes), rows adding up to 1.
        quantile: of ``fit_quantile``.
    """
    return np.asarray(1 - probabilities.astype(np.float64) <= quantile + 1e-12)


def covered(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], quantile: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return (n,) whether the set of each image holds its class, and (n,) how many classes the set has; arguments as of
    ``fit_quantile`` and ``sets``."""
    chosen = sets(probabilities, quantile)
    return chosen[np.arange(len(labels)), labels], chosen.sum(axis=1)
