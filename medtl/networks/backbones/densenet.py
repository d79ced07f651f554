"""MONAI's DenseNet-121, which is torchvision's under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medtl.networks.registry import Backbone, Published, register

if TYPE_CHECKING:
    from torch import nn


def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Return a DenseNet-121."""
    from monai.networks.nets import DenseNet121

    network: nn.Module = DenseNet121(spatial_dims=2, in_channels=in_channels, out_channels=num_classes)
    return network


def stock(num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return a DenseNet-121 in MONAI's words."""
    return {
        "_target_": "monai.networks.nets.DenseNet121",
        "spatial_dims": 2,
        "in_channels": in_channels,
        "out_channels": num_classes,
    }


register(
    Backbone(
        name="densenet121",
        title="DenseNet-121",
        reference="Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017",
        family="densenet",
        build=build,
        head="class_layers.out",
        stages=("features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"),
        last_norm="features.norm5",
        parts=(
            ("features.conv0", "features.norm0"),
            ("features.denseblock1",),
            ("features.transition1", "features.denseblock2"),
            ("features.transition2", "features.denseblock3"),
            ("features.transition3", "features.denseblock4", "features.norm5"),
        ),
        stock=stock,
        classes_argument="out_channels",
        weights={"imagenet": Published("https://download.pytorch.org/models/densenet121-a639ec97.pth", "a639ec97")},
    )
)
