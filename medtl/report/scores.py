"""Every figure of a report with its interval. The arithmetic is ``medtl.metrics``; what is decided here is which
trainings it is of, and what the interval covers."""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import registry, segmentation, survival, weighted
from medtl.metrics.bootstrap import Intervals, closed_intervals, distribution, percentile
from medtl.metrics.compare import across_seeds
from medtl.metrics.registry import Metric, Split
from medtl.metrics.weighted import Scorer
from medtl.report.arms import Arm, Member
from medtl.report.words import AT_THRESHOLD
from medtl.runs.predictions import Sample


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where one or the other is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, eq=False)
class Scored:
    """One member's figures.

    Attributes:
        member: whose.
        scorer: of its sample; patients are those of the study.
        values: metric to value.
        replicates: metric to (replicates,) values on drawn patients, the same ones for all members of a study; none
            with fewer than two patients.
        closed: intervals that need no resampling, NaN where a method says that it knows none.
    """

    member: Member
    scorer: Scorer
    values: Mapping[str, float]
    replicates: Mapping[str, NDArray[np.float64]]
    closed: Intervals

    def estimate(self, metric: str) -> Estimate:
        """Return it with the interval from patients alone."""
        if metric in self.closed:
            return Estimate(self.values[metric], *self.closed[metric])
        return Estimate(self.values[metric], *percentile(self.replicates.get(metric, np.empty(0))))


@dataclass(frozen=True, eq=False)
class ScoredArm:
    """An arm's figures: means over its members.

    Attributes:
        arm: whose.
        members: each scored.
    """

    arm: Arm
    members: tuple[Scored, ...]

    def each(self, metric: str) -> list[float]:
        """Return the value of each member."""
        return [member.values[metric] for member in self.members]

    def value(self, metric: str) -> float:
        """Return the mean over the members."""
        return float(np.mean(self.each(metric)))

    def estimate(self, metric: str) -> Estimate:
        """Return it with the interval from patients and, where there are several members, trainings: the squared
        standard errors of both add up, with Welch and Satterthwaite's degrees of freedom (``across_seeds``)."""
        if len(self.members) == 1:
            return self.members[0].estimate(metric)
        value, se = self.value(metric), standard_error(self.replicates(metric))
        if not math.isfinite(value + se):
            return Estimate(value)
        found = across_seeds(self.each(metric), np.zeros(len(self.members)), se, self.patients)
        least, most = registry.bounds(metric.removesuffix(AT_THRESHOLD))
        return Estimate(value, max(found.both_low, least), min(found.both_high, most))

    @property
    def patients(self) -> int:
        """Return how many any member has predicted."""
        return len({str(patient) for scored in self.members for patient in scored.member.sample.patients})

    def replicates(self, metric: str) -> NDArray[np.float64]:
        """Return (replicates,) means over the members on the drawn patients; none with fewer than two patients."""
        return np.mean([member.replicates.get(metric, np.empty(0)) for member in self.members], axis=0)


Scores = Mapping[tuple[str, str], ScoredArm]  # by row and init


def standard_error(drawn: NDArray[np.float64]) -> float:
    """Return that of a figure, from its replicates; NaN where these define no interval."""
    return float(drawn[np.isfinite(drawn)].std(ddof=1)) if math.isfinite(percentile(drawn)[0]) else math.nan


def restricted(arm: Arm, names: Collection[str]) -> Arm:
    """Return an arm with some of its images (or cases) alone."""
    kept = []
    for member in arm.members:
        rows = [row for row, name in enumerate(member.sample.names) if name in names]
        kept.append(replace(member, sample=member.sample.rows(rows)))
    return replace(arm, members=tuple(kept))


def score(arm: Arm, patients: Sequence[str], positive: int | None) -> ScoredArm:
    """Score an arm.

    Args:
        arm: of classification, multilabel or segmentation.
        patients: all of the study, so that all arms are resampled alike.
        positive: index of the positive class of two.
    """
    scorer = functools.partial(scorer_of, positive=positive)
    return score_by(arm, patients, scorer, functools.partial(_closed, positive=positive))


