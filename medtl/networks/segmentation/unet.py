"""U-Net's decoder: from the last map to the picture's resolution, each step beside the map of that size.

Ronneberger, Fischer, Brox: U-Net, MICCAI 2015. The trunk takes the place of the contracting path. Its four maps are
used; the two last steps, from a quarter of the picture to all of it, have no map beside them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmenter import convolution

WIDTHS = (256, 128, 64)  # of the steps beside a map, as in widely used U-Nets on ResNets
LAST = (32, 16)


class Step(nn.Module):
    """Twice the size by the nearest pixel, the map of that size beside it, two convolutions.

    Args:
        in_channels: of the coarse map.
        beside: of the map beside it, 0 for none.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, beside: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *convolution(in_channels + beside, out_channels, 3), *convolution(out_channels, out_channels, 3)
        )

    def forward(self, coarse: Tensor, beside: Tensor | None) -> Tensor:
        """Take (n, in_channels, rows, columns) to (n, out_channels, …) at the size of the map beside it, or at twice
        its own size."""
        if beside is None:
            larger = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        else:
            larger = torch.cat((functional.interpolate(coarse, size=beside.shape[-2:], mode="nearest"), beside), dim=1)
        found: Tensor = self.convs(larger)
        return found


class UNetHead(nn.Module):
    """The expanding path.

    Args:
        widths: channels of the four maps, the finest first.
        num_classes: with the background.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self.third = Step(widths[3], widths[2], WIDTHS[0])
        self.second = Step(WIDTHS[0], widths[1], WIDTHS[1])
        self.first = Step(WIDTHS[1], widths[0], WIDTHS[2])
        self.halfway = Step(WIDTHS[2], 0, LAST[0])
        self.whole = Step(LAST[0], 0, LAST[1])
        self.logits = nn.Conv2d(LAST[1], num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at four times the first map's size, which is the picture's."""
        found = self.first(self.second(self.third(maps[3], maps[2]), maps[1]), maps[0])
        logits: Tensor = self.logits(self.whole(self.halfway(found, None), None))
        return logits


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return UNetHead(widths, num_classes)


DECODERS.register(
    Decoder(
        name="unet",
        title="U-Net",
        reference="Ronneberger, Fischer, Brox: U-Net, MICCAI 2015",
        build=build,
        output_strides=(32, 16, 8),
    )
)
