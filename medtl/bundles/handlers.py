"""Handlers of every recipe, of the trainer and of the evaluators, and the training itself."""

from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from monai.handlers import TensorBoardStatsHandler
from torch import nn

from medtl.bundles import begin as checks
from medtl.bundles import ids, loaders, start
from medtl.bundles.known_ids import USUAL
from medtl.errors import UsageError
from medtl.handlers import preemption, scored
from medtl.handlers.checkpoints import KeepCheckpoints
from medtl.handlers.distributed import SameBuffers
from medtl.handlers.early_stop import StopEarly
from medtl.handlers.grad_cam import GradCAMOverlays
from medtl.handlers.history import KeepHistory
from medtl.handlers.progress import TrainingProgress
from medtl.handlers.results import FinishRun, KeepBest, OpenTest, SaveScores
from medtl.handlers.schedule import StepSchedule
from medtl.metrics.ignite import Scores

EVALUATOR = "validate#evaluator"


def progress() -> TrainingProgress:
    """Return the trainer's handler that shows a progress bar and a line an epoch, with ``--key_metric`` unless the
    methods of a pretraining leave the classifier's head as it is."""
    says = not ids.has("methods") or ids.value("methods").trains_classifier
    return TrainingProgress(ids.value("optimizer"), ids.value(EVALUATOR), _key_metric() if says else None)


def history() -> KeepHistory:
    """Return the trainer's handler that writes history.csv."""
    optimizer, evaluator = ids.value("optimizer"), ids.value(EVALUATOR)
    return ids.once("history", lambda: KeepHistory(ids.value("output_dir"), optimizer, evaluator))


def schedule() -> StepSchedule:
    """Return the trainer's handler that moves the learning rate on after each step of the optimiser."""
    return StepSchedule(ids.value("lr_scheduler"), ids.value("train#step"))


def checkpoints(network: nn.Module) -> KeepCheckpoints:
    """Return the trainer's handler that saves the run, and puts it back when it goes on.

    Args:
        network: all that is trained, not wrapped by DDP.
    """
    optimizer, scheduler = ids.value("optimizer"), ids.value("lr_scheduler")
    return KeepCheckpoints(
        ids.value("output_dir"),
        {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler, "history": history()},
        best=kept(),
        record=start.record(),
        loader=ids.value("train#dataloader"),
        step=ids.value("train#step"),
        resume_from=start.checkpoint(),
        save_interval=ids.value("save_interval"),
    )


def train_board(every: int = 50) -> TensorBoardStatsHandler | None:
    """Return the trainer's handler that writes the loss for TensorBoard.

    Args:
        every: so many batches, and at least once an epoch.
    """
    every = max(1, min(every, len(ids.value("train#dataloader"))))
    return _board(tag_name="train_loss", output_transform=_loss, iteration_log=every, state_attributes=None)


def board() -> TensorBoardStatsHandler | None:
    """Return the evaluator's handler that writes its metrics for TensorBoard."""
    return _board(iteration_log=False)


def _board(**arguments: Any) -> TensorBoardStatsHandler | None:
    return None if idist.get_rank() else TensorBoardStatsHandler(start.board(), **arguments)


def _loss(output: Any) -> float:
    return float(output["loss"].item())


def scores(split: str) -> Scores:
    """Return the evaluator's handler that scores a split.

    Args:
        split: its short name, the prefix of its metrics.
    """
    return Scores(split, ids.value("data").task, positive())


def positive() -> int | None:
    """Return the index of ``--positive_class``, or of the class that the data list names; None without either."""
    named = ids.value("positive_class", None)
    if named is None and ids.has("positive_class"):
        named = ids.value("data").positive or None
    return checks.positive_index(named, ids.value("classes"))


def threshold() -> scored.Threshold | None:
    """Return the operating point that is to be chosen by ``--threshold_rule``; None without a positive class."""
    return scored.threshold(positive(), ids.value("classes"), ids.value("threshold_rule"))


