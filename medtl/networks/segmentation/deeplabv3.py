"""DeepLabV3's decoder, laid out and computed as torchvision lays out and computes its own.

Names and arithmetic are those of torchvision's ``deeplabv3_resnet50`` and ``deeplabv3_resnet101``. Chen, Papandreou,
Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmenter import convolution

# rates of the pyramid; twice as wide where the map is twice as fine (section 4.1); 32 is for trunks that stay undilated
RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
WIDTH = 256


class PyramidPooling(nn.Sequential):
    """The image's mean features, spread over the map again."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *convolution(in_channels, WIDTH, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, in_channels, rows, columns) to (n, 256, rows, columns)."""
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
        spread = [nn.Sequential(*convolution(in_channels, WIDTH, 3, rate)) for rate in rates]
        self.convs = nn.ModuleList(
            [nn.Sequential(*convolution(in_channels, WIDTH, 1)), *spread, PyramidPooling(in_channels)]
        )
        self.project = nn.Sequential(*convolution(len(self.convs) * WIDTH, WIDTH, 1), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, in_channels, rows, columns) to (n, 256, rows, columns)."""
        found = []
        for branch in self.convs:
            found.append(branch(features))
        projected: Tensor = self.project(torch.cat(found, dim=1))
        return projected


class PlainHead(nn.Sequential):
    """DeepLabV3's head: pyramid, one convolution, logits at the map's resolution."""

    def __init__(self, in_channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__(
            AtrousPyramid(in_channels, rates), *convolution(WIDTH, WIDTH, 3), nn.Conv2d(WIDTH, num_classes, 1)
        )

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at the last map's resolution; the others are not looked at."""
        last = maps[3]
        for module in self:
            last = module(last)
        return last


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return PlainHead(widths[3], num_classes, RATES[output_stride])


DECODERS.register(
    Decoder(
        name="deeplabv3",
        title="DeepLabV3",
        reference="Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution, 2017",
        build=build,
        output_strides=(8, 16, 32),
    )
)
