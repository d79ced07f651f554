"""Of a predicted number: how far off it is, how well it agrees with the truth, and both drawn."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medtl.metrics import registry
from medtl.metrics.regression import LIMIT
from medtl.report.arms import Study
from medtl.report.drawing import INK, RULE, draw, looks
from medtl.report.layout import Field, Figure, Group, Section, Table
from medtl.report.scores import ScoredArm
from medtl.report.words import interval, number
from medtl.runs.predictions import Sample

Scores = Mapping[tuple[str, str], ScoredArm]
LIMITS = {"loa_lower": "lower limit", "loa_upper": "upper limit"}
COLUMNS = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "bias": "bias", **LIMITS}
NOTES = (
    "MAE and RMSE: mean absolute and root mean squared error. R²: share of the variance that is explained; below 0 the"
    " mean of the labels would be nearer.",
    "Bias: mean of predicted less true. Between the limits of agreement (bias -/+ 1.96 standard deviations of the"
    " differences, Bland and Altman 1986) lie 95 % of the differences, if they are normal.",
    "Means over trainings; beneath each its 95 % interval, resampled by patient.",
)
TEXT = (
    "Left predicted against true, on the grey line where they agree; right their difference by their mean, with the"
    " bias (solid) and the limits of agreement (dashed). Several trainings are averaged, image by image."
)


def of_mean(sample: Sample) -> tuple[str, dict[str, float]]:
    """Return the name of an answer without a look at an image, and its metrics: the mean of all true numbers."""
    images = np.arange(len(sample.labels))
    mean = np.full((len(images), 1), sample.labels.mean())
    return "mean of all labels", registry.values(registry.Split(sample.labels, mean, images, len(images)))


def regression(study: Study, scored: Scores) -> Section:
    """Return the section of a regression: the errors and the agreement of each start, a scatter plot and a Bland-Altman
    plot each. Empty for any other study."""
    title = "Agreement"
    if study.kind != "regression":
        return Section("agreement", title)
    rows: list[Sequence[Field] | Group] = []
    figures: list[Figure] = []
    for row in study.rows:
        rows.append(Group(row))
        for init in (init for init in study.inits if (row, init) in scored):
            found = [scored[row, init].estimate(name) for name in COLUMNS]
            fields = [Field(number(each.value), interval(each.low, each.high)) for each in found]
            rows.append([Field(init, init=init, left=True), *fields])
            figures += _drawn(study, scored[row, init], f"{row} from {init}", len(figures))
    header = [Field("start", left=True), *(Field(name) for name in COLUMNS.values())]
    table = Table(f"Errors of the predicted {study.classes[0]}, in its unit.", header, rows, NOTES)
    return Section("agreement", title, [TEXT], tables=[table], figures=figures, figures_first=True, columns=2)


def _drawn(study: Study, arm: ScoredArm, who: str, place: int) -> list[Figure]:
    truth, predicted = _averaged(arm)
    look = looks(study.inits)[arm.arm.init]
    name = study.classes[0]

    def scatter(axes: Axes) -> None:
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, color=RULE, linewidth=1)
        axes.plot(truth, predicted, look.marker, color=look.colour, markersize=3, alpha=0.6)
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")

    def agreement(axes: Axes) -> None:
        middle, off = (truth + predicted) / 2, predicted - truth
        axes.plot(middle, off, look.marker, color=look.colour, markersize=3, alpha=0.6)
        bias, limit = off.mean(), LIMIT * off.std(ddof=1) if len(off) > 1 else math.nan
        axes.axhline(bias, color=INK, linewidth=1)
        for end in (bias - limit, bias + limit):
            if math.isfinite(end):
                axes.axhline(end, color=INK, linewidth=1, linestyle="--")
        axes.set(xlabel="mean of predicted and true", ylabel="predicted less true")

    mae = number(arm.value("mae"))
    told = f"Predicted {name} against the true one, {who}: mean absolute error {mae}"
    bland = f"Bland-Altman plot of {name}, {who}: bias {number(arm.value('bias'))}, limits of agreement "
    bland += f"{number(arm.value('loa_lower'))} and {number(arm.value('loa_upper'))}"
    return [
        Figure(who, told, draw(f"scatter{place}", told, scatter)),
        Figure(f"{who}: Bland–Altman", bland, draw(f"agreement{place}", bland, agreement)),
    ]


def _averaged(arm: ScoredArm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True numbers (n,), and predictions (n,) averaged over the trainings that made one, of every image."""
    truth: dict[str, float] = {}
    said: dict[str, list[float]] = {}
    for scored in arm.members:
        sample = scored.member.sample
        for name, label, value in zip(sample.names, sample.labels, sample.values[:, 0], strict=True):
            truth[name] = float(label)
            said.setdefault(name, []).append(float(value))
    names = sorted(truth)
    return np.array([truth[name] for name in names]), np.array([np.mean(said[name]) for name in names])
