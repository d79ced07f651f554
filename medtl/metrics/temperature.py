"""Temperature scaling: one number, fitted on validation, that makes probabilities say how often they are right.

Guo et al. 2017. The logits are divided by T > 0, so the answer and every ranking within an image stay as they are; T
above 1 makes an overconfident network more modest. Probabilities are all that is needed: their logarithms are the
logits but for a constant, which softmax does not see.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from medtl.errors import MedtlError

WIDEST = 50.0  # temperatures between its inverse and it are looked at
LEAST = 1e-12  # of a probability: predictions.csv may hold a rounded 0


def fit_temperature(labels: NDArray, probabilities: NDArray[np.floating]) -> float:
    """Return the temperature with the smallest negative log-likelihood. Fit it on validation, never on the split that
    is reported.

    Args:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1.
        probabilities: (n, n_classes), 0..1.

    Returns:
        From 1 / 50 to 50; at an end where no finite temperature is best, as after a perfect validation.

    Raises:
        MedtlError: there is no image.
    """
    if not len(labels):
        raise MedtlError("no temperature can be fitted without an image")

    def loss(logarithm: float) -> float:
        return log_loss(labels, probabilities, float(np.exp(logarithm)))

    # convex in 1 / T, so that there is one minimum to be found
    bounds = (-np.log(WIDEST), np.log(WIDEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def with_temperature(probabilities: NDArray[np.floating], temperature: float, several: bool = False) -> NDArray:
    """Return (n, n_classes) probabilities at a temperature.

    Args:
        probabilities: (n, n_classes), 0..1; rows add up to 1 unless ``several``.
        temperature: above 0; 1 changes nothing.
        several: an image has any number of classes, each with a probability of its own.
    """
    logits = _logits(probabilities, several) / temperature
    return expit(logits) if several else softmax(logits, axis=1)


def log_loss(labels: NDArray, probabilities: NDArray[np.floating], temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood in nats, of an image's class, or of all answers of several classes;
    arguments as of ``fit_temperature``."""
    several = labels.ndim == 2
    logits = _logits(probabilities, several) / temperature
    if several:  # log(1 + exp(-z)) of the right side
        return float(np.logaddexp(0, np.where(labels > 0.5, -logits, logits)).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _logits(probabilities: NDArray[np.floating], several: bool) -> NDArray[np.float64]:
    there = np.maximum(probabilities.astype(np.float64), LEAST)
    return np.log(there) - (np.log(np.maximum(1 - probabilities, LEAST)) if several else 0.0)
