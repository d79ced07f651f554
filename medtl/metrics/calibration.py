"""Whether a probability of 0.8 is right four times in five: calibration of the class that a network names.

Confidence is the largest probability of an image. References: Guo et al. 2017 (expected calibration error with 15
bins of equal width), Kumar, Liang and Ma 2019 (the debiased error), Brier 1950.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.registry import Metric, Split, split_of
from medtl.metrics.temperature import LEAST
from medtl.metrics.weighted import Scorer, total

BINS = 15


@dataclass(frozen=True)
class Bin:
    """A point of the reliability curve.

    Attributes:
        low, high: edges of the bin, ``low < confidence <= high``.
        confidence: mean of the images in it, 0..1.
        accuracy: share of them that were recognised, 0..1.
        count: how many.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def scores(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Return the metrics of this file.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.

    Returns:
        ``ece``, 0..1: mean over the images of \\|accuracy - confidence\\| of their bin, 15 bins of equal width. It is
        never negative, so on few images even a perfect network gets one well above 0: see ``debiased_error``.
        ``brier``: squared error of the probabilities, 0..1 for two classes (of either), 0..2 (summed over the classes,
        as Brier did) for more. ``nll``: mean negative log-likelihood of the class, in nats, 0 or more.
        ``log_likelihood``: the same with the other sign, large is good; a strictly proper score (Gneiting and Raftery
        2007, section 4.1) by which an epoch of the lowest loss is chosen.
    """
    found = calibrated(split_of(labels, probabilities))(np.ones((1, len(labels))))
    return {name: float(each[0]) for name, each in found.items()}


def calibrated(split: Split) -> Scorer:
    """Return the scorer of all metrics of this file."""
    confidence = split.probabilities.max(axis=1).astype(np.float64)
    surplus = confidence - (split.answers == split.labels)
    gaps = np.zeros((split.count, BINS))
    np.add.at(gaps, (split.patient, bin_of(confidence)), surplus)
    images = np.bincount(split.patient, minlength=split.count).astype(np.float64)
    brier = total(split.patient, image_brier(split.labels, split.probabilities), split.count)
    chances = split.probabilities[np.arange(len(split.labels)), split.labels].astype(np.float64)
    surprise = total(split.patient, -np.log(np.maximum(chances, LEAST)), split.count)

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = times @ images
        return {
            "ece": np.abs(times @ gaps).sum(axis=1) / drawn,
            "brier": times @ brier / drawn,
            "nll": times @ surprise / drawn,
            "log_likelihood": times @ -surprise / drawn,
        }

    return score


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.floating], bins: int = BINS) -> list[Bin]:
    """Return the points of the reliability curve: the bins of equal width that hold an image, by rising confidence.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
        bins: of 0..1.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = bin_of(confidence, bins)
    return [
        Bin(
            low=b / bins,
            high=(b + 1) / bins,
            confidence=float(confidence[place == b].mean()),
            accuracy=float(right[place == b].mean()),
            count=int((place == b).sum()),
        )
        for b in np.unique(place).tolist()
    ]


def debiased_error(labels: NDArray[np.int64], probabilities: NDArray[np.floating], bins: int = BINS) -> float:
    """Return the root of the mean squared calibration error without what chance alone adds (Kumar, Liang and Ma 2019).

    Bins hold equally many images (those with one confidence stay together); from each bin's squared gap the variance
    of its accuracy, a(1 - a) / (n_b - 1), is taken off; bins with one image say nothing and are left out.

    Args:
        labels: (n,) class indices.
        probabilities: (n, n_classes), rows adding up to 1.
        bins: at most so many.

    Returns:
        0..1, in units of probability; 0 where the gaps are no larger than chance makes them, NaN without a bin of two.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    place = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    use = count > 1
    count = count[use].astype(np.float64)
    accuracy = np.bincount(place, weights=right, minlength=bins)[use] / count
    gap = accuracy - np.bincount(place, weights=confidence, minlength=bins)[use] / count
    if not len(count):
        return math.nan
    squared = float((count * (gap**2 - accuracy * (1 - accuracy) / (count - 1))).sum() / count.sum())
    return math.sqrt(max(squared, 0.0))


def bin_of(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return (n,) bin of equal width, open below and closed above, that each confidence of (n,) falls into."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def image_brier(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (n,) Brier score of each image; arguments and range as of ``scores``."""
    n_classes = probabilities.shape[1]
    errors = probabilities.astype(np.float64) - (labels[:, np.newaxis] == np.arange(n_classes))
    return (errors**2).sum(axis=1) / (2 if n_classes == 2 else 1)


_calibration = partial(Metric, scorer=calibrated, kinds=("single_label",), tables=())
METRICS = (
    _calibration("ece", "expected calibration error", higher_is_better=False, order=200),
    _calibration("brier", "Brier score", higher_is_better=False, bounds=(0.0, 2.0), order=201),
    _calibration("nll", "negative log-likelihood", higher_is_better=False, bounds=(0.0, math.inf), order=202),
    _calibration("log_likelihood", "mean log-likelihood", bounds=(math.log(LEAST), 0.0), order=202),
)
