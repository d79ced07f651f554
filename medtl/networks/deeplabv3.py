"""DeepLabV3 and DeepLabV3+ on MONAI's ResNets, laid out and computed as torchvision lays out and computes its own.

Names and arithmetic are those of torchvision's ``deeplabv3_resnet50`` and ``deeplabv3_resnet101``, so their state
dicts load with ``strict=True``. Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image
Segmentation, 2017; the decoder: Chen et al.: Encoder-Decoder with Atrous Separable Convolution, ECCV 2018 (here with
plain convolutions).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier

TRUNKS = ("resnet18", "resnet34", "resnet50", "resnet101")
DECODERS = ("deeplabv3", "deeplabv3plus")
# rates of the pyramid; twice as wide where the map is twice as fine (Chen et al. 2017, section 4.1)
RATES = {8: (12, 24, 36), 16: (6, 12, 18)}
WIDTH = 256
LOW_WIDTH = 48  # of the fine features in the decoder (Chen et al. 2018, table 1)
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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, channels, rows, columns) to the maps of the first, third and fourth stage; the first at a quarter
        of the rows and columns."""
        first = self.layer1(self.maxpool(self.act(self.bn1(self.conv1(images)))))
        third = self.layer3(self.layer2(first))
        return first, third, self.layer4(third)


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


class PyramidPooling(nn.Sequential):
    """The image's mean features, spread over the map again."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_convolution(in_channels, WIDTH, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(n, in_channels, rows, columns) to (n, 256, rows, columns)."""
        size = features.shape[-2:]
        for module in self:
            features = module(features)
        return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1 × 1 convolution, three spread ones and the image's mean, side by side.

    Args:
        in_channels: of the map.
        rates: dilations of the spread convolutions.
    """

    def __init__(self, in_channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        spread = [nn.Sequential(*_convolution(in_channels, WIDTH, 3, rate)) for rate in rates]
        self.convs = nn.ModuleList(
            [nn.Sequential(*_convolution(in_channels, WIDTH, 1)), *spread, PyramidPooling(in_channels)]
        )
        self.project = nn.Sequential(*_convolution(len(self.convs) * WIDTH, WIDTH, 1), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """(n, in_channels, rows, columns) to (n, 256, rows, columns)."""
        found = []
        for branch in self.convs:
            found.append(branch(features))
        projected: Tensor = self.project(torch.cat(found, dim=1))
        return projected


class PlainHead(nn.Sequential):
    """DeepLabV3's head: pyramid, one convolution, logits at the map's resolution."""

    def __init__(self, in_channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__(
            AtrousPyramid(in_channels, rates), *_convolution(WIDTH, WIDTH, 3), nn.Conv2d(WIDTH, num_classes, 1)
        )

    def forward(self, first: Tensor, last: Tensor) -> Tensor:  # type: ignore[override]
        """The last map (n, in_channels, rows, columns) to logits (n, num_classes, rows, columns); ``first`` is not
        looked at."""
        for module in self:
            last = module(last)
        return last


class DecoderHead(nn.Module):
    """DeepLabV3+'s head: the pyramid's features beside fine ones of the first stage, refined at that resolution."""

    def __init__(self, in_channels: int, low_channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.pyramid = AtrousPyramid(in_channels, rates)
        self.low = nn.Sequential(*_convolution(low_channels, LOW_WIDTH, 1))
        self.refine = nn.Sequential(
            *_convolution(WIDTH + LOW_WIDTH, WIDTH, 3),
            *_convolution(WIDTH, WIDTH, 3),
            nn.Conv2d(WIDTH, num_classes, 1),
        )

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        """The first and last map to logits (n, num_classes, rows, columns) at the first's resolution."""
        coarse = functional.interpolate(self.pyramid(last), size=first.shape[-2:], mode="bilinear", align_corners=False)
        refined: Tensor = self.refine(torch.cat((coarse, self.low(first)), dim=1))
        return refined


