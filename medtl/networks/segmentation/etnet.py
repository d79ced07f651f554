"""ET-Net's decoder: edges found in the two finest maps guide a weighted sum of what is found at each size.

Zhang, Fu, Dai, Shen, Pang, Shao: ET-Net, MICCAI 2019. This is medtl's own reading of the paper, whose authors published
no code: its two modules are here, the edge guidance (EGM) and the weighted aggregation (WAM). Widths, the order of the
layers within a block and one edge map a class instead of one for all are choices of medtl.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmenter import convolution

WIDTH, EDGE = 128, 64


class EdgeGuidance(nn.Module):
    """EGM: what the two finest maps say of edges.

    Args:
        first, second: channels of the two maps.
        num_classes: with the background, which stands for no edge.
    """

    def __init__(self, first: int, second: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*convolution(first, EDGE, 1), *convolution(EDGE, EDGE, 3))
        self.second = nn.Sequential(*convolution(second, EDGE, 1), *convolution(EDGE, EDGE, 3))
        self.features = nn.Sequential(*convolution(2 * EDGE, EDGE, 1))
        self.logits = nn.Conv2d(2 * EDGE, num_classes, 1)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, 64, rows, columns) that guide, and logits of edges (n, num_classes, rows, columns), at
        the first map's resolution."""
        both = torch.cat((self.first(first), _as_large(self.second(second), first)), dim=1)
        return self.features(both), self.logits(both)


class Finer(nn.Module):
    """A decoder block: the coarser result at the size of a finer map, beside that map, through a convolution of each
    channel by itself and one across channels."""

    def __init__(self, in_channels: int, beside: int) -> None:
        super().__init__()
        total = in_channels + beside
        self.own = nn.Sequential(
            nn.Conv2d(total, total, 3, padding=1, groups=total, bias=False), nn.BatchNorm2d(total), nn.ReLU()
        )
        self.across = nn.Sequential(*convolution(total, WIDTH, 1))

    def forward(self, coarse: Tensor, beside: Tensor) -> Tensor:
        """Take (n, in_channels, …) to (n, 128, rows, columns) of the map beside it."""
        found: Tensor = self.across(self.own(torch.cat((_as_large(coarse, beside), beside), dim=1)))
        return found


class Weighted(nn.Module):
    """A map whose channels are weighted by what the whole of it shows, 0 to 1 each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(WIDTH, WIDTH // 4, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH // 4, WIDTH, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, 128, rows, columns) to the same shape."""
        return features * self.weight(features)


class EdgeGuidedHead(nn.Module):
    """Decoder blocks from the coarsest map to the finest, their weighted sum, and the edges beside it.

    Args:
        widths: channels of the four maps, the finest first.
        num_classes: with the background.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self.edges = EdgeGuidance(widths[0], widths[1], num_classes)
        self.third = Finer(widths[3], widths[2])
        self.second = Finer(WIDTH, widths[1])
        self.first = Finer(WIDTH, widths[0])
        self.weigh_third, self.weigh_second, self.weigh_first = Weighted(), Weighted(), Weighted()
        self.refine = nn.Sequential(*convolution(WIDTH + EDGE, WIDTH, 3))
        self.logits = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at the first map's resolution; in training (n, 2 num_classes,
        rows, columns), the logits of edges behind those of the classes."""
        guide, edges = self.edges(maps[0], maps[1])
        third = self.third(maps[3], maps[2])
        second = self.second(third, maps[1])
        first = self.first(second, maps[0])
        summed = _as_large(self.weigh_third(third), second) + self.weigh_second(second)
        summed = _as_large(summed, first) + self.weigh_first(first)
        logits: Tensor = self.logits(self.refine(torch.cat((summed, guide), dim=1)))
        if self.training:
            return torch.cat((logits, edges), dim=1)
        return logits


def _as_large(coarse: Tensor, fine: Tensor) -> Tensor:
    size = [fine.shape[2], fine.shape[3]]
    return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return EdgeGuidedHead(widths, num_classes)


DECODERS.register(
    Decoder(
        name="etnet",
        title="ET-Net (medtl's own reading)",
        reference="Zhang, Fu, Dai, Shen, Pang, Shao: ET-Net, MICCAI 2019; no code was published",
        build=build,
        output_strides=(32, 16, 8),
        edges=True,
    )
)
