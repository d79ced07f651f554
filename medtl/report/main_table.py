"""The main table: what each start reached."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Field, Group, Table
from medtl.report.reference import ONE_CLASS, of_majority, one_class_only
from medtl.report.scores import ScoredArm
from medtl.report.tables import set_name, shown_metrics, sizes
from medtl.report.words import NONE, listed, metric_name, number, span

Scores = Mapping[tuple[str, str], ScoredArm]


def results(study: Study, scored: Scores, found: Sequence[Comparison]) -> list[Table]:
    """The main table: starts side by side, metrics one below the other; for a segmentation organs side by side.

    Bold are the starts that are better than the baseline by more than chance explains; but none that names one class
    only, whose lead says nothing about images.
    """
    real = {(each.row, each.init, each.metric) for each in found if each.real and each.gain > 0}
    if study.kind == "segmentation":
        names = shown_metrics(study)
        kinds = list(dict.fromkeys(name.split("_")[0] for name in names))
        return [_organs(study, scored, found, kind, [n for n in names if n.startswith(f"{kind}_")]) for kind in kinds]
    guess, without = of_majority(study)
    rows: list[Sequence[Field] | Group] = []
    for metric in shown_metrics(study):
        name = metric_name(metric)
        rows.append(Group(name[0].upper() + name[1:]))
        rows += [_row(study, scored, row, metric, real) for row in study.rows]
        if metric in without:
            shown = [Field(number(without[metric])) for _ in study.inits]
            rows.append([Field(guess, left=True), *shown])
    header = [Field("", left=True), *(Field(init, init=init) for init in study.inits)]
    caption = f"Results on the {set_name(study)} ({sizes(study)}), by start of the network."
    return [Table(caption, header, rows, _result_notes(study, scored, found, guess))]


def _row(study: Study, scored: Scores, row: str, metric: str, real: set[tuple[str, str, str]]) -> list[Field]:
    fields = [Field(row, left=True)]
    for init in study.inits:
        if (row, init) not in scored:
            fields.append(Field(NONE, "not counted"))
            continue
        arm = scored[row, init]
        estimate, alone = arm.estimate(metric), one_class_only(study, arm)
        ends = span(estimate.low, estimate.high) if math.isfinite(estimate.value) else ""
        strong = (row, init, metric) in real and alone != ONE_CLASS
        fields.append(Field(number(estimate.value), "; ".join(filter(None, (ends, alone))), strong))
    return fields


def _organs(study: Study, scored: Scores, found: Sequence[Comparison], kind: str, metrics: Sequence[str]) -> Table:
    real = {(each.row, each.init, each.metric) for each in found if each.real and each.gain > 0}
    names = [metric.removeprefix(f"{kind}_").replace("_", " ") for metric in metrics]
    header = [Field("", left=True), *(Field(name) for name in names)]
    rows: list[Sequence[Field] | Group] = []
    for row in study.rows:
        rows.append(Group(row))
        inits = [init for init in study.inits if (row, init) in scored]
        for init in study.inits:
            if init not in inits:
                rows.append([Field(init, "not counted", init=init, left=True), *(Field(NONE) for _ in metrics)])
                continue
            estimates = {metric: scored[row, init].estimate(metric) for metric in metrics}
            fields = [Field(number(e.value), span(e.low, e.high), (row, init, m) in real) for m, e in estimates.items()]
            rows.append([Field(init, init=init, left=True), *fields])
    title = metric_name(f"{kind}_").strip()
    caption = f"{title} on the {set_name(study)} ({sizes(study)}), by start of the network and organ."
    return Table(caption, header, rows, _result_notes(study, scored, [e for e in found if e.metric in metrics], ""))


def _result_notes(study: Study, scored: Scores, found: Sequence[Comparison], guess: str) -> list[str]:
    members = sorted({len(arm.members) for arm in scored.values()})
    seeds = f"{members[0]}" if len(members) == 1 else f"{members[0]} to {members[-1]}"
    notes = [*_legend(found), *_about_guessing(study, scored, guess)]
    if members[-1] > 1:
        notes.append(
            f"Mean over {seeds} trainings ({_trainings(study)}); with the 95 % interval, which covers the "
            "drawing of patients (bootstrap of whole patients) and the chance of trainings (t; the squared standard "
            "errors add up)."
        )
    if 2 in members:
        notes.append(
            "Two trainings say little about the chance of trainings: their intervals are wide; take three or more."
        )
    if members[0] == 1:
        which = "One training each" if members[-1] == 1 else "Where there is one training only"
        notes.append(
            f"{which}: the 95 % interval covers the drawing of patients alone ({_method(study)}), not what another "
            "seed would have given."
        )
    if len(study.patients) < 2:
        notes.append("With one patient no interval is defined.")
    if study.pooled:
        notes.append(
            "The predictions of a seed's validation folds are put together before they are scored"
            + ("." if study.kind == "segmentation" else "; for the AUC an image is ranked among its own fold's only.")
        )
    if study.positive is not None:
        named = "as the runs name it" if study.positive_named else "the second class; the runs name none"
        notes.append(
            f"Positive class: {study.classes[study.positive]} ({named}). "
            "Sensitivity, specificity and F1 at probability 0.5, where no other threshold is named."
        )
    elif study.kind == "classification":
        notes.append("AUC: each class against the rest, mean over classes. Class-weighted accuracy: mean recall.")
    if study.kind == "multilabel":
        notes.append("AUC: mean over the findings that occur. Accuracy: share of right answers at probability 0.5.")
    if study.kind == "segmentation":
        notes.append("Cases in which an organ is neither there nor found do not count for it. Mean: over the organs.")
    shown = [(arm.value(m), arm.estimate(m).low) for m in shown_metrics(study) for arm in scored.values()]
    if len(study.patients) > 1 and any(math.isfinite(value) and math.isnan(low) for value, low in shown):
        notes.append("No interval where none can be said: of a perfect score, or with too few patients of a class.")
    undefined = [m for m in shown_metrics(study) if not any(math.isfinite(a.value(m)) for a in scored.values())]
    if undefined:
        notes.append(f"{NONE}: {listed([metric_name(m) for m in undefined])} {_why_undefined(study, scored)}")
    return notes


def _legend(found: Sequence[Comparison]) -> list[str]:
    """What bold means, where anything was tested."""
    if not found:
        return []
    tested = listed(list(dict.fromkeys(metric_name(each.metric) for each in found)))
    return [
        f"Bold: better than {found[0].baseline} by more than chance explains (p below 0.05 after Holm). Tested is "
        f"{tested} alone, and against {found[0].baseline} alone: other figures are never bold, however far they lie "
        "apart, and starts are not tested against each other."
    ]


def _about_guessing(study: Study, scored: Scores, guess: str) -> list[str]:
    notes = []
    if guess:
        what = {
            "multilabel": "every image is given the shares of the classes",
            "regression": "every image is given their mean",
        }.get(study.kind, "the commonest class of the split is named, by the shares of the classes")
        notes.append(f"{_upper(guess)}: what is reached without a look at an image ({what}).")
    if any(one_class_only(study, arm) for arm in scored.values()):
        notes.append(f"{_upper(ONE_CLASS)}: the answer is the same for every image; such a start is never bold.")
    return notes


def _method(study: Study) -> str:
    resampled = "bootstrap of whole patients"
    return (
        resampled
        if study.kind in ("segmentation", "regression") or study.pooled
        else f"AUC: DeLong's; others: {resampled}"
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _trainings(study: Study) -> str:
    seeds = f"seeds {', '.join(map(str, study.seeds))}" if len(study.seeds) > 1 else f"seed {study.seeds[0]}"
    folds = sorted({run.fold for run in study.found.runs if run.fold is not None})
    return f"{seeds}, each on folds {', '.join(map(str, folds))}" if folds and not study.pooled else seeds


def _why_undefined(study: Study, scored: Scores) -> str:
    sample = next(iter(scored.values())).members[0].member.sample
    if sample.kind == "classification" and len(np.unique(sample.labels)) == 1:
        only = study.classes[int(sample.labels[0])]
        return f"is not defined: every image of the {set_name(study)} is of class {only}."
    return f"is not defined on this {set_name(study)}."
