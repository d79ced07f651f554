"""MONAI's ResNets, built so that torchvision's weights mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medtl.errors import MedtlError
from medtl.networks.registry import Backbone, Published, register

if TYPE_CHECKING:
    from torch import nn

REFERENCE = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"
STAGES = ("layer1", "layer2", "layer3", "layer4")
STRIDE = 2
# depth: blocks of the last stage, norms of a block, torchvision's IMAGENET1K_V1 (its name ends in the SHA-256's start)
DEPTHS = {18: (2, 2, "f37072fd"), 34: (3, 2, "b627a593"), 50: (3, 3, "0676ba61"), 101: (3, 3, "63fe2227")}


def arguments(num_classes: int, in_channels: int) -> dict[str, Any]:
    """Return what MONAI's ResNets must be told: its defaults (stride 1, shortcut with bias) load torchvision's weights
    and compute something else."""
    return {
        "spatial_dims": 2,
        "n_input_channels": in_channels,
        "num_classes": num_classes,
        "conv1_t_stride": STRIDE,
        "bias_downsample": False,
    }


def builder(name: str) -> Callable[[int, int, int], nn.Module]:
    """Return how a ResNet is built."""

    def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
        from monai.networks import nets

        network: nn.Module = getattr(nets, name)(**arguments(num_classes, in_channels))
        return network

    return build


def stock(name: str) -> Callable[[int, int, int], dict[str, Any]]:
    """Return how a ResNet is described in MONAI's words."""
    return lambda num_classes, in_channels, image_size: {
        "_target_": f"monai.networks.nets.{name}",
        **arguments(num_classes, in_channels),
    }


def check_stem(network: nn.Module) -> None:
    """Raise MedtlError unless the first convolution has the stride that the weights are made for, which no file
    tells."""
    stride = getattr(network.get_submodule("conv1"), "stride", None)
    if stride != (STRIDE, STRIDE):
        raise MedtlError(
            f"the first convolution has stride {stride}, pretrained ResNets have ({STRIDE}, {STRIDE}): build it with"
            " build_classifier"
        )


for depth, (blocks, norms, digest) in DEPTHS.items():
    register(
        Backbone(
            name=f"resnet{depth}",
            title=f"ResNet-{depth}",
            reference=REFERENCE,
            family="resnet",
            build=builder(f"resnet{depth}"),
            head="fc",
            stages=STAGES,
            last_norm=f"layer4.{blocks - 1}.bn{norms}",
            parts=(("conv1", "bn1"), *((stage,) for stage in STAGES)),
            stock=stock(f"resnet{depth}"),
            check=check_stem,
            weights={
                "imagenet": Published(f"https://download.pytorch.org/models/resnet{depth}-{digest}.pth", digest),
            },
        )
    )
