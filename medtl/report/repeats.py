"""What a start reaches over repeats of one training with other seeds, as papers tell it: mean and SD over repeats, and
beside them, by another name, the interval over patients."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from medtl.report.arms import Study
from medtl.report.layout import Field, Table
from medtl.report.scores import ScoredArm, Scores
from medtl.report.settings import over_patients
from medtl.report.tables import Column, by_start, set_name, sizes, upper
from medtl.report.words import NONE, count, interval, metric_name, number


def over_repeats(study: Study, scored: Scores, metric: str) -> list[Table]:
    """Return the table of one metric's means and SDs over seeds; empty where no start was trained with two seeds, or
    the metric is not defined.

    Args:
        study: the runs, sorted.
        scored: each arm, by row and init.
        metric: its name.
    """
    shown = {
        key: arm for key, arm in scored.items() if np.isfinite(arm.value(metric)) and len(by_seed(arm, metric)) > 1
    }
    if not shown:
        return []

    def spread(arm: ScoredArm) -> Field:
        each = by_seed(arm, metric)
        said = f"{number(float(each.mean()))} ± {number(float(each.std(ddof=1)))}"
        return Field(said, count(len(each), "repeat"))

    def ends(arm: ScoredArm) -> str:
        each = by_seed(arm, metric)
        return interval(float(each.min()), float(each.max())) or NONE

    def people(arm: ScoredArm) -> str:
        found = over_patients(study, [arm], (), metric).estimate
        return interval(found.low, found.high) or NONE

    columns = [
        Column("mean ± SD over repeats", spread),
        Column("lowest to highest", ends),
        Column("95 % interval over patients", people),
    ]
    caption = f"{upper(metric_name(metric))} over repeats on the {set_name(study)} ({sizes(study)})."
    notes = [
        "SD over repeats: how far the result depends on the seed (n − 1). It is no sampling error: all repeats are "
        "judged on the same patients.",
        "Interval over patients: of the mean over the trainings, these taken as they are. The interval of the table "
        "above holds both chances.",
    ]
    if any(len(arm.members) > len(by_seed(arm, metric)) for arm in shown.values()):
        notes.append("A repeat's figure is the mean over its folds.")
    return [by_start(study, shown, caption, columns, notes)]


def by_seed(arm: ScoredArm, metric: str) -> NDArray[np.float64]:
    """Return (seeds,) the metric of each seed's training, of several folds their mean."""
    found: dict[int, list[float]] = defaultdict(list)
    for member in arm.members:
        found[member.member.runs[0].seed].append(member.values[metric])
    return np.array([np.mean(values) for values in found.values()])
