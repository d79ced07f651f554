"""A head that predicts a number in its own unit.

The last layer's weights are multiplied by the labels' standard deviation and its bias is their mean, so that a network
begins near the labels whatever their unit, and what it says needs no scaling afterwards, in whatever program it runs.
Its learning rate is multiplied as well, and its weight decay divided: under Adam, whose steps do not depend on the
gradients' size, that is the same as training on standardised labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.networks.registry import backbone_of


def centre(network: nn.Module, backbone: str, mean: float, scale: float) -> None:
    """Make a fresh head predict numbers around ``mean``.

    Args:
        network: as ``build_classifier`` made it, with one output; changed in place.
        backbone: its name.
        mean, scale: of the training labels (``medtl.datalist.spread``).

    Raises:
        UsageError: the network has no such head, or one without a bias.
    """
    name = backbone_of(backbone).head
    head = dict(network.named_modules()).get(name)
    weight, bias = getattr(head, "weight", None), getattr(head, "bias", None)
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        raise UsageError(
            f"--backbone {backbone}: its last layer {name!r} has no weight and bias to predict a number with"
        )
    with torch.no_grad():
        weight.mul_(scale)
        bias.fill_(mean)


def scaled(groups: Sequence[Mapping[str, Any]], scale: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimiser's groups (``medtl.networks.freezing.parameter_groups``) with the head's rate and decay in the
    unit of the labels; the trunk comes first, whose rate is the one that a user knows.

    Args:
        groups: ``{name, params, lr}``.
        scale: standard deviation of the training labels.
        weight_decay: of all other parameters.
    """
    own = [
        {**group, "lr": group["lr"] * scale, "weight_decay": weight_decay / scale}
        for group in groups
        if group["name"] == "head"
    ]
    return [*(dict(group) for group in groups if group["name"] != "head"), *own]
