"""Components that every recipe has, made from the ids of the running config.

A config names them by ``_target_``, so that a second config file can put another component in the place of each.
"""

from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import TensorBoardStatsHandler
from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn
from torch.optim import Optimizer

from medtl import engines
from medtl.bundle import begin as checks
from medtl.bundles import ids, start
from medtl.data import balance, packed
from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.data.pictures import PictureDataset, in_order, items, sampler
from medtl.data.restartable import RestartableLoader
from medtl.errors import UsageError
from medtl.handlers import preemption, scored
from medtl.handlers.checkpoints import KeepCheckpoints
from medtl.handlers.distributed import SameBuffers
from medtl.handlers.grad_cam import GradCAMOverlays
from medtl.handlers.history import KeepHistory
from medtl.handlers.progress import TrainingProgress
from medtl.handlers.results import FinishRun, KeepBest, OpenTest, SaveScores
from medtl.handlers.schedule import StepSchedule
from medtl.metrics.ignite import ClassificationScores
from medtl.networks import freezing
from medtl.transforms import batch
from medtl.transforms.mixup import Mixup

EVALUATOR, TRAINER = "validate#evaluator", "train#trainer"


def prepared(network: nn.Module) -> nn.Module:
    """Return a network on ``--device`` in the memory format that it computes fastest in, compiled if ``--compile``."""
    moved = network.to(ids.value("device"))
    moved = engines.synchronised(moved, bool(ids.value("sync_batchnorm", False)))
    return engines.prepare_network(moved, ids.value("channels_last"), ids.value("compile"))


def average(network: nn.Module) -> nn.Module | None:
    """Return the moving average of a network's weights that ``--ema`` asks for; None without one."""
    decay = ids.value("ema")
    return engines.moving_average(network, decay) if decay else None


def class_weights() -> Tensor | None:
    """Return the loss's weights of the classes (n,) where ``--balance loss`` asks for them."""
    return balance.loss_weights(ids.value("data"), ids.value("balance"), ids.value("device"))


def parameters(network: nn.Module) -> list[dict[str, Any]]:
    """Return a classifier's parameters for an optimiser: the head at ``--learning_rate``, the trunk at its share."""
    rate, multiplier = ids.value("learning_rate"), ids.value("trunk_multiplier")
    return freezing.parameter_groups(network, ids.value("backbone"), rate, multiplier)


def on_gpu() -> bool:
    """Return whether the run computes on a GPU."""
    return str(ids.value("device")).startswith("cuda")


def warmup_cosine(optimizer: Optimizer) -> WarmupCosineSchedule:
    """Return the schedule of the learning rate over all steps of the optimiser: a linear rise from a tenth in the
    share ``--warmup`` of them, then a cosine to 0."""
    an_epoch = engines.steps_an_epoch(len(ids.value("train#dataloader")), ids.value("accumulate", 1))
    steps = int(ids.value("epochs")) * an_epoch
    rise = round(ids.value("warmup") * steps)
    return WarmupCosineSchedule(optimizer, warmup_steps=rise, warmup_multiplier=0.1, t_total=steps)


def pack(split: str) -> Packed:
    """Return a split as packed pixels of ``--image_size``."""
    return packed.pack(ids.value("data"), split, ids.value("image_size"), workers=ids.value("num_workers"))


def augmentation(**changes: Any) -> batch.BatchTransform:
    """Return the augmentation of training batches, normalised as the start expects, in the network's precision.

    Args:
        changes: parameters of ``medtl.transforms.batch.BatchTransform``.
    """
    precision = engines.precision(ids.value("device"), ids.value("precision"))
    usual = {"dtype": engines.image_dtype(precision), "channels_last": ids.value("channels_last")}
    return batch.BatchTransform(**{**usual, **_normalisation(), "seed": ids.value("seed"), **changes})


def normalisation() -> batch.BatchTransform:
    """Return what is done to batches that are predicted: no augmentation, normalised as the start expects."""
    return batch.normalisation(channels_last=ids.value("channels_last"), **_normalisation())


def _normalisation() -> dict[str, Any]:
    from_start = ids.value("start", None)
    return {} if from_start is None else {"mean": tuple(from_start.mean), "std": tuple(from_start.std)}


def mixup() -> Mixup | None:
    """Return what blends images and labels, where ``--mixup`` asks for it."""
    alpha = ids.value("mixup", 0)
    return Mixup(len(ids.value("classes")), alpha, ids.value("seed")) if alpha else None


