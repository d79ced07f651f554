"""The table of paired differences from the baseline, and what its p-values are of."""

from collections.abc import Sequence

from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Field, Group, Row, Table
from medtl.report.tables import not_covered, set_name, upper
from medtl.report.words import NONE, count, interval, listed, metric_name, p_value, signed

METHODS = {
    "t": "of t from patients and trainings together (medtl.metrics.compare.across_seeds)",
    "DeLong": "by DeLong's test",
    "DeLong, clustered": "by DeLong's test for patients with several images (Obuchowski)",
    "bootstrap": "from the patients' bootstrap",
    "Wilcoxon": "by Wilcoxon's signed ranks of patients, their cases and trainings averaged",
}


def comparisons(study: Study, found: Sequence[Comparison], baseline: str) -> Table:
    """Return the paired comparison with the baseline."""
    segmentation = study.kind == "segmentation"
    tests = ["p", "p adjusted", *(["McNemar p"] if study.kind == "classification" else [])]
    header = [Field("start", left=True), *(Field(t) for t in ("difference", "95 % interval", *tests, f"{study.unit}s"))]
    rows: list[Row] = []
    for row in study.rows:
        own = [each for each in found if each.row == row]
        rows += [Group(row)] if own else []
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
    several = len({each.metric for each in found}) > 1  # of a segmentation: each organ's, and their mean
    name = metric_name(found[0].metric)
    what = name.split()[0] if several else upper(name)
    caption = f"{what} of each start less that of {baseline}, on the same patients of the {set_name(study)}."
    return Table(caption, header, rows, _notes(study, found))


def _notes(study: Study, found: Sequence[Comparison]) -> list[str]:
    notes = []
    if any(each.pairs > 1 for each in found):
        notes.append(
            "Mean difference of trainings with the same seed; its 95 % interval covers the drawing of patients and the "
            "chance of trainings."
        )
    if any(each.pairs == 1 for each in found):
        notes.append(
            f"One training each: the 95 % interval covers the drawing of patients alone, {not_covered(study)}."
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
