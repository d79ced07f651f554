"""The tables of results: what was reached, and what the start changed."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medtl.metrics import registry
from medtl.metrics.registry import Kind
from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Field, Group, Table
from medtl.report.scores import ScoredArm, one_sided, threshold_of
from medtl.report.words import AT_THRESHOLD, NONE, count, interval, listed, metric_name, number, p_value, signed, span

Scores = Mapping[tuple[str, str], ScoredArm]
METHODS = {
    "t": "of t from patients and trainings together (medtl.metrics.compare.across_seeds)",
    "DeLong": "by DeLong's test",
    "DeLong, clustered": "by DeLong's test for patients with several images (Obuchowski)",
    "bootstrap": "from the patients' bootstrap",
    "Wilcoxon": "by Wilcoxon's signed ranks of patients, their cases and trainings averaged",
}
SPLITS = {"test": "test split", "val": "validation split", "train": "training split"}


def shown_metrics(study: Study) -> tuple[str, ...]:
    """The metrics of the main table, in its order."""
    if study.kind == "segmentation":
        organs = [name for name in study.classes if not name.endswith("_mean")]
        prefixes = dict.fromkeys(name.split("_")[0] for name in organs)
        return tuple(name for p in prefixes for name in [*(o for o in organs if o.startswith(p)), f"{p}_mean"])
    if study.kind == "multilabel":
        return _in_table("multi_label", ("multi_label",))
    if study.positive is None:
        return _in_table("single_label", ("single_label",))
    names = _in_table("positive", ("single_label", "positive"))
    members = [member for arm in study.arms.values() for member in arm.members]
    if any(threshold_of(member) is None for member in members):
        return names
    return (*names, *(metric.name + AT_THRESHOLD for metric in one_sided() if metric.name in names))


def _in_table(table: Kind, defined: Sequence[Kind]) -> tuple[str, ...]:
    """Names of the metrics that are defined and belong into the main table of a kind of study."""
    return tuple(
        metric.name
        for metric in registry.metrics().values()
        if set(metric.kinds) & set(defined) and (metric.tables is None or table in metric.tables)
    )


def set_name(study: Study) -> str:
    """What is scored, in words."""
    return "pooled validation folds" if study.pooled else SPLITS.get(study.split, f"split {study.split}")


def sizes(study: Study) -> str:
    """On how many images of how many patients."""
    return f"{count(study.images, study.unit)} of {count(len(study.patients), 'patient')}"


def results(study: Study, scored: Scores) -> list[Table]:
    """The main table: starts side by side, metrics one below the other; for a segmentation organs side by side."""
    if study.kind == "segmentation":
        names = shown_metrics(study)
        kinds = list(dict.fromkeys(name.split("_")[0] for name in names))
        return [_organs(study, scored, kind, [n for n in names if n.startswith(f"{kind}_")]) for kind in kinds]
    rows: list[Sequence[Field] | Group] = []
    for metric in shown_metrics(study):
        name = metric_name(metric)
        rows.append(Group(name[0].upper() + name[1:]))
        rows += [_row(study, scored, row, metric) for row in study.rows]
    header = [Field("", left=True), *(Field(init, init=init) for init in study.inits)]
    caption = f"Results on the {set_name(study)} ({sizes(study)}), by start of the network."
    return [Table(caption, header, rows, _result_notes(study, scored))]


def _row(study: Study, scored: Scores, row: str, metric: str) -> list[Field]:
    values = {i: scored[row, i].value(metric) for i in study.inits if (row, i) in scored}
    best = max((round(v, 3) for v in values.values() if math.isfinite(v)), default=math.nan)
    fields = [Field(row, left=True)]
    for init in study.inits:
        if (row, init) not in scored:
            fields.append(Field(NONE, "not counted"))
            continue
        arm = scored[row, init]
        found = arm.estimate(metric)
        strong = len(values) > 1 and round(found.value, 3) == best
        extra = span(found.low, found.high) if math.isfinite(found.value) else ""
        fields.append(Field(number(found.value), extra, strong))
    return fields


def _organs(study: Study, scored: Scores, kind: str, metrics: Sequence[str]) -> Table:
    names = [metric.removeprefix(f"{kind}_").replace("_", " ") for metric in metrics]
    header = [Field("", left=True), *(Field(name) for name in names)]
    rows: list[Sequence[Field] | Group] = []
    for row in study.rows:
        rows.append(Group(row))
        inits = [init for init in study.inits if (row, init) in scored]
        best = {m: max(round(scored[row, i].value(m), 3) for i in inits) for m in metrics}
        for init in study.inits:
            if init not in inits:
                rows.append([Field(init, "not counted", init=init, left=True), *(Field(NONE) for _ in metrics)])
                continue
            found = {metric: scored[row, init].estimate(metric) for metric in metrics}
            fields = [
                Field(number(e.value), span(e.low, e.high), len(inits) > 1 and round(e.value, 3) == best[m])
                for m, e in found.items()
            ]
            rows.append([Field(init, init=init, left=True), *fields])
    title = metric_name(f"{kind}_").strip()
    caption = f"{title} on the {set_name(study)} ({sizes(study)}), by start of the network and organ."
    return Table(caption, header, rows, _result_notes(study, scored))


def _result_notes(study: Study, scored: Scores) -> list[str]:
    members = sorted({len(arm.members) for arm in scored.values()})
    seeds = f"{members[0]}" if len(members) == 1 else f"{members[0]} to {members[-1]}"
    notes = []
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
            f"{which}: the 95 % interval covers the drawing of patients alone (bootstrap of whole patients), "
            "not what another seed would have given."
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
        notes.append("No interval where resampling says nothing: a perfect score, or a class that few replicates hold.")
    undefined = [m for m in shown_metrics(study) if not any(math.isfinite(a.value(m)) for a in scored.values())]
    if undefined:
        notes.append(f"{NONE}: {listed([metric_name(m) for m in undefined])} {_why_undefined(study, scored)}")
    return notes


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


def comparisons(study: Study, found: Sequence[Comparison], baseline: str) -> Table:
    """The paired comparison with the baseline."""
    segmentation = study.kind == "segmentation"
    tests = ["p", "p adjusted"] if segmentation or study.kind == "multilabel" else ["p", "p adjusted", "McNemar p"]
    header = [Field("start", left=True), *(Field(t) for t in ("difference", "95 % interval", *tests, f"{study.unit}s"))]
    rows: list[Sequence[Field] | Group] = []
    for row in study.rows:
        own = [each for each in found if each.row == row]
        if own:
            rows.append(Group(row))
        for each in own:
            name = f"{each.init}: {metric_name(each.metric)}" if segmentation else each.init
            fields = [
                Field(name, init=each.init, left=True),
                Field(signed(each.difference.value), strong=each.real),
                Field(interval(each.difference.low, each.difference.high, sign=True) or NONE),
                Field(p_value(each.p)),
                Field(p_value(each.adjusted), strong=each.real),
            ]
            if "McNemar p" in tests:
                fields.append(Field(p_value(each.mcnemar)))
            rows.append([*fields, Field(f"{each.images:,}{'*' if each.partial else ''}")])
    what = metric_name(found[0].metric).split()[0] if segmentation else metric_name(found[0].metric)
    caption = f"{what} of each start less that of {baseline}, on the same patients of the {set_name(study)}."
    return Table(caption, header, rows, _comparison_notes(study, found))


def _comparison_notes(study: Study, found: Sequence[Comparison]) -> list[str]:
    notes = []
    if any(each.pairs > 1 for each in found):
        notes.append(
            "Mean difference of trainings with the same seed; its 95 % interval covers the drawing of patients and the "
            "chance of trainings."
        )
    if any(each.pairs == 1 for each in found):
        notes.append(
            "One training each: the 95 % interval covers the drawing of patients alone, not what another seed "
            "would have given."
        )
    if not study.pooled and any(run.fold is not None for run in study.found.runs):
        notes.append(
            "Trainings of different folds share most of their images, and are counted here as if they did not: the "
            "intervals are too narrow (docs/statistics.md)."
        )
    methods = list(dict.fromkeys(each.method for each in found))
    notes.append(f"p: two-sided, {listed([METHODS[method] for method in methods])}.")
    least, people = 2 / 2 ** len(study.patients), count(len(study.patients), "patient")
    if methods == ["Wilcoxon"] and least * len(found) >= 0.05:
        notes.append(
            f"With {people} Wilcoxon's p cannot be below {p_value(least)}; after Holm over "
            f"{count(len(found), 'comparison')} none can be below 0.05."
        )
    notes.append(f"Adjusted: after Holm, over all {count(len(found), 'comparison')} of this table; bold below 0.05.")
    if study.kind == "classification":
        notes.append(
            "McNemar: exact, of the answers by probabilities averaged over trainings; patients with several images are "
            "flipped as a whole; not adjusted."
        )
    if any(each.partial for each in found):
        notes.append(
            f"* Only trainings with a seed that both starts have, and {study.unit}s that all of these predicted."
        )
    return notes


def absent(study: Study) -> Table:
    """Runs that do not count, each with its reason."""
    header = [Field(name, left=True) for name in ("run", "backbone", "start", "seed", "fold", "reason")]
    rows = [
        [Field(value, left=True) for value in (a.name, a.backbone, a.init, a.seed, a.fold, a.reason)]
        for a in study.found.absent
    ]
    return Table("Runs that are not counted in any figure of this report.", header, rows)


def per_class(study: Study, scored: Scores) -> Table:
    """AUC of each class against the rest."""
    header = [Field("", left=True), *(Field(name) for name in study.classes)]
    rows: list[Sequence[Field] | Group] = []
    for row in study.rows:
        rows.append(Group(row))
        for init in study.inits:
            if (row, init) in scored:
                found = [scored[row, init].estimate(f"auc_{c}") for c in range(len(study.classes))]
                fields = [Field(number(e.value), span(e.low, e.high) if math.isfinite(e.value) else "") for e in found]
                rows.append([Field(init, init=init, left=True), *fields])
    return Table("AUC of each class against the rest.", header, rows)


def confusion(study: Study, scored: Scores) -> list[Table]:
    """One confusion matrix an arm, summed over its trainings."""
    tables = []
    for (row, init), arm in scored.items():
        counts = np.zeros((len(study.classes), len(study.classes)), np.int64)
        for member in arm.members:
            sample = member.member.sample
            np.add.at(counts, (sample.labels, sample.values.argmax(axis=1)), 1)
        totals = counts.sum(axis=1, keepdims=True)
        shares = counts / np.maximum(totals, 1)
        header = [Field("true", left=True), *(Field(name) for name in study.classes)]
        rows = [
            [
                Field(name, left=True),
                *(
                    Field(
                        f"{shares[i, j]:.0%}" if totals[i, 0] else NONE,
                        f"{counts[i, j]:,}",
                        i == j,
                        heat=float(shares[i, j]),
                    )
                    for j in range(len(study.classes))
                ),
            ]
            for i, name in enumerate(study.classes)
        ]
        tables.append(
            (study.rows.index(row), study.inits.index(init), Table(f"{row}, {init}", header, rows, compact=True))
        )
    return [table for *_, table in sorted(tables, key=lambda t: t[:2])]