def score_by(
    arm: Arm,
    patients: Sequence[str],
    scorer_for: Callable[[Member, Mapping[str, int]], Scorer],
    closed: Callable[[Member], Intervals] = lambda member: {},
) -> ScoredArm:
    """Score an arm in a way of one's own.

    Args:
        arm: whose members are scored.
        patients: all that are resampled.
        scorer_for: makes the scorer of a member, whose patients have the indices that it is given.
        closed: intervals of a member that need no resampling.
    """
    place = {patient: index for index, patient in enumerate(patients)}
    members = []
    for member in arm.members:
        scorer = scorer_for(member, place)
        values = {name: float(each[0]) for name, each in scorer(np.ones((1, len(place)))).items()}
        drawn = distribution(scorer, len(place)) if len(place) > 1 else {}
        members.append(Scored(member, scorer, values, drawn, closed(member)))
    return ScoredArm(arm, tuple(members))


def _closed(member: Member, positive: int | None) -> Intervals:
    """What ``bootstrap`` knows without resampling, of the member's own patients."""
    sample = member.sample
    if sample.kind in ("segmentation", "survival"):
        return {}
    patient, count = weighted.by_patient(sample.patients)
    found: Intervals = {}
    whole = Split(sample.labels, sample.values, patient, count, sample.networks)
    for part, wanted in registry.sides(whole, positive):
        found |= closed_intervals(part, wanted=wanted)
    if (called := _at_threshold(member, whole, positive)) is not None:
        found |= {name + AT_THRESHOLD: ends for name, ends in closed_intervals(called, wanted=one_sided()).items()}
    return found


def one_sided() -> list[Metric]:
    """Return the metrics that only a positive class gives a meaning."""
    return [metric for metric in registry.of_kind("positive") if metric.kinds == ("positive",)]


def _at_threshold(member: Member, whole: Split, positive: int | None) -> Split | None:
    """The positive class told at the threshold that a training chose; None where it chose none."""
    chosen = threshold_of(member)
    return None if positive is None or chosen is None else replace(whole, positive=positive, threshold=chosen)


def scorer_of(member: Member, place: Mapping[str, int], positive: int | None) -> Scorer:
    """Return what scores a member's sample for any weights of the patients, whose index is ``place``."""
    sample = member.sample
    patient = places_of(member, place)
    if sample.kind == "segmentation":
        return _organs(sample, patient, len(place))
    if sample.kind == "survival":
        who = survival.followed(sample.labels[:, 0], sample.labels[:, 1])
        paired = survival.scorer(who, sample.values[:, 0], sample.networks)
        return lambda times: paired(times[:, patient])
    whole = Split(sample.labels, sample.values, patient, len(place), sample.networks)
    plain, called = registry.scorer_of_sides(whole, positive), _at_threshold(member, whole, positive)
    if called is None:
        return plain
    answers = registry.scorer(called, one_sided())
    return lambda times: plain(times) | {name + AT_THRESHOLD: values for name, values in answers(times).items()}


def places_of(member: Member, place: Mapping[str, int]) -> NDArray[np.int64]:
    """Return (n,) index of each image's patient."""
    return np.array([place[str(name)] for name in member.sample.patients], dtype=np.int64)


def threshold_of(member: Member) -> float | None:
    """Return the operating point that a training chose on validation; None where folds are put together or none was."""
    value = (member.runs[0].record.threshold or {}).get("value")
    return float(value) if len(member.runs) == 1 and isinstance(value, int | float) else None


def _organs(sample: Sample, patient: NDArray[np.int64], count: int) -> Scorer:
    """Means over the cases that define an organ's score; ``iou_mean``, ``dice_mean``, … are means over the organs that
    any case defines."""
    columns = {name: sample.values[:, place] for place, name in enumerate(sample.columns)}
    organs = weighted.means(columns, patient, count)
    there = [name for name, values in columns.items() if np.isfinite(values).any()]
    kinds = {kind: organ_columns(there, kind) for kind in segmentation.kinds()}

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = organs(times)
        means = {f"{kind}_mean": np.mean([found[n] for n in names], axis=0) for kind, names in kinds.items() if names}
        return found | means

    return score


def organ_columns(columns: Sequence[str], kind: str) -> list[str]:
    """Return the columns of single organs, of a kind such as "iou" or "hd95"."""
    return [name for name in columns if name.startswith(f"{kind}_") and name != f"{kind}_mean"]
