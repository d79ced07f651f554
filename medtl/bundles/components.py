"""Network, optimiser and training step of every recipe, made from the ids of the running config.

A config names them by ``_target_`` or in an expression, so that a second config file can put another component in the
place of each.
"""

from typing import Any

from monai.inferers import Inferer, SimpleInferer
from monai.optimizers import WarmupCosineSchedule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR

from medtl import engines, losses_tasks
from medtl.bundles import ids
from medtl.data.packed_loader import PackedLoader
from medtl.datalist import REGRESSION, SURVIVAL, file_of, spread
from medtl.errors import UsageError, tell
from medtl.networks import freezing, regression_head
from medtl.networks.remembered import RememberedTrunk
from medtl.transforms.batch import BatchTransform


def prepared(network: nn.Module) -> nn.Module:
    """Return a network on ``--device`` in the memory format that it computes fastest in, compiled if ``--compile``."""
    moved = network.to(ids.value("device"))
    moved = engines.synchronised(moved, bool(ids.value("sync_batchnorm", False)))
    return engines.prepare_network(moved, ids.value("channels_last"), ids.value("compile"))


def average(network: nn.Module) -> nn.Module | None:
    """Return the moving average of a network's weights that ``--ema`` asks for; None without one."""
    decay = ids.value("ema")
    return engines.moving_average(network, decay) if decay else None


def loss(**changes: Any) -> nn.Module:
    """Return the loss of the data list's task, with weights of the classes where ``--balance loss`` asks for them:
    cross-entropy, binary cross-entropy of each finding, or Huber's loss of a number.

    Args:
        changes: arguments of that loss, such as ``label_smoothing``.
    """
    return losses_tasks.of_task(ids.value("data"), ids.value("balance"), ids.value("device"), **changes)


def parameters(network: nn.Module) -> list[dict[str, Any]]:
    """Return a network's parameters for an optimiser: the head at ``--learning_rate`` (of a regression in the unit of
    its labels), the trunk at its share."""
    rate, multiplier, listed = ids.value("learning_rate"), ids.value("trunk_multiplier"), ids.value("data")
    groups = freezing.parameter_groups(network, ids.value("backbone"), rate, multiplier)
    if listed.task != REGRESSION:
        return groups
    return regression_head.scaled(groups, spread(listed)[1], ids.value("weight_decay"))


def precision() -> str:
    """Return the precision that ``--precision`` comes to mean; that of a regression and of a survival is fp32, because
    bf16 keeps no more than three digits of their numbers.

    Raises:
        UsageError: there is no such precision, or not on this device, or not of a regression.
    """
    wanted, task = ids.value("precision", "auto"), ids.value("data").task
    if task in (REGRESSION, SURVIVAL):
        if wanted not in ("auto", "fp32"):
            raise UsageError(f"--precision {wanted}: a {task} is trained in fp32, or its numbers lose their digits")
        wanted = "fp32"
    return engines.precision(ids.value("device"), wanted)


def picture_inferer() -> Inferer:
    """Return what runs batches of pictures through the network. With a frozen trunk, on a CPU, and pictures that are
    the same in every epoch, that is a trunk that sees each picture once and remembers what it found."""
    return ids.once("picture_inferer", lambda: _remembered() if _is_still() else SimpleInferer())


def _remembered() -> Inferer:
    tell("frozen trunk, no augmentation: each picture passes the trunk once")
    return RememberedTrunk(ids.value("backbone"))


def _is_still() -> bool:
    """Whether a picture gives the head the same in each epoch, to the bit."""
    if ids.value("freeze", "none") not in freezing.WHOLE_TRUNK or ids.has("weights") or ids.value("ema"):
        return False
    if on_gpu() or ids.value("compile") or precision() != "fp32":
        return False
    batches = ids.value("train#dataloader")
    if not isinstance(batches, PackedLoader) or batches.world_size > 1 or batches.mixup is not None:
        return False
    return isinstance(batches.transform, BatchTransform) and not batches.transform.is_random


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


def constant(optimizer: Optimizer) -> ConstantLR:
    """Return a schedule that leaves the learning rate as it is: to be named in the place of ``warmup_cosine``."""
    return ConstantLR(optimizer, factor=1.0, total_iters=1)


def step(average: Any = None) -> engines.TrainingStep:
    """Return the training step in ``--precision``, with ``--accumulate`` batches a step of the optimiser.

    Args:
        average: a moving average of the weights that takes part.
    """
    names = [file_of(each) for each in ids.value("data").training]
    return engines.training_step(
        precision(), ids.value("channels_last", False), ids.value("accumulate", 1), average, names=names
    )