def best(network: nn.Module, last: bool = False) -> KeepBest:
    """Return the evaluator's handler that keeps the best epoch by ``--key_metric``.

    Args:
        network: whose weights are kept, not wrapped by DDP.
        last: keep the last epoch instead, whatever its metric.
    """
    make = lambda: KeepBest(network, ids.value("output_dir"), _key_metric(), ids.value("data"), last=last)  # noqa: E731
    return ids.once("best", make)


def kept() -> Any:
    """Return the handler of the validation that keeps the best epoch."""
    ids.value(EVALUATOR)  # whose handlers make it
    return ids.once("best", _no_best)


def _no_best() -> Any:
    raise UsageError("validate#handlers keeps no best epoch: leave medtl.bundles.facade.best among them")


def _key_metric() -> str:
    return f"val_{ids.key_metric()}"


def open_test() -> OpenTest[Any]:
    """Return the trainer's handler that predicts the test split, once, when training is over: with the best weights,
    in the way of the validation. ``--explain N`` draws Grad-CAM overlays of N of its pictures."""
    handlers: list[Any] = [scores("test")]
    if ids.value("explain", 0) and idist.get_rank() == 0:
        handlers.append(_overlays())
    return opened_test(handlers)


def opened_test(handlers: list[Any]) -> OpenTest[Any]:
    """Return what ``open_test`` does, made when it is first asked for.

    Args:
        handlers: of the test split's evaluator, its scores first.
    """
    validation: SupervisedEvaluator = ids.value(EVALUATOR)
    make = lambda: OpenTest(  # noqa: E731
        validation.network,
        ids.value("output_dir"),
        kept(),
        SupervisedEvaluator(
            device=ids.value("device"),
            val_data_loader=ids.value("test#dataloader"),
            network=validation.network,
            inferer=validation.inferer,
            val_handlers=[SameBuffers(validation.network), *handlers],
            amp=validation.amp,
            decollate=False,
        ),
        ids.value("data"),
    )
    return ids.once("test", make)


def _overlays() -> GradCAMOverlays:
    folder = ids.value("output_dir")
    return GradCAMOverlays(
        ids.value("network"),
        ids.value("backbone"),
        f"{folder}/model.pt",
        folder,
        ids.value("data"),
        number=ids.value("explain"),
        image_size=ids.value("image_size"),
        **loaders.of_start(),
    )


def finish() -> FinishRun:
    """Return the trainer's handler that computes the intervals, closes run.json and says what came out."""
    test = open_test() if ids.has("test#dataloader") else None
    return FinishRun(ids.value("output_dir"), kept(), start.record(), ids.value("threshold", None), test)


def save_scores() -> SaveScores:
    """Return the evaluator's handler that writes what an evaluation found. The operating point of the weights' run is
    left out where another class than there is called positive."""
    fixed, told = ids.value("threshold", None), positive()
    if told is not None and (fixed is None or fixed.positive != told):
        fixed = threshold()
    return SaveScores(
        ids.value("output_dir"),
        ids.value("data"),
        ids.value("validate#split"),
        start.record(),
        ids.key_metric(),
        fixed,
    )


def run(trainer: Engine) -> None:
    """Train: validation with the same buffers in every process, signals obeyed, and with ``--patience`` no longer than
    the key metric becomes better.

    Raises:
        ToldToStop: the run was told to stop, and is saved.
        UsageError: ``--patience`` where no metric chooses the epoch.
    """
    evaluator = ids.value(EVALUATOR)
    SameBuffers(evaluator.network).attach(evaluator)
    if patience := ids.value("patience", USUAL["patience"]):
        if kept().last:
            raise UsageError(f"--patience {patience}: without labels no metric says when to stop; leave it out")
        StopEarly(patience, kept(), trainer).attach_to(evaluator)
    preemption.run(trainer)
