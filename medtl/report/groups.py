"""Figures told apart by groups of patients, such as women and men."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medtl import datalist
from medtl.datalist import FILE_NAME, DataList
from medtl.errors import UsageError
from medtl.files import file_hash
from medtl.metrics.groups import FEWEST, UNSAID, Grouping, values_of
from medtl.report.arms import Study
from medtl.report.layout import Field, Section, Table
from medtl.report.scores import ScoredArm, Scores, restricted, score
from medtl.report.tables import Column, by_start, estimated, set_name, upper
from medtl.report.words import NONE, count, metric_name

TOO_FEW = "too few to say"
Groups = Mapping[str, Mapping[str, Any]]


def groups_of(study: Study, dataset_dir: Path | None) -> Groups:
    """Return ``group`` of each image (or case) of the data list that the runs used.

    Args:
        study: the runs.
        dataset_dir: where the list lies; None looks where the runs had it.

    Raises:
        UsageError: it is not there, or another one is.
    """
    run = study.found.runs[0]
    named = {
        str(each.record.overrides["dataset_dir"]) for each in study.found.runs if "dataset_dir" in each.record.overrides
    }
    for place in [dataset_dir] if dataset_dir else [Path(each) for each in sorted(named)]:
        file = place if place.is_file() else place / FILE_NAME
        if file.is_file() and file_hash(file) == run.data.sha256:
            return {_name(entry): entry.get("group", {}) for entry in _entries(datalist.read(file))}
    asked = f"--dataset_dir {dataset_dir} is not" if dataset_dir else "--groups: --dataset_dir DIR must name"
    raise UsageError(f"{asked} the data list of the runs, {run.data.name} with sha256 {run.data.sha256[:12]}…")


def _entries(listed: DataList) -> Sequence[Mapping[str, Any]]:
    return [entry for _, entry in listed]


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("case") or entry["image"])


def groups(
    study: Study, scored: Scores, groupings: Sequence[Grouping], of_image: Groups, metrics: Sequence[str]
) -> Section:
    """Return the section: a table for each grouping and metric; empty without a grouping.

    Raises:
        UsageError: no image says anything of a grouping.
    """
    tables = []
    for grouping in groupings:
        tables += _tables(study, scored, grouping, of_image, metrics)
    text = (
        f"The same networks and answers, told apart. {upper(TOO_FEW)}: a group of fewer than {FEWEST} patients, or one "
        "in which the figure has no interval. Groups are not tested against each other, and intervals are not widened "
        "for their number: with many of them, one that stands out may be chance."
    )
    return Section("groups", "Groups of patients", [text] if tables else [], tables=tables)


def _tables(study: Study, scored: Scores, grouping: Grouping, of_image: Groups, metrics: Sequence[str]) -> list[Table]:
    samples = [member.sample for arm in scored.values() for member in arm.arm.members]
    image_of = {name: image for s in samples for name, image in zip(s.names, s.images, strict=True)}
    names = sorted(image_of)
    found = grouping.names(values_of(of_image, [image_of[name] for name in names], grouping.key))
    of = dict(zip(names, found.tolist(), strict=True))
    if set(of.values()) <= {UNSAID}:
        keys = sorted({key for group in of_image.values() for key in group})
        raise UsageError(f"--groups {grouping.key}: the data list says {', '.join(keys) or 'nothing'} of its images")
    parts = {}
    for group in grouping.order(found):
        own = {name for name in names if of[name] == group}
        parts[group] = {key: _scored(study, arm, own) for key, arm in scored.items()}
    tables = []
    for metric in metrics:
        columns = [Column("all", lambda arm, metric=metric: arm.estimate(metric))]  # type: ignore[misc]
        columns += [_column(group, arms, metric) for group, arms in parts.items()]
        caption = f"{upper(metric_name(metric))} by {grouping.key} on the {set_name(study)}."
        tables.append(by_start(study, scored, caption, columns))
    return tables


def _scored(study: Study, arm: ScoredArm, names: set[str]) -> ScoredArm | None:
    """None for a group of too few patients."""
    own = restricted(arm.arm, names)
    patients = sorted({str(p) for member in own.members for p in member.sample.patients})
    return score(own, patients, study.positive) if len(patients) >= FEWEST else None


def _column(group: str, arms: Mapping[tuple[str, str], ScoredArm | None], metric: str) -> Column:
    sizes = [arm.patients for arm in arms.values() if arm is not None]
    title = f"{group} ({count(max(sizes), 'patient')})" if sizes else f"{group} (fewer than {FEWEST} patients)"

    def cell(arm: ScoredArm) -> Field:
        part = arms[arm.arm.row, arm.arm.init]
        found = part.estimate(metric) if part is not None and metric in part.members[0].values else None
        if found is None or not math.isfinite(found.low):
            return Field(NONE, TOO_FEW)
        return estimated(found)

    return Column(title, cell)
