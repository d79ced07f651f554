"""What a start reaches over the settings of a design (networks, rates, what is frozen), as papers tell it: mean and SD
over settings, and beside them, by another name, the interval over patients."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import delong
from medtl.metrics.bootstrap import difference_of, percentile
from medtl.report.arms import Study
from medtl.report.layout import Field, Section, Table
from medtl.report.scores import Estimate, ScoredArm, Scores
from medtl.report.settings_figures import mean_curves, swarm
from medtl.report.tables import set_name, sizes, upper
from medtl.report.words import NONE, count, interval, listed, metric_name, number, p_phrase, p_value, signed

FEWEST = 3  # settings, of which a spread is told


@dataclass(frozen=True)
class Tested:
    """A mean over settings, or the difference of two, with what the drawing of patients does to it.

    Attributes:
        estimate: with its 95 % interval.
        p: two-sided, of a difference.
        method: "DeLong", "DeLong, clustered" or "bootstrap".
    """

    estimate: Estimate
    p: float
    method: str


def settings_of(study: Study) -> tuple[str, ...]:
    """Return the rows that are settings of one design: fine-tunings on all the training patients, of which some
    backbone has several. Rows that lack one of the starts are left out. Empty where there are fewer than three."""
    tuned = {key: arm for key, arm in study.arms.items() if not arm.runs[0].record.is_probe}
    most = max((arm.fraction for arm in tuned.values()), default=1.0)
    starts: dict[str, set[str]] = defaultdict(set)
    for (row, init), arm in tuned.items():
        if arm.fraction == most:
            starts[row].add(init)
    every = set().union(*starts.values())
    rows = tuple(row for row in study.rows if starts.get(row) == every)
    backbones = [next(arm.backbone for (own, _), arm in tuned.items() if own == row) for row in rows]
    return rows if len(rows) >= FEWEST and len(set(backbones)) < len(rows) else ()


def over_settings(study: Study, scored: Scores, metric: str, baseline: str) -> Section:
    """Return the section: figures of all settings, and the table of means; empty where there are no settings."""
    title, rows = "Over settings", settings_of(study)
    if not rows:
        return Section("settings", title)
    arms = {init: own for init in study.inits if (own := _arms(scored, rows, init))}
    name = upper(metric_name(metric))
    figures = swarm(study, arms, metric) + mean_curves(study, arms)
    backbones = list(dict.fromkeys(arm.arm.backbone for own in arms.values() for arm in own))
    text = f"{count(len(rows), 'setting')} of {count(len(backbones), 'network')}"
    text += ", each trained from every start. " if len(arms) > 1 else ". "
    text += "A point is a setting; beside the points stand their mean and SD."
    items = [("bad", left)] if (left := _left_out(study, rows)) else []
    table = _table(study, arms, metric, baseline, f"{name} over settings on the {set_name(study)} ({sizes(study)}).")
    return Section("settings", title, [text], items, [table], figures, list(arms), figures_first=True, columns=2)


def in_words(study: Study, scored: Scores, metric: str, baseline: str) -> list[str]:
    """Return a sentence for each start: its mean over settings, and what it is less the baseline's; none where there
    are no settings."""
    rows = settings_of(study)
    told = []
    for init in study.inits if rows else ():
        own, others = _arms(scored, rows, init), _arms(scored, rows, baseline)
        if not own:
            continue
        each = np.array([arm.value(metric) for arm in own])
        text = f"Over {count(len(rows), 'setting')} {init} reaches a mean {metric_name(metric)} of"
        text += f" {number(float(each.mean()))} (SD over settings {number(float(each.std(ddof=1)))})"
        if others and init != baseline:
            gap = over_patients(study, own, others, metric)
            ends = interval(gap.estimate.low, gap.estimate.high, sign=True)
            text += f"; the difference from {baseline} is {signed(gap.estimate.value)}"
            text += f" (95 % interval over patients {ends}, {p_phrase(gap.p)})" if ends else ""
        told.append(f"{text}.")
    return told


def _arms(scored: Scores, rows: Sequence[str], init: str) -> list[ScoredArm]:
    return [scored[row, init] for row in rows if (row, init) in scored]


def _left_out(study: Study, rows: Sequence[str]) -> str:
    """Say which rows are no settings here."""
    others = [row for row in study.rows if row not in rows]
    if not others:
        return ""
    more = ", …" if len(others) > 2 else ""
    rest = count(len(others), "row")
    return f"{rest} not counted here, for want of a start or of training patients: {listed(others[:2])}{more}."


def _table(study: Study, arms: Mapping[str, Sequence[ScoredArm]], metric: str, baseline: str, caption: str) -> Table:
    compared = baseline in arms and len(arms) > 1
    header = ["mean ± SD over settings", "lowest to highest", "95 % interval over patients"]
    header += [f"less {baseline}", "95 % interval over patients", "p"] if compared else []
    rows, methods = [], set()
    for init, own in arms.items():
        each = np.array([arm.value(metric) for arm in own])
        alone = over_patients(study, own, (), metric)
        methods.add(alone.method)
        said = [
            f"{number(float(each.mean()))} ± {number(float(each.std(ddof=1)))}",
            interval(float(each.min()), float(each.max())),
            interval(alone.estimate.low, alone.estimate.high) or NONE,
        ]
        if compared and init != baseline:
            gap = over_patients(study, own, arms[baseline], metric)
            ends = interval(gap.estimate.low, gap.estimate.high, sign=True)
            said += [signed(gap.estimate.value), ends or NONE, p_value(gap.p)]
        elif compared:
            said += ["", "", ""]
        rows.append([Field(init, init=init, left=True), *map(Field, said)])
    return Table(caption, [Field("start", left=True), *map(Field, header)], rows, _notes(arms, methods))


def _notes(arms: Mapping[str, Sequence[ScoredArm]], methods: set[str]) -> list[str]:
    said = {
        "DeLong": "DeLong's covariance of all the areas",
        "DeLong, clustered": "DeLong's covariance of all the areas, by patient (Obuchowski)",
        "bootstrap": "the patients' bootstrap, the same draws for every setting",
    }
    what = "Interval over patients and p" if len(arms) > 1 else "Interval over patients"
    notes = [
        "SD over settings: how far the result depends on the setting. It is no sampling error: all settings are "
        "judged on the same patients, and more settings do not make it a statement about other patients.",
        f"{what}: of the mean over settings, by {listed([said[m] for m in sorted(methods)])}, the trained networks "
        "taken as they are. What another seed would have given is not in it.",
    ]
    trainings = {len(arm.members) for own in arms.values() for arm in own}
    if max(trainings) > 1:
        notes.append("A setting's figure is the mean over its trainings.")
    return notes


def over_patients(study: Study, own: Sequence[ScoredArm], other: Sequence[ScoredArm], metric: str) -> Tested:
    """Return the mean of a metric over some arms, less that over others, as the drawing of patients leaves it.

    Args:
        study: the runs, sorted.
        own, other: the arms; none in ``other`` gives the mean alone.
        metric: its name; for the AUC of two classes DeLong's covariance of all trainings is taken, for all else the
            bootstrap of patients.
    """
    value = _mean(own, metric) - (_mean(other, metric) if other else 0.0)
    stacked = _stacked(study, [*own, *other]) if metric == "auc" and study.positive is not None else None
    if stacked is None:
        drawn = _replicates(own, metric) - (_replicates(other, metric) if other else 0.0)
        if not other:
            return Tested(Estimate(value, *percentile(drawn)), math.nan, "bootstrap")
        found = difference_of(value, drawn)
        return Tested(Estimate(value, found.low, found.high), found.p, "bootstrap")
    labels, scores, patients = stacked
    weights = [sign / len(arms) / len(arm.members) for sign, arms in ((1, own), (-1, other)) for arm in arms
               for _ in arm.members]  # fmt: skip
    alone = len(np.unique(patients)) == len(patients)
    test = delong.contrast(labels, scores, weights, None if alone else patients)
    method = "DeLong" if alone else "DeLong, clustered"
    if not other:
        return Tested(Estimate(value, max(test.low, 0.0), test.high), math.nan, method)
    return Tested(Estimate(value, test.low, test.high), test.p, method)


def _mean(arms: Sequence[ScoredArm], metric: str) -> float:
    return float(np.mean([arm.value(metric) for arm in arms]))


def _replicates(arms: Sequence[ScoredArm], metric: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.mean([arm.replicates(metric) for arm in arms], axis=0)
    return found


def _stacked(study: Study, arms: Sequence[ScoredArm]) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray] | None:
    """Labels, the positive class's probabilities (trainings, n) and patients of the images, in one order; None where
    trainings have predicted different images, or several networks each a part of them."""
    samples = [scored.member.sample for arm in arms for scored in arm.members]
    orders = [np.argsort(np.array(sample.names, dtype=np.str_), kind="stable") for sample in samples]
    names = {tuple(np.array(s.names, dtype=np.str_)[order].tolist()) for s, order in zip(samples, orders, strict=True)}
    if len(names) > 1 or any(sample.networks is not None for sample in samples):
        return None
    scores = np.stack([s.values[order, study.positive] for s, order in zip(samples, orders, strict=True)])
    first, order = samples[0], orders[0]
    return first.labels[order] == study.positive, scores.astype(np.float64), first.patients[order]
