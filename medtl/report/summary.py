"""The report in a few plain sentences."""

import math
from collections.abc import Mapping, Sequence

from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Section
from medtl.report.scores import ScoredArm
from medtl.report.tables import set_name, sizes
from medtl.report.words import count, interval, listed, metric_name, number, p_phrase, signed

Scores = Mapping[tuple[str, str], ScoredArm]


def summary(
    study: Study, scored: Scores, found: Sequence[Comparison], baseline: str, metric: str, leaks: Sequence[str]
) -> Section:
    """Which start is best, whether its lead is real, and on how much that rests."""
    items = [("plain", _row(study, scored, found, row, metric, baseline)) for row in study.rows]
    seeds = f"{count(len(study.seeds), 'seed')} ({', '.join(map(str, study.seeds))})"
    folds = len({run.fold for run in study.found.runs if run.fold is not None})
    with_folds = f", {count(folds, 'fold')}" if folds else ""
    runs = count(len(study.found.runs), "run")
    items.append(("plain", f"Measured on {sizes(study)} ({set_name(study)}), {seeds}{with_folds}, {runs}."))
    if len(study.seeds) == 1:
        items.append(
            ("bad", "One seed only: another seed may change the order of the starts, and no interval covers that.")
        )
    if study.found.absent:
        names = sorted({(a.backbone, a.init) for a in study.found.absent})
        which = listed([f"{b} {i}" for b, i in names][:4]) + (", …" if len(names) > 4 else "")
        items.append(
            ("bad", f"{count(len(study.found.absent), 'run')} not counted ({which}): see the table of absent runs.")
        )
    items += [("bad", f"Possible leak: {text}") for text in leaks]
    return Section("summary", "Summary", items=items)


def _row(study: Study, scored: Scores, found: Sequence[Comparison], row: str, metric: str, baseline: str) -> str:
    name = metric_name(metric)
    values = {init: scored[row, init].value(metric) for init in study.inits if (row, init) in scored}
    defined = {init: value for init, value in values.items() if math.isfinite(value)}
    if not defined:
        return f"{row}: {name} is not defined on this split."
    best = max(defined, key=lambda init: defined[init])
    estimate = scored[row, best].estimate(metric)
    ends = interval(estimate.low, estimate.high)
    reached = f"{name} {number(estimate.value)}" + (f" (95 % interval {ends})" if ends else "")
    if len(defined) == 1:
        return f"{row}: {best} reaches {reached}; there is no other start to compare it with."
    own = {each.init: each for each in found if each.row == row and each.metric == metric}
    if best == baseline:
        real = [each for each in own.values() if each.real]
        tail = f"ahead of {listed([each.init for each in real])} by more than chance explains"
        if not real:
            tail = "its lead may be chance"
        return (
            f"{row}: the baseline {best} is best, {reached}; {tail} (p adjusted for {count(len(found), 'comparison')})."
        )
    sentence = f"{row}: {best} is best, {reached}"
    if best not in own:
        return f"{sentence}; nothing to compare it with, for {baseline or 'a baseline'} is absent."
    return f"{sentence}; {_against(own[best], baseline)}"


def _against(each: Comparison, baseline: str) -> str:
    ends = interval(each.difference.low, each.difference.high, sign=True)
    lead = f"{signed(each.difference.value)} against {baseline}" + (f" ({ends})" if ends else "")
    if not math.isfinite(each.adjusted):
        return f"{lead}, without a test."
    verdict = "more than chance explains" if each.real else "which chance may explain"
    return f"{lead}, adjusted {p_phrase(each.adjusted)}: {verdict}."
