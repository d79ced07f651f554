"""history.csv: one row an epoch, for learning curves without a TensorBoard reader."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.files import columns_of, write_csv


class KeepHistory:
    """Trainer handler: ``epoch,train_loss,learning_rate`` and the validation's metrics, after each epoch.

    Args:
        output_dir: the run's folder.
        optimizer: whose first group's learning rate is noted, as it was at the epoch's start.
        evaluator: whose metrics are noted.
    """

    def __init__(self, output_dir: str, optimizer: torch.optim.Optimizer, evaluator: Engine) -> None:
        self.path = Path(output_dir) / "history.csv"
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.rows: list[dict[str, float]] = []
        self._rate = 0.0
        self._loss = torch.zeros(())
        self._images = 0

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the validation."""
        if idist.get_rank():
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _begin(self, engine: Engine) -> None:
        if engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length:
            return  # a resumed run goes on within the epoch
        self._rate, self._loss, self._images = self.optimizer.param_groups[0]["lr"], torch.zeros(()), 0

    def _add(self, engine: Engine) -> None:
        images = len(engine.state.batch["image"])
        loss = engine.state.output["loss"].detach()
        self._loss = self._loss.to(loss.device) + loss * images  # stays on the device: no synchronisation a batch
        self._images += images

    def _save(self, engine: Engine) -> None:
        loss = float(self._loss) / max(self._images, 1)
        row = {"epoch": engine.state.epoch, "train_loss": loss, "learning_rate": self._rate}
        self.rows.append({**row, **self.evaluator.state.metrics})
        self._write()

    def _write(self) -> None:
        rows = ({k: v if k == "epoch" else f"{v:.7g}" for k, v in row.items()} for row in self.rows)
        write_csv(self.path, columns_of(rows, list(self.rows[0])))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, and the sums of the epoch that is under way."""
        rows = [{name: value if name == "epoch" else float(value) for name, value in row.items()} for row in self.rows]
        return {"rows": rows, "rate": self._rate, "loss": self._loss.cpu(), "images": self._images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows over; what history.csv says of later epochs goes."""
        self.rows, self._rate, self._loss, self._images = (state[name] for name in ("rows", "rate", "loss", "images"))
        if self.rows and idist.get_rank() == 0:
            self._write()
