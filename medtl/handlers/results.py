"""What a run leaves behind: the best weights, their predictions and metrics, and the record of how they came to be."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.bundle.boundary import one_line
from medtl.bundle.provenance import RunRecord
from medtl.console import tell
from medtl.datalist import DataList
from medtl.handlers.scored import Scored, Threshold, choose, from_state, scored, write_scored
from medtl.writers.checkpoint import write_tensors

OPENED_ONCE = "opened once, after the best epoch was chosen on validation"


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
        self.scored: Scored | None = None

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Those of the best epoch."""
        return self.scored.metrics if self.scored else {}

    @one_line
    def _compare(self, engine: Engine) -> None:
        value = engine.state.metrics[self.key_metric]
        if self.best_epoch and not value > self.best:
            return
        self.best = value if math.isfinite(value) else -math.inf
        self.best_epoch = engine.state.epoch
        self.scored = scored(engine, self.listed, self.split)
        self.write()

    def write(self) -> None:
        """``model.pt`` from the network as it is, with the best epoch's predictions and metrics, on the first
        process."""
        if idist.get_rank() == 0 and self.scored is not None:
            save_weights(self.network, self.folder / "model.pt")
            write_scored(self.folder, self.listed.classes, [self.scored])

    def state_dict(self) -> dict[str, Any]:
        """The best epoch and what was predicted in it."""
        kept = {"best": float(self.best), "best_epoch": self.best_epoch}
        return kept if self.scored is None else {**kept, "scored": self.scored.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing with the best epoch of that state."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.scored = from_state(state["scored"], self.listed) if "scored" in state else None


class OpenTest:
    """Trainer handler: when training is over, the best weights meet the test split, for the first and only time.

    Args:
        network: filled with the best weights; not wrapped by DDP.
        output_dir: the run's folder.
        best: the handler that kept the best epoch.
        evaluator: of the test split, its scores attached.
        listed: the data list; without a test split nothing happens.
    """

    def __init__(
        self, network: torch.nn.Module, output_dir: str, best: KeepBest, evaluator: Engine, listed: DataList
    ) -> None:
        self.network = network
        self.folder = Path(output_dir)
        self.best = best
        self.evaluator = evaluator
        self.listed = listed
        self.scored: Scored | None = None

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it before ``FinishRun``."""
        engine.add_event_handler(Events.COMPLETED, self._open)

    @one_line
    def _open(self, engine: Engine) -> None:
        if not self.listed.test:
            return
        idist.barrier()  # the first process has written the weights by now
        state = torch.load(self.folder / "model.pt", map_location="cpu", weights_only=True)
        self.network.load_state_dict(state)
        self.evaluator.run()
        self.scored = scored(self.evaluator, self.listed, "test")


class FinishRun:
    """Trainer handler: intervals of what was measured, the closed ``run.json``, and one line that says what came out.

    Args:
        output_dir: the run's folder.
        best: the handler that kept the best epoch.
        record: the run's record.
        chance: what guessing would give, beside which the result is told.
        threshold: how the operating point is chosen on validation; None where no class is the positive one.
        test: the handler that opened the test split, where there is one.
    """

    def __init__(
        self,
        output_dir: str,
        best: KeepBest,
        record: RunRecord,
        chance: float,
        threshold: Threshold | None = None,
        test: OpenTest | None = None,
    ) -> None:
        self.folder = Path(output_dir)
        self.best = best
        self.record = record
        self.chance = chance
        self.threshold = threshold
        self.test = test

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the validation."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    @one_line
    def _finish(self, engine: Engine) -> None:
        if idist.get_rank() or self.best.scored is None:
            return
        splits = [self.best.scored]
        outcome: dict[str, Any] = {"epochs": engine.state.epoch, "best_epoch": self.best.best_epoch}
        if self.test is not None and self.test.scored is not None:
            splits.append(self.test.scored)
            outcome["test"] = OPENED_ONCE
        threshold = choose(self.threshold, self.best.scored)
        if threshold is not None:
            outcome["threshold"] = threshold.as_record()
        metrics = write_scored(self.folder, self.best.listed.classes, splits, threshold, intervals=True)
        self.record.close(self.folder, **outcome, metrics=finite(metrics))
        name = self.best.key_metric
        what = f"best epoch {self.best.best_epoch} of {engine.state.epoch}: {name} {self.best.metrics[name]:.3f}"
        on_test = name.replace("val_", "test_", 1)
        tested = f", {on_test} {metrics[on_test]:.3f}" if on_test in metrics else ""
        tell(f"{what} (chance {self.chance:.3f}){tested}; weights, predictions and metrics in {self.folder}")


class SaveScores:
    """Evaluator handler of an evaluation: ``predictions.csv`` and ``metrics.json`` of the split, and one last line.

    Args:
        output_dir: the run's folder.
        listed: the data list.
        split: name of the evaluated split.
        record: the run's record, closed here.
        key_metric: named in the last line.
        threshold: the operating point that was chosen when these weights were trained.
    """

    def __init__(
        self,
        output_dir: str,
        listed: DataList,
        split: str,
        record: RunRecord,
        key_metric: str,
        threshold: Threshold | None = None,
    ) -> None:
        self.folder = Path(output_dir)
        self.listed = listed
        self.split = split
        self.record = record
        self.key_metric = key_metric
        self.threshold = threshold

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    @one_line
    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        what = scored(engine, self.listed, self.split)
        metrics = write_scored(self.folder, self.listed.classes, [what], self.threshold, intervals=True)
        self.record.close(self.folder, evaluated_split=self.split, metrics=finite(metrics))
        name = f"{self.split}_{self.key_metric}"
        count = len(self.listed.split(self.split))
        tell(f"{name} {what.metrics[name]:.3f} on {count:,} entries; in {self.folder}")


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """The network's plain state dict on the CPU, durable before it takes the old one's place."""
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    write_tensors(state, path)


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics as JSON can hold them."""
    return json.loads(json.dumps({k: v if math.isfinite(v) else None for k, v in metrics.items()}))
