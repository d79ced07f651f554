"""Which parts of a network train, and how fast.

A stage is what ``Backbone.parts`` says: of a ResNet ``layer1`` to ``layer4``, of DenseNet-121 a dense block with the
transition before it, of ViT-B/16 three blocks of twelve. The last norm belongs to the last stage; the stem (first
convolution and its norm, or patch embedding, positions and class token) to none, so it trains with ``none`` only.
"""

import re
from collections.abc import Iterator
from typing import Any

import ignite.distributed as idist
from torch import nn

from medtl.errors import UsageError, tell
from medtl.networks.registry import backbone_of

KERAS_TOP10 = "keras_top10"
WHOLE_TRUNK = ("trunk", "all_but_last:0")
EXPECTED = (
    "expected none, trunk (only the head trains), all_but_last:N (head and last N stages train) or keras_top10 (head "
    "and what the last ten layers of Keras' model hold)"
)
_RESNET50 = ("layer4.2.bn1", "layer4.2.conv2", "layer4.2.bn2", "layer4.2.conv3", "layer4.2.bn3")
_INCEPTION_V3 = ("Mixed_7c.branch_pool.bn",)
_LAST_DENSE = "features.denseblock4.denselayer16"
_DENSENET121 = (*(f"{_LAST_DENSE}.{name}" for name in ("norm1", "conv1", "norm2", "conv2")), "features.norm5")
# the layers with weights among the last ten entries of Keras' base_model.layers, which count activations, sums and the
# pooling too: the "top 10" of RadImageNet's scripts (Mei et al. 2022), by the names that each library gives them
TOP_TEN = {
    "resnet50": _RESNET50,
    "timm/resnet50": _RESNET50,
    "torchvision/resnet50": _RESNET50,
    "keras/resnet50": _RESNET50,
    "densenet121": tuple(name.replace(_LAST_DENSE, f"{_LAST_DENSE}.layers") for name in _DENSENET121),
    "timm/densenet121": _DENSENET121,
    "torchvision/densenet121": _DENSENET121,
    "timm/inception_v3": _INCEPTION_V3,
    "torchvision/inception_v3": _INCEPTION_V3,
    "keras/inception_v3": _INCEPTION_V3,
    "timm/inception_resnet_v2": ("block8.branch1.2.bn", "block8.conv2d", "conv2d_7b.conv", "conv2d_7b.bn"),
}


def freeze(network: nn.Module, backbone: str, how: str) -> None:
    """Freeze the first parts of a trunk, before the optimiser is built and before DDP wraps the network.

    Frozen parameters need no gradient. Frozen parts compute as in evaluation whatever ``network.train()`` says, which
    a trainer calls in each iteration: their running statistics stay as they were and dropout in them is off.

    Args:
        network: as ``build_classifier`` made it.
        backbone: its name.
        how: ``none``; ``trunk``; ``all_but_last:N`` with N of 0 (as ``trunk``) to 4 (only the stem is frozen); or
            ``keras_top10``, by ``TOP_TEN``; of a network without a list the last ten layers train, which is told.

    Raises:
        UsageError: ``how`` is none of these.
    """
    frozen = all_but_top_ten(network, backbone) if how == KERAS_TOP10 else frozen_parts(backbone, how)
    unused = backbone_of(backbone).unused  # has no gradient that DDP could wait for
    still = getattr(network, "still", ())  # nor have these, in a trunk whose last layers are not used
    for name, parameter in network.named_parameters():
        is_used = not (unused and unused in name) and name not in still
        parameter.requires_grad_(is_used and not any(_belongs(name, part) for part in frozen))
    modules = dict(network.named_modules())
    for part in frozen:
        if part in modules:  # a class token is a bare parameter
            modules[part].register_forward_pre_hook(_evaluate_if_frozen)


def frozen_parts(backbone: str, how: str) -> tuple[str, ...]:
    """Return the names of the modules and parameters that ``freeze`` freezes.

    Raises:
        UsageError: ``how`` is not understood.
    """
    parts = backbone_of(backbone).parts
    stages = len(parts) - 1
    if how == "none":
        return ()
    match = re.fullmatch(r"all_but_last:(\d+)", str(how))
    if how != "trunk" and match is None:
        raise UsageError(f"--freeze {how}: {EXPECTED}")
    training = int(match[1]) if match else 0
    if training > stages:
        raise UsageError(f"--freeze {how}: {backbone} has {stages} stages, so N is 0 to {stages}")
    groups = parts[: len(parts) - training]
    return tuple(name for group in groups for name in group)


def all_but_top_ten(network: nn.Module, backbone: str) -> tuple[str, ...]:
    """Return the names of the modules and parameters of a trunk that ``keras_top10`` freezes.

    Args:
        network: as ``build_classifier`` made it.
        backbone: its name.
    """
    head = backbone_of(backbone).head
    parts = [(name, is_module) for name, is_module in _layers(network) if not _belongs(name, head)]
    kept = TOP_TEN.get(backbone, tuple(name for name, is_module in parts if is_module)[-10:])
    if backbone not in TOP_TEN and idist.get_rank() == 0:
        tell(f"freeze: {KERAS_TOP10} has no list for {backbone}: its last ten layers train ({kept[0]} … {kept[-1]})")
    return tuple(name for name, _ in parts if name not in kept)


def _layers(network: nn.Module, before: str = "") -> Iterator[tuple[str, bool]]:
    """The modules that hold no others with weights, in the order of their definition, and the parameters that belong
    to none of them: name, and whether it is a module."""
    for name, _ in network.named_parameters(recurse=False):
        yield before + name, False
    for name, child in network.named_children():
        if any(True for inner in child.children() for _ in inner.parameters()):
            yield from _layers(child, f"{before}{name}.")
        elif any(True for _ in child.parameters()):
            yield before + name, True
        else:
            yield from ((before + name, True),) if not list(child.children()) else _layers(child, f"{before}{name}.")


def _belongs(parameter: str, part: str) -> bool:
    return parameter == part or parameter.startswith(f"{part}.")


def _evaluate_if_frozen(module: nn.Module, inputs: object) -> None:
    """Put a part that does not train into evaluation mode before each pass, whatever mode was set last."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        module.eval()


def parameter_groups(
    network: nn.Module, backbone: str, learning_rate: float, trunk_multiplier: float = 1.0
) -> list[dict[str, Any]]:
    """Return the parameters for a torch optimiser: the head at ``learning_rate``, the trunk at a share of it.

    Args:
        network: as ``build_classifier`` made it, frozen or not.
        backbone: its name.
        learning_rate: of the head, above 0.
        trunk_multiplier: the trunk's rate in terms of the head's, above 0 and at most 1.

    Returns:
        One or two dictionaries ``{name, params, lr}``, the head first; frozen parameters are left out.

    Raises:
        UsageError: a value is out of its range.
    """
    for option, value in (("--learning_rate", learning_rate), ("--trunk_multiplier", trunk_multiplier)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UsageError(f"{option} {value}: expected a number above 0")
    if trunk_multiplier > 1:
        raise UsageError(
            f"--trunk_multiplier {trunk_multiplier}: expected at most 1 (to keep the trunk still: --freeze trunk)"
        )
    head = backbone_of(backbone).head
    training = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    groups = [
        {"name": "head", "params": [p for n, p in training if _belongs(n, head)], "lr": learning_rate},
        {
            "name": "trunk",
            "params": [p for n, p in training if not _belongs(n, head)],
            "lr": learning_rate * trunk_multiplier,
        },
    ]
    return [group for group in groups if group["params"]]
