"""The tables of a report, built in one way: a line for each start, a column for each figure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medtl.metrics import registry
from medtl.metrics.registry import Kind
from medtl.metrics.survival import TITLES
from medtl.report.arms import Study
from medtl.report.layout import Field, Group, Row, Table
from medtl.report.scores import Estimate, ScoredArm, Scores, one_sided, threshold_of
from medtl.report.words import AT_THRESHOLD, NONE, count, metric_name, number, span

SPLITS = {"test": "test split", "val": "validation split", "train": "training split"}


@dataclass(frozen=True)
class Column:
    """A column of a table of starts.

    Attributes:
        title: its head.
        cell: what it says of a start.
    """

    title: str
    cell: Callable[[ScoredArm], Field | Estimate | str]


def metric_column(metric: str, title: str = "") -> Column:
    """Return the column of a metric, under its registered name unless another is given."""
    return Column(title or upper(metric_name(metric)), lambda arm: arm.estimate(metric))


def estimated(found: Estimate, remark: str = "", strong: bool = False) -> Field:
    """Return a figure with its interval, and a remark, beneath it."""
    ends = span(found.low, found.high) if math.isfinite(found.value) else ""
    return Field(number(found.value), "; ".join(filter(None, (ends, remark))), strong)


def by_start(
    study: Study,
    scored: Scores,
    caption: str,
    columns: Sequence[Column],
    notes: Sequence[str] = (),
    whole: bool = False,
) -> Table:
    """Return a table with a line for each start, below a line for each row of the study.

    Args:
        study: the runs, sorted.
        scored: the arms that are shown.
        caption: what the table shows, one sentence.
        columns: its figures.
        notes: beneath it.
        whole: starts without a finished run are shown, too, as not counted.
    """
    rows: list[Row] = []
    for row in study.rows:
        arms = {init: scored.get((row, init)) for init in study.inits}
        if any(arms.values()):
            rows.append(Group(row))
        for init, arm in arms.items():
            name = Field(init, "" if arm else "not counted", init=init, left=True)
            if arm is not None:
                rows.append([name, *(field(column.cell(arm)) for column in columns)])
            elif whole:
                rows.append([name, *(Field(NONE) for _ in columns)])
    return Table(caption, [Field("start", left=True), *(Field(column.title) for column in columns)], rows, notes)


def field(said: Field | Estimate | str) -> Field:
    """Return what a cell says as a field."""
    return estimated(said) if isinstance(said, Estimate) else Field(said) if isinstance(said, str) else said


def of_words(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], figures: int = 0, notes: Sequence[str] = (),
    compact: bool = False,
) -> Table:  # fmt: skip
    """Return a table of words, whose last columns are figures.

    Args:
        caption: what the table shows, one sentence.
        header: titles of the columns.
        rows: words of each.
        figures: number of columns at the end that are set as figures.
        notes: beneath it.
        compact: one of several that stand side by side.
    """
    words = len(header) - figures
    lines = [[Field(text, left=place < words) for place, text in enumerate(row)] for row in (header, *rows)]
    return Table(caption, lines[0], lines[1:], notes, compact)


def shown_metrics(study: Study) -> tuple[str, ...]:
    """Return the metrics of the main table, in its order."""
    if study.kind == "segmentation":
        organs = [name for name in study.classes if not name.endswith("_mean")]
        prefixes = dict.fromkeys(name.split("_")[0] for name in organs)
        return tuple(name for p in prefixes for name in [*(o for o in organs if o.startswith(p)), f"{p}_mean"])
    if study.kind == "survival":
        return tuple(TITLES)
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
    """Return what is scored, in words."""
    return "pooled validation folds" if study.pooled else SPLITS.get(study.split, f"split {study.split}")


def sizes(study: Study) -> str:
    """Say on how many images of how many patients."""
    return f"{count(study.images, study.unit)} of {count(len(study.patients), 'patient')}"


def not_covered(study: Study) -> str:
    """Say what no interval of one training covers."""
    other = "other training patients" if study.seeds_alike else "another seed"
    return f"not what {other} would have given"


def upper(text: str) -> str:
    """Return a sentence's or a heading's first letter as a capital."""
    return text[:1].upper() + text[1:]


def absent(study: Study) -> Table:
    """Return the runs that do not count, each with its reason."""
    rows = [(a.name, a.backbone, a.init, a.seed, a.fold, a.reason) for a in study.found.absent]
    header = ("run", "backbone", "start", "seed", "fold", "reason")
    return of_words("Runs that are not counted in any figure of this report.", header, rows)


def per_class(study: Study, scored: Scores) -> Table:
    """Return the AUC of each class against the rest."""
    columns = [metric_column(f"auc_{c}", name) for c, name in enumerate(study.classes)]
    return by_start(study, scored, "AUC of each class against the rest.", columns)


def confusion(study: Study, scored: Scores) -> list[Table]:
    """Return one confusion matrix an arm, summed over its trainings."""
    tables = []
    for row in study.rows:
        for init in study.inits:
            if (row, init) in scored:
                tables.append(_matrix(study, scored[row, init], f"{row}, {init}"))
    return tables


def _matrix(study: Study, arm: ScoredArm, caption: str) -> Table:
    counts = np.zeros((len(study.classes), len(study.classes)), np.int64)
    for member in arm.members:
        sample = member.member.sample
        np.add.at(counts, (sample.labels, sample.values.argmax(axis=1)), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    rows: list[Row] = []
    for i, name in enumerate(study.classes):
        cells = []
        for j in range(len(study.classes)):
            share = f"{shares[i, j]:.0%}" if totals[i, 0] else NONE
            cells.append(Field(share, f"{counts[i, j]:,}", i == j, heat=float(shares[i, j])))
        rows.append([Field(name, left=True), *cells])
    header = [Field("true", left=True), *(Field(name) for name in study.classes)]
    return Table(caption, header, rows, compact=True)
