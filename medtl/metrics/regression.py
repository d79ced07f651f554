"""Metrics of a predicted number, in its own unit: how far off it is, and how well two methods agree.

References: Bland and Altman 1986 (bias and limits of agreement); R² as scikit-learn's ``r2_score``.
"""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.registry import Kind, Metric, Split
from medtl.metrics.weighted import Scorer, divide, total

LIMIT = 1.96  # standard deviations of the differences, between which 95 % of them lie if they are normal
KIND: tuple[Kind, ...] = ("regression",)


def measured(split: Split) -> Scorer:
    """Return the scorer of all metrics of this file; the predictions are the only column of ``split.probabilities``.

    ``mae`` is the mean absolute error, ``rmse`` the root of the mean squared one, ``r2`` the share of the labels'
    variance that the predictions explain (below 0 where the labels' mean is nearer), ``bias`` the mean of predicted
    less true, ``loa_lower`` and ``loa_upper`` the limits of agreement: bias -/+ 1.96 standard deviations of the
    differences.
    """
    truth = split.labels.astype(np.float64)
    off = split.probabilities[:, 0].astype(np.float64) - truth
    centre = truth.mean()  # sums of squares around it lose no digits where the numbers are large
    columns = {"n": np.ones_like(off), "off": off, "absolute": np.abs(off), "squared": off**2}
    columns |= {"label": truth - centre, "label_squared": (truth - centre) ** 2}
    sums = {name: total(split.patient, each, split.count) for name, each in columns.items()}

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        n, off, absolute, squared, label, label_squared = (times @ sums[name] for name in columns)
        bias = divide(off, n)
        # a variance below 0 is rounding
        limit = LIMIT * np.sqrt(np.maximum(divide(squared - n * bias**2, n - 1), 0.0))
        varies = label_squared - divide(label**2, n)
        varies = np.where(varies > 1e-12 * np.maximum(label_squared, 1e-300), varies, 0.0)
        return {
            "mae": divide(absolute, n),
            "rmse": np.sqrt(divide(squared, n)),
            "r2": 1 - divide(squared, varies),
            "bias": bias,
            "loa_lower": bias - limit,
            "loa_upper": bias + limit,
        }

    return score


_error = partial(Metric, scorer=measured, kinds=KIND, higher_is_better=False, chooses=True, bounds=(0.0, math.inf))
# of these neither end is the better one: they describe, and no epoch is chosen by them
_described = partial(
    Metric, scorer=measured, kinds=KIND, higher_is_better=False, tables=(), bounds=(-math.inf, math.inf)
)
METRICS = (
    _error("mae", "mean absolute error", order=10),
    _error("rmse", "root mean squared error", order=11),
    Metric("r2", "R²", measured, kinds=KIND, bounds=(-math.inf, 1.0), order=12),
    _described("bias", "bias", order=13),
    _described("loa_lower", "lower limit of agreement", order=14),
    _described("loa_upper", "upper limit of agreement", order=15),
)
