"""Segmentation networks: a dilated ResNet and a decoder of ``medtl.networks.segmentation``.

Names and arithmetic of the trunk are torchvision's, so its segmentation weights load with ``strict=True``.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import BACKBONES, DECODERS

LEAST_SIZE = 32


class Trunk(nn.Module):
    """A ResNet without its head, whose last stages are dilated instead of strided.

    Args:
        resnet: as ``build_classifier`` made it; its modules are taken over.
        output_stride: pixels of the image to one of the last map, 8 or 16.
    """

    def __init__(self, resnet: Any, output_stride: int) -> None:
        super().__init__()
        self.conv1 = resnet.conv1
        self.bn1 = resnet.bn1
        self.act = resnet.act
        self.maxpool = resnet.maxpool
        self.layer1 = resnet.layer1
        self.layer2 = resnet.layer2
        self.layer3 = resnet.layer3
        self.layer4 = resnet.layer4
        dilation = 1
        for stage in (self.layer3, self.layer4)[0 if output_stride == 8 else 1 :]:
            dilate(stage, dilation, 2 * dilation)
            dilation *= 2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps of the four stages of images (n, channels, rows, columns); the first at a quarter of the rows
        and columns."""
        first = self.layer1(self.maxpool(self.act(self.bn1(self.conv1(images)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return first, second, third, self.layer4(third)


def dilate(stage: nn.Sequential, before: int, after: int) -> None:
    """Take a stage's stride away and spread its 3 × 3 convolutions instead, in place; the weights stay.

    The first block keeps the dilation of the stage before, as in torchvision's ``replace_stride_with_dilation``.
    torchvision has this for bottlenecks alone; of a basic block both convolutions are spread.

    Args:
        stage: blocks of a ResNet.
        before: dilation of its first block.
        after: dilation of all others.
    """
    for number, block in enumerate(stage):
        rate = after if number else before
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                if module.kernel_size == (3, 3):
                    module.dilation = module.padding = (rate, rate)


class Segmenter(nn.Module):
    """A dilated trunk and a head; see ``build_segmenter``.

    Attributes:
        backbone: the trunk, whose names are those of a classifier's: ``load_pretrained(network.backbone, …)``.
        classifier: the decoder.
        aux_classifier: the auxiliary head, or None.
    """

    def __init__(self, backbone: Trunk, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes, rows, columns) of images (n, channels, rows, columns).

        In training with an auxiliary head both heads' logits come, stacked as MONAI's deep supervision does it: (n, 2,
        num_classes, rows, columns), the main head first.
        """
        rows, columns = images.shape[2], images.shape[3]
        maps = self.backbone(images)
        logits = _enlarged(self.classifier(maps), rows, columns)
        if self.aux_classifier is not None and self.training:
            auxiliary = _enlarged(self.aux_classifier(maps[2]), rows, columns)
            return torch.stack((logits, auxiliary), dim=1)
        return logits


def _enlarged(logits: Tensor, rows: int, columns: int) -> Tensor:
    return functional.interpolate(logits, size=[rows, columns], mode="bilinear", align_corners=False)


def convolution(in_channels: int, out_channels: int, kernel: int, rate: int = 1) -> tuple[nn.Module, ...]:
    """Return a convolution without bias that keeps the size, batch norm, ReLU."""
    padding = rate * (kernel // 2)
    return (
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def trunks() -> tuple[str, ...]:
    """Return the names of the networks that a segmentation can be built on: ResNets, whose stages can be dilated."""
    return tuple(card.name for card in BACKBONES.records() if card.family == "resnet")


def build_segmenter(
    backbone: str,
    num_classes: int,
    in_channels: int = 3,
    output_stride: int = 8,
    decoder: str = "deeplabv3",
    auxiliary: bool = False,
) -> Segmenter:
    """Return a segmentation network: images (n, in_channels, rows, columns), each side at least 32, to logits of each
    pixel (n, num_classes, rows, columns).

    With ``resnet50`` or ``resnet101``, 3 channels, output stride 8 and the decoder ``deeplabv3`` this is torchvision's
    network, name by name.

    Args:
        backbone: one of ``trunks()``.
        num_classes: with the background.
        in_channels: of the images.
        output_stride: 8 or 16: pixels of the image to one of the trunk's last map.
        decoder: one of ``registry.DECODERS``.
        auxiliary: adds a second head on the third stage, which helps training only.

    Raises:
        UsageError: an argument is none of these.
    """
    if backbone not in trunks():
        raise UsageError(f"--backbone {backbone}: a segmentation is built on one of {', '.join(trunks())}")
    try:
        card = DECODERS.find(decoder)
    except UsageError as error:
        raise UsageError(f"--decoder {decoder}: {error}") from None
    if isinstance(output_stride, bool) or output_stride not in card.output_strides:
        raise UsageError(f"--output_stride {output_stride}: expected {' or '.join(map(str, card.output_strides))}")
    if num_classes < 2:
        raise UsageError(f"a segmentation needs the background and at least one organ: num_classes {num_classes}")
    resnet: Any = build_classifier(backbone, num_classes, in_channels)
    last = int(resnet.fc.in_features)
    widths = (last // 8, last // 4, last // 2, last)
    trunk = Trunk(resnet, output_stride)
    head = card.build(widths, num_classes, output_stride)
    return Segmenter(trunk, head, _auxiliary_head(widths[2], num_classes) if auxiliary else None)


def _auxiliary_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """A small fully convolutional head, as torchvision's FCNHead."""
    inner = in_channels // 4
    return nn.Sequential(*convolution(in_channels, inner, 3), nn.Dropout(0.1), nn.Conv2d(inner, num_classes, 1))


def parameter_groups(network: Segmenter, learning_rate: float, trunk_multiplier: float = 1.0) -> list[dict[str, Any]]:
    """Return parameters for a torch optimiser: the heads at ``learning_rate``, the trunk at a share of it.

    Args:
        network: frozen in parts or not.
        learning_rate: of the heads, above 0.
        trunk_multiplier: the trunk's rate in terms of the heads', above 0 and at most 1.

    Returns:
        One or two dictionaries ``{name, params, lr}``, the heads first; frozen parameters are left out.

    Raises:
        UsageError: a value is out of its range.
    """
    if isinstance(trunk_multiplier, bool) or not isinstance(trunk_multiplier, int | float):
        raise UsageError(f"--trunk_multiplier {trunk_multiplier}: expected a number")
    if not 0 < trunk_multiplier <= 1:
        raise UsageError(
            f"--trunk_multiplier {trunk_multiplier}: expected above 0 and at most 1 (to keep the trunk still: --freeze"
            " trunk)"
        )
    trunk = {id(parameter) for parameter in network.backbone.parameters()}
    training = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"name": "head", "params": [p for p in training if id(p) not in trunk], "lr": learning_rate},
        {"name": "trunk", "params": [p for p in training if id(p) in trunk], "lr": learning_rate * trunk_multiplier},
    ]
    return [group for group in groups if group["params"]]
