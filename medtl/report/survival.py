"""Of risks: survival of patients above and below the median risk, drawn and tested, and calibration at a horizon."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medtl.metrics import survival_calibration as calibration
from medtl.metrics.survival import Followed, followed, kaplan_meier, log_rank
from medtl.report.arms import Study
from medtl.report.drawing import draw, looks
from medtl.report.layout import Field, Figure, Group, Row, Section, Table
from medtl.report.scores import ScoredArm
from medtl.report.words import count, number, p_phrase, p_value
from medtl.runs.predictions import Sample

THIRDS = ("low", "middle", "high")
TEXT = (
    "Kaplan and Meier's curves of patients above (solid) and below (dashed) the median risk of their fold; ticks are"
    " patients last seen without the event. Risks of several trainings are averaged by patient, each scaled to mean 0"
    " and SD 1 within its fold."
)
NOTES = (
    "Log-rank p: of the two curves, not adjusted. Slope: Cox's coefficient of the risk, 1 where its size is right,"
    " below 1 where risks are too extreme. Means over trainings.",
    "Survival at the horizon in thirds of the risk: expected / observed (Kaplan and Meier). The baseline hazard is that"
    " of the scored patients, so that the mean is right and only the spread is tested. A dash: nobody is followed so"
    " long.",
)


def survival(study: Study, scored: Mapping[tuple[str, str], ScoredArm]) -> Section:
    """Return the section of a survival: curves by risk with the log-rank test, and calibration at the median time of
    events. Empty for any other study."""
    title = "Survival by risk"
    if study.kind != "survival":
        return Section("survival", title)
    rows: list[Row] = []
    figures: list[Figure] = []
    horizon = np.nan
    for row in study.rows:
        rows.append(Group(row))
        for init in (init for init in study.inits if (row, init) in scored):
            arm = scored[row, init]
            who, above = _averaged(arm)
            horizon = calibration.horizon_of(who)
            p = log_rank(who, above)[1]
            slopes = [_slope(member.member.sample) for member in arm.members]
            figures.append(_drawn(study, init, f"{row} from {init}", who, above, p, len(figures)))
            shown = [Field(p_value(p)), Field(number(float(np.mean(slopes)), 2)), *_thirds(arm, horizon)]
            rows.append([Field(init, init=init, left=True), *shown])
    names = ("log-rank p", "slope", *(f"{third} risk" for third in THIRDS))
    header = [Field("start", left=True), *(Field(name) for name in names)]
    caption = (
        f"Patients by risk, and survival at {horizon:g} (the median time of events), in the unit of the data list."
    )
    table = Table(caption, header, rows, NOTES)
    return Section("survival", title, [TEXT], tables=[table], figures=figures, figures_first=True, columns=2)


def _folds(sample: Sample) -> NDArray[np.int64]:
    return np.zeros(len(sample.names), np.int64) if sample.networks is None else sample.networks


def _centred(sample: Sample, scaled: bool) -> NDArray[np.float64]:
    """Risks of mean 0, and SD 1 if scaled, within each fold: those of two networks cannot be ordered."""
    folds, risk = _folds(sample), sample.values[:, 0].copy()
    for fold in np.unique(folds):
        own = folds == fold
        risk[own] -= risk[own].mean()
        if scaled and risk[own].std() > 0:
            risk[own] /= risk[own].std()
    return risk


def _slope(sample: Sample) -> float:
    return calibration.slope(followed(*sample.labels.T), _centred(sample, scaled=False))


def _thirds(arm: ScoredArm, horizon: float) -> list[Field]:
    each = []
    for member in arm.members:
        sample = member.member.sample
        each.append(calibration.thirds(followed(*sample.labels.T), _centred(sample, scaled=False), horizon))
    fields = []
    for place in range(len(THIRDS)):
        own = [found[place] for found in each if found]
        told = (float(np.mean([third.expected for third in own])), float(np.mean([third.observed for third in own])))
        fields.append(Field(" / ".join(number(value, 2) for value in told)))
    return fields


def _averaged(arm: ScoredArm) -> tuple[Followed, NDArray[np.bool_]]:
    """Times and events, and who lies above the median mean risk of the own fold, (n,) of every patient once."""
    label: dict[str, NDArray] = {}
    said: dict[str, list[float]] = {}
    fold: dict[str, int] = {}
    for scored in arm.members:
        sample = scored.member.sample
        for name, truth, risk, own in zip(
            sample.names, sample.labels, _centred(sample, True), _folds(sample), strict=True
        ):
            label[name], fold[name] = truth, int(own)
            said.setdefault(name, []).append(float(risk))
    names = sorted(label)
    risk, folds = np.array([np.mean(said[name]) for name in names]), np.array([fold[name] for name in names])
    above = np.zeros(len(names), dtype=bool)
    for own in np.unique(folds):
        above[folds == own] = risk[folds == own] > np.median(risk[folds == own])
    return followed(*np.array([label[name] for name in names]).T), above


def _drawn(
    study: Study, init: str, caption: str, who: Followed, above: NDArray[np.bool_], p: float, place: int
) -> Figure:
    look = looks(study.inits)[init]

    def paint(axes: Axes) -> None:
        for group, line in ((above, "-"), (~above, "--")):
            if not group.any():
                continue
            some = Followed(who.time[group], who.event[group])
            curve = kaplan_meier(some)
            axes.step(np.r_[0, curve.time], np.r_[1, curve.survival], line, where="post", color=look.colour)
            lost = some.time[~some.event]
            axes.plot(lost, curve.at(lost), "|", color=look.colour, markersize=4)
        axes.set(ylim=(0, 1.02), xlabel="time", ylabel="without the event")
        axes.set_xlim(left=0)

    sizes = f"{count(int(above.sum()), 'patient')} above the median risk and {int((~above).sum())} below"
    told = f"Survival by risk, {caption}: {sizes}, log-rank {p_phrase(p)}"
    return Figure(f"{caption} (log-rank {p_phrase(p)})", told, draw(f"survival{place}", told, paint))
