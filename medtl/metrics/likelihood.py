"""The logarithmic score: by its highest value an epoch is chosen where a design says "lowest validation loss"."""

import math

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.registry import Metric, Split
from medtl.metrics.weighted import Scorer, total

LEAST = 1e-12  # a probability that float32 has rounded to 0 costs this much, and not everything


def likely(split: Split) -> Scorer:
    """Prepare the mean log-likelihood of the true classes, in nats an image: minus the cross-entropy loss.

    A strictly proper score (Gneiting and Raftery 2007, section 4.1); -log(n_classes) is what equal probabilities give.
    """
    chance = split.probabilities[np.arange(len(split.labels)), split.labels]
    of_patient = total(split.patient, np.log(np.maximum(chance.astype(np.float64), LEAST)), split.count)
    images = np.bincount(split.patient, minlength=split.count).astype(np.float64)

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"log_likelihood": times @ of_patient / (times @ images)}

    return score


METRICS = (
    Metric(
        "log_likelihood",
        "mean log-likelihood",
        likely,
        ("single_label",),
        tables=(),
        bounds=(math.log(LEAST), 0.0),
        order=202,
    ),
)
