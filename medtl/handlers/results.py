"""What a run leaves behind: the best weights, their predictions and metrics, and the record of how they came to be."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.bundle.boundary import one_line
from medtl.bundle.provenance import RunRecord
from medtl.console import tell
from medtl.datalist import DataList, Entry
from medtl.metrics import bootstrap
from medtl.metrics.ignite import Predictions, class_probabilities
from medtl.writers.atomic import replacing
from medtl.writers.tables import write_metrics, write_predictions


class KeepBest:
    """Evaluator handler of a training run: whenever the key metric improves, ``model.pt``, ``predictions.csv`` and
    ``metrics.json``.

    The three are always of the same epoch. A metric that is not a number never counts as an improvement over one that
    is, but the first epoch is kept whatever its metric, so that a run always leaves weights.

    Args:
        network: whose state is saved; not wrapped by DDP.
        output_dir: the run's folder.
        key_metric: name in ``engine.state.metrics``; larger is better.
        listed: the data list that is validated on.
        split: short name of the validated split.
    """

    def __init__(
        self, network: torch.nn.Module, output_dir: str, key_metric: str, listed: DataList, split: str = "val"
    ) -> None:
        self.network = network
        self.folder = Path(output_dir)
        self.key_metric = key_metric
        self.listed = listed
        self.split = split
        self.best = -math.inf
        self.best_epoch = 0
        self.metrics: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    @one_line
    def _compare(self, engine: Engine) -> None:
        value = engine.state.metrics[self.key_metric]
        if self.best_epoch and not value > self.best:
            return
        self.best = value if math.isfinite(value) else -math.inf
        self.best_epoch = engine.state.epoch
        self.metrics = dict(engine.state.metrics)
        if idist.get_rank() == 0:
            save_weights(self.network, self.folder / "model.pt")
            save_scores(engine, self.folder, self.listed, self.split)


class SaveScores:
    """Evaluator handler of an evaluation: ``predictions.csv`` and ``metrics.json`` of the split, and one last line.

    Args:
        output_dir: the run's folder.
        listed: the data list.
        split: name of the evaluated split.
        record: the run's record, closed here.
        key_metric: named in the last line.
    """

    def __init__(self, output_dir: str, listed: DataList, split: str, record: RunRecord, key_metric: str) -> None:
        self.folder = Path(output_dir)
        self.listed = listed
        self.split = split
        self.record = record
        self.key_metric = key_metric

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    @one_line
    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        save_scores(engine, self.folder, self.listed, self.split)
        self.record.close(self.folder, evaluated_split=self.split, metrics=finite(engine.state.metrics))
        name = f"{self.split}_{self.key_metric}"
        count = len(self.listed.split(self.split))
        tell(f"{name} {engine.state.metrics[name]:.3f} on {count:,} entries; in {self.folder}")


class SavePredictions:
    """Evaluator handler of an inference: ``predictions.csv`` without a label column, and one last line.

    Args:
        output_dir: where to write.
        data: what ``medtl.data.pictures.found`` gave.
        classes: class names in index order.
        multilabel: sigmoid instead of softmax.
    """

    def __init__(
        self, output_dir: str, data: Sequence[Mapping[str, Any]], classes: Sequence[str], multilabel: bool
    ) -> None:
        self.folder = Path(output_dir)
        self.data = data
        self.classes = classes
        self.multilabel = multilabel
        self._logits: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _collect(self, engine: Engine) -> None:
        self._logits.append(engine.state.output["pred"].float().cpu())

    @one_line
    def _save(self, engine: Engine) -> None:
        probabilities = class_probabilities(torch.cat(self._logits), self.multilabel).numpy()
        entries = [{"image": item["name"], "patient": ""} for item in self.data]
        path = self.folder / "predictions.csv"
        write_predictions(path, entries, "inference", self.classes, probabilities)
        tell(f"{len(entries):,} predictions in {path} (not for clinical use)")


class FinishRun:
    """Trainer handler: closes ``run.json`` and says in one line what came out.

    Args:
        output_dir: the run's folder.
        best: the handler that kept the best epoch.
        record: the run's record.
        chance: what guessing would give, beside which the result is told.
    """

    def __init__(self, output_dir: str, best: KeepBest, record: RunRecord, chance: float) -> None:
        self.folder = Path(output_dir)
        self.best = best
        self.record = record
        self.chance = chance

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the validation."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    @one_line
    def _finish(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        name = self.best.key_metric
        self.record.close(
            self.folder, epochs=engine.state.epoch, best_epoch=self.best.best_epoch, metrics=finite(self.best.metrics)
        )
        what = f"best epoch {self.best.best_epoch} of {engine.state.epoch}: {name} {self.best.metrics[name]:.3f}"
        tell(f"{what} (chance {self.chance:.3f}); weights, predictions and metrics in {self.folder}")


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """The network's plain state dict on the CPU, durable before it takes the old one's place."""
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    with replacing(path, durable=True) as part:
        torch.save(state, part)


def save_scores(engine: Engine, folder: Path, listed: DataList, split: str) -> None:
    """``predictions.csv`` and ``metrics.json`` of an evaluator's last epoch."""
    predictions = engine.state.predictions
    entries = [listed.split(split)[index] for index in predictions.index]
    write_predictions(folder / "predictions.csv", entries, split, listed.classes, predictions.probabilities)
    write_metrics(folder / "metrics.json", with_intervals(engine.state.metrics, predictions, entries, split))


def with_intervals(
    metrics: Mapping[str, float], predictions: Predictions, entries: Sequence[Entry], split: str
) -> dict[str, float]:
    """Metrics with ``_lo`` and ``_hi`` (95 %, by patient) beside those that have an interval."""
    if predictions.labels.ndim > 1:  # multi-hot
        return dict(metrics)
    patients = [entry["patient"] for entry in entries]
    guesses = predictions.probabilities.argmax(axis=1)
    found = bootstrap.intervals(predictions.labels, guesses, patients, predictions.probabilities.shape[1])
    result: dict[str, float] = {}
    for name, value in metrics.items():
        result[name] = value
        if name.removeprefix(f"{split}_") in found:
            result[f"{name}_lo"], result[f"{name}_hi"] = found[name.removeprefix(f"{split}_")]
    return result


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics as JSON can hold them."""
    return json.loads(json.dumps({k: v if math.isfinite(v) else None for k, v in metrics.items()}))
