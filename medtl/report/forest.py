"""The first figure of a report: every start with its interval, highest first, drawn by the page itself so that it fills
any width and stays readable on a phone."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.ticker import MaxNLocator

from medtl.metrics import registry
from medtl.report.arms import Study
from medtl.report.layout import Bar, Forest
from medtl.report.reference import one_class_only
from medtl.report.scores import ScoredArm, Scores
from medtl.report.words import AT_THRESHOLD, metric_name, number, span

K = TypeVar("K")


def forests(study: Study, scored: Scores, metric: str) -> list[Forest]:
    """Return one figure a row of the study (a backbone, mostly), all with one axis; starts by falling value, or rising
    where less is better."""
    ticks = _ticks(scored, metric)
    found = []
    for row in study.rows:
        arms = {init: scored[row, init] for init in study.inits if (row, init) in scored}
        order = best_first(arms, metric)
        bars = []
        for init in order:
            estimate = arms[init].estimate(metric)
            ends = span(estimate.low, estimate.high) if math.isfinite(estimate.value) else ""
            places = [_place(each, ticks) for each in (estimate.value, estimate.low, estimate.high)]
            several = arms[init].each(metric) if len(arms[init].members) > 1 else []
            dots = tuple(p for each in several if (p := _place(each, ticks)) is not None)
            shown = number(estimate.value) + (f" ({ends})" if ends else "")
            alone = one_class_only(study, arms[init])
            name = f"{init}: {alone}" if alone else init
            bars.append(Bar(name, init, shown, places[0], places[1], places[2], dots))
        words = [(_place(tick, ticks) or 0.0, f"{tick:.3g}") for tick in ticks]
        found.append(Forest(f"{metric_name(metric)}, {row}", bars, words))
    return found


def best_first(arms: Mapping[K, ScoredArm], metric: str) -> list[K]:
    """Return the keys of arms by falling value, or by rising where less is better; those without a value last."""
    sign = 1 if less_is_better(metric) else -1
    values = {key: arm.value(metric) for key, arm in arms.items()}
    return sorted(arms, key=lambda key: (math.isnan(values[key]), sign * np.nan_to_num(values[key])))


def less_is_better(metric: str) -> bool:
    """Return whether a small value of a metric is a good one."""
    return registry.lower_is_better(metric.removesuffix(AT_THRESHOLD))


def _ticks(scored: Scores, metric: str) -> list[float]:
    """Round values that span every interval and training."""
    ends = []
    for arm in scored.values():
        estimate = arm.estimate(metric)
        ends += [estimate.value, estimate.low, estimate.high, *arm.each(metric)]
    defined = [end for end in ends if math.isfinite(end)] or [0.0, 1.0]
    wide = max(max(defined) - min(defined), 0.02)
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(min(defined), min(defined) + wide)
    return [float(tick) for tick in ticks]


def _place(value: float, ticks: Sequence[float]) -> float | None:
    """Along the axis, 0..100."""
    return round(100 * (value - ticks[0]) / (ticks[-1] - ticks[0]), 2) if math.isfinite(value) else None
