"""External validation beside the run's own test split (``medtl evaluate``)."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from medtl.report.arms import Member, Study
from medtl.report.calibration import sets_of
from medtl.report.collect import Run
from medtl.report.layout import Field, Section, Table
from medtl.report.scores import Estimate, ScoredArm, Scores, score, threshold_of
from medtl.report.tables import Column, by_start, estimated, metric_column, set_name, upper
from medtl.report.words import AT_THRESHOLD, NONE, count, metric_name
from medtl.runs.settled import Settled


def external(study: Study, scored: Scores) -> Section:
    """Return the section: a table for each data set and split that runs of the study were validated on; empty without
    any."""
    sets: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in study.found.external:
        sets[f"{run.data.name}, {_split(run)}", run.data.sha256].append(run)
    tables = [_table(study, scored, name, sets[name, sha256]) for name, sha256 in sorted(sets)]
    text = (
        "The same networks on pictures from elsewhere. Classes, threshold and calibration are those of the run; "
        "nothing was chosen there. Intervals cover other patients of that source, "
        "and the chance of several trainings."
    )
    return Section("external", "External validation", [text] if tables else [], items=_checks(study), tables=tables)


def _split(run: Run) -> str:
    return "all of it" if run.record.evaluated_split == "all" else f"{run.record.evaluated_split} split"


def _checks(study: Study) -> list[tuple[str, str]]:
    """What each validation knows of pictures that the run has seen."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for run in study.found.external:
        leaks = (run.record.external or {}).get("leaks") or {}
        if leaks.get("compared_with"):
            said = f"no patient, file or picture of the {leaks['compared_with']:,} that the run was fitted on"
            alike = "; ".join(leaks.get("alike") or ())
            found["bad" if alike else "good", f"{said}, but {alike}." if alike else f"{said}."].append(run.name)
        else:
            found["bad", "not compared with what the run was fitted on."].append(run.name)
        if leaks.get("pretrained_on"):
            said = f"the weights that the run started from were trained on {run.data.name}, too."
            found["bad", said].append(run.name)
    return [(mark, f"{_whose(names)}: {said}") for (mark, said), names in found.items()]


def _whose(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} validations, such as {names[0]}"


def _table(study: Study, scored: Scores, name: str, runs: list[Run]) -> Table:
    by_hash = {(run.record.external or {}).get("run_predictions_sha256"): run for run in runs}
    outside: dict[tuple[str, str], ScoredArm] = {}
    for key, arm in scored.items():
        own = [(member, by_hash.get(member.runs[0].predictions)) for member in arm.arm.members if len(member.runs) == 1]
        members = tuple(
            Member(member.name, next(iter(run.splits.values())), (run,)) for member, run in own if run is not None
        )
        if members:
            patients = sorted({str(p) for member in members for p in member.sample.patients})
            outside[key] = score(replace(arm.arm, members=members), patients, study.positive)
    shown = {key: scored[key] for key in outside}
    columns: list[Column] = []
    metrics = _metrics(study, outside)
    for metric in metrics:
        title = upper(metric_name(metric.removesuffix(AT_THRESHOLD)))
        columns += [metric_column(metric, f"{title}, own"), Column(f"{title}, external", _of(outside, metric))]
    if study.kind == "classification":
        columns.append(
            Column("Sets hold the class, external", lambda arm: _coverage(outside[arm.arm.row, arm.arm.init]))
        )
    first = next(iter(by_hash.values()))
    sample = next(iter(first.splits.values()))
    people = count(len({str(p) for p in sample.patients}), "patient")
    caption = f"Own {set_name(study)} and {name} ({count(len(set(sample.images)), 'image')} of {people})."
    notes = []
    if any(metric.endswith(AT_THRESHOLD) for metric in metrics):
        notes.append("Sensitivity and specificity at the threshold that each run chose on its validation split.")
    if any(len(outside[key].members) < len(scored[key].members) for key in outside):
        notes.append("Only trainings that were validated there count in the columns called external.")
    return by_start(study, shown, caption, columns, notes)


def _metrics(study: Study, outside: Mapping[tuple[str, str], ScoredArm]) -> list[str]:
    if study.kind == "regression":
        return ["mae", "rmse", "r2"]
    if study.kind == "multilabel":
        return ["auc", "accuracy"]
    if study.positive is None:
        return ["auc", "class_weighted_accuracy", "ece"]
    members = [scored.member for arm in outside.values() for scored in arm.members]
    suffix = AT_THRESHOLD if all(threshold_of(member) is not None for member in members) else ""
    return ["auc", f"sensitivity{suffix}", f"specificity{suffix}", "ece"]


def _of(outside: Mapping[tuple[str, str], ScoredArm], metric: str) -> Callable[[ScoredArm], Estimate]:
    return lambda arm: outside[arm.arm.row, arm.arm.init].estimate(metric)


def _coverage(arm: ScoredArm) -> Field:
    """How often the sets that the run's validation fixed hold the class elsewhere."""
    fixed = [member.runs[0].record.external or {} for member in arm.arm.members]
    if not all("alpha" in each for each in fixed):
        return Field(NONE)
    patients = tuple(sorted({str(p) for member in arm.arm.members for p in member.sample.patients}))
    found = sets_of(arm.arm, patients, [Settled(quantile=each["quantile"]) for each in fixed]).estimate("coverage")
    return estimated(found)
