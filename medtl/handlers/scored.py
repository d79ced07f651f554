"""A split's predictions with its metrics, and how several splits become predictions.csv and metrics.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ignite.engine import Engine

from medtl.datalist import DataList, Entry
from medtl.entries import owner
from medtl.metrics import registry
from medtl.metrics.bootstrap import intervals as intervals_of
from medtl.metrics.ignite import Predictions
from medtl.metrics.operating_point import Threshold, choose_threshold
from medtl.metrics.registry import split_of
from medtl.writers.tables import Table, write_metrics, write_predictions

OF_EACH = ("auc", "average_precision")  # metrics of each finding by itself

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Scored:
    """One split, scored.

    Attributes:
        split: short name.
        entries: of the data list, in the order of the predictions.
        predictions: of the network.
        metrics: ``<split>_<metric>`` to value.
    """

    split: str
    entries: Sequence[Entry]
    predictions: Predictions
    metrics: Mapping[str, float]

    def state_dict(self) -> dict[str, Any]:
        """Return it as tensors and plain numbers, for a checkpoint; the entries are the data list's."""
        found = self.predictions
        arrays = {"index": found.index, "labels": found.labels, "probabilities": found.probabilities}
        return {
            "split": self.split,
            **{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()},
            "metrics": {name: float(value) for name, value in self.metrics.items()},
        }


def threshold(positive: int | None, classes: Sequence[str], rule: str) -> Threshold | None:
    """Return what a config names; None where no class is the positive one."""
    return None if positive is None else Threshold(positive, classes[positive], rule)


def scored(engine: Engine, listed: DataList, split: str) -> Scored:
    """Return what an evaluator's last epoch found on ``split``."""
    predictions = engine.state.predictions
    entries = [listed.split(split)[index] for index in predictions.index]
    own = {name: value for name, value in engine.state.metrics.items() if name.startswith(f"{split}_")}
    return Scored(split, entries, predictions, own)


def from_state(state: Mapping[str, Any], listed: DataList) -> Scored:
    """Return what ``Scored.state_dict`` holds, of the same data list."""
    arrays = {name: state[name].numpy() for name in ("index", "labels", "probabilities")}
    entries = [listed.split(state["split"])[index] for index in arrays["index"]]
    return Scored(state["split"], entries, Predictions(**arrays), state["metrics"])


def choose(wanted: Threshold | None, validated: Scored) -> Threshold | None:
    """Return the operating point by its rule on validation, without a value where validation has one class only; None
    where there is none."""
    if wanted is None or len(np.unique(validated.predictions.labels)) < 2:
        return wanted
    positive = validated.predictions.labels == wanted.positive
    scores = validated.predictions.probabilities[:, wanted.positive]
    return replace(wanted, value=choose_threshold(positive, scores, wanted.rule))


def write_scored(
    folder: Path,
    listed: DataList,
    splits: Sequence[Scored],
    threshold: Threshold | None = None,
    intervals: bool = False,
) -> dict[str, float]:
    """Write ``predictions.csv`` and ``metrics.json``.

    Args:
        folder: the run's.
        listed: the data list, which names task and classes.
        splits: in the order of their rows.
        threshold: whose class is the positive one; where it has a value, adds the scores at this operating point,
            ``<split>_<metric>_at_threshold``.
        intervals: adds ``_lo`` and ``_hi`` (95 %, by patient); left out while training goes on, for they take time.

    Returns:
        What metrics.json holds.
    """
    tables = [Table(each.split, each.entries, each.predictions.probabilities) for each in splits]
    write_predictions(folder / "predictions.csv", tables, listed.classes, listed.task)
    metrics: dict[str, float] = {}
    positive, value = (threshold.positive, threshold.value) if threshold else (None, None)
    for each in splits:
        metrics |= with_intervals(each, listed.classes, positive, value) if intervals else each.metrics
    if value is not None:
        metrics["val_threshold"] = value
    write_metrics(folder / "metrics.json", metrics)
    return metrics


def with_intervals(
    each: Scored, classes: Sequence[str], positive: int | None = None, threshold: float | None = None
) -> dict[str, float]:
    """Return a split's metrics with those by which no epoch is chosen, those at the operating point, of several labels
    those of each finding (``auc_<finding>``), and ``_lo`` and ``_hi`` (95 %, by patient) beside every one that has an
    interval.

    Args:
        each: the split.
        classes: names in index order.
        positive: index of the positive class of two.
        threshold: with ``positive``, the operating point.
    """
    predictions = each.predictions
    patients = np.array([owner(entry) for entry in each.entries])
    whole = split_of(predictions.labels, predictions.probabilities, patients)
    values = {name.removeprefix(f"{each.split}_"): value for name, value in each.metrics.items()}
    values |= {name: value for name, value in registry.told(whole, positive).items() if name not in values}
    found: dict[str, tuple[float, float]] = {}
    for part, wanted in registry.sides(whole, positive):
        found |= intervals_of(part, wanted=wanted)
    if whole.kind == "multi_label":
        alone = of_findings(registry.scorer(whole)(np.ones((1, whole.count))), classes)
        values |= {name: float(value[0]) for name, value in alone.items()}
        found |= of_findings(found, classes)
    if positive is not None and threshold is not None:
        called = replace(whole, positive=positive, threshold=threshold)
        answers = [metric for metric in registry.of_kind("positive") if metric.needs == "answers"]
        there, around = registry.values(called, answers), intervals_of(called, wanted=answers)
        values |= {f"{name}_at_threshold": value for name, value in there.items()}
        found |= {f"{name}_at_threshold": ends for name, ends in around.items()}
    return _named(each.split, values, found)


def of_findings(found: Mapping[str, T], classes: Sequence[str]) -> dict[str, T]:
    """Return those metrics that are of single findings, such as ``auc_3``, under the finding's name."""
    names = {f"{metric}_{place}": f"{metric}_{name}" for metric in OF_EACH for place, name in enumerate(classes)}
    return {names[name]: value for name, value in found.items() if name in names}


def _named(split: str, values: Mapping[str, float], found: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Under the names of metrics.json, each interval behind its value."""
    result: dict[str, float] = {}
    for name, value in values.items():
        result[f"{split}_{name}"] = value
        if name in found:
            result[f"{split}_{name}_lo"], result[f"{split}_{name}_hi"] = found[name]
    return result
