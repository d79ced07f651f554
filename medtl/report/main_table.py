"""The main table: what each start reached."""

import math
from collections.abc import Sequence

import numpy as np

from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Field, Group, Row, Table
from medtl.report.reference import ONE_CLASS, of_majority, one_class_only
from medtl.report.scores import ScoredArm, Scores
from medtl.report.sources import ACCURACIES, source_columns, source_notes, source_rows
from medtl.report.tables import Column, by_start, estimated, field, not_covered, set_name, shown_metrics, sizes, upper
from medtl.report.words import NONE, listed, metric_name, number

SIDE_BY_SIDE = 6  # starts; of more each has a line of its own, and metrics stand side by side


def results(study: Study, scored: Scores, found: Sequence[Comparison]) -> list[Table]:
    """Return the main table: starts side by side, metrics one below the other; with many starts, and for a
    segmentation's organs, the other way round.

    Bold are the starts that are better than the baseline by more than chance explains; but none that names one class
    only, whose lead says nothing about images.
    """
    names = shown_metrics(study)
    where = f"on the {set_name(study)} ({sizes(study)}), by start of the network"
    if study.kind == "segmentation":
        tables = []
        for kind in dict.fromkeys(name.split("_")[0] for name in names):
            metrics = [name for name in names if name.startswith(f"{kind}_")]
            columns = [_column(study, found, m, m.removeprefix(f"{kind}_").replace("_", " ")) for m in metrics]
            notes = _notes(study, scored, [each for each in found if each.metric in metrics], "")
            caption = f"{metric_name(f'{kind}_').strip()} {where} and class."
            tables.append(by_start(study, scored, caption, columns, notes, whole=True))
        return tables
    guess, without = of_majority(study)
    notes = _notes(study, scored, found, guess)
    if len(study.inits) > SIDE_BY_SIDE:
        columns = [_column(study, found, metric, upper(metric_name(metric))) for metric in names]
        columns += source_columns(study)
        table = by_start(study, scored, f"Results {where}.", columns, notes, whole=True)
        last = [Field(guess, left=True), *(Field(number(without.get(m, math.nan))) for m in names)]
        last += [Field("")] * (len(columns) - len(names))
        return [Table(table.caption, table.header, [*table.rows, Group("for scale"), last], table.notes)]
    rows: list[Row] = []
    for metric in names:
        column = _column(study, found, metric, upper(metric_name(metric)))
        rows.append(Group(column.title))
        for row in study.rows:
            arms = [scored.get((row, init)) for init in study.inits]
            cells = [field(column.cell(arm)) if arm else Field(NONE, "not counted") for arm in arms]
            rows.append([Field(row, left=True), *cells])
        if metric in without:
            rows.append([Field(guess, left=True), *(Field(number(without[metric])) for _ in study.inits)])
        if metric in ACCURACIES:
            rows += source_rows(study)
    header = [Field("", left=True), *(Field(init, init=init) for init in study.inits)]
    return [Table(f"Results {where}.", header, rows, notes)]


def _column(study: Study, found: Sequence[Comparison], metric: str, title: str) -> Column:
    real = {(each.row, each.init) for each in found if each.metric == metric and each.real and each.gain > 0}

    def cell(arm: ScoredArm) -> Field:
        alone = one_class_only(study, arm)
        strong = (arm.arm.row, arm.arm.init) in real and alone != ONE_CLASS
        return estimated(arm.estimate(metric), alone, strong)

    return Column(title, cell)


def _notes(study: Study, scored: Scores, found: Sequence[Comparison], guess: str) -> list[str]:
    members = sorted({len(arm.members) for arm in scored.values()})
    seeds = f"{members[0]}" if len(members) == 1 else f"{members[0]} to {members[-1]}"
    notes = [*_legend(found), *_about_guessing(study, scored, guess), *source_notes(study)]
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
            f"{which}: the 95 % interval covers the drawing of patients alone ({_method(study)}), {not_covered(study)}."
        )
    if study.seeds_alike:
        notes.append("Seeds of a probe that gave the same predictions count as one training.")
    if len(study.patients) < 2:
        notes.append("With one patient no interval is defined.")
    if study.pooled:
        notes.append(
            "The predictions of a seed's validation folds are put together before they are scored"
            + _within_folds(study.kind)
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
    if study.kind == "survival":
        notes.append(
            "C-index: equation 4 of Wen et al. 2021, equal risks count as wrong. Harrell's: they count half. Uno's: "
            "pairs are weighted by the censoring of the scored patients; in metrics.json by the training patients'."
        )
    if study.kind == "segmentation":
        notes.append("Cases in which a class is neither there nor found do not count for it. Mean: over the classes.")
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
            "survival": "no risk tells anything",
        }.get(study.kind, "the commonest class of the split is named, by the shares of the classes")
        notes.append(f"{upper(guess)}: what is reached without a look at an image ({what}).")
    if any(one_class_only(study, arm) for arm in scored.values()):
        notes.append(f"{upper(ONE_CLASS)}: the answer is the same for every image; such a start is never bold.")
    return notes


def _within_folds(kind: str) -> str:
    if kind == "survival":
        return "; two patients are compared within one fold only."
    return "." if kind == "segmentation" else "; for the AUC an image is ranked among its own fold's only."


def _method(study: Study) -> str:
    resampled = "bootstrap of whole patients"
    return (
        resampled
        if study.kind in ("segmentation", "regression", "survival") or study.pooled
        else f"AUC: DeLong's; others: {resampled}"
    )


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