def train_loader(dataset: Packed, transform: Any) -> PackedLoader:
    """Return the batches of training: shuffled by ``--seed``, ``--batch_size`` shared by all processes, blended by
    ``--mixup`` and drawn by ``--balance``.

    Args:
        dataset: the packed split.
        transform: of batches of uint8 images, on the device.
    """
    size, world = ids.value("batch_size"), idist.get_world_size()
    weights = balance.sampling_weights(ids.value("data"), ids.value("balance")) if ids.has("balance") else None
    return PackedLoader(
        dataset,
        size // world,
        shuffle=True,
        seed=ids.value("seed"),
        device=ids.value("device"),
        drop_last=len(dataset) > size,
        rank=idist.get_rank(),
        world_size=world,
        transform=transform,
        mixup=mixup(),
        weights=weights,
    )


def loader(dataset: Packed, transform: Any) -> PackedLoader:
    """Return the batches of a split that is predicted: every image once, in order.

    Args:
        dataset: the packed split.
        transform: of batches of uint8 images, on the device.
    """
    return PackedLoader(
        dataset,
        ids.value("batch_size"),
        device=ids.value("device"),
        rank=idist.get_rank(),
        world_size=idist.get_world_size(),
        transform=transform,
    )


def step(average: Any = None) -> engines.TrainingStep:
    """Return the training step in ``--precision``, with ``--accumulate`` batches a step of the optimiser.

    Args:
        average: a moving average of the weights that takes part.
    """
    precision = engines.precision(ids.value("device"), ids.value("precision"))
    names = [each["image"] for each in ids.value("data").training]
    return engines.training_step(
        precision, ids.value("channels_last"), ids.value("accumulate", 1), average, names=names
    )


def progress() -> TrainingProgress:
    """Return the trainer's handler that shows a progress bar and a line an epoch."""
    return TrainingProgress(ids.value("optimizer"), ids.value(EVALUATOR), _key_metric())


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
        every: so many batches.
    """
    return _board(tag_name="train_loss", output_transform=_loss, iteration_log=every, state_attributes=None)


def board() -> TensorBoardStatsHandler | None:
    """Return the evaluator's handler that writes its metrics for TensorBoard."""
    return _board(iteration_log=False)


def _board(**arguments: Any) -> TensorBoardStatsHandler | None:
    return None if idist.get_rank() else TensorBoardStatsHandler(start.board(), **arguments)


def _loss(output: Any) -> float:
    return float(output["loss"].item())


def scores(split: str) -> ClassificationScores:
    """Return the evaluator's handler that scores a split.

    Args:
        split: its short name, the prefix of its metrics.
    """
    multilabel = ids.value("data").task == "multilabel"
    return ClassificationScores(split, multilabel=multilabel, positive=positive())


def positive() -> int | None:
    """Return the index of ``--positive_class``; None where none is named, or the recipe has none."""
    return checks.positive_index(ids.value("positive_class", None), ids.value("classes"))


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
    return f"val_{ids.value('key_metric')}"


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
        **_normalisation(),
    )


def finish() -> FinishRun:
    """Return the trainer's handler that computes the intervals, closes run.json and says what came out."""
    test = open_test() if ids.has("test#dataloader") else None
    return FinishRun(ids.value("output_dir"), kept(), start.record(), ids.value("threshold", None), test)


def save_scores() -> SaveScores:
    """Return the evaluator's handler that writes what an evaluation found."""
    return SaveScores(
        ids.value("output_dir"),
        ids.value("data"),
        ids.value("validate#split"),
        start.record(),
        ids.value("key_metric"),
        ids.value("threshold", None),
    )


def run(trainer: Engine) -> None:
    """Train: validation with the same buffers in every process, signals obeyed.

    Raises:
        ToldToStop: the run was told to stop, and is saved.
    """
    evaluator = ids.value(EVALUATOR)
    SameBuffers(evaluator.network).attach(evaluator)
    preemption.run(trainer)


def pictures(split: str, transform: Any) -> PictureDataset:
    """Return a split picture by picture, for MONAI's dictionary transforms.

    Args:
        split: its short name.
        transform: of ``{image, label, index}``.
    """
    return PictureDataset(items(ids.value("data"), split), transform)


def picture_train_loader(dataset: PictureDataset) -> RestartableLoader:
    """Return the batches of training from single pictures, shuffled by ``--seed`` and shared by all processes.

    Raises:
        UsageError: ``--mixup``, which blends whole batches.
    """
    checks.no_mixup(ids.value("mixup", 0))
    size = ids.value("batch_size")
    return RestartableLoader(
        dataset,
        seed=ids.value("seed"),
        rank=idist.get_rank(),
        sampler=sampler(ids.value("data"), ids.value("balance", "none"), ids.value("seed")),
        batch_size=size // idist.get_world_size(),
        drop_last=len(dataset) > size,
        num_workers=ids.value("num_workers"),
        pin_memory=on_gpu(),
    )


def picture_loader(dataset: PictureDataset) -> DataLoader:
    """Return the batches of a split that is predicted picture by picture: every one once, in order."""
    return DataLoader(
        dataset, sampler=in_order(dataset), batch_size=ids.value("batch_size"), num_workers=ids.value("num_workers")
    )
