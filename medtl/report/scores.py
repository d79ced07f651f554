"""Every figure of a report with its interval. The arithmetic is ``medtl.metrics``; what is decided here is which
trainings it is of, and what the interval covers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import bootstrap, weighted
from medtl.metrics.bootstrap import Intervals, distribution, percentile
from medtl.metrics.compare import across_seeds
from medtl.metrics.weighted import Scorer
from medtl.report.arms import Arm, Member
from medtl.report.predictions import Sample

AT_THRESHOLD = ("sensitivity", "specificity")
TOLD_FROM_ONE_SIDE = (*AT_THRESHOLD, "f1")


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
        exact: intervals of shares that are 0 or 1, of which resampling knows nothing.
    """

    member: Member
    scorer: Scorer
    values: Mapping[str, float]
    replicates: Mapping[str, NDArray[np.float64]]
    exact: Intervals

    def estimate(self, metric: str) -> Estimate:
        """With the interval from patients alone."""
        if metric in self.exact:
            return Estimate(self.values[metric], *self.exact[metric])
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
        """Of each member."""
        return [member.values[metric] for member in self.members]

    def value(self, metric: str) -> float:
        """Mean over the members."""
        return float(np.mean(self.each(metric)))

    def estimate(self, metric: str) -> Estimate:
        """With the interval from patients and, where there are several members, trainings: the squared standard errors
        of both add up, with Welch and Satterthwaite's degrees of freedom (``across_seeds``)."""
        if len(self.members) == 1:
            return self.members[0].estimate(metric)
        value, se = self.value(metric), standard_error(self.replicates(metric))
        if not math.isfinite(value + se):
            return Estimate(value)
        found = across_seeds(self.each(metric), np.zeros(len(self.members)), se, self.patients)
        return Estimate(value, max(found.both_low, 0.0), min(found.both_high, 1.0))  # every metric is a share

    @property
    def patients(self) -> int:
        """How many any member has predicted."""
        return len({str(patient) for scored in self.members for patient in scored.member.sample.patients})

    def replicates(self, metric: str) -> NDArray[np.float64]:
        """(replicates,) means over the members on the drawn patients; none with fewer than two patients."""
        return np.mean([member.replicates.get(metric, np.empty(0)) for member in self.members], axis=0)


def standard_error(drawn: NDArray[np.float64]) -> float:
    """Of a figure, from its replicates; NaN where these define no interval."""
    return float(drawn[np.isfinite(drawn)].std(ddof=1)) if math.isfinite(percentile(drawn)[0]) else math.nan


def score(arm: Arm, patients: Sequence[str], positive: int | None) -> ScoredArm:
    """Score an arm.

    Args:
        arm: of classification, multilabel or segmentation.
        patients: all of the study, so that all arms are resampled alike.
        positive: index of the positive class of two.
    """
    place = {patient: index for index, patient in enumerate(patients)}
    members = []
    for member in arm.members:
        scorer = scorer_of(member, place, positive)
        values = {name: float(each[0]) for name, each in scorer(np.ones((1, len(place)))).items()}
        drawn = distribution(scorer, len(place)) if len(place) > 1 else {}
        members.append(Scored(member, scorer, values, drawn, _exact(member, values, positive)))
    return ScoredArm(arm, tuple(members))


def _exact(member: Member, values: Mapping[str, float], positive: int | None) -> Intervals:
    """The binomial bounds that ``bootstrap`` gives where all images, or none, are right."""
    sample = member.sample
    if sample.kind != "classification":
        return {}
    found: Intervals = {}
    if values["accuracy"] in (0, 1):
        found |= bootstrap.single_label(sample.labels, sample.values, sample.patients)
    if positive is not None:
        for threshold, suffix in ((0.5, ""), (threshold_of(member), "_at_threshold")):
            if threshold is not None and any(values[name + suffix] in (0, 1) for name in AT_THRESHOLD):
                sided = bootstrap.binary(
                    sample.labels, sample.values[:, positive], sample.patients, positive, threshold
                )
                found |= {name + suffix: sided[name] for name in AT_THRESHOLD if name in sided}
    return {name: ends for name, ends in found.items() if values[name] in (0, 1)}


def scorer_of(member: Member, place: Mapping[str, int], positive: int | None) -> Scorer:
    """What scores a member's sample for any weights of the patients, whose index is ``place``."""
    sample = member.sample
    patient = np.array([place[str(name)] for name in sample.patients], dtype=np.int64)
    if sample.kind == "segmentation":
        return _organs(sample, patient, len(place))
    if sample.kind == "multilabel":
        return weighted.multi_label(
            sample.labels.astype(np.float64), sample.values, patient, len(place), sample.networks
        )
    plain = weighted.single_label(sample.labels, sample.values, patient, len(place), sample.networks)
    if positive is None:
        return plain
    truth, chances = sample.labels == positive, sample.values[:, positive]
    half = weighted.binary(truth, chances, patient, len(place))
    chosen = threshold_of(member)
    picked = None if chosen is None else weighted.binary(truth, chances, patient, len(place), chosen)

    def both(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = plain(times)
        sided = half(times)
        found |= {name: sided[name] for name in TOLD_FROM_ONE_SIDE}
        if picked is not None:
            sided = picked(times)
            found |= {f"{name}_at_threshold": sided[name] for name in AT_THRESHOLD}
        return found

    return both


def threshold_of(member: Member) -> float | None:
    """The operating point that a training chose on validation; None where folds are put together or none was."""
    value = (member.runs[0].record.threshold or {}).get("value")
    return float(value) if len(member.runs) == 1 and isinstance(value, int | float) else None


def _organs(sample: Sample, patient: NDArray[np.int64], count: int) -> Scorer:
    """Means over the cases that define an organ's score; ``iou_mean`` and ``dice_mean`` are means over the organs that
    any case defines."""
    columns = {name: sample.values[:, place] for place, name in enumerate(sample.columns)}
    organs = weighted.means(columns, patient, count)
    there = [name for name, values in columns.items() if np.isfinite(values).any()]
    kinds = {kind: organ_columns(there, kind) for kind in ("iou", "dice")}

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = organs(times)
        means = {f"{kind}_mean": np.mean([found[n] for n in names], axis=0) for kind, names in kinds.items() if names}
        return found | means

    return score


def organ_columns(columns: Sequence[str], kind: str) -> list[str]:
    """Columns of single organs, "iou" or "dice"."""
    return [name for name in columns if name.startswith(f"{kind}_") and name != f"{kind}_mean"]
