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
    if study.kind == "regression":
        return _in_table("regression", ("regression",))
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


def comparisons(study: Study, found: Sequence[Comparison], baseline: str) -> Table:
    """The paired comparison with the baseline."""
    segmentation = study.kind == "segmentation"
    tests = ["p", "p adjusted"] if study.kind != "classification" else ["p", "p adjusted", "McNemar p"]
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
