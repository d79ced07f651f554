"""A progress bar with loss, learning rate and images a second on a terminal; one line an epoch everywhere."""

import sys
import time

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medtl.errors import tell

BETWEEN_SHOWS = 0.2  # seconds


class TrainingProgress:
    """Trainer handler; put it behind the validation, whose metric its line shows.

    Args:
        optimizer: whose learning rate is shown.
        evaluator: whose ``key_metric`` is shown, once it has run.
        key_metric: its name; None shows no metric, where none tells how well the network learns.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, evaluator: Engine, key_metric: str | None) -> None:
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.key_metric = key_metric
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task: TaskID | None = None
        self._since = 0.0
        self._images = 0
        self._loss = torch.zeros(())  # stays on the device: fetching it makes a GPU's queue run empty
        self._mean = 0.0
        self._rate = 0.0
        self._seconds = 0.0
        self._shown = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; only the first process speaks."""
        if idist.get_rank():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        for event in (Events.COMPLETED, Events.TERMINATE):
            engine.add_event_handler(event, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        self._bar.start()
        self._task = self._bar.add_task("", total=engine.state.epoch_length, numbers="")

    def _begin(self, engine: Engine) -> None:
        self._since, self._images, self._loss = time.monotonic(), 0, torch.zeros(())
        # the rate of the epoch, read before a scheduler moves it on
        self._rate = self.optimizer.param_groups[0]["lr"]
        if self._task is not None:
            self._bar.reset(self._task, description=f"epoch {engine.state.epoch}/{engine.state.max_epochs}")

    def _step(self, engine: Engine) -> None:
        # an image has one label, while a method of pretraining may make two views or nine tiles of it
        images = len(engine.state.batch["label"]) * idist.get_world_size()
        self._images += images
        loss = engine.state.output["loss"].detach()
        self._loss = self._loss.to(loss.device) + loss * images
        is_last = engine.state.iteration % (engine.state.epoch_length or 1) == 0
        if is_last or (not self._bar.disable and time.monotonic() - self._shown >= BETWEEN_SHOWS):
            self._look()
            if self._task is not None:
                self._bar.update(self._task, numbers=self._numbers())
        if self._task is not None:
            self._bar.advance(self._task)

    def _look(self) -> None:
        """Fetch the mean loss; a GPU is waited for, so that the seconds are those of the work done."""
        self._mean = float(self._loss) / max(self._images, 1)
        self._shown = time.monotonic()
        self._seconds = self._shown - self._since

    def _numbers(self) -> str:
        rate = self._images / max(self._seconds, 1e-9)
        return f"loss {self._mean:.3f}  lr {self._rate:.2g}  {rate:,.0f} images/s"

    def _tell(self, engine: Engine) -> None:
        value = self.evaluator.state.metrics.get(self.key_metric) if self.key_metric else None
        metric = "" if value is None else f"  {self.key_metric} {value:.3f}"
        line = f"epoch {engine.state.epoch}/{engine.state.max_epochs}  {self._numbers()}{metric}"
        if self._bar.disable:
            tell(line)
        else:
            self._bar.console.print(line, highlight=False)

    def _stop(self, engine: Engine) -> None:
        self._bar.stop()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._bar.stop()
        raise error  # which Ignite leaves to the handlers
