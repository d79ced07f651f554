"""The figures of a report, each a set of small drawings that share their axes."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from medtl.metrics import calibration
from medtl.report.arms import Study
from medtl.report.drawing import INK, RULE, Look, draw, looks
from medtl.report.layout import Figure
from medtl.report.scores import ScoredArm
from medtl.report.words import listed, metric_name, number

Scores = Mapping[tuple[str, str], ScoredArm]
Curves = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
GRID = np.linspace(0, 1, 201)
CLASS_PANELS = 8  # more classes than that have the mean curve only


def overview(study: Study, scored: Scores, metric: str) -> list[Figure]:
    """Each start's mean with its interval, and its trainings as small dots; one drawing a row."""
    limits = _limits(study, scored, metric)
    figures = []
    for number_, row, arms in _rows(study, scored):
        said = "; ".join(f"{i} {number(a.value(metric))}" for i, a in arms.items())
        alternative = f"{metric_name(metric)} of {row} by start: {said}"

        def paint(axes: Axes, arms: Mapping[str, ScoredArm] = arms) -> None:
            for place, (init, arm) in enumerate(arms.items()):
                look, found = looks(study.inits)[init], arm.estimate(metric)
                each = [m.values[metric] for m in arm.members]
                axes.plot(each, np.full(len(each), place + 0.28), ".", color=look.colour, markersize=4, alpha=0.6)
                if math.isfinite(found.low):
                    axes.plot([found.low, found.high], [place, place], color=look.colour, linewidth=2)
                axes.plot([found.value], [place], look.marker, color=look.colour, markersize=6)
            axes.set(yticks=range(len(arms)), yticklabels=list(arms), ylim=(len(arms) - 0.5, -0.6), xlim=limits)
            axes.set_xlabel(metric_name(metric))
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)

        svg = draw(f"overview{number_}", alternative, paint, height=0.75 + 0.36 * len(arms))
        figures.append(Figure(row, alternative, svg))
    return figures


def roc(study: Study, scored: Scores) -> list[Figure]:
    """ROC curves: the positive class of two; of more, the mean over classes and each class against the rest."""
    n_classes = len(study.classes)
    panels: list[tuple[str, list[int]]] = [("mean over classes", list(range(n_classes)))]
    if study.positive is not None:
        panels = [(study.classes[study.positive], [study.positive])]
    elif n_classes <= CLASS_PANELS:
        panels += [(name, [c]) for c, name in enumerate(study.classes)]
    figures = []
    for number_, row, arms in _rows(study, scored):
        for panel, (name, classes) in enumerate(panels):
            curves = {init: curve for init, arm in arms.items() if (curve := _mean_roc(arm, classes))}
            if not curves:
                continue
            alternative = f"ROC curves of {row}, {name}, for a start from {listed(list(curves))}"

            def paint(axes: Axes, curves: Mapping[str, Curves] = curves) -> None:
                axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
                for init, (*thin, thick) in curves.items():
                    look = looks(study.inits)[init]
                    for x, y in thin if len(thin) > 1 else ():
                        axes.plot(x, y, color=look.colour, linewidth=0.6, alpha=0.45)
                    axes.plot(*thick, color=look.colour, linewidth=1.7, linestyle=look.line)
                axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
                axes.set(xlabel="1 − specificity", ylabel="sensitivity")

            svg = draw(f"roc{number_}-{panel}", alternative, paint, width=3, height=3)
            figures.append(Figure(f"{row}: {name}", alternative, svg))
    return figures


def _mean_roc(arm: ScoredArm, classes: Sequence[int]) -> Curves:
    """A curve for each training, then the mean over trainings; empty where no class can be ranked."""
    curves = []
    for sample in (sample for scored in arm.members for sample in scored.member.sample.by_network()):
        each = []
        for c in classes:
            positive = sample.labels == c if sample.labels.ndim == 1 else sample.labels[:, c] > 0
            if 0 < positive.sum() < len(positive):
                x, y, _ = roc_curve(positive, sample.values[:, c])
                each.append((x, y))
        if len(each) == 1:
            curves.append(each[0])
        elif each:
            curves.append((np.r_[0, GRID], np.r_[0, np.mean([np.interp(GRID, *curve) for curve in each], axis=0)]))
    if not curves:
        return []
    if len(curves) == 1:
        return [*curves, curves[0]]
    return [*curves, (np.r_[0, GRID], np.r_[0, np.mean([np.interp(GRID, *curve) for curve in curves], axis=0)])]


def learning(study: Study, scored: Scores, metric: str) -> list[Figure]:
    """Training loss and validation metric by epoch."""
    figures = []
    for number_, row, arms in _rows(study, scored):
        for panel, wanted in enumerate(("train_loss", f"val_{metric}")):
            lines = {init: found for init, arm in arms.items() if (found := _histories(arm, wanted))}
            if not lines:
                continue
            what = "training loss" if wanted == "train_loss" else f"{metric_name(metric)} on validation"
            alternative = f"{what} of {row} by epoch, for a start from {listed(list(lines))}"

            def paint(axes: Axes, lines: Mapping[str, Curves] = lines) -> None:
                for init, each in lines.items():
                    _with_mean(axes, each, looks(study.inits)[init])
                axes.set(xlabel="epoch")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))

            figures.append(
                Figure(f"{row}: {what}", alternative, draw(f"learning{number_}-{panel}", alternative, paint))
            )
    return figures


