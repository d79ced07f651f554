"""What a run leaves behind: the best weights, their predictions and metrics, and the record of how they came to be."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.datalist import REGRESSION, DataList
from medtl.errors import tell
from medtl.handlers.best import BestEpoch, S
from medtl.handlers.scored import Scored, choose, from_state, scored, write_scored
from medtl.metrics import classification
from medtl.metrics.operating_point import Threshold
from medtl.runs.recorder import Recorder

OPENED_ONCE = "opened once, after the best epoch was chosen on validation"


class KeepBest(BestEpoch[Scored]):
    """``BestEpoch`` of images."""

    def found(self, engine: Engine, split: str) -> Scored:
        """Return what an evaluator's last epoch found on ``split``."""
        return scored(engine, self.listed, split)

    def _write_tables(self, scored: Scored) -> None:
        write_scored(self.folder, self.listed, [scored])

    def _restored(self, state: Mapping[str, Any]) -> Scored:
        return from_state(state, self.listed)


class OpenTest(Generic[S]):
    """Trainer handler: when training is over, the best weights meet the test split, for the first and only time.

    Args:
        network: filled with the best weights; not wrapped by DDP.
        output_dir: the run's folder.
        best: the handler that kept the best epoch, and knows what to keep of the test split.
        evaluator: of the test split, its scores attached.
        listed: the data list; without a test split nothing happens.
    """

    def __init__(
        self, network: torch.nn.Module, output_dir: str, best: BestEpoch[S], evaluator: Engine, listed: DataList
    ) -> None:
        self.network = network
        self.folder = Path(output_dir)
        self.best = best
        self.evaluator = evaluator
        self.listed = listed
        self.scored: S | None = None

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it before what finishes the run."""
        engine.add_event_handler(Events.COMPLETED, self._open)

    def _open(self, engine: Engine) -> None:
        if not self.listed.test:
            return
        idist.barrier()  # the first process has written the weights by now
        state = torch.load(self.folder / "model.pt", map_location="cpu", weights_only=True)
        self.network.load_state_dict(state)
        self.evaluator.run()
        self.scored = self.best.found(self.evaluator, "test")


class Finish(ABC, Generic[S]):
    """Trainer handler: intervals of what was measured, the closed ``run.json``, and one line that says what came out.

    Args:
        output_dir: the run's folder.
        best: the handler that kept the best epoch.
        record: the run's record.
        test: the handler that opened the test split, where there is one.
    """

    left = "predictions and metrics"  # what lies in the folder beside the weights

    def __init__(self, output_dir: str, best: BestEpoch[S], record: Recorder, test: OpenTest[S] | None = None) -> None:
        self.folder = Path(output_dir)
        self.best = best
        self.record = record
        self.test = test

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; attach it after the validation."""
        engine.add_event_handler(Events.COMPLETED, self._finish)

    @abstractmethod
    def _written(self, splits: list[S], outcome: dict[str, Any]) -> Mapping[str, float]:
        """Write tables of the splits, and return the metrics; what else run.json shall say is put into ``outcome``."""

    @abstractmethod
    def _blind(self) -> tuple[float, str]:
        """Return the key metric that can be had without looking at an image, and a word for how."""

    def _finish(self, engine: Engine) -> None:
        if idist.get_rank() or self.best.scored is None:
            return
        splits, outcome = measured(engine, self.best, self.test)
        metrics = self._written(splits, outcome)
        self.record.close(self.folder, **outcome, metrics=finite(metrics))
        what = sentence(engine, self.best, metrics, *self._blind())
        tell(f"{what}; weights, {self.left} in {self.folder}")


class FinishRun(Finish[Scored]):
    """``Finish`` of images.

    Args:
        output_dir, best, record, test: of ``Finish``.
        threshold: how the operating point is chosen on validation; None where no class is the positive one.
    """

    def __init__(
        self,
        output_dir: str,
        best: KeepBest,
        record: Recorder,
        threshold: Threshold | None = None,
        test: OpenTest[Scored] | None = None,
    ) -> None:
        super().__init__(output_dir, best, record, test)
        self.threshold = threshold

    def _written(self, splits: list[Scored], outcome: dict[str, Any]) -> Mapping[str, float]:
        threshold = choose(self.threshold, splits[0])
        if threshold is not None and threshold.value is not None:
            outcome["threshold"] = threshold.as_record()
        return write_scored(self.folder, self.best.listed, splits, threshold, intervals=True)

    def _blind(self) -> tuple[float, str]:
        listed, scored = self.best.listed, self.best.scored
        assert scored is not None
        positive = self.threshold.positive if self.threshold else None
        guessed = classification.of_guessing(scored.predictions.labels, len(listed.classes), positive)
        blind = guessed[self.best.key_metric.removeprefix("val_")]
        return blind, "the mean alone" if listed.task == REGRESSION else "chance"


