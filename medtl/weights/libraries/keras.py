"""Keras's networks (keras.applications): names, and what its layers add up differently. RadImageNet's ``.h5`` are such.

Its convolutions may have biases, which are taken from the mean of the batch norm behind them; its batch norms add
another epsilon to the variance, or have no scale, which is 1 then. What weights cannot carry (strides, pooling) is a
network of its own: ``medtl.networks.backbones.keras``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from medtl.weights.layouts import KERAS, Layout, Rule, register

if TYPE_CHECKING:
    from torch import Tensor

    StateDict = dict[str, Tensor]

KERAS_EPSILON, EPSILON = 1.001e-5, 1e-5  # of batch norm
COUNTED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?$")  # layers without a name of their own
BLOCK = re.compile(r"block(35|17|8)_(\d+)_conv$")
LAST = ("conv_7b", "conv_7b_bn")
LEAVES = ("weight", "bias", "running_mean", "running_var")
# unnamed convolutions of Inception-ResNet-v2: before the first block; of each kind of block its number, their
# convolutions, how many blocks, and the convolutions behind them
STEM = 12
KINDS = (("35", 6, 10, 4), ("17", 4, 20, 7), ("8", 4, 10, 0))
UNNAMED = STEM + sum(each * blocks + behind for _, each, blocks, behind in KINDS)


def with_keras_epsilon(state: StateDict) -> StateDict:
    """Return the tensors with the difference of what Keras's and torch's batch norms add to each variance in it."""
    more = KERAS_EPSILON - EPSILON
    return {name: tensor + more if name.endswith("running_var") else tensor for name, tensor in state.items()}


def without_biases(state: StateDict) -> StateDict:
    """Return a ResNet's tensors, the epsilon as of torch, with the biases of its convolutions in the norms behind:
    BN(x + b) with mean m is BN(x) with mean m - b."""
    found = with_keras_epsilon(state)
    for name in state:
        norm = re.sub(r"\bconv(\d)\.bias$", r"bn\1.", re.sub(r"\.0\.bias$", ".1.", name))
        mean = f"{norm}running_mean"
        if norm != name and mean in found and f"{norm}weight" in found:
            found[mean] = found[mean] - found.pop(name)
    return found


def _in_layer(found: re.Match[str]) -> str:
    """Return norm1, conv1, norm2 or conv2 for Keras's 0_bn, 1_conv, 1_bn and 2_conv."""
    return f"norm{int(found[3]) + 1}" if found[4] == "bn" else f"conv{found[3]}"


DENSENET: tuple[Rule, ...] = (
    (r"^conv1_conv\.", "features.conv0."),
    (r"^conv1_bn\.", "features.norm0."),
    (
        r"^conv(\d)_block(\d+)_([012])_(bn|conv)\.",
        lambda found: f"features.denseblock{int(found[1]) - 1}.denselayer{found[2]}.layers.{_in_layer(found)}.",
    ),
    (
        r"^pool(\d)_(bn|conv)\.",
        lambda found: f"features.transition{int(found[1]) - 1}.{'norm' if found[2] == 'bn' else 'conv'}.",
    ),
    (r"^bn\.", "features.norm5."),
)
register(Layout("Keras's DenseNet", "densenet", DENSENET, with_keras_epsilon, KERAS))
RESNET: tuple[Rule, ...] = (
    (r"^conv1_(conv|bn)\.", r"\g<1>1."),
    (
        r"^conv(\d)_block(\d+)_0_(bn|conv)\.",
        lambda found: f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.downsample.{'0' if found[3] == 'conv' else '1'}.",
    ),
    (
        r"^conv(\d)_block(\d+)_([123])_(bn|conv)\.",
        lambda found: f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{found[4]}{found[3]}.",
    ),
)
# not of the family "resnet": in those the strides are in other convolutions
register(Layout("Keras's ResNet", "keras_resnet", RESNET, without_biases, KERAS))


def modules(names: Iterable[str]) -> list[str]:
    """Return the names of the layers that a file's tensors belong to, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def counted(names: list[str], kind: str) -> list[str]:
    """Return the unnamed layers of a kind in the order in which Keras made them: it lists them by their depth, and
    counts on from model to model within one program."""
    found = {name: int(match[2] or 0) for name in names if (match := COUNTED.fullmatch(name)) and match[1] == kind}
    return sorted(found, key=lambda name: found[name])


def is_inception_v3(names: Iterable[str]) -> bool:
    """Return whether a file's names are those of Keras's Inception-v3: 94 convolutions, 94 norms, none of them named,
    and no other layers but a head."""
    layers = modules(names)
    return all(len(counted(layers, kind)) == 94 for kind in ("conv2d", "batch_normalization"))


def is_inception_resnet_v2(names: Iterable[str]) -> bool:
    """Return whether a file's names are those of Keras's Inception-ResNet-v2."""
    layers = modules(names)
    return set(LAST) <= set(layers) and sum(1 for name in layers if BLOCK.fullmatch(name)) == 40


def inception_v3(state: StateDict) -> StateDict:
    """Return the tensors of Keras's Inception-v3 under numbers, in the order in which it is written down, in Keras as
    in torch (``names.by_position`` takes them so), with a scale of 1 for each norm; those of other networks as they
    are."""
    if not is_inception_v3(state):
        return state
    layers = modules(state)
    pairs = zip(counted(layers, "conv2d"), counted(layers, "batch_normalization"), strict=True)
    return _in_order(state, [name for pair in pairs for name in pair])


def inception_resnet_v2(state: StateDict) -> StateDict:
    """Return the tensors of Keras's Inception-ResNet-v2 likewise: each block's branches, then the convolution that
    joins them."""
    layers = modules(state)
    convolutions, norms = counted(layers, "conv2d"), counted(layers, "batch_normalization")
    if not is_inception_resnet_v2(state) or not len(convolutions) == len(norms) == UNNAMED:
        return state
    left = iter(zip(convolutions, norms, strict=True))
    order = _taken(left, STEM)
    for kind, each, blocks, behind in KINDS:
        for block in range(1, blocks + 1):
            order += [*_taken(left, each), f"block{kind}_{block}_conv"]
        order += _taken(left, behind)
    return _in_order(state, [*order, *LAST])


def _taken(left: Iterator[tuple[str, str]], count: int) -> list[str]:
    """The next convolutions, each with the norm behind it."""
    return [name for _ in range(count) for name in next(left)]


def _in_order(state: StateDict, order: list[str]) -> StateDict:
    """The tensors under their layer's number, norms with a scale; then those of other layers under their own names."""
    import torch

    found: StateDict = {}
    for number, layer in enumerate(order):
        tensors = {leaf: state[name] for leaf in LEAVES if (name := f"{layer}.{leaf}") in state}
        if "running_var" in tensors and "weight" not in tensors:
            tensors["weight"] = torch.ones_like(tensors["running_var"])
        found |= {f"{number}.{leaf}": tensor for leaf, tensor in tensors.items()}
    known = set(order)
    return found | {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in known}


# its average pools leave the padding out of the mean, those of torchvision's and timm's Inception-v3 do not: so it is
# not of their family
register(Layout("Keras's Inception-v3", "keras_inception", convert=inception_v3, library=KERAS))
register(Layout("Keras's Inception-ResNet-v2", "timm", convert=inception_resnet_v2, library=KERAS))
