"""A decoder of medtl's own: the three coarser maps, each looked at at four rates side by side, meet at the finest map.

It is after no publication. Atrous convolutions side by side are DeepLab's (Chen et al. 2017); here they stand on every
coarse map instead of the last alone, are narrow, and each also sees what the next narrower one found, so that spread
kernels do not leave gaps between their points.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmenter import convolution

RATES = (1, 2, 4, 8)
BRANCH, WIDTH, FINE = 32, 128, 48


class ParallelAtrous(nn.Module):
    """Four narrow 3 × 3 convolutions side by side, each of the map and of the next narrower one's result.

    Args:
        in_channels: of the map.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(*convolution(in_channels, BRANCH, 1))
        self.branches = nn.ModuleList(nn.Sequential(*convolution(BRANCH, BRANCH, 3, rate)) for rate in RATES)
        self.leave = nn.Sequential(*convolution(BRANCH * len(RATES), WIDTH, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, in_channels, rows, columns) to (n, 128, rows, columns)."""
        entered = self.enter(features)
        found = []
        narrower = torch.zeros_like(entered)
        for branch in self.branches:
            narrower = branch(entered + narrower)
            found.append(narrower)
        left: Tensor = self.leave(torch.cat(found, dim=1))
        return left


class ParallelHead(nn.Module):
    """The coarse maps enlarged to the finest, added, and refined beside it.

    Args:
        widths: channels of the four maps, the finest first.
        num_classes: with the background.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(*convolution(widths[0], FINE, 1))
        self.coarse = nn.ModuleList(ParallelAtrous(width) for width in widths[1:])
        self.refine = nn.Sequential(*convolution(WIDTH + FINE, WIDTH, 3), nn.Dropout(0.1))
        self.logits = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at the first map's resolution."""
        fine = self.fine(maps[0])
        size = [fine.shape[2], fine.shape[3]]
        found = torch.zeros_like(fine[:, :1])
        for place, look in enumerate(self.coarse):
            larger = look(maps[1:][place])
            found = found + functional.interpolate(larger, size=size, mode="bilinear", align_corners=False)
        logits: Tensor = self.logits(self.refine(torch.cat((found, fine), dim=1)))
        return logits


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return ParallelHead(widths, num_classes)


DECODERS.register(
    Decoder(
        name="atrous_parallel",
        title="parallel atrous decoder",
        reference="medtl's own, after no publication",
        build=build,
        output_strides=(32, 16, 8),
    )
)
