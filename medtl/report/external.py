"""External validation beside the run's own test split (``medtl evaluate``)."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from medtl.metrics.registry import metrics as known_metrics
from medtl.report.arms import Arm, Member, Study
from medtl.report.calibration import sets_of
from medtl.report.collect import Run
from medtl.report.layout import Field, Section, Table
from medtl.report.scores import Estimate, ScoredArm, Scores, one_sided, score, threshold_of
from medtl.report.tables import Column, by_start, estimated, metric_column, set_name, upper
from medtl.report.words import AT_THRESHOLD, NONE, count, metric_name
from medtl.runs.settled import Settled


def external(study: Study, scored: Scores) -> Section:
    """The section: a table for each data set and split that runs of the study were validated on; empty without any."""
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
    found = []
    for run in study.found.external:
        leaks = (run.record.external or {}).get("leaks") or {}
        if leaks.get("compared_with"):
            said = (
                f"{run.name}: no patient, file or picture of the {leaks['compared_with']:,} that the run was fitted on"
            )
            alike = "; ".join(leaks.get("alike") or ())
            found.append(("bad", f"{said}, but {alike}.") if alike else ("good", f"{said}."))
        else:
            found.append(("bad", f"{run.name}: not compared with what the run was fitted on."))
        if leaks.get("pretrained_on"):
            found.append(("bad", f"{run.name}: the weights that the run started from were trained on {run.data.name}."))
    return list(dict.fromkeys(found))


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
            one = Arm(arm.arm.row, arm.arm.backbone, arm.arm.init, arm.arm.fraction, members)
            outside[key] = score(one, patients, study.positive)
    shown = {key: scored[key] for key in outside}
    columns: list[Column] = []
    for metric in _metrics(study, outside):
        title = upper(metric_name(metric))
        columns += [metric_column(metric, f"{title}, own"), Column(f"{title}, external", _of(outside, metric))]
    if study.kind == "classification":
        columns.append(
            Column("sets hold the class, external", lambda arm: _coverage(outside[arm.arm.row, arm.arm.init]))
        )
    first = next(iter(by_hash.values()))
    sample = next(iter(first.splits.values()))
    people = count(len({str(p) for p in sample.patients}), "patient")
    caption = f"Own {set_name(study)} and {name} ({count(len(sample.names), 'image')} of {people})."
    missing = any(len(outside[key].members) < len(scored[key].members) for key in outside)
    notes = ["Only trainings that were validated there count in its columns."] if missing else []
    return by_start(study, shown, caption, columns, notes)


def _metrics(study: Study, outside: Mapping[tuple[str, str], ScoredArm]) -> list[str]:
    if study.kind == "multilabel":
        return ["auc", "accuracy"]
    names = ["auc", "class_weighted_accuracy", "ece"]
    if study.positive is not None:
        members = [scored.member for arm in outside.values() for scored in arm.members]
        suffix = AT_THRESHOLD if all(threshold_of(member) is not None for member in members) else ""
        sides = {metric.name for metric in one_sided()}
        names[1:2] = [name + suffix for name in ("sensitivity", "specificity") if name in sides]
    return [name for name in names if name.removesuffix(AT_THRESHOLD) in known_metrics()]


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