class DeepLabV3(nn.Module):
    """A dilated trunk and a head; see ``build_deeplabv3``.

    Attributes:
        backbone: the trunk, whose names are those of a classifier's: ``load_pretrained(network.backbone, …)``.
        classifier: the head.
        aux_classifier: the auxiliary head, or None.
    """

    def __init__(self, backbone: Trunk, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channels, rows, columns) to logits (n, num_classes, rows, columns).

        In training with an auxiliary head both heads' logits come, stacked as MONAI's deep supervision does it: (n, 2,
        num_classes, rows, columns), the main head first.
        """
        rows, columns = images.shape[2], images.shape[3]
        first, third, last = self.backbone(images)
        logits = _enlarged(self.classifier(first, last), rows, columns)
        if self.aux_classifier is not None and self.training:
            auxiliary = _enlarged(self.aux_classifier(third), rows, columns)
            return torch.stack((logits, auxiliary), dim=1)
        return logits


def _enlarged(logits: Tensor, rows: int, columns: int) -> Tensor:
    return functional.interpolate(logits, size=[rows, columns], mode="bilinear", align_corners=False)


def _convolution(in_channels: int, out_channels: int, kernel: int, rate: int = 1) -> tuple[nn.Module, ...]:
    """Convolution without bias that keeps the size, batch norm, ReLU."""
    padding = rate * (kernel // 2)
    return (
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def build_deeplabv3(
    backbone: str,
    num_classes: int,
    in_channels: int = 3,
    output_stride: int = 8,
    decoder: str = "deeplabv3",
    auxiliary: bool = False,
) -> DeepLabV3:
    """A segmentation network: images (n, in_channels, rows, columns), each side at least 32, to logits of each pixel
    (n, num_classes, rows, columns).

    With ``resnet50`` or ``resnet101``, 3 channels and output stride 8 this is torchvision's network, name by name.

    Args:
        backbone: resnet18, resnet34, resnet50 or resnet101.
        num_classes: with the background.
        in_channels: of the images.
        output_stride: 8 or 16: pixels of the image to one of the trunk's last map.
        decoder: deeplabv3, or deeplabv3plus.
        auxiliary: adds a second head on the third stage, which helps training only.

    Raises:
        UsageError: an argument is none of these.
    """
    if backbone not in TRUNKS:
        raise UsageError(f"--backbone {backbone}: DeepLabV3 is built on one of {', '.join(TRUNKS)}")
    if isinstance(output_stride, bool) or output_stride not in RATES:
        raise UsageError(f"--output_stride {output_stride}: expected {' or '.join(map(str, RATES))}")
    if decoder not in DECODERS:
        raise UsageError(f"--decoder {decoder}: expected {' or '.join(DECODERS)}")
    if num_classes < 2:
        raise UsageError(f"a segmentation needs the background and at least one organ: num_classes {num_classes}")
    resnet: Any = build_classifier(backbone, num_classes, in_channels)
    width = int(resnet.fc.in_features)
    trunk = Trunk(resnet, output_stride)
    rates = RATES[output_stride]
    head = (
        PlainHead(width, num_classes, rates)
        if decoder == "deeplabv3"
        else DecoderHead(width, width // 8, num_classes, rates)
    )
    return DeepLabV3(trunk, head, _auxiliary_head(width // 2, num_classes) if auxiliary else None)


def _auxiliary_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """A small fully convolutional head, as torchvision's FCNHead."""
    inner = in_channels // 4
    return nn.Sequential(*_convolution(in_channels, inner, 3), nn.Dropout(0.1), nn.Conv2d(inner, num_classes, 1))


def parameter_groups(network: DeepLabV3, learning_rate: float, trunk_multiplier: float = 1.0) -> list[dict[str, Any]]:
    """Parameters for a torch optimiser: the heads at ``learning_rate``, the trunk at a share of it.

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
