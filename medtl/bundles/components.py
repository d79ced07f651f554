"""Network, optimiser and training step of every recipe, made from the ids of the running config.

A config names them by ``_target_`` or in an expression, so that a second config file can put another component in the
place of each.
"""

from typing import Any

from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR

from medtl import engines
from medtl.bundles import ids
from medtl.data import balance
from medtl.networks import freezing


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


def constant(optimizer: Optimizer) -> ConstantLR:
    """Return a schedule that leaves the learning rate as it is: to be named in the place of ``warmup_cosine``."""
    return ConstantLR(optimizer, factor=1.0, total_iters=1)


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
