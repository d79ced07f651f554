"""Of a set of several labels: each finding by itself, and the means over them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medtl.report.arms import Study
from medtl.report.layout import Field, Group, Section, Table
from medtl.report.reference import whole_split
from medtl.report.scores import ScoredArm
from medtl.report.tables import set_name, sizes
from medtl.report.words import number, span

MEASURES = {"auc": "AUC", "average_precision": "Average precision"}
MEANS = {"mean of the findings (macro)": "", "all answers in one list (micro)": "_micro"}
NOTES = (
    "Of each finding: images with it against those without. Macro: mean over the findings that occur. Micro: all"
    " answers of all images are ranked in one list, so that common findings weigh more.",
    "Average precision is read beside the share of images with the finding, which an answer without a look at the image"
    " reaches.",
    "95 % intervals as in the main table; none where they cannot be said.",
)


def findings(study: Study, scored: Mapping[tuple[str, str], ScoredArm]) -> Section:
    """Return the section of a multi-label study: a row a finding, starts side by side. Empty for any other study."""
    title = "Findings"
    if study.kind != "multilabel":
        return Section("findings", title)
    tables = [_table(study, scored, row, metric) for row in study.rows for metric in MEASURES]
    return Section("findings", title, tables=tables)


def _table(study: Study, scored: Mapping[tuple[str, str], ScoredArm], row: str, metric: str) -> Table:
    inits = [init for init in study.inits if (row, init) in scored]
    labels = whole_split(study).labels > 0
    header = [Field("finding", left=True), Field("images with it"), *(Field(init, init=init) for init in inits)]
    rows: list[Sequence[Field] | Group] = []
    for place, name in enumerate(study.classes):
        there = int(np.count_nonzero(labels[:, place]))
        found = [_field(scored[row, init], f"{metric}_{place}") for init in inits]
        rows.append([Field(name, left=True), Field(f"{there:,} of {len(labels):,}"), *found])
    rows.append(Group("all findings"))
    for name, suffix in MEANS.items():
        rows.append(
            [Field(name, left=True), Field(""), *(_field(scored[row, init], metric + suffix) for init in inits)]
        )
    caption = f"{MEASURES[metric]} of each finding, {row}, on the {set_name(study)} ({sizes(study)})."
    return Table(caption, header, rows, NOTES if metric == "average_precision" and row == study.rows[-1] else ())


def _field(arm: ScoredArm, metric: str) -> Field:
    found = arm.estimate(metric)
    return Field(number(found.value), span(found.low, found.high) if math.isfinite(found.value) else "")