def measured(engine: Engine, best: BestEpoch[S], test: OpenTest[S] | None) -> tuple[list[S], dict[str, Any]]:
    """Return the splits that a training run has scored, in the order of their rows, and what run.json says of it."""
    outcome: dict[str, Any] = {"epochs": engine.state.epoch, "best_epoch": best.best_epoch}
    splits = [best.scored] if best.scored is not None else []
    if test is not None and test.scored is not None:
        splits.append(test.scored)
        outcome["test"] = OPENED_ONCE
    if why := getattr(engine.state, "stopped_early", ""):
        outcome["stopped"] = why
    return splits, outcome


def sentence(
    engine: Engine, best: BestEpoch[S], metrics: Mapping[str, float], blind: float, word: str = "chance"
) -> str:
    """Return what came out, such as ``best epoch 7 of 8: val_auc 0.912 (chance 0.500), test_auc 0.897``, or ``last
    epoch 8 of 8, kept whatever its val_auc (0.512; chance 0.500)`` where no metric chose it.

    Args:
        engine: the trainer.
        best: the kept epoch.
        metrics: what metrics.json holds.
        blind: what can be had without looking at an image.
        word: how.
    """
    name = best.key_metric
    on_test = name.replace("val_", "test_", 1)
    tested = f", {on_test} {metrics[on_test]:.3f}" if on_test in metrics else ""
    which, value = f"epoch {best.best_epoch} of {engine.state.epoch}", f"{best.metrics[name]:.3f}"
    if best.last:
        return f"last {which}, kept whatever its {name} ({value}; {word} {blind:.3f}){tested}"
    return f"best {which}: {name} {value} ({word} {blind:.3f}){tested}"


class Save(ABC):
    """Evaluator handler of an evaluation: ``predictions.csv`` and ``metrics.json`` of the split, and one last line.

    Args:
        output_dir: the run's folder.
        listed: the data list.
        split: short name of the evaluated split.
        record: the run's record, closed here.
        key_metric: named in the last line.
    """

    def __init__(self, output_dir: str, listed: DataList, split: str, record: Recorder, key_metric: str) -> None:
        self.folder = Path(output_dir)
        self.listed = listed
        self.split = split
        self.record = record
        self.key_metric = key_metric
        self.fixed: dict[str, Any] = {}  # what else run.json says

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose scores are attached already."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    @abstractmethod
    def _written(self, engine: Engine) -> tuple[Mapping[str, float], str]:
        """Write what the evaluator's last epoch found; return the metrics, and of how much they are."""

    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        metrics, count = self._written(engine)
        self.record.close(self.folder, evaluated_split=self.split, metrics=finite(metrics), **self.fixed)
        name = f"{self.split}_{self.key_metric}"
        tell(f"{name} {metrics[name]:.3f} on {count}; in {self.folder}")


class SaveScores(Save):
    """``Save`` of images.

    Args:
        output_dir, listed, split, record, key_metric: of ``Save``.
        threshold: the operating point that was chosen when these weights were trained; run.json keeps it.
    """

    def __init__(
        self,
        output_dir: str,
        listed: DataList,
        split: str,
        record: Recorder,
        key_metric: str,
        threshold: Threshold | None = None,
    ) -> None:
        super().__init__(output_dir, listed, split, record, key_metric)
        self.threshold = threshold
        self.fixed = {"threshold": threshold.as_record()} if threshold else {}

    def _written(self, engine: Engine) -> tuple[Mapping[str, float], str]:
        what = scored(engine, self.listed, self.split)
        metrics = write_scored(self.folder, self.listed, [what], self.threshold, intervals=True)
        return metrics, f"{len(self.listed.split(self.split)):,} entries"


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them."""
    return json.loads(json.dumps({k: v if math.isfinite(v) else None for k, v in metrics.items()}))
