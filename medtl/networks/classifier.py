"""One signature for every network: built by its record, with dropout in the head's own layer.

State-dict names are those of the network's library, whatever the head: weights of a network with dropout and without
it are interchangeable.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medtl.errors import UsageError
from medtl.networks.registry import backbone_of


class DropoutConv(nn.Conv2d):
    """A head that is a 1 × 1 convolution behind dropout; its weights are named like those of a plain ``nn.Conv2d``.

    Args:
        in_channels, out_channels: as of nn.Conv2d.
        dropout: probability of an input being zeroed in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(features, self.dropout, self.training))


class DropoutLinear(nn.Linear):
    """A linear head behind dropout; its weights are named like those of a plain ``nn.Linear``.

    Args:
        in_features, out_features: as of nn.Linear.
        dropout: probability of an input being zeroed in training.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(features, self.dropout, self.training))


def build_classifier(
    backbone: str, num_classes: int, in_channels: int = 3, image_size: int = 224, dropout: float = 0.0
) -> nn.Module:
    """Return a classifier: images (n, in_channels, image_size, image_size) to logits (n, num_classes).

    Args:
        backbone: one of ``registry.names()``, or ``timm/NAME`` or ``torchvision/NAME``.
        num_classes: at least 1.
        in_channels: of the images, at least 1.
        image_size: in pixels; a ViT's position embedding is made for it, others take any from their lower bound on.
        dropout: before the head, 0 to below 1.

    Raises:
        UsageError: an argument is none of these.
    """
    card = backbone_of(backbone)
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"a network needs classes and channels: num_classes {num_classes}, in_channels {in_channels}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout {dropout}: expected 0 or more and below 1")
    if not card.takes(image_size):
        nearest = " or ".join(map(str, card.nearest(image_size)))
        raise UsageError(f"image_size {image_size}: {backbone} needs {card.sizes}; nearest: {nearest}")
    network = card.build(in_channels, image_size, num_classes)
    if dropout:
        old = network.get_submodule(card.head)
        kind = DropoutConv if isinstance(old, nn.Conv2d) else DropoutLinear
        new = kind(head_width(old), num_classes, dropout, old.bias is not None)
        new.load_state_dict(old.state_dict())
        outer, _, last = card.head.rpartition(".")
        setattr(network.get_submodule(outer), last, new)
    return network


def head_width(head: nn.Module) -> int:
    """Return how many features a head takes, linear or a 1 × 1 convolution."""
    return int(head.in_channels if isinstance(head, nn.Conv2d) else head.in_features)  # type: ignore[arg-type]


def features(network: nn.Module, backbone: str, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the trunk's stages for a batch, shallow to deep.

    Args:
        network: as ``build_classifier`` made it.
        backbone: its name.
        images: (n, channels, height, width).

    Returns:
        Four maps (n, width of the stage, rows, columns); a ViT's tokens are laid out as their patches, without the
        class token.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            found[name] = output

        return hook

    card = backbone_of(backbone)
    stages = card.stages
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in stages]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [_as_map(found[name], images, card.patch) for name in stages]


def _as_map(output: torch.Tensor, images: torch.Tensor, patch: int) -> torch.Tensor:
    """Return tokens (n, 1 + patches, width) as a map (n, width, rows, columns); maps as they are.

    Raises:
        UsageError: nobody says how the tokens lie.
    """
    if output.ndim == 4:
        return output
    if not patch:
        raise UsageError("this network's stages are tokens, and nobody says how they lie in the picture")
    rows, columns = images.shape[2] // patch, images.shape[3] // patch
    return output[:, 1:].transpose(1, 2).reshape(len(output), -1, rows, columns)


def trunk_parameters(network: nn.Module, backbone: str) -> int:
    """Return the number of parameters without the head, and without those that are never used (of a ViT)."""
    card = backbone_of(backbone)
    return sum(parameter.numel() for name, parameter in network.named_parameters() if card.is_trunk(name))
