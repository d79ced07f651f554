"""The report in a few plain sentences."""

import math
from collections.abc import Sequence

from medtl.metrics import registry
from medtl.report.arms import Study
from medtl.report.compare import Comparison
from medtl.report.layout import Section
from medtl.report.reference import ONE_CLASS, one_class_only
from medtl.report.scores import ScoredArm, Scores
from medtl.report.settings import in_words
from medtl.report.tables import set_name, sizes
from medtl.report.words import count, interval, listed, metric_name, number, p_phrase, signed

MANY = 6  # rows that are each told in a sentence
EVEN = "no start is shown to differ from {baseline}; chance may explain every difference."


def summary(
    study: Study, scored: Scores, found: Sequence[Comparison], baseline: str, metric: str, leaks: Sequence[str]
) -> Section:
    """Return which starts are better than the baseline by more than chance explains, and on how much that rests."""
    items = [("plain", text) for text in in_words(study, scored, metric, baseline)]
    items += [("plain", text) for text in _rows(study, scored, found, metric, baseline)]
    seeds = f"{count(len(study.seeds), 'seed')} ({', '.join(map(str, study.seeds))})"
    folds = len({run.fold for run in study.found.runs if run.fold is not None})
    with_folds = f", {count(folds, 'fold')}" if folds else ""
    runs = count(len(study.found.runs), "run")
    items.append(("plain", f"Measured on {sizes(study)} ({set_name(study)}), {seeds}{with_folds}, {runs}."))
    outside = list(dict.fromkeys(run.data.name for run in study.found.external))
    if outside:
        items.append(("plain", f"Networks of these runs were validated on {listed(outside)}, too: see below."))
    if len(study.seeds) == 1:
        items.append(
            ("bad", "One seed only: another seed may change the order of the starts, and no interval covers that.")
        )
    elif study.seeds_alike and all(len({m.runs[0].seed for m in arm.members}) == 1 for arm in study.arms.values()):
        items.append(
            (
                "bad",
                "The seeds gave the same predictions and count as one training: other training patients may change "
                "the order of the starts, and no interval covers that.",
            )
        )
    if study.found.absent:
        names = sorted({(a.backbone, a.init) for a in study.found.absent})
        which = listed([f"{b} {i}" for b, i in names][:4]) + (", …" if len(names) > 4 else "")
        items.append(
            ("bad", f"{count(len(study.found.absent), 'run')} not counted ({which}): see the table of absent runs.")
        )
    items += [("bad", f"Possible leak: {text}") for text in leaks]
    return Section("summary", "Summary", items=items)


def _rows(study: Study, scored: Scores, found: Sequence[Comparison], metric: str, baseline: str) -> list[str]:
    """A sentence for each row; of many rows only those that tell something, and a count of the others."""
    own = {row: [each for each in found if (each.row, each.metric) == (row, metric)] for row in study.rows}
    telling = [row for row in study.rows if len(study.rows) <= MANY or _told(own[row], study, scored)]
    texts = [_row(study, scored, found, row, metric, baseline) for row in telling]
    others = [row for row in study.rows if row not in telling]
    even = sum(1 for row in others if own[row])
    if even:
        what = f"{even} of {len(study.rows)} rows of the table" if telling else f"all {even} rows of the table"
        texts.append(f"{_capital(what)}: {EVEN.format(baseline=baseline)}")
    if len(others) > even:
        texts.append(f"{count(len(others) - even, 'row')} of the table: nothing could be compared with another start.")
    return texts


def _row(study: Study, scored: Scores, found: Sequence[Comparison], row: str, metric: str, baseline: str) -> str:
    """No start is called best or better unless the test says that chance does not explain its lead."""
    name = metric_name(metric)
    if study.positive is not None:
        name = f"{name} (positive class: {study.classes[study.positive]})"
    values = {init: scored[row, init].value(metric) for init in study.inits if (row, init) in scored}
    defined = {init: value for init, value in values.items() if math.isfinite(value)}
    if not defined:
        return f"{row}: {name} is not defined on this split."
    lower = registry.lower_is_better(metric)
    first, extreme = (min if lower else max)(defined, key=lambda init: defined[init]), "lowest" if lower else "highest"
    estimate = scored[row, first].estimate(metric)
    ends = interval(estimate.low, estimate.high)
    reached = f"{name} {number(estimate.value)}" + (f" (95 % interval {ends})" if ends else "")
    if len(defined) == 1:
        alone = _alone(study, scored[row, first])
        return f"{row}: {first} reaches {reached}{alone}; there is no other start to compare it with."
    own = [each for each in found if each.row == row and each.metric == metric]
    if not own:
        return (
            f"{row}: {first} has the {extreme} {reached}{_alone(study, scored[row, first])}; nothing could be compared "
            f"with {baseline or 'a baseline'}, so its lead may be chance."
        )
    verdict = _verdict(own, study, scored, baseline)
    return f"{row}: {verdict} {extreme.capitalize()}: {first}, {reached}{_alone(study, scored[row, first])}."


def _verdict(own: Sequence[Comparison], study: Study, scored: Scores, baseline: str) -> str:
    """Who is better or worse than the baseline by more than chance explains; a start that names one class only is
    neither."""
    told = _told(own, study, scored)
    alone = [each for each in own if _names_one(each, study, scored)]
    sides = {
        "better": sorted((each for each in told if each.gain > 0), key=lambda each: -each.gain),
        "worse": sorted((each for each in told if each.gain < 0), key=lambda each: each.gain),
    }
    sentences = [
        f"{side} than {baseline} by more than chance explains: {'; '.join(map(_lead, members))}."
        for side, members in sides.items()
        if members
    ]
    if len(sides["better"]) > 1:
        sentences.append("These were not tested against each other.")
    if alone:
        sentences.append(f"{listed([each.init for each in alone])}: {ONE_CLASS}, whatever the image.")
    if not told:
        text = EVEN.format(baseline=baseline)
        sentences.append(_capital(text) if sentences else text)
    return " ".join(sentences)


def _told(own: Sequence[Comparison], study: Study, scored: Scores) -> list[Comparison]:
    """Those that chance does not explain, without starts that name one class only."""
    return [each for each in own if each.real and not _names_one(each, study, scored)]


def _names_one(each: Comparison, study: Study, scored: Scores) -> bool:
    return one_class_only(study, scored[each.row, each.init]) == ONE_CLASS


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lead(each: Comparison) -> str:
    ends = interval(each.difference.low, each.difference.high, sign=True)
    lead = f"{each.init} {signed(each.difference.value)}" + (f" ({ends})" if ends else "")
    return f"{lead}, adjusted {p_phrase(each.adjusted)}"


def _alone(study: Study, arm: ScoredArm) -> str:
    said = one_class_only(study, arm)
    return f" ({said})" if said else ""
