"""The state of a training run after each epoch, whole or absent on disk."""

import re
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.bundle.boundary import one_line
from medtl.writers.atomic import replacing


class Stateful(Protocol):
    """Anything with a state dict."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""


class KeepCheckpoints:
    """Trainer handler: ``checkpoints/epoch_NNNN.pt`` after each epoch, the last few of them.

    Args:
        output_dir: the run's folder.
        parts: what is saved, by name: network, optimizer, scheduler.
        keep: how many checkpoints stay.
    """

    def __init__(self, output_dir: str, parts: dict[str, Stateful], keep: int = 2) -> None:
        self.folder = Path(output_dir) / "checkpoints"
        self.parts = parts
        self.keep = keep

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the scheduler, whose step belongs to the epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @one_line
    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state["epoch"] = engine.state.epoch
        with replacing(self.folder / f"epoch_{engine.state.epoch:04d}.pt", durable=True) as part:
            torch.save(state, part)
        old = sorted(path for path in self.folder.iterdir() if re.fullmatch(r"epoch_\d+\.pt", path.name))
        for path in old[: -self.keep]:
            path.unlink()
