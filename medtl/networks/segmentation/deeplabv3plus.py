"""DeepLabV3+'s decoder: DeepLabV3's pyramid beside fine features, with plain convolutions.

Chen et al.: Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, ECCV 2018.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmentation.deeplabv3 import RATES, WIDTH, AtrousPyramid
from medtl.networks.segmenter import convolution

LOW_WIDTH = 48  # of the fine features (table 1)


class DecoderHead(nn.Module):
    """DeepLabV3+'s head: the pyramid's features beside fine ones of the first stage, refined at that resolution."""

    def __init__(self, in_channels: int, low_channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.pyramid = AtrousPyramid(in_channels, rates)
        self.low = nn.Sequential(*convolution(low_channels, LOW_WIDTH, 1))
        self.refine = nn.Sequential(
            *convolution(WIDTH + LOW_WIDTH, WIDTH, 3),
            *convolution(WIDTH, WIDTH, 3),
            nn.Conv2d(WIDTH, num_classes, 1),
        )

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at the first's resolution."""
        first, last = maps[0], maps[3]
        coarse = functional.interpolate(self.pyramid(last), size=first.shape[-2:], mode="bilinear", align_corners=False)
        refined: Tensor = self.refine(torch.cat((coarse, self.low(first)), dim=1))
        return refined


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return DecoderHead(widths[3], widths[0], num_classes, RATES[output_stride])


DECODERS.register(
    Decoder(
        name="deeplabv3plus",
        title="DeepLabV3+",
        reference="Chen et al.: Encoder-Decoder with Atrous Separable Convolution, ECCV 2018",
        build=build,
        output_strides=(8, 16, 32),
    )
)
