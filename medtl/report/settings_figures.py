"""Drawings of a design's settings: a swarm of points a start, and the mean ROC curve with its SD."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medtl.report.arms import Study
from medtl.report.drawing import INK, MARKERS, RULE, draw, looks
from medtl.report.figures import GRID, mean_roc
from medtl.report.layout import Figure
from medtl.report.scores import ScoredArm
from medtl.report.words import listed, metric_name

SIGNS = "●■◆▲▼✚✖"  # the markers in a sentence
APART = 0.042  # of the axis' height: points nearer than that stand side by side
STEP = 0.075  # between points side by side, where starts are 1 apart


def swarm(study: Study, arms: Mapping[str, Sequence[ScoredArm]], metric: str) -> list[Figure]:
    """Return the drawing of every setting's figure, by start, each network with its marker; mean and SD beside them.

    Args:
        study: the runs, sorted.
        arms: start to its settings.
        metric: that is drawn.
    """
    known = list(dict.fromkeys(arm.arm.backbone for own in arms.values() for arm in own))
    marker = {backbone: place % len(MARKERS) for place, backbone in enumerate(known)}
    values = {init: np.array([arm.value(metric) for arm in own]) for init, own in arms.items()}
    defined = np.concatenate([each[np.isfinite(each)] for each in values.values()])
    if not len(defined):
        return []
    reach = max(float(np.ptp(defined)), 0.02)
    look = looks(study.inits)

    def paint(axes: Axes) -> None:
        for place, (init, own) in enumerate(arms.items()):
            there = values[init]
            for arm, x, y in zip(own, place + offsets(there, APART * reach, STEP), there, strict=True):
                kind = MARKERS[marker[arm.arm.backbone]]
                axes.plot([x], [y], kind, color=look[init].colour, markersize=4.2, alpha=0.8, markeredgewidth=0)
            mean, sd = float(np.nanmean(there)), float(np.nanstd(there, ddof=1)) if len(there) > 1 else 0.0
            axes.errorbar([place + 0.4], [mean], [sd], fmt="_", color=INK, linewidth=1, capsize=3, markersize=9)
        axes.set_xticks(range(len(arms)), list(arms))
        axes.set(xlim=(-0.5, len(arms) - 0.4), ylabel=metric_name(metric))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(visible=False, axis="x")

    alternative = f"{metric_name(metric)} of every setting, for a start from {listed(list(arms))}"
    named = ", ".join(f"{SIGNS[marker[backbone]]} {backbone}" for backbone in known)
    return [Figure(f"settings: {named}", alternative, draw("swarm", alternative, paint, width=3.6, height=3.2))]


def offsets(values: NDArray[np.float64], apart: float, step: float) -> NDArray[np.float64]:
    """Return where points stand beside their axis so that they do not lie upon each other.

    Args:
        values: (n,), heights.
        apart: heights at least so far from each other need no room beside each other.
        step: width of a place.

    Returns:
        (n,) offsets, multiples of ``step``: 0 where that place is free, otherwise the nearest free one, right and left
        in turn.
    """
    placed: list[tuple[float, int]] = []
    found = np.zeros(len(values))
    for point in np.argsort(values, kind="stable"):
        near = {place for height, place in placed if abs(height - values[point]) < apart}
        place = next(p for p in (k // 2 * (1 if k % 2 else -1) for k in range(1, len(values) + 2)) if p not in near)
        placed.append((float(values[point]), place))
        found[point] = place * step
    return found


def mean_curves(study: Study, arms: Mapping[str, Sequence[ScoredArm]]) -> list[Figure]:
    """Return the drawing of each start's ROC curve, the mean over settings at equal specificity, with a band of one SD
    over settings; of more than two classes each setting's curve is its mean over classes. None for a segmentation or a
    regression."""
    if study.kind not in ("classification", "multilabel"):
        return []
    classes = [study.positive] if study.positive is not None else list(range(len(study.classes)))
    curves = {init: [c[-1] for arm in own if (c := mean_roc(arm, classes))] for init, own in arms.items()}
    tables = {init: np.stack([np.interp(GRID, *c) for c in own]) for init, own in curves.items() if own}
    if not tables:
        return []
    look = looks(study.inits)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        for init, table in tables.items():
            mean, sd = table.mean(axis=0), table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(len(GRID))
            band = np.clip([mean - sd, mean + sd], 0, 1)
            axes.fill_between(GRID, *band, color=look[init].colour, alpha=0.15, linewidth=0)
            axes.plot(np.r_[0, GRID], np.r_[0, mean], color=look[init].colour, linewidth=1.7, linestyle=look[init].line)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="1 − specificity", ylabel="sensitivity")

    name = study.classes[study.positive] if study.positive is not None else "mean over classes"
    alternative = f"Mean ROC curve over settings with its SD, {name}, for a start from {listed(list(tables))}"
    caption = f"{name}: mean ROC over settings ± SD"
    return [Figure(caption, alternative, draw("settings-roc", alternative, paint, width=3.2, height=3.2))]
