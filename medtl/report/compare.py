"""Each start against the baseline, on the same images and, training by training, with the same seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import bootstrap, delong, paired, registry, weighted
from medtl.metrics.compare import across_seeds
from medtl.report.arms import Study
from medtl.report.scores import Estimate, ScoredArm, Scores, organ_columns, restricted, score, standard_error
from medtl.runs.predictions import Sample


@dataclass(frozen=True)
class Comparison:
    """A start less the baseline.

    Attributes:
        row: of the main table.
        init, baseline: the two starts.
        metric: that is compared.
        difference: mean over pairs of trainings, with its interval.
        p: two-sided.
        method: of p: "t", "DeLong", "DeLong, clustered", "bootstrap" or "Wilcoxon".
        mcnemar: exact p of the accuracies; NaN but for a classification.
        images: that all trainings of both have predicted.
        pairs: trainings with one seed (and fold).
        partial: trainings or images of one of the two that the other lacks are left out.
        adjusted: p after Holm over all comparisons of the report.
    """

    row: str
    init: str
    baseline: str
    metric: str
    difference: Estimate
    p: float
    method: str
    mcnemar: float
    images: int
    pairs: int
    partial: bool
    adjusted: float = math.nan

    @property
    def gain(self) -> float:
        """Return by how much the start is better than the baseline; below 0 where it is worse."""
        return -self.difference.value if registry.lower_is_better(self.metric) else self.difference.value

    @property
    def real(self) -> bool:
        """Return whether the adjusted p is below 0.05."""
        return self.adjusted < 0.05


def compare(study: Study, scored: Scores, baseline: str, metrics: Sequence[str]) -> tuple[Comparison, ...]:
    """Return every start against ``baseline`` in every row that has both, on each metric; Holm over all of them.

    Rows in which the two share no seed or no image are left out.
    """
    found = []
    for row in study.rows:
        for init in study.inits:
            if init != baseline and (row, init) in scored and (row, baseline) in scored:
                own, other, partial = _matched(study, scored[row, init], scored[row, baseline])
                if own is not None and other is not None:
                    found += _compared(study, own, other, metrics, partial)
    adjusted = paired.holm([each.p for each in found]) if found else np.empty(0)
    return tuple(replace(each, adjusted=float(p)) for each, p in zip(found, adjusted, strict=True))


def _matched(study: Study, own: ScoredArm, other: ScoredArm) -> tuple[ScoredArm | None, ScoredArm | None, bool]:
    """Both arms with the members that both have, on the images that all of these have predicted; pairs of which both
    sides are the same predictions count once."""
    names = [{each.name: scored for scored in arm.members for each in scored.member.all} for arm in (own, other)]
    pairs = dict.fromkeys((scored, names[1][name]) for name, scored in names[0].items() if name in names[1])
    pair = [tuple(pair[side] for pair in pairs) for side in (0, 1)]
    sets = [set(s.member.sample.names) for members in pair for s in members]
    common = set.intersection(*sets) if sets else set()
    if not common:
        return None, None, True
    partial = names[0].keys() != names[1].keys() or any(len(images) > len(common) for images in sets)
    if all(len(images) == len(common) for images in sets):
        return ScoredArm(own.arm, pair[0]), ScoredArm(other.arm, pair[1]), partial
    cut = [
        score(
            restricted(replace(arm.arm, members=tuple(s.member for s in own)), common), study.patients, study.positive
        )
        for arm, own in zip((own, other), pair, strict=True)
    ]
    return cut[0], cut[1], partial


def _compared(
    study: Study, own: ScoredArm, other: ScoredArm, metrics: Sequence[str], partial: bool
) -> list[Comparison]:
    pairs = len(own.members)
    lone = {}
    if pairs == 1:  # with more, the trainings' chance comes in, and the replicates that are there give the patients'
        lone = bootstrap.paired(own.members[0].scorer, other.members[0].scorer, len(study.patients))
    mine, theirs = averaged(own), averaged(other)
    agreed = math.nan
    if study.kind == "classification":
        guesses = mine.values.argmax(axis=1), theirs.values.argmax(axis=1)
        agreed = paired.mcnemar(mine.labels, *guesses, mine.patients).p
    found = []
    for metric in metrics:
        if pairs > 1:
            se = standard_error(own.replicates(metric) - other.replicates(metric))
            both = across_seeds(own.each(metric), other.each(metric), None if math.isnan(se) else se, own.patients)
            estimate, p, method = Estimate(both.value, both.both_low, both.both_high), both.both_p, "t"
        elif metric == "auc" and study.positive is not None and mine.networks is None:
            truth, place = mine.labels == study.positive, study.positive
            alone = len(np.unique(mine.patients)) == len(mine.patients)
            whose = None if alone else mine.patients
            test = delong.paired_test(truth, mine.values[:, place], theirs.values[:, place], whose)
            estimate, p = Estimate(test.value, test.low, test.high), test.p
            method = "DeLong" if alone else "DeLong, clustered"
        else:
            drawn = lone[metric]
            estimate, p, method = Estimate(drawn.value, drawn.low, drawn.high), drawn.p, "bootstrap"
        if study.kind == "segmentation":
            p, method = paired.wilcoxon(by_patient(mine, metric), by_patient(theirs, metric)), "Wilcoxon"
        found.append(
            Comparison(
                own.arm.row, own.arm.init, other.arm.init, metric, estimate, p, method, agreed,
                len(set(mine.images)), pairs, partial,
            )
        )  # fmt: skip
    return found


def averaged(arm: ScoredArm) -> Sample:
    """Return an arm's values, averaged over its members, images in sorted order; of a case that one member leaves
    undefined, none."""
    tables = []
    for scored in arm.members:
        sample = scored.member.sample
        tables.append(sample.rows(np.argsort(np.array(sample.names, dtype=np.str_), kind="stable")))
    first = tables[0]
    values = np.mean([table.values for table in tables], axis=0)
    return replace(first, values=values)


def by_patient(average: Sample, metric: str) -> NDArray[np.float64]:
    """Return (n_patients,) mean over each patient's cases, patients in sorted order; of ``iou_mean`` the mean over the
    organs that a patient has."""
    kind = metric.removesuffix("_mean")
    names = [metric] if metric in average.columns else organ_columns(average.columns, kind)
    table = average.values[:, [average.columns.index(name) for name in names]]
    place, count = weighted.by_patient(average.patients)
    cases = weighted.means({str(c): table[:, c] for c in range(table.shape[1])}, place, count)(np.eye(count))
    organs = np.stack(list(cases.values()))
    there = np.isfinite(organs)
    total = np.where(there, organs, 0.0).sum(axis=0)
    return np.divide(total, there.sum(axis=0), out=np.full(count, np.nan), where=there.any(axis=0))
