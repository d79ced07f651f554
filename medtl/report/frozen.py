"""Frozen features and fine-tuning of the same starts: whether the quick answer orders them as the slow one does."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from medtl.metrics.bootstrap import percentile
from medtl.report.arms import FRACTION, Arm, Study
from medtl.report.layout import Field, Group, Section, Table
from medtl.report.scores import ScoredArm
from medtl.report.tables import set_name, upper
from medtl.report.words import NONE, count, listed, metric_name, number, span

FEWEST = 3  # starts, of which an order can be compared
Scores = Mapping[tuple[str, str], ScoredArm]


def frozen_and_tuned(study: Study, scored: Scores, metric: str) -> Section:
    """Return the starts that were probed and fine-tuned, side by side, with Spearman's rank correlation for each head,
    share of the training patients and settings; nothing where there are no such starts."""
    title, blocks = "Frozen features and fine-tuning", _blocks(study)
    if not blocks:
        return Section("frozen", title)
    name = metric_name(metric)
    header = [Field("start", left=True), Field(f"{name}, frozen"), Field(f"{name}, fine-tuned")]
    rows: list[Sequence[Field] | Group] = []
    notes = []
    for said, own in blocks.items():
        rows.append(Group(said))
        pairs, drawn = [], []
        for arm, other in own:
            sides = [scored[each.row, each.init] for each in (arm, other)]
            both = [side.estimate(metric) for side in sides]
            pairs.append([each.value for each in both])
            drawn.append([side.replicates(metric) for side in sides])
            fields = [Field(number(each.value), span(each.low, each.high)) for each in both]
            rows.append([Field(f"{arm.backbone} {arm.init}", init=arm.init, left=True), *fields])
        notes.append(f"{upper(said)}: {_correlation(pairs, drawn)}.")
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


def _blocks(study: Study) -> dict[str, list[tuple[Arm, Arm]]]:
    """Probes and fine-tunings of the same starts, by all that they have beside the start: more training patients raise
    every start, and settings some, so that starts are ordered within one block alone."""
    found: dict[str, list[tuple[Arm, Arm]]] = defaultdict(list)
    tuned = [arm for arm in study.arms.values() if not arm.is_probe]
    for arm in study.arms.values():
        for other in tuned if arm.is_probe else ():
            if _start(arm) == _start(other):
                found[_said(arm, other)].append((arm, other))
    return found


def _start(arm: Arm) -> tuple[str, str, float]:
    """What a probe and a fine-tuning of one start have in common; files of one name have their hash behind it."""
    return arm.backbone, arm.init, arm.fraction


def _said(probe: Arm, tuned: Arm) -> str:
    """The head, the share of the training patients, and the settings of both where there are several."""
    head = [f"head {probe.runs[0].record.head.get('name', NONE)}", *_settings(probe)]
    share = [f"{probe.fraction:g} of the patients"] if probe.fraction != 1 else []
    how = [f"fine-tuned with {listed(_settings(tuned))}"] if _settings(tuned) else []
    return ", ".join([*head, *share, *how])


def _settings(arm: Arm) -> list[str]:
    return [f"{key} {value}" for key, value in arm.design.items() if key not in ("head", FRACTION)]
