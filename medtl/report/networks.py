"""Networks against each other from the same start: McNemar's test of their answers to the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medtl.metrics import paired
from medtl.metrics.compare import Comparison, compare_models
from medtl.report.arms import Study
from medtl.report.compare import averaged
from medtl.report.layout import Field, Group, Row, Section, Table
from medtl.report.scores import ScoredArm, Scores
from medtl.report.tables import set_name
from medtl.report.words import NONE, count, interval, p_value, signed

MOST = 8  # networks, of which every two are compared


@dataclass(frozen=True)
class Pair:
    """Two networks from one start, and how their answers differ."""

    init: str
    first: str
    second: str
    found: Comparison


def networks(study: Study, scored: Scores) -> Section:
    """Return the section; empty unless each row is a network of its own, and there are two to eight of them."""
    title = "Networks against each other"
    tuned = {key: arm for key, arm in scored.items() if not arm.arm.runs[0].record.is_probe}
    rows = [row for row in study.rows if any(key[0] == row for key in tuned)]
    alone = len({arm.arm.backbone for arm in tuned.values()}) == len(rows)
    if study.kind != "classification" or not alone or not 2 <= len(rows) <= MOST:
        return Section("networks", title)
    found = [
        Pair(init, first, second, compared)
        for init in study.inits
        for first, second in combinations(rows, 2)
        if (compared := _compared(tuned.get((first, init)), tuned.get((second, init)))) is not None
    ]
    return Section("networks", title, tables=[_table(study, found)] if found else [])


def _compared(own: ScoredArm | None, other: ScoredArm | None) -> Comparison | None:
    """Two arms whose trainings all predicted the same images; None where they did not, or one is not there."""
    if own is None or other is None:
        return None
    sets = {frozenset(scored.member.sample.names) for arm in (own, other) for scored in arm.members}
    if len(sets) > 1:
        return None
    mine, theirs = averaged(own), averaged(other)
    return compare_models(mine.labels, mine.values, theirs.values, mine.patients)


def _table(study: Study, found: Sequence[Pair]) -> Table:
    adjusted = paired.holm(np.array([pair.found.discordance.p for pair in found]))
    rows: list[Row] = []
    for init in study.inits:
        own = [(pair, p) for pair, p in zip(found, adjusted, strict=True) if pair.init == init]
        rows += [Group(init)] if own else []
        for pair, p in own:
            gap, apart = pair.found.accuracy, pair.found.discordance
            said = [
                signed(gap.value),
                interval(gap.low, gap.high, sign=True) or NONE,
                f"{apart.first_only:,}",
                f"{apart.second_only:,}",
                p_value(apart.p),
            ]
            name = Field(f"{pair.first} less {pair.second}", left=True)
            rows.append([name, *map(Field, said), Field(p_value(float(p)), strong=bool(p < 0.05))])
    header = ["accuracy", "95 % interval", "right: first only", "right: second only", "McNemar p", "p adjusted"]
    caption = f"Accuracy of two networks from the same start on the same images of the {set_name(study)}."
    notes = [
        "Of the answers by probabilities averaged over trainings; interval: bootstrap of whole patients. What another "
        "seed would have given is in neither.",
        "McNemar: exact; patients with several images are flipped as a whole. Adjusted: after Holm, over all "
        f"{count(len(found), 'pair')} of this table; bold below 0.05.",
    ]
    return Table(caption, [Field("networks", left=True), *map(Field, header)], rows, notes)
