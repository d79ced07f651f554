"""Metrics of rankings: of one class against the rest, and their mean over the classes that can be ranked."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import delong
from medtl.metrics.registry import Metric, Split
from medtl.metrics.weighted import Scorer, divide, mean_over

FEWEST = 4  # patients of a class; of fewer the interval covers too little (benchmarks/auc_coverage.py)
ANSWERS_AT_A_TIME = 2**22  # times replicates in memory, of all classes in one list


def ranked(split: Split) -> Scorer:
    """Return the scorer of ``auc`` and ``average_precision``, and where there are several classes of ``auc_<c>`` and
    ``average_precision_<c>`` of each class index.

    Of several networks ``auc`` is the share of the pairs of images within one network that are in order, over all
    networks (Forman and Scholz 2010).
    """
    positive, scores = split.one_against_rest
    rankable = np.asarray(positive.any(axis=0) & ~positive.all(axis=0))
    ladders = [_ladders(positive[:, c], scores[:, c], split.patient, split.network) for c in range(scores.shape[1])]

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = np.ascontiguousarray(times.T)
        areas, precisions = (np.stack(each) for each in zip(*(ladder(drawn) for ladder in ladders), strict=True))
        found = {"auc": mean_over(rankable, areas), "average_precision": mean_over(rankable, precisions)}
        if split.positive is None:
            for c, (area, precision) in enumerate(zip(areas, precisions, strict=True)):
                found |= {f"auc_{c}": area, f"average_precision_{c}": precision}
        return found

    return score


def pooled(split: Split) -> Scorer:
    """Return the scorer of ``auc_micro`` and ``average_precision_micro``: every answer of every image is ranked in one
    list, so that common findings weigh more, and a finding whose probabilities lie higher as a whole does harm. Of one
    class an image, each class is a finding: scikit-learn's ``roc_auc_score(average="micro")`` of one-hot labels."""
    answers = _answers(split)
    ladder = _ladders(*answers)
    at_a_time = max(1, ANSWERS_AT_A_TIME // len(answers[0]))

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        pieces = [times[start : start + at_a_time] for start in range(0, len(times), at_a_time)]
        areas, precisions = zip(*(ladder(np.ascontiguousarray(piece.T)) for piece in pieces), strict=True)
        return {"auc_micro": np.concatenate(areas), "average_precision_micro": np.concatenate(precisions)}

    return score


def pooled_interval(split: Split, level: float) -> dict[str, tuple[float, float]]:
    """Return the interval of ``auc_micro``: DeLong's on the logit scale, all answers about a patient together."""
    if split.network is not None:
        return {}
    positive, scores, patient, _ = _answers(split)
    return {"auc_micro": _ends(positive[:, np.newaxis], scores[:, np.newaxis], replace(split, patient=patient), level)}


def _answers(
    split: Split,
) -> tuple[NDArray[np.bool_], NDArray[np.floating], NDArray[np.int64], NDArray[np.int64] | None]:
    """(n * c,) truth and score of every image and finding, and whose it is and of which network."""
    positive, scores = split.one_against_rest
    each = scores.shape[1]
    network = None if split.network is None else np.repeat(split.network, each)
    return positive.ravel(), scores.ravel(), np.repeat(split.patient, each), network


def area_intervals(split: Split, level: float) -> dict[str, tuple[float, float]]:
    """Return the intervals of ``auc`` and ``auc_<c>``: DeLong's on the logit scale, by patient; NaN where an area is 0
    or 1, or a class has fewer than ``FEWEST`` patients. Of folds put together none: their pairs are of several
    networks, and they are left to resampling."""
    if split.network is not None:
        return {}
    positive, scores = split.one_against_rest
    columns = {f"auc_{c}": [c] for c in range(scores.shape[1])} if split.positive is None else {}
    two = split.kind == "single_label" and scores.shape[1] == 2  # the second class against the first says it all
    columns["auc"] = [1] if two else list(range(scores.shape[1]))
    return {name: _ends(positive[:, own], scores[:, own], split, level) for name, own in columns.items()}


def _ends(positive: NDArray[np.bool_], scores: NDArray[np.floating], split: Split, level: float) -> tuple[float, float]:
    for truth in positive.T:
        sides = (split.patient[truth], split.patient[~truth])
        if all(len(side) for side in sides) and any(len(np.unique(side)) < FEWEST for side in sides):
            return math.nan, math.nan
    area = delong.mean_area_interval(positive, scores, split.patient, level)
    return area.low, area.high


def _ladders(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patient: NDArray[np.int64],
    network: NDArray[np.int64] | None = None,
) -> Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Areas under the ROC curve (trapezoids: ties count half) and average precisions (steps) of one class, NaN where
    a replicate has no image on one side; of several networks the pairs, and the positive images, are put together.
    Called with (n_patients, r) weights: rows are added up faster than columns."""
    each = [np.ones(len(scores), bool)] if network is None else [network == k for k in np.unique(network)]
    ladders = [_ladder(positive[rows], scores[rows], patient[rows]) for rows in each]

    def score(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ordered, pairs, steps, ups = (
            np.sum(parts, axis=0) for parts in zip(*(ladder(drawn) for ladder in ladders), strict=True)
        )
        return divide(ordered, pairs), divide(steps, ups)

    return score


def _ladder(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], patient: NDArray[np.int64]
) -> Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], ...]]:
    """Of one network: ordered pairs, pairs, sum of precisions, and positive images, these two 0 where a replicate has
    no image on one side."""
    order = np.argsort(-scores, kind="stable")
    falling, who = scores[order], patient[order]
    ups = np.flatnonzero(positive[order])
    # images, and positive ones, that rank above the run of equal scores of each positive image; and with it
    first, last = (np.searchsorted(-falling, -falling[ups], side=side) for side in ("left", "right"))
    first_up, last_up = (np.searchsorted(ups, ends) for ends in (first, last))
    tied = bool((last - first > 1).any())

    def score(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        called = _running(drawn[who])
        weights = drawn[who[ups]]
        found = _running(weights)
        total, total_up = called[-1], found[-1]
        all_called, all_found = called[last], found[last_up]
        above = all_called - all_found  # negative images called before or with each positive one
        if tied:
            above = (above + called[first] - found[first_up]) / 2
        total_down = total - total_up
        pairs = total_up * total_down - np.einsum("kr,kr->r", weights, above)
        precision = np.divide(all_found, all_called, out=np.zeros_like(weights), where=all_called > 0)
        both = (total_up > 0) & (total_down > 0)
        steps = np.einsum("kr,kr->r", weights, precision)
        return pairs, total_up * total_down, steps * both, total_up * both

    return score


def _running(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n + 1, r) sums of the first 0, 1 … n rows."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


METRICS = (
    Metric("auc", "AUC", ranked, ranks=True, order=0, interval=area_intervals),
    Metric("average_precision", "average precision", ranked, ranks=True, tables=("multi_label",), order=90),
    Metric(
        "auc_micro",
        "AUC of all answers (micro)",
        pooled,
        kinds=("single_label", "multi_label"),
        ranks=True,
        tables=("multi_label",),
        order=1,
        interval=pooled_interval,
    ),
    Metric(
        "average_precision_micro",
        "average precision of all answers (micro)",
        pooled,
        kinds=("single_label", "multi_label"),
        ranks=True,
        tables=("multi_label",),
        order=91,
    ),
)
