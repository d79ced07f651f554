"""Segmentation networks: a trunk with four stages and a decoder of ``medtl.networks.segmentation``.

Names and arithmetic of a ResNet trunk are torchvision's, so its segmentation weights load with ``strict=True``. Of
timm, any network whose stages shrink the picture by 4, 8, 16 and 32 is a trunk, not dilated.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import BACKBONES, DECODERS, Decoder

LEAST_SIZE = 32
STRIDES = (4, 8, 16, 32)  # pixels of the image to one of each stage's map, where nothing is dilated
TIMM = "timm/"


class Trunk(nn.Module):
    """A ResNet without its head, whose last stages are dilated instead of strided.

    Args:
        resnet: as ``build_classifier`` made it; its modules are taken over.
        output_stride: pixels of the image to one of the last map: 8, 16, or 32, where nothing is dilated.
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
        for stage in {8: (self.layer3, self.layer4), 16: (self.layer4,), 32: ()}[output_stride]:
            dilate(stage, dilation, 2 * dilation)
            dilation *= 2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps of the four stages of images (n, channels, rows, columns); the first at a quarter of the rows
        and columns."""
        first = self.layer1(self.maxpool(self.act(self.bn1(self.conv1(images)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return first, second, third, self.layer4(third)


def staged(network: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a network of timm that gives the maps of its four stages instead of logits, and their channels.

    Its modules and their names stay, so weights load into it as into the classifier; the head is gone.

    Args:
        network: as ``build_classifier`` made it; it is changed.

    Raises:
        UsageError: its maps do not shrink by 4, 8, 16 and 32, as those of most vision transformers.
    """
    info = list(getattr(network, "feature_info", None) or ())  # dictionaries, of some networks within an object
    reductions, widths = [one["reduction"] for one in info], [one["num_chs"] for one in info]
    if not set(STRIDES) <= set(reductions) or not hasattr(network, "forward_intermediates"):
        raise UsageError(f"its maps shrink the picture by {reductions or 'nothing known'}; expected {list(STRIDES)}")
    places = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
    network.reset_classifier(0)
    network.stage_places = places
    # the same object under a class with another forward: names, weights and devices stay what they are
    network.__class__ = type(f"Staged{type(network).__name__}", (type(network),), {"forward": _stages})
    _still_unused(network)
    return network, tuple(int(widths[place]) for place in places)


def _trial_size(network: Any) -> tuple[int, int]:
    """Return rows and columns of a picture that it takes: networks with windows take one size only."""
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    return (int(size[0]), int(size[1])) if size else (2 * LEAST_SIZE, 2 * LEAST_SIZE)


def _stages(self: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Return the maps of the four stages, the finest first."""
    return tuple(self.forward_intermediates(images, indices=self.stage_places, intermediates_only=True))


def _still_unused(network: Any) -> None:
    """Take the gradient from parameters behind the last stage, such as a layer before the head: distributed training
    would wait for it."""
    network.eval()
    parameters = list(network.parameters())
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    images = torch.zeros(1, first.in_channels, *_trial_size(network))
    total = sum((each.sum() for each in network(images)), torch.zeros(()))
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    network.still = tuple(
        name for (name, _), gradient in zip(network.named_parameters(), gradients, strict=True) if gradient is None
    )
    for name in network.still:
        network.get_parameter(name).requires_grad_(False)
    network.train()


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
        edges: number of classes whose edges the decoder finds, too, in training; 0: none.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        aux_classifier: nn.Module | None = None,
        edges: int = 0,
    ) -> None:
        super().__init__()
        self.edges = edges
        self.finds_edges = edges > 0
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, num_classes, rows, columns) of images (n, channels, rows, columns).

        In training several heads' logits come, stacked as MONAI's deep supervision does it: (n, heads, num_classes,
        rows, columns). The main head is the first, the auxiliary head the next, a decoder's edges the last.
        """
        rows, columns = images.shape[2], images.shape[3]
        maps = self.backbone(images)
        logits = _enlarged(self.classifier(maps), rows, columns)
        if not self.training:
            return logits
        if self.finds_edges:
            edges = logits[:, self.edges :]
            logits = logits[:, : self.edges]
            if self.aux_classifier is not None:
                auxiliary = _enlarged(self.aux_classifier(maps[2]), rows, columns)
                return torch.stack((logits, auxiliary, edges), dim=1)
            return torch.stack((logits, edges), dim=1)
        if self.aux_classifier is not None:
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
    """Return the names of medtl's own networks that a segmentation can be built on: ResNets, whose stages can be
    dilated. Those of timm come on top."""
    return tuple(card.name for card in BACKBONES.records() if card.family == "resnet")


def output_stride_of(backbone: str, decoder: str) -> int:
    """Return the output stride that a decoder is usually built for: 8 for DeepLab, 32 for a U-Net or a trunk of timm.

    Raises:
        UsageError: there is no such decoder.
    """
    strides = _card(decoder).output_strides
    return STRIDES[-1] if backbone.startswith(TIMM) and STRIDES[-1] in strides else strides[0]


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
        backbone: one of ``trunks()``, or ``timm/NAME`` of a network with four stages.
        num_classes: with the background.
        in_channels: of the images.
        output_stride: 8, 16 or 32: pixels of the image to one of the trunk's last map. Trunks of timm have 32.
        decoder: one of ``registry.DECODERS``.
        auxiliary: adds a second head on the third stage, which helps training only.

    Raises:
        UsageError: an argument is none of these.
    """
    if backbone not in trunks() and not backbone.startswith(TIMM):
        others = f"{', '.join(trunks())} or {TIMM}NAME"
        raise UsageError(f"--backbone {backbone}: a segmentation is built on one of {others}")
    card = _card(decoder)
    strides = [stride for stride in card.output_strides if stride == STRIDES[-1] or not backbone.startswith(TIMM)]
    if isinstance(output_stride, bool) or output_stride not in strides:
        expected = " or ".join(map(str, strides)) or f"another decoder: {decoder} needs a trunk that can be dilated"
        raise UsageError(f"--output_stride {output_stride}: expected {expected}")
    if num_classes < 2:
        raise UsageError(f"a segmentation needs the background and at least one organ: num_classes {num_classes}")
    network: Any = build_classifier(backbone, num_classes, in_channels)
    if backbone.startswith(TIMM):
        try:
            trunk, found = staged(network)
        except UsageError as error:
            raise UsageError(f"--backbone {backbone}: {error}") from None
        widths = (found[0], found[1], found[2], found[3])
    else:
        last = int(network.fc.in_features)
        trunk, widths = Trunk(network, output_stride), (last // 8, last // 4, last // 2, last)
    head = card.build(widths, num_classes, output_stride)
    second = _auxiliary_head(widths[2], num_classes) if auxiliary else None
    return Segmenter(trunk, head, second, num_classes if card.edges else 0)


def _card(decoder: str) -> Decoder:
    try:
        return DECODERS.find(decoder)
    except UsageError as error:
        raise UsageError(f"--decoder {decoder}: {error}") from None


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
