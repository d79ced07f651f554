"""How far frozen features tell where the pictures of a class come from, beside what a start reaches: where they tell
the source, a high accuracy may be that of naming the source."""

from collections.abc import Mapping
from typing import Any

from medtl.report.arms import Study
from medtl.report.layout import Field, Group, Row
from medtl.report.scores import Estimate, ScoredArm
from medtl.report.tables import Column, estimated
from medtl.report.words import NONE, listed, number

ACCURACIES = ("accuracy", "class_weighted_accuracy")  # beside which the probe stands

Told = Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]]  # class to (backbone, start) to what was found


def told_sources(study: Study) -> Told:
    """Return what the probes among the runs found, by class, then backbone and start."""
    found: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for run in study.found.runs:
        for each in run.record.source_probes:
            found.setdefault(str(each.get("label")), {})[run.backbone, run.init] = each
    return found


def source_rows(study: Study) -> list[Row]:
    """Return the rows of the main table that stand beneath an accuracy: a line across for each class with a probe, and
    a row for each of the study's."""
    rows: list[Row] = []
    for label, own in told_sources(study).items():
        rows.append(Group(_title(label)))
        for row in study.rows:
            arms = [study.arms.get((row, init)) for init in study.inits]
            cells = [_field(own.get((arm.backbone, arm.init)) if arm else None) for arm in arms]
            rows.append([Field(row, left=True), *cells])
    return rows


def source_columns(study: Study) -> list[Column]:
    """Return the same as columns of a table with a line for each start."""
    return [
        Column(_title(label), lambda arm, own=own: _of_arm(arm, own))  # type: ignore[misc]
        for label, own in told_sources(study).items()
    ]


def source_notes(study: Study) -> list[str]:
    """Return what the rows mean; where the data list names several sources and nothing was measured, how to do it."""
    told = told_sources(study)
    names = list(dict.fromkeys(name for run in study.found.runs for name in run.data.sources))
    if not told:
        if len(names) < 2 or study.kind != "classification":
            return []
        shown = listed(names[:4]) if len(names) <= 4 else f"{', '.join(names[:4])} and {len(names) - 4} more"
        text = f"The pictures are of {len(names)} sources ({shown}). "
        if any(run.record.is_probe for run in study.found.runs):
            return [
                text + "The probe found no class with enough pictures of two of them, so whether features tell the "
                "source apart from the class cannot be seen here: an accuracy may be that of naming the source."
            ]
        return [
            text + "Whether features tell the sources within a class was not measured: medtl probe with the same "
            "starts, into a folder below this one, adds it to this table."
        ]
    sizes = {label: next(iter(own.values()))["sources"] for label, own in told.items()}
    counts = [f"{label}: " + ", ".join(f"{n:,} of {name}" for name, n in own.items()) for label, own in sizes.items()]
    return [
        "Source told: AUC of a logistic regression on the start's frozen features that names the source of pictures of "
        f"one class, of patients that it was not fitted on ({'; '.join(counts)}); 0.5 is chance. Where it is high and "
        "classes differ in their sources, an accuracy may be that of naming the source."
    ]


def _title(label: str) -> str:
    return f"Source told among {label}, AUC"


def _of_arm(arm: ScoredArm, own: Mapping[tuple[str, str], Mapping[str, Any]]) -> Field:
    return _field(own.get((arm.arm.backbone, arm.arm.init)))


def _field(found: Mapping[str, Any] | None) -> Field:
    if found is None:
        return Field(NONE)
    if found.get("low") is None or found.get("high") is None:
        return Field(number(float(found["auc"])))
    return estimated(Estimate(float(found["auc"]), float(found["low"]), float(found["high"])))
