"""The best epoch of a training run, whatever it scores: single images or whole cases."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.datalist import DataList
from medtl.metrics import registry
from medtl.writers.checkpoint import write_tensors


class Found(Protocol):
    """One split, predicted and scored."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Return ``<split>_<metric>`` to value."""

    def state_dict(self) -> dict[str, Any]:
        """Return it as tensors and plain numbers, for a checkpoint."""


S = TypeVar("S", bound=Found)


class BestEpoch(ABC, Generic[S]):
    """Evaluator handler of a training run: whenever the key metric improves, ``model.pt``, ``predictions.csv`` and
    ``metrics.json``.

    The three are always of the same epoch. A metric that is not a number never counts as an improvement over one that
    is, but the first epoch is kept whatever its metric, so that a run always leaves weights.

    Args:
        network: whose state is saved; not wrapped by DDP.
        output_dir: the run's folder.
        key_metric: name in ``engine.state.metrics``; the registry of metrics knows whether larger or smaller is better.
        listed: the data list that is validated on.
        split: short name of the validated split.
        last: keep the last epoch, whatever its metric: for training without labels, of which the metric says nothing.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        output_dir: str,
        key_metric: str,
        listed: DataList,
        split: str = "val",
        last: bool = False,
    ) -> None:
        self.network = network
        self.folder = Path(output_dir)
        self.key_metric = key_metric
        self.sign = -1 if registry.lower_is_better(key_metric.removeprefix(f"{split}_")) else 1
        self.listed = listed
        self.split = split
        self.last = last
        self.best = -math.inf
        self.best_epoch = 0
        self.scored: S | None = None

    @abstractmethod
    def found(self, engine: Engine, split: str) -> S:
        """Return what an evaluator's last epoch found on ``split``."""

    @abstractmethod
    def _write_tables(self, scored: S) -> None:
        """``predictions.csv`` and ``metrics.json``."""

    @abstractmethod
    def _restored(self, state: Mapping[str, Any]) -> S:
        """What ``Found.state_dict`` holds, of the same data list."""

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Return those of the best epoch."""
        return self.scored.metrics if self.scored else {}

    def _compare(self, engine: Engine) -> None:
        value = self.sign * engine.state.metrics[self.key_metric]
        if self.best_epoch and not self.last and not value > self.best:
            return
        self.best = value if math.isfinite(value) else -math.inf
        self.best_epoch = engine.state.epoch
        self.scored = self.found(engine, self.split)
        self.write()

    def write(self) -> None:
        """Write ``model.pt`` from the network as it is, with the best epoch's predictions and metrics, on the first
        process."""
        if idist.get_rank() == 0 and self.scored is not None:
            save_weights(self.network, self.folder / "model.pt")
            self._write_tables(self.scored)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch and what was predicted in it."""
        kept = {"best": float(self.best), "best_epoch": self.best_epoch}
        return kept if self.scored is None else {**kept, "scored": self.scored.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing with the best epoch of that state."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.scored = self._restored(state["scored"]) if "scored" in state else None


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write the network's plain state dict on the CPU, durable before it takes the old one's place."""
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    write_tensors(state, path)
