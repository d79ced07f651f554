"""Whether the true class is among the likeliest ones: what is told of data sets with hundreds of classes."""

import numpy as np

from medtl.metrics.registry import Metric, Split
from medtl.metrics.weighted import Scorer, means

FIRST = 5


def among_first(split: Split) -> Scorer:
    """Return the scorer of ``accuracy_top5``: the share of images whose true class is among the five likeliest.

    NaN with five classes or fewer, where every image would count. Of equal probabilities the lower index comes first.
    """
    images, classes = split.probabilities.shape
    right = np.full(images, np.nan)
    if classes > FIRST:
        order = np.argsort(-split.probabilities, axis=1, kind="stable")[:, :FIRST]
        right = (order == split.labels[:, None]).any(axis=1).astype(np.float64)
    return means({"accuracy_top5": right}, split.patient, split.count)


METRICS = (
    Metric(
        "accuracy_top5",
        "accuracy among the first five",
        among_first,
        ("single_label",),
        chooses=False,
        tables=(),
        order=203,
    ),
)