def _histories(arm: ScoredArm, column: str) -> Curves:
    found = []
    for run in arm.arm.runs:
        if run.history is not None and column in run.history.columns:
            values = run.history.columns[column]
            defined = np.isfinite(values)
            if defined.any():
                found.append((run.history.epochs[defined], values[defined]))
    return found


def _with_mean(axes: Axes, each: Curves, look: Look) -> None:
    if len(each) > 1:
        for x, y in each:
            axes.plot(x, y, color=look.colour, linewidth=0.6, alpha=0.45)
        common = sorted(set.intersection(*(set(x.tolist()) for x, _ in each)))
        mean = np.mean([[y[x == epoch][0] for epoch in common] for x, y in each], axis=0) if common else []
        axes.plot(common, mean, color=look.colour, linewidth=1.7, linestyle=look.line)
    else:
        marker = look.marker if len(each[0][0]) == 1 else None
        axes.plot(*each[0], color=look.colour, linewidth=1.7, linestyle=look.line, marker=marker)


def reliability(study: Study, scored: Scores) -> list[Figure]:
    """Share of right answers by their probability, all trainings of a start together."""
    lowest = 0.5 if len(study.classes) == 2 else 0.0
    figures = []
    for number_, row, arms in _rows(study, scored):
        curves = {}
        for init, arm in arms.items():
            samples = [member.member.sample for member in arm.members]
            bins = calibration.reliability(
                np.concatenate([sample.labels for sample in samples]),
                np.concatenate([sample.values for sample in samples]),
            )
            curves[init] = ([each.confidence for each in bins], [each.accuracy for each in bins])
        alternative = (
            f"Reliability of {row}: share of right answers by their probability, for a start from {listed(list(arms))}"
        )

        def paint(axes: Axes, curves: Mapping[str, tuple[list, list]] = curves) -> None:
            axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2)
            for init, (x, y) in curves.items():
                look = looks(study.inits)[init]
                axes.plot(x, y, color=look.colour, linewidth=1.4, linestyle=look.line, marker=look.marker, markersize=4)
            axes.set(xlim=(lowest - 0.01, 1.01), ylim=(-0.01, 1.01))
            axes.set(xlabel="probability of the answer", ylabel="share that is right")

        svg = draw(f"reliability{number_}", alternative, paint)
        figures.append(Figure(row, alternative, svg))
    return figures


def training_size(study: Study, scored: Scores, metric: str) -> list[Figure]:
    """The metric by share of the training patients, where cells differ in it; one drawing a backbone."""
    figures = []
    backbones = list(dict.fromkeys(arm.arm.backbone for arm in scored.values()))
    for number_, backbone in enumerate(backbones):
        own = [arm for arm in scored.values() if arm.arm.backbone == backbone]
        if len({arm.arm.fraction for arm in own}) < 2:
            continue
        alternative = f"{metric_name(metric)} of {backbone} by share of the training patients, for each start"

        def paint(axes: Axes, own: Sequence[ScoredArm] = own) -> None:
            for init in study.inits:
                arms = sorted((a for a in own if a.arm.init == init), key=lambda a: a.arm.fraction)
                if not arms:
                    continue
                look, found = looks(study.inits)[init], [a.estimate(metric) for a in arms]
                x = [100 * a.arm.fraction for a in arms]
                axes.fill_between(
                    x, [e.low for e in found], [e.high for e in found], color=look.colour, alpha=0.15, linewidth=0
                )
                axes.plot(
                    x,
                    [e.value for e in found],
                    color=look.colour,
                    linestyle=look.line,
                    marker=look.marker,
                    markersize=4,
                )
            axes.set(xlabel="training patients used, %", ylabel=metric_name(metric), xscale="log")
            ticks = sorted({100 * a.arm.fraction for a in own})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], color=INK)
            axes.minorticks_off()

        figures.append(Figure(backbone, alternative, draw(f"size{number_}", alternative, paint)))
    return figures


def _rows(study: Study, scored: Scores) -> Iterator[tuple[int, str, dict[str, ScoredArm]]]:
    for number_, row in enumerate(study.rows):
        yield number_, row, {init: scored[row, init] for init in study.inits if (row, init) in scored}


def _limits(study: Study, scored: Scores, metric: str) -> tuple[float, float]:
    """Axis limits that hold all intervals, with a margin."""
    ends = []
    for arm in scored.values():
        found = arm.estimate(metric)
        ends += [found.value, found.low, found.high, *(m.values[metric] for m in arm.members)]
    ends = [end for end in ends if math.isfinite(end)] or [0.0, 1.0]
    margin = max(0.02, 0.08 * (max(ends) - min(ends)))
    most = 1.02 if study.kind != "regression" else math.inf
    return min(ends) - margin, min(max(ends) + margin, most)
