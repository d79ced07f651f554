"""Networks as Keras computes them, ``keras/NAME``, where no other one of the same weights does: RadImageNet's ``.h5``.

They are MONAI's ResNet-50 and torchvision's Inception-v3 but for what no weight can carry. Names and shapes are the
same, so a file of one would load into the other and compute something else: see ``Backbone.unlike``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medtl.errors import MedtlError, UsageError
from medtl.networks.registry import LIBRARIES, Backbone, Library, backbone_of
from medtl.registry import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "keras"
STRIDES = "it halves the picture in the first 1 × 1 convolution of a stage, torch's in the 3 × 3 one"
POOLS = "its average pools leave the padding out of the mean, torch's count it"
# the same for a released bundle, which must open without medtl: what Module.apply does to each module of a network
MOVED = (
    "$lambda block: [setattr(block.conv1, 'stride', (2, 2)), setattr(block.conv2, 'stride', (1, 1))]"
    " if hasattr(block, 'conv3') and block.stride == 2 else None"
)
UNPADDED = (
    "$lambda block: block.branch_pool.register_forward_pre_hook(lambda module, inputs: (inputs[0] /"
    " torch.nn.functional.avg_pool2d(torch.ones_like(inputs[0][:1, :1]), 3, stride=1, padding=1),))"
    " if hasattr(block, 'branch_pool') else None"
)


def move_strides(network: nn.Module) -> nn.Module:
    """Move the stride of each stage of a ResNet of bottlenecks to the first convolution of its first block, in place,
    and return the network."""
    block: Any
    for block in network.modules():
        if hasattr(block, "conv3") and block.stride == 2:
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    return network


def leave_padding_out(network: nn.Module) -> nn.Module:
    """Let the average pools of an Inception network divide by the pixels that lie in the picture, in place, and return
    the network.

    torchvision calls them as functions, so what comes out of them (the sum over nine) is mended before the convolution
    behind.
    """
    block: Any
    for block in network.modules():
        if hasattr(block, "branch_pool"):
            block.branch_pool.register_forward_pre_hook(_unpadded)
    return network


def _unpadded(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Return the input of a convolution behind an average pool of 3 × 3 with padding as if the padding did not count.

    The pool of ones is the share of the nine pixels that lie in the picture.
    """
    import torch

    share = torch.nn.functional.avg_pool2d(torch.ones_like(inputs[0][:1, :1]), 3, stride=1, padding=1)
    return (inputs[0] / share,)


def check_strides(network: nn.Module) -> None:
    """Raise MedtlError unless the strides are where Keras has them, which no file tells."""
    for stage in ("layer2", "layer3", "layer4"):
        if getattr(network.get_submodule(f"{stage}.0.conv1"), "stride", None) != (2, 2):
            raise MedtlError(f"the stride of {stage} is not in its first convolution: build it with build_classifier")


def check_pools(network: nn.Module) -> None:
    """Raise MedtlError unless the average pools leave the padding out of the mean."""
    pools = [module for name, module in network.named_modules() if name.endswith("branch_pool")]
    if not pools or not all(_unpadded in module._forward_pre_hooks.values() for module in pools):
        raise MedtlError("its average pools count the padding: build it with build_classifier")


def _like(
    name: str,
    theirs: str,
    family: str,
    change: Callable[[Any], Any],
    literal: str,
    why: str,
    check: Callable[..., None],
) -> Backbone:
    """The record of a network that is another one but for what ``change`` does to it."""
    card = backbone_of(theirs)

    def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
        network: nn.Module = change(card.build(in_channels, image_size, num_classes))
        return network

    def stock(num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
        inner = card.stock(num_classes, in_channels, image_size)
        return {"_target_": "torch.nn.Module.apply", "self": inner, "fn": literal}

    return dataclasses.replace(
        card,
        name=f"{NAME}/{name}",
        title=f"{card.title.partition(' (')[0]} as Keras computes it",
        family=family,
        build=build,
        stock=stock,
        classes_argument=f"self#{card.classes_argument}",
        check=check,
        weights={},
        unlike=why,
    )


@functools.cache
def describe(name: str) -> Backbone:
    """Return the record of one of them.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "resnet50":
        return _like(name, name, "keras_resnet", move_strides, MOVED, STRIDES, check_strides)
    if name == "inception_v3":
        theirs = "torchvision/inception_v3"
        return _like(name, theirs, "keras_inception", leave_padding_out, UNPADDED, POOLS, check_pools)
    words = tuple(f"{NAME}/{one}" for one in names())
    same = "Keras's DenseNet121 is densenet121 here, its InceptionResNetV2 timm/inception_resnet_v2"
    raise UsageError(
        f"backbone '{NAME}/{name}' is not one of {', '.join(words)}{did_you_mean(f'{NAME}/{name}', words)}; {same}"
    )


def names() -> tuple[str, ...]:
    """Return those of Keras's networks that no other record computes."""
    return ("inception_v3", "resnet50")


LIBRARIES.register(Library(NAME, describe, names))
