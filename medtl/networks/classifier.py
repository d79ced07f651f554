"""One signature for every trunk: MONAI's own networks, built so that torchvision's and timm's weights mean what they
say.

State-dict names are MONAI's, whatever the head: dropout is part of the head's own layer, so weights of a network with
it and without it are interchangeable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from monai.networks.nets import DenseNet121, ViT, resnet18, resnet34, resnet50, resnet101
from torch import nn

from medtl.errors import UsageError


class DropoutLinear(nn.Linear):
    """A linear head behind dropout; its weights are named like those of a plain ``nn.Linear``.

    Args:
        in_features, out_features: as of nn.Linear.
        dropout: probability of an input being zeroed in training.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(features, self.dropout, self.training))


class LogitsViT(ViT):
    """MONAI's ViT, returning logits (n, n_classes) alone instead of a tuple with the hidden states."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images)[0]


@dataclass(frozen=True)
class Backbone:
    """How one trunk is built.

    Attributes:
        build: (in_channels, image_size, num_classes) to the network.
        head: name of its last linear layer.
        stages: names of the modules whose outputs are its stages, shallow to deep.
        last_norm: the norm layer of the last block, where Grad-CAM looks.
        parts: modules and parameters of the trunk in the order of the forward pass: the stem, then one group a stage;
            each parameter of the trunk belongs to one of them. This is what can be frozen.
    """

    build: Callable[[int, int, int], nn.Module]
    head: str
    stages: tuple[str, ...]
    last_norm: str
    parts: tuple[tuple[str, ...], ...]


def _resnet(make: Callable[..., nn.Module], norms: int, blocks: int) -> Backbone:
    def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
        # MONAI's defaults (stride 1, shortcut with bias) load torchvision's weights and compute something else
        return make(
            spatial_dims=2,
            n_input_channels=in_channels,
            num_classes=num_classes,
            conv1_t_stride=2,
            bias_downsample=False,
        )

    stages = ("layer1", "layer2", "layer3", "layer4")
    parts = (("conv1", "bn1"), *((stage,) for stage in stages))
    return Backbone(build, "fc", stages, f"layer4.{blocks - 1}.bn{norms}", parts)


def _vit(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    network = LogitsViT(
        in_channels=in_channels,
        img_size=image_size,
        patch_size=16,
        spatial_dims=2,
        classification=True,
        num_classes=num_classes,
        post_activation=None,
        qkv_bias=True,
    )
    for name, parameter in network.named_parameters():
        if "norm_cross_attn" in name:
            # MONAI makes it and never uses it: frozen, so that DDP does not wait for its gradient
            parameter.requires_grad_(False)
    return network


def _densenet(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    return DenseNet121(spatial_dims=2, in_channels=in_channels, out_channels=num_classes)


BACKBONES = MappingProxyType(
    {
        "resnet18": _resnet(resnet18, norms=2, blocks=2),
        "resnet34": _resnet(resnet34, norms=2, blocks=3),
        "resnet50": _resnet(resnet50, norms=3, blocks=3),
        "resnet101": _resnet(resnet101, norms=3, blocks=3),
        "vit_b16": Backbone(
            _vit,
            "classification_head",
            ("blocks.2", "blocks.5", "blocks.8", "blocks.11"),
            "blocks.11.norm1",
            (
                ("patch_embedding", "cls_token"),
                ("blocks.0", "blocks.1", "blocks.2"),
                ("blocks.3", "blocks.4", "blocks.5"),
                ("blocks.6", "blocks.7", "blocks.8"),
                ("blocks.9", "blocks.10", "blocks.11", "norm"),
            ),
        ),
        "densenet121": Backbone(
            _densenet,
            "class_layers.out",
            ("features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"),
            "features.norm5",
            (
                ("features.conv0", "features.norm0"),
                ("features.denseblock1",),
                ("features.transition1", "features.denseblock2"),
                ("features.transition2", "features.denseblock3"),
                ("features.transition3", "features.denseblock4", "features.norm5"),
            ),
        ),
    }
)


def build_classifier(
    backbone: str, num_classes: int, in_channels: int = 3, image_size: int = 224, dropout: float = 0.0
) -> nn.Module:
    """A classifier: images (n, in_channels, image_size, image_size) to logits (n, num_classes).

    Args:
        backbone: one of ``BACKBONES``.
        num_classes: at least 1.
        in_channels: of the images, at least 1.
        image_size: in pixels; for vit_b16 a multiple of 16 that its position embedding is made for, for the others only
            a lower bound of 32 holds.
        dropout: before the head, 0 to below 1.

    Raises:
        UsageError: an argument is none of these.
    """
    card = backbone_of(backbone)
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"a network needs classes and channels: num_classes {num_classes}, in_channels {in_channels}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout {dropout}: expected 0 or more and below 1")
    if image_size < 32 or (backbone == "vit_b16" and image_size % 16):
        raise UsageError(f"image_size {image_size}: {backbone} needs {least_size(backbone)}")
    network = card.build(in_channels, image_size, num_classes)
    if dropout:
        old = network.get_submodule(card.head)
        new = DropoutLinear(int(old.in_features), num_classes, dropout)  # type: ignore[arg-type]
        new.load_state_dict(old.state_dict())
        outer, _, last = card.head.rpartition(".")
        setattr(network.get_submodule(outer), last, new)
    return network


def backbone_of(name: str) -> Backbone:
    """The card of a trunk by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in BACKBONES:
        raise UsageError(f"backbone {name!r} is not one of {', '.join(BACKBONES)}")
    return BACKBONES[name]


def least_size(backbone: str) -> str:
    """The image sizes that a trunk takes, in words."""
    return "a multiple of 16, at least 32" if backbone == "vit_b16" else "at least 32"


def features(network: nn.Module, backbone: str, images: torch.Tensor) -> list[torch.Tensor]:
    """The trunk's stages for a batch, shallow to deep.

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

    stages = backbone_of(backbone).stages
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in stages]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [_as_map(found[name], images) for name in stages]


def _as_map(output: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Tokens (n, 1 + patches, width) as a map (n, width, rows, columns); maps as they are."""
    if output.ndim == 4:
        return output
    rows, columns = images.shape[2] // 16, images.shape[3] // 16
    return output[:, 1:].transpose(1, 2).reshape(len(output), -1, rows, columns)


def trunk_parameters(network: nn.Module, backbone: str) -> int:
    """Parameters without the head, and without those that are never used (a ViT's norm of cross-attention)."""
    head = backbone_of(backbone).head
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith(f"{head}.") and "norm_cross_attn" not in name
    )
