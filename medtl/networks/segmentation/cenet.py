"""CE-Net's context extractor and decoder: dense atrous convolutions, pooling at four sizes, transposed convolutions.

Gu et al.: CE-Net: Context Encoder Network for 2D Medical Image Segmentation, IEEE Transactions on Medical Imaging 2019.
Written from the paper; the activation at the end (a sigmoid there) is left to the loss, as for the other decoders.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medtl.networks.registry import DECODERS, Decoder
from medtl.networks.segmenter import convolution

POOLED = (2, 3, 5, 6)
LAST = 32


class DenseAtrous(nn.Module):
    """DAC: four branches of 3 × 3 convolutions with shared dilations 1, 3 and 5, added to the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, channels, 3, padding=1)
        self.wide = nn.Conv2d(channels, channels, 3, padding=3, dilation=3)
        self.wider = nn.Conv2d(channels, channels, 3, padding=5, dilation=5)
        self.point = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, channels, rows, columns) to the same shape."""
        near, wide = self.near(features), self.wide(features)
        deep = self.wide(near)
        branches = (near, self.point(wide), self.point(deep), self.point(self.wider(deep)))
        found = features
        for branch in branches:
            found = found + torch.relu(branch)
        return found


class MultiPooling(nn.Module):
    """RMP: the map pooled at four sizes, each as one channel of the map's size, beside the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, channels, rows, columns) to (n, channels + 4, rows, columns)."""
        rows, columns = features.shape[2], features.shape[3]
        found = [features]
        for side in (2, 3, 5, 6):
            kernel = [min(side, rows), min(side, columns)]  # small pictures have maps of fewer than six pixels
            pooled = functional.max_pool2d(features, kernel, kernel)
            found.append(
                functional.interpolate(self.point(pooled), size=[rows, columns], mode="bilinear", align_corners=False)
            )
        return torch.cat(found, dim=1)


class Up(nn.Module):
    """A decoder block: a quarter of the channels, twice the size by a transposed convolution, the wanted channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        inner = max(1, in_channels // 4)
        self.first = nn.Sequential(*convolution(in_channels, inner, 1))
        self.larger = nn.Sequential(
            nn.ConvTranspose2d(inner, inner, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
        )
        self.last = nn.Sequential(*convolution(inner, out_channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Take (n, in_channels, rows, columns) to (n, out_channels, 2 rows, 2 columns)."""
        found: Tensor = self.last(self.larger(self.first(features)))
        return found


class ContextHead(nn.Module):
    """Context extractor and decoder.

    Args:
        widths: channels of the four maps, the finest first.
        num_classes: with the background.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self.context = nn.Sequential(DenseAtrous(widths[3]), MultiPooling(widths[3]))
        self.third = Up(widths[3] + len(POOLED), widths[2])
        self.second = Up(widths[2], widths[1])
        self.first = Up(widths[1], widths[0])
        self.halfway = Up(widths[0], LAST)
        self.whole = nn.Sequential(
            nn.ConvTranspose2d(LAST, LAST, 4, stride=2, padding=1), nn.ReLU(), *convolution(LAST, LAST, 3)
        )
        self.logits = nn.Conv2d(LAST, num_classes, 3, padding=1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits (n, num_classes, rows, columns) at four times the first map's size, which is the picture's."""
        found = _beside(self.third(self.context(maps[3])), maps[2])
        found = _beside(self.second(found), maps[1])
        found = _beside(self.first(found), maps[0])
        logits: Tensor = self.logits(self.whole(self.halfway(found)))
        return logits


def _beside(larger: Tensor, skip: Tensor) -> Tensor:
    """Add a stage's map; where an odd size was halved, the doubled map is fitted to it."""
    if larger.shape[2:] != skip.shape[2:]:
        size = [skip.shape[2], skip.shape[3]]
        larger = functional.interpolate(larger, size=size, mode="bilinear", align_corners=False)
    return larger + skip


def build(widths: tuple[int, int, int, int], num_classes: int, output_stride: int) -> nn.Module:
    """Return the decoder; arguments as of ``Decoder.build``."""
    return ContextHead(widths, num_classes)


DECODERS.register(
    Decoder(
        name="cenet",
        title="CE-Net",
        reference="Gu et al.: CE-Net, IEEE Transactions on Medical Imaging 2019",
        build=build,
        output_strides=(32,),
    )
)
