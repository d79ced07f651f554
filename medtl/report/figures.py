"""The figures of a report below its first, each a set of small drawings that share their axes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from medtl.metrics import calibration
from medtl.report.arms import Study
from medtl.report.drawing import INK, RULE, Look, draw, looks
from medtl.report.layout import Figure
from medtl.report.scores import ScoredArm, Scores
from medtl.report.words import listed, metric_name

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
Curves = Sequence[Curve]
GRID = np.linspace(0, 1, 201)
CLASS_PANELS = 8  # more classes than that have the mean curve only


def roc(study: Study, scored: Scores) -> list[Figure]:
    """Draw ROC curves: the positive class of two; of more, the mean over classes and each class against the rest."""
    n_classes = len(study.classes)
    panels: list[tuple[str, list[int]]] = [("mean over classes", list(range(n_classes)))]
    if study.positive is not None:
        panels = [(study.classes[study.positive], [study.positive])]
    elif n_classes <= CLASS_PANELS:
        panels += [(name, [c]) for c, name in enumerate(study.classes)]
    figures = []
    for place, row, arms in _rows(study, scored):
        for panel, (name, classes) in enumerate(panels):
            curves = {init: curve for init, arm in arms.items() if (curve := mean_roc(arm, classes))}
            said = f"ROC curves of {row}, {name}"
            figures += _drawn(
                f"roc{place}-{panel}", f"{row}: {name}", said, study, curves, _paint_roc, width=3, height=3
            )
    return figures


def _paint_roc(axes: Axes, look: Mapping[str, Look], curves: Mapping[str, Curves]) -> None:
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
    for init, (*thin, thick) in curves.items():
        _lines(axes, look[init], thin if len(thin) > 1 else [], thick)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel="1 − specificity", ylabel="sensitivity")


def mean_roc(arm: ScoredArm, classes: Sequence[int]) -> Curves:
    """Return a curve for each training, then the mean over trainings; empty where no class can be ranked."""
    curves = []
    for sample in (sample for scored in arm.members for sample in scored.member.sample.by_network()):
        each = []
        for c in classes:
            positive = sample.labels == c if sample.labels.ndim == 1 else sample.labels[:, c] > 0
            if 0 < positive.sum() < len(positive):
                x, y, _ = roc_curve(positive, sample.values[:, c])
                each.append((x, y))
        if each:
            curves.append(each[0] if len(each) == 1 else _mean(each))
    return [*curves, curves[0] if len(curves) == 1 else _mean(curves)] if curves else []


def _mean(curves: Curves) -> Curve:
    """At equal specificity."""
    return np.r_[0, GRID], np.r_[0, np.mean([np.interp(GRID, *curve) for curve in curves], axis=0)]


def learning(study: Study, scored: Scores, metric: str) -> list[Figure]:
    """Draw training loss, validation loss (of one label an image: what the log-likelihood lacks) and validation metric
    by epoch."""
    figures = []
    panels = {"train_loss": "training loss", "val_log_likelihood": "loss on validation"}
    panels[f"val_{metric}"] = f"{metric_name(metric)} on validation"
    for place, row, arms in _rows(study, scored):
        for panel, (wanted, what) in enumerate(panels.items()):
            sign = -1 if what == "loss on validation" else 1
            curves = {init: found for init, arm in arms.items() if (found := _histories(arm, wanted, sign))}
            said = f"{what} of {row} by epoch"
            figures += _drawn(f"learning{place}-{panel}", f"{row}: {what}", said, study, curves, _paint_learning)
    return figures


def _paint_learning(axes: Axes, look: Mapping[str, Look], curves: Mapping[str, Curves]) -> None:
    for init, each in curves.items():
        if len(each) == 1:
            _lines(axes, look[init], [], each[0], marker=look[init].marker if len(each[0][0]) == 1 else None)
            continue
        common = sorted(set.intersection(*(set(x.tolist()) for x, _ in each)))
        mean = np.mean([[y[x == epoch][0] for epoch in common] for x, y in each], axis=0) if common else []
        _lines(axes, look[init], each, (np.array(common), np.array(mean)))
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _histories(arm: ScoredArm, column: str, sign: int = 1) -> Curves:
    found = []
    for run in arm.arm.runs:
        if run.history is not None and column in run.history.columns:
            values = run.history.columns[column]
            defined = np.isfinite(values)
            if defined.any():
                found.append((run.history.epochs[defined], sign * values[defined]))
    return found


def reliability(study: Study, scored: Scores) -> list[Figure]:
    """Share of right answers by their probability, all trainings of a start together."""
    figures = []
    paint = partial(_paint_reliability, lowest=0.5 if len(study.classes) == 2 else 0.0)
    for place, row, arms in _rows(study, scored):
        curves = {}
        for init, arm in arms.items():
            samples = [member.member.sample for member in arm.members]
            labels, values = (np.concatenate([getattr(s, name) for s in samples]) for name in ("labels", "values"))
            bins = calibration.reliability(labels, values)
            curves[init] = [(np.array([each.confidence for each in bins]), np.array([each.accuracy for each in bins]))]
        said = f"Reliability of {row}: share of right answers by their probability"
        figures += _drawn(f"reliability{place}", row, said, study, curves, paint)
    return figures


def _paint_reliability(axes: Axes, look: Mapping[str, Look], curves: Mapping[str, Curves], lowest: float) -> None:
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2)
    for init, (curve,) in curves.items():
        _lines(axes, look[init], [], curve, linewidth=1.4, marker=look[init].marker, markersize=4)
    axes.set(xlim=(lowest - 0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(xlabel="probability of the answer", ylabel="share that is right")


def training_size(study: Study, scored: Scores, metric: str) -> list[Figure]:
    """Return the metric by share of the training patients, where cells differ in it; one drawing for arms that differ
    in nothing else but the start."""
    figures: list[Figure] = []
    for place, curve in enumerate(dict.fromkeys(arm.arm.curve for arm in scored.values())):
        arms = sorted((a for a in scored.values() if a.arm.curve == curve), key=lambda a: a.arm.fraction)
        if len({arm.arm.fraction for arm in arms}) < 2:
            continue
        own = {init: mine for init in study.inits if (mine := [a for a in arms if a.arm.init == init])}
        said = f"{metric_name(metric)} of {curve} by share of the training patients"
        figures += _drawn(f"size{place}", curve, said, study, own, partial(_paint_size, metric=metric))
    return figures


def _paint_size(axes: Axes, look: Mapping[str, Look], own: Mapping[str, Sequence[ScoredArm]], metric: str) -> None:
    for init, arms in own.items():
        found, x = [a.estimate(metric) for a in arms], np.array([100 * a.arm.fraction for a in arms])
        colour = look[init].colour
        axes.fill_between(x, [e.low for e in found], [e.high for e in found], color=colour, alpha=0.15, linewidth=0)
        curve = x, np.array([e.value for e in found])
        _lines(axes, look[init], [], curve, linewidth=1.5, marker=look[init].marker, markersize=4)
    axes.set(xlabel="training patients used, %", ylabel=metric_name(metric), xscale="log")
    ticks = sorted({100 * a.arm.fraction for arms in own.values() for a in arms})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], color=INK)
    axes.minorticks_off()


def _lines(axes: Axes, look: Look, thin: Curves, thick: Curve, **style: Any) -> None:
    """Single trainings, and their mean above them."""
    for x, y in thin:
        axes.plot(x, y, color=look.colour, linewidth=0.6, alpha=0.45)
    axes.plot(*thick, **{"color": look.colour, "linewidth": 1.7, "linestyle": look.line, **style})


def _drawn(
    slug: str,
    caption: str,
    said: str,
    study: Study,
    shown: Mapping[str, Any],
    paint: Callable[[Axes, Mapping[str, Look], Mapping[str, Any]], None],
    **size: float,
) -> list[Figure]:
    """One drawing of what there is of each start; none where there is nothing."""
    if not shown:
        return []
    alternative = f"{said}, for a start from {listed(list(shown))}"
    look = looks(study.inits)
    return [Figure(caption, alternative, draw(slug, alternative, lambda axes: paint(axes, look, shown), **size))]


def _rows(study: Study, scored: Scores) -> Iterator[tuple[int, str, dict[str, ScoredArm]]]:
    for place, row in enumerate(study.rows):
        yield place, row, {init: scored[row, init] for init in study.inits if (row, init) in scored}
