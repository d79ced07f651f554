"""The whole state of a training run on disk, and the run that goes on from there as if nothing had happened."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.engines import TrainingStep
from medtl.errors import MedtlError, UsageError
from medtl.handlers.random_state import random_state, set_random_state
from medtl.handlers.results import KeepBest
from medtl.runs.recorder import Recorder
from medtl.writers import checkpoint

FORMAT = 2
GO_ON, SAVE, STOP = 0, 1, 2
GPU_BATCHES = 10  # between two agreements of several GPUs, each of which empties their queues


class Stateful(Protocol):
    """What can be saved and go on."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state over."""


class KeepCheckpoints:
    """Trainer handler: ``checkpoints/epoch_NNNN.pt`` after each epoch; ``epoch_NNNN_batch_NNNNN.pt`` within long epochs
    and when ``medtl.handlers.preemption`` was told to stop, which ends the training.

    The last few stay, and for each of these the one of its best epoch. Going on from any of them gives, on a CPU, the
    same parameters to the last bit as a run that was never interrupted.

    Args:
        output_dir: the run's folder.
        parts: what else is saved, by name; with ``network`` (not wrapped by DDP) among them.
        best: the handler that keeps the best epoch.
        record: the run's record.
        loader: of training batches. One without a state cannot go on: then there are checkpoints, but no resuming.
        step: the training step.
        resume_from: the checkpoint that the run goes on from; empty for a new run.
        save_interval: seconds after which a checkpoint is due within an epoch; None saves after epochs only.
        keep: how many checkpoints stay.
    """

    def __init__(
        self,
        output_dir: str,
        parts: Mapping[str, Any],
        best: KeepBest | None = None,
        record: Recorder | None = None,
        loader: Any = None,
        step: TrainingStep | None = None,
        resume_from: str = "",
        save_interval: float | None = None,
        keep: int = 2,
    ) -> None:
        if save_interval is not None and (isinstance(save_interval, bool | str) or not save_interval >= 0):
            raise UsageError(f"--save_interval {save_interval}: expected seconds, a number of at least 0")
        self.folder = Path(output_dir) / "checkpoints"
        self.best = best
        self.record = record
        self.loader = loader
        self.step = step
        self.resume_from = resume_from
        self.save_interval = save_interval
        self.keep = keep
        self._repeatable = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        own = {"best": best, "record": record, "step": step, "loader": loader if self._repeatable else None}
        self.parts: dict[str, Stateful] = {**parts, **{name: part for name, part in own.items() if part is not None}}
        self._saved_at = time.monotonic()
        self._unasked = 0  # batches since the processes last agreed

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the scheduler, whose step belongs to the batch, and the validation."""
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._between)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        engine.add_event_handler(Events.COMPLETED, self._tidy)

    def _between(self, engine: Engine) -> None:
        if not self._repeatable or engine.state.iteration % engine.state.epoch_length == 0:
            return  # the epoch's end saves
        self._unasked += 1
        if self.step is not None and not self.step.is_whole:
            return
        if self._unasked < GPU_BATCHES and idist.get_world_size() > 1 and engine.state.device.type == "cuda":
            return
        wanted = self._agreed(engine)
        if wanted != GO_ON:
            self._save(engine)
        if wanted == STOP:
            self._stop(engine)

    def _after_epoch(self, engine: Engine) -> None:
        self._save(engine)
        if engine.state.epoch < engine.state.max_epochs and self._agreed(engine) == STOP:
            self._stop(engine)

    def _agreed(self, engine: Engine) -> int:
        """What all processes do now: what the most urgent of them wants."""
        self._unasked = 0
        due = self.save_interval is not None and time.monotonic() - self._saved_at >= self.save_interval
        stop = getattr(engine.state, "stop", None)
        wanted = STOP if stop is not None and stop.signal else SAVE if due and idist.get_rank() == 0 else GO_ON
        if idist.get_world_size() == 1:
            return wanted
        nccl = torch.distributed.get_backend() == "nccl"
        together = torch.tensor(wanted, device=engine.state.device if nccl else "cpu")
        torch.distributed.all_reduce(together, torch.distributed.ReduceOp.MAX)
        return int(together)

    def _stop(self, engine: Engine) -> None:
        engine.state.stop.saved = str(self._path(engine))
        if self.record is not None and idist.get_rank() == 0:
            self.record.interrupt(self.folder.parent)
        engine.terminate(skip_completed=True)

    def _path(self, engine: Engine) -> Path:
        batch = engine.state.iteration % engine.state.epoch_length
        return self.folder / checkpoint.name_of(engine.state.epoch, batch or None)

    def _save(self, engine: Engine) -> None:
        if self.step is not None:
            self.step.look()
        world = idist.get_world_size()
        generators: list[Any] = [random_state()] * world
        if world > 1:
            torch.distributed.all_gather_object(generators, generators[0])
        self._saved_at = time.monotonic()
        if idist.get_rank():
            return
        place = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"format": FORMAT, **place, "epoch_length": engine.state.epoch_length, "random": generators}
        known = {**place, "processes": world, "best_epoch": self.best.best_epoch if self.best else 0}
        path = self._path(engine)
        try:
            checkpoint.write(state, path, known)
            self._prune(self.keep)
        except OSError as error:
            raise MedtlError(
                f"{path} cannot be written: {error.strerror or error}; the checkpoints before it are whole: make room "
                "and go on with the same command and --resume auto"
            ) from None
        self._saved_at = time.monotonic()

    def _prune(self, keep: int) -> None:
        """Remove all but the last few, and those of their best epochs."""
        listed = checkpoint.found(self.folder)
        kept = listed[:keep]
        bests = {checkpoint.facts(path).get("best_epoch") for path in kept}
        names = {checkpoint.name_of(epoch, None) for epoch in bests if epoch}
        for path in listed[keep:]:
            if path.name not in names:
                checkpoint.remove(path)

    def _tidy(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            self._prune(1)

    def _restore(self, engine: Engine) -> None:
        if not self.resume_from:
            return
        if not self._repeatable:
            raise MedtlError(
                f"--resume: train#dataloader is a {type(self.loader).__name__}, which cannot start again in the middle"
            )
        state = checkpoint.read(Path(self.resume_from))
        if state.get("format") != FORMAT or state["epoch_length"] != engine.state.epoch_length:
            raise MedtlError(f"{self.resume_from} was saved by another version or for other batches: it cannot go on")
        for name, part in self.parts.items():
            if name not in state:
                raise MedtlError(f"{self.resume_from} holds no {name!r}: it was saved with another config")
            part.load_state_dict(state[name])
        engine.state.iteration = state["iteration"]
        # an epoch in which it was saved is begun again by the engine, which counts it then
        engine.state.epoch = state["iteration"] // state["epoch_length"]
        if self.best is not None and self.best.best_epoch:
            self._rewrite(self.best, state)
        set_random_state(state["random"][idist.get_rank()])
        if idist.get_rank() == 0:
            self._forget_later()

    def _forget_later(self) -> None:
        """Remove the checkpoints that training overtakes: damaged ones, or those of a run that is put back."""
        for path in checkpoint.found(self.folder):
            if path.name == Path(self.resume_from).name:
                return
            checkpoint.remove(path)

    def _rewrite(self, best: KeepBest, state: Mapping[str, Any]) -> None:
        """Make model.pt and its predictions those of the best epoch up to now: the run may have got further before it
        died."""
        path = self.folder / checkpoint.name_of(best.best_epoch, None)
        if path.name == Path(self.resume_from).name:
            best.write()
        elif not checkpoint.problem_of(path):
            self._fill(checkpoint.read(path))
            best.write()
            self._fill(state)
        elif not (self.folder.parent / "model.pt").is_file():
            raise MedtlError(f"{path}, the checkpoint of the best epoch, is not whole, and model.pt is missing")

    def _fill(self, state: Mapping[str, Any]) -> None:
        """Put the weights of a checkpoint into the network and, where there is one, its moving average."""
        for name in self.parts.keys() & {"network", "step"}:
            self.parts[name].load_state_dict(state[name])
