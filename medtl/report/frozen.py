"""Frozen features and fine-tuning of the same starts: whether the quick answer orders them as the slow one does."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from medtl.metrics.bootstrap import percentile
from medtl.report.arms import Arm, Study
from medtl.report.layout import Field, Group, Section, Table
from medtl.report.scores import ScoredArm
from medtl.report.tables import set_name
from medtl.report.words import NONE, count, metric_name, number, span

FEWEST = 3  # starts, of which an order can be compared
Scores = Mapping[tuple[str, str], ScoredArm]


def frozen_and_tuned(study: Study, scored: Scores, metric: str) -> Section:
    """Return the starts that were probed and fine-tuned, side by side, with Spearman's rank correlation for each head;
    nothing where there are no such starts."""
    title = "Frozen features and fine-tuning"
    tuned = {_start(arm): key for key, arm in study.arms.items() if not _is_frozen(arm)}
    frozen = [(key, arm) for key, arm in study.arms.items() if _is_frozen(arm) and _start(arm) in tuned]
    if not frozen:
        return Section("frozen", title)
    name = metric_name(metric)
    header = [Field("start", left=True), Field(f"{name}, frozen"), Field(f"{name}, fine-tuned")]
    rows: list[Sequence[Field] | Group] = []
    notes = []
    for head in dict.fromkeys(_head(arm) for _, arm in frozen):
        own = [(key, tuned[_start(arm)], arm) for key, arm in frozen if _head(arm) == head]
        rows.append(Group(f"head {head}"))
        pairs, drawn = [], []
        for key, other, arm in own:
            both = [scored[each].estimate(metric) for each in (key, other)]
            pairs.append([each.value for each in both])
            drawn.append([scored[each].replicates(metric) for each in (key, other)])
            label = f"{arm.backbone} {arm.init}" + (f", {arm.fraction:g} of the patients" if arm.fraction != 1 else "")
            fields = [Field(number(each.value), span(each.low, each.high)) for each in both]
            rows.append([Field(label, init=arm.init, left=True), *fields])
        notes.append(f"Head {head}: {_correlation(pairs, drawn)}.")
    caption = f"{name} of the same starts on the {set_name(study)}: a head on frozen features, and all weights trained."
    text = (
        "A probe takes minutes and fine-tuning hours; whether the first orders the starts as the second does has to be "
        "seen on each data set."
    )
    return Section("frozen", title, [text], tables=[Table(caption, header, rows, notes)])


def rank_agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two scores in each replicate.

    Args:
        first, second: (starts, replicates) scores of the same starts on the same drawn patients.

    Returns:
        (replicates,) in [−1, 1]; NaN where a score is not defined, or all starts have the same one.
    """
    sides = [rankdata(side, axis=0) - (len(side) + 1) / 2 for side in (first, second)]
    spread = np.sqrt((sides[0] ** 2).sum(axis=0) * (sides[1] ** 2).sum(axis=0))
    together = (sides[0] * sides[1]).sum(axis=0)
    known = (spread > 0) & np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    return np.divide(together, spread, out=np.full(spread.shape, np.nan), where=known)


def _correlation(pairs: Sequence[Sequence[float]], drawn: Sequence[Sequence[NDArray[np.float64]]]) -> str:
    known = [pair for pair in pairs if all(math.isfinite(value) for value in pair)]
    starts = count(len(known), "start")
    if len(known) < FEWEST:
        return f"of {starts} no rank correlation is told"
    if any(len(set(side)) < 2 for side in zip(*known, strict=True)):
        return f"rank correlation {NONE}: all {starts} are alike"
    found = float(spearmanr(*zip(*known, strict=True)).statistic)
    low, high = math.nan, math.nan
    if all(len(side) for pair in drawn for side in pair):
        low, high = percentile(rank_agreement(*(np.array(side) for side in zip(*drawn, strict=True))))
    covered = f" (95 % interval of the patients {number(low, 2)} to {number(high, 2)})" if math.isfinite(low) else ""
    return f"Spearman's rank correlation {number(found, 2)}{covered} over {starts}; of so few starts it is uncertain"


def _is_frozen(arm: Arm) -> bool:
    return arm.runs[0].record.is_probe


def _head(arm: Arm) -> str:
    return str(arm.runs[0].record.head.get("name", NONE))


def _start(arm: Arm) -> tuple[str, str, float]:
    """What a probe and a fine-tuning of one start have in common; files of one name have their hash behind it."""
    return arm.backbone, arm.init, arm.fraction
