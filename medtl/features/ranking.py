"""Which start is best on validation, and whether its lead on the test split is more than chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.entries import owner
from medtl.features.cells import Cell, Judged, labels_of
from medtl.metrics import bootstrap, delong, registry
from medtl.metrics.compare import across_seeds

PREFERRED = {"classification": ("auc", "accuracy"), "multilabel": ("auc", "accuracy"), "regression": ("mae",)}
REAL = 0.05


@dataclass(frozen=True)
class Standing:
    """A start's place.

    Attributes:
        model: index of the start.
        validation, test: mean of the metric over seeds and folds; NaN where there is none.
    """

    model: int
    validation: float
    test: float


@dataclass(frozen=True)
class Lead:
    """How far the best start by validation lies ahead of the next one on the test split.

    Attributes:
        value: its metric less the other's, turned so that above 0 is better.
        low, high: 95 % interval; NaN where none is defined.
        p: two-sided.
        method: of the test.
    """

    value: float
    low: float
    high: float
    p: float
    method: str

    @property
    def verdict(self) -> str:
        """Return in words whether it is a lead, and what chance may explain."""
        if not self.p < REAL:
            return "which chance may explain"
        return "more than chance explains" if self.value > 0 else "the next one is better by more than chance explains"


def chosen_metric(task: str, results: Mapping[Cell, Judged]) -> str:
    """Return the metric that starts are ranked by: the first of the task's that every cell defines on validation."""
    for name in PREFERRED[task]:
        if all(math.isfinite(found.metrics.get(f"val_{name}", math.nan)) for found in results.values()):
            return name
    return PREFERRED[task][-1]


def higher_is_better(metric: str) -> bool:
    """Return which end of a metric is good."""
    known = registry.metrics().get(metric)
    return known is None or known.higher_is_better


def ranked(results: Mapping[Cell, Judged], metric: str) -> list[Standing]:
    """Return all starts, the best on validation first: means over the seeds and folds of the first head, at the
    largest share of the training patients."""
    compared = _compared(results)
    found = []
    for model in dict.fromkeys(cell.model for cell in compared):
        own = [judged for cell, judged in compared.items() if cell.model == model]
        means = [
            float(np.mean([o.metrics.get(f"{split}_{metric}", math.nan) for o in own])) for split in ("val", "test")
        ]
        found.append(Standing(model, *means))
    sign = -1 if higher_is_better(metric) else 1
    return sorted(found, key=lambda each: (math.isnan(each.validation), sign * each.validation))


def lead(results: Mapping[Cell, Judged], metric: str, first: int, second: int, task: str) -> Lead | None:
    """Return by how much one start leads another on the test split, training by training with the same draw.

    Trainings whose predictions are all the same count once. One pair: DeLong's test of the AUC of two classes, by
    patient, else the patients' bootstrap. Several: the chance of patients and of trainings together
    (``across_seeds``). None where there is no test split.
    """
    compared = _compared(results)
    pairs = []
    for cell, mine in compared.items():
        other = next((r for c, r in compared.items() if c.model == second and _draw(c) == _draw(cell)), None)
        if cell.model == first and other is not None and any(table.split == "test" for table in mine.tables):
            pairs.append((mine, other))
    if not pairs:
        return None
    different = {(one.values("test").tobytes(), two.values("test").tobytes()): (one, two) for one, two in pairs}
    pairs = list(different.values())
    sign = 1 if higher_is_better(metric) else -1
    entries = next(table.entries for table in pairs[0][0].tables if table.split == "test")
    patients, truth = np.array([owner(entry) for entry in entries]), labels_of(entries, task)
    ones, others = (np.stack([pair[side].values("test") for pair in pairs]) for side in (0, 1))
    if len(pairs) == 1 and metric == "auc" and task == "classification" and ones.shape[-1] == 2:
        found = delong.paired_test(truth == 1, ones[0, :, 1], others[0, :, 1], patients)
        return Lead(found.value, found.low, found.high, found.p, "DeLong")
    drawn = _resampled(truth, ones, others, patients, metric)
    if len(pairs) == 1:
        low, high = sorted((sign * drawn.low, sign * drawn.high))
        return Lead(sign * drawn.value, low, high, drawn.p, "bootstrap of patients")
    firsts, seconds = ([pair[side].metrics[f"test_{metric}"] for pair in pairs] for side in (0, 1))
    both = across_seeds(firsts, seconds, None if math.isnan(drawn.se) else drawn.se, len(np.unique(patients)))
    low, high = sorted((sign * both.both_low, sign * both.both_high))
    return Lead(sign * both.value, low, high, both.both_p, "t of patients and draws")


def _compared(results: Mapping[Cell, Judged]) -> dict[Cell, Judged]:
    """The cells that starts are ranked by."""
    head = next(iter(results)).head
    most = max(_share(cell) for cell in results)
    return {cell: found for cell, found in results.items() if cell.head == head and _share(cell) == most}


def _share(cell: Cell) -> float:
    return 1.0 if cell.fraction is None else cell.fraction


def _draw(cell: Cell) -> tuple[int, int | None]:
    return cell.seed, cell.fold


def _resampled(truth: NDArray, ones: NDArray, others: NDArray, patients: NDArray, metric: str) -> bootstrap.Difference:
    found = bootstrap.paired_difference(truth, ones.astype(np.float64), others.astype(np.float64), patients)
    return found[metric]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two scores of the same starts; NaN with fewer than three, or where one
    score is the same for all."""
    from scipy.stats import spearmanr

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return math.nan
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
