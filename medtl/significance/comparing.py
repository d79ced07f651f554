"""Each of several prediction files against the first, on the same images: DeLong's test or the bootstrap, McNemar's
test, and Holm's correction over all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError
from medtl.metrics import bootstrap, delong, paired, registry, weighted
from medtl.metrics.registry import Split
from medtl.metrics.weighted import Scorer
from medtl.registry import did_you_mean
from medtl.significance.files import Answers

ERROR = "mae"  # of numbers: the mean absolute error
DELONG, CLUSTERED, RESAMPLED = "DeLong", "DeLong, clustered", "bootstrap"


@dataclass(frozen=True)
class Pair:
    """One file against the first.

    Attributes:
        first, second: names of the files.
        values: the metric of each.
        difference: first minus second.
        low, high: its 95 % interval; NaN where none is defined.
        p: two-sided; NaN where it is not defined.
        method: "DeLong", "DeLong, clustered" or "bootstrap".
        bootstrap_low, bootstrap_high, bootstrap_p: the same by resampling whole patients.
        mcnemar_p: exact, of the accuracies; NaN where there are no answers to count.
        first_only, second_only: images that only one of the two got right; None likewise.
        adjusted: p after Holm over all pairs.
    """

    first: str
    second: str
    values: tuple[float, float]
    difference: float
    low: float
    high: float
    p: float
    method: str
    bootstrap_low: float
    bootstrap_high: float
    bootstrap_p: float
    mcnemar_p: float = math.nan
    first_only: int | None = None
    second_only: int | None = None
    adjusted: float = math.nan


@dataclass(frozen=True)
class Compared:
    """All pairs.

    Attributes:
        metric: that is compared.
        positive: name of the positive class; empty where there is none.
        by: what images are grouped by; empty where each stands for itself.
        images, owners: how many there are (an image of several classes counts for each), and of how many patients (or
            what ``by`` names).
        left_out: images that not all files have.
        pairs: each file against the first.
        split: that is compared; empty where the files name none.
    """

    metric: str
    positive: str
    by: str
    images: int
    owners: int
    left_out: int
    pairs: tuple[Pair, ...]
    split: str = ""

    @property
    def told(self) -> str:
        """Return the metric, with the positive class where it is another figure from the other side."""
        known = registry.metrics().get(self.metric)
        by_side = self.positive and known and registry.sided(known) and self.metric != "auc"
        return f"{self.metric} of {self.positive}" if by_side else self.metric

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it: what is not defined is null."""
        return {**asdict(self), "pairs": [_without_nan(asdict(pair)) for pair in self.pairs]}


def compare(
    files: Sequence[Answers], metric: str | None, positive: str | None, by: str | None, left_out: int = 0
) -> Compared:
    """Compare each file with the first.

    Args:
        files: at least two, on the same images in the same order.
        metric: one of ``metrics_of``; None for the first of these.
        positive: name of the positive class of two; None for that of the runs beside the files, or else the second.
        by: what the files' owners are called; None where each image stands for itself.
        left_out: images that not all had.

    Raises:
        UsageError: no such metric or class, the runs name different classes positive, or the scores are no
            probabilities and the metric needs some.
    """
    first = files[0]
    known = metrics_of(first)
    chosen = metric or known[0]
    if chosen not in known:
        raise UsageError(f"--metric {chosen} is not one of {', '.join(known)}{did_you_mean(chosen, known)}")
    if chosen != "auc" and first.classes and not all(each.probabilities for each in files):
        raise UsageError(f"--metric {chosen} needs probabilities, 0 to 1; of other scores only auc can be compared")
    place = _positive(files, positive)
    owners = np.array(first.owners if first.owners is not None else first.ids)
    by = by or ("image" if first.owners is not None else "")
    patient, count = weighted.by_patient(owners)
    found = [_pair(first, other, chosen, place, owners, patient, count) for other in files[1:]]
    adjusted = paired.holm([pair.p for pair in found])
    pairs = tuple(replace(pair, adjusted=float(p)) for pair, p in zip(found, adjusted, strict=True))
    named = first.classes[place] if place is not None else ""
    return Compared(chosen, named, by, len(first.ids), count, left_out, pairs)


def metrics_of(answers: Answers) -> tuple[str, ...]:
    """Return the names of the metrics that a file lets one compare."""
    if answers.task == "regression":
        return (ERROR,)
    if answers.task == "multilabel":
        return tuple(metric.name for metric in registry.of_kind("multi_label"))
    kinds = ("single_label", "positive") if len(answers.classes) == 2 else ("single_label",)
    return tuple(name for name, metric in registry.metrics().items() if set(metric.kinds) & set(kinds))


def _positive(files: Sequence[Answers], positive: str | None) -> int | None:
    """Index of the positive class of two; None where there are not two."""
    first = files[0]
    if positive is not None and positive not in first.classes:
        raise UsageError(f"--positive {positive} is not one of {', '.join(first.classes) or 'no classes'}")
    if first.task != "classification" or len(first.classes) != 2:
        if positive is not None:
            raise UsageError(f"--positive {positive}: only of two classes one is the positive one")
        return None
    named = {each.positive for each in files} - {""} if positive is None else {positive}
    if len(named) > 1:
        raise UsageError(f"the runs take different classes as positive: {', '.join(sorted(named))}; choose: --positive")
    return first.classes.index(named.pop()) if named else 1


def _pair(
    first: Answers,
    other: Answers,
    metric: str,
    positive: int | None,
    owners: NDArray,
    patient: NDArray[np.int64],
    count: int,
) -> Pair:
    one, two = (_scorer(each, metric, positive, patient, count) for each in (first, other))
    values = [float(scorer(np.ones((1, count)))[metric][0]) for scorer in (one, two)]
    drawn = bootstrap.paired(one, two, count)[metric]
    difference, low, high, p, method = drawn.value, drawn.low, drawn.high, drawn.p, RESAMPLED
    if metric == "auc" and positive is not None:
        alone = count == len(owners)
        truth = first.labels == positive
        scores = [each.scores[:, positive] for each in (first, other)]
        test = delong.paired_test(truth, scores[0], scores[1], None if alone else owners)
        difference, low, high, p = test.value, test.low, test.high, test.p
        method = DELONG if alone else CLUSTERED
    pair = Pair(
        first.name, other.name, (values[0], values[1]), difference, low, high, p, method, drawn.low, drawn.high, drawn.p
    )
    if first.task != "classification" or not (first.probabilities and other.probabilities):
        return pair
    guesses = [each.scores.argmax(axis=1) for each in (first, other)]
    found = paired.mcnemar(first.labels, guesses[0], guesses[1], None if count == len(owners) else owners)
    return replace(pair, mcnemar_p=found.p, first_only=found.first_only, second_only=found.second_only)


def _scorer(answers: Answers, metric: str, positive: int | None, patient: NDArray[np.int64], count: int) -> Scorer:
    if answers.task == "regression":
        return weighted.means({ERROR: np.abs(answers.scores[:, 0] - answers.labels)}, patient, count)
    wanted = registry.metrics()[metric]
    side = positive if registry.sided(wanted) else None
    split = Split(answers.labels, answers.scores, patient, count, positive=side)
    return registry.scorer(split, [wanted])


def _without_nan(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}
