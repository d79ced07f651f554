"""How a network was made, kept with it, and whether it is still as it was made."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier

ATTRIBUTE = "_medtl_origin"


@dataclass(frozen=True)
class Origin:
    """What ``medtl.build`` was asked for.

    Attributes:
        backbone: the network's name.
        num_classes: logits.
        in_channels: of its images.
        image_size: rows and columns, in pixels.
        init: the word or path of its start.
        seed: of the weights that no start fills.
        classes: names in index order; empty where only their number was given.
        fingerprint: of the network as it was made.
    """

    backbone: str
    num_classes: int
    in_channels: int
    image_size: int
    init: str
    seed: int
    classes: tuple[str, ...] = ()
    fingerprint: str = field(default="", compare=False)

    @property
    def literal(self) -> Mapping[str, Any]:
        """Return the component of a config that makes this network, before its start."""
        return {
            "_target_": "medtl.networks.classifier.build_classifier",
            "backbone": self.backbone,
            "num_classes": self.num_classes,
            "in_channels": self.in_channels,
            "image_size": self.image_size,
            "dropout": 0.0,
        }

    def empty(self) -> nn.Module:
        """Return such a network without memory for its tensors."""
        with torch.device("meta"):
            return build_classifier(self.backbone, self.num_classes, self.in_channels, self.image_size)


def remember(network: nn.Module, origin: Origin) -> None:
    """Keep with a network how it was made; it goes along with copies."""
    setattr(network, ATTRIBUTE, origin)


def origin_of(network: Any, argument: str) -> Origin:
    """Return how a network was made.

    Args:
        network: what ``medtl.build`` returned.
        argument: that errors name.

    Raises:
        UsageError: it is something else.
    """
    found = getattr(network, ATTRIBUTE, None)
    if not isinstance(found, Origin):
        raise UsageError(f"{argument}: expected a network that medtl.build made, not {type(network).__name__}")
    return found


def is_unchanged(network: nn.Module) -> bool:
    """Return whether a network is as ``medtl.build`` or ``medtl.load_weights`` left it: its modules, every tensor's
    name, values and type, and what trains; not where it lies, nor its mode."""
    return origin_of(network, "network").fingerprint == fingerprint(network)


def fingerprint(network: nn.Module) -> str:
    """Return a SHA-256, in hex, of a network's modules and tensors, wherever they lie."""
    digest = hashlib.sha256(repr(network).encode())
    digest.update(repr([(name, p.requires_grad) for name, p in network.named_parameters()]).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by its name."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
