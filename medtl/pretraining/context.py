"""Context restoration (Chen et al., Medical Image Analysis 2019): small patches have changed places; what did the image
look like?"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.pretraining.method import Seen, Trunk, Views
from medtl.transforms.batch import BatchTransform
from medtl.transforms.counter import random_bits, uniform

SWAP_SEED = 2**33  # the patches, apart from what augments the image
LARGEST, SMALLEST = 8, 16  # a patch's side is at most an eighth of the image's and at least a sixteenth
SPARE = LARGEST - 1  # cells of an eighth along each side, wherever the grid begins
MOST_SWAPS = SPARE**2 // 2
DECODER_WIDTHS = (128, 64, 32, 16)


@dataclass(frozen=True)
class Context:
    """Pairs of equal patches swap places; a light decoder on the last feature map restores the image, by L2.

    No two patches of an image overlap. Their sides are drawn apart, from a sixteenth to an eighth of the image's.

    Args:
        swaps: of an image, 1 to 24.
        flip, rotate, crop, brightness, contrast, gamma: of the image before, as of ``BatchTransform``.
    """

    swaps: int = 10
    flip: float = 0.5
    rotate: float = 0.15
    crop: float = 0.7
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.2

    name: ClassVar[str] = "context"
    needs_labels: ClassVar[bool] = False
    takes: ClassVar[Literal["logits", "pooled", "map"]] = "map"
    shows_whole: ClassVar[bool] = False  # what a label means may have moved

    def __post_init__(self) -> None:
        if not 1 <= self.swaps <= MOST_SWAPS:
            raise UsageError(f"swaps {self.swaps}: expected 1 to {MOST_SWAPS}, for no two patches overlap")

    def views(self, plain: BatchTransform) -> Views:
        """Return each image with swapped patches, and as it was."""
        names = ("flip", "rotate", "crop", "brightness", "contrast", "gamma")
        return Swapped(replace(plain, **{name: getattr(self, name) for name in names}), self.swaps)

    def head(self, trunk: Trunk) -> nn.Module:
        """Return the decoder: a map (n, channels, rows, columns) to images (n, 3, image_size, image_size)."""
        return Decoder(*trunk.map_shape[:2], trunk.image_size)

    def loss(self, seen: Seen) -> Tensor:
        """Return the mean squared difference from the image as it was, over all pixels."""
        return nn.functional.mse_loss(seen.answers, seen.targets["restored"].float())

    def describe(self) -> str:
        """Return what is asked."""
        return f"what an image looked like before {self.swaps} pairs of its patches swapped places (squared error)"


@dataclass(frozen=True)
class Swapped:
    """Images to images with swapped patches.

    Args:
        transform: augments the whole image.
        swaps: of an image.
    """

    transform: BatchTransform
    swaps: int

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Return ``image`` with swapped patches and ``restored``, without, both (n, 3, rows, columns).

        Args:
            image: (n, 1 or 3, rows, columns), uint8; at least 16 pixels a side.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        whole = self.transform(image, index, epoch)
        numbers = uniform(random_bits(index, self.transform.seed + SWAP_SEED, epoch, 2 + SPARE**2 + 6 * self.swaps))
        taken_from = sources(numbers, self.swaps, *whole.shape[-2:])
        return {"image": moved(whole, taken_from), "restored": whole}


def sources(numbers: Tensor, swaps: int, rows: int, columns: int) -> Tensor:
    """Return where each pixel is taken from, as row × columns + column: (n, rows × columns), int64. Taking twice gives
    the image back.

    Patches lie in different cells of a grid of eighths, which begins at a random place.

    Args:
        numbers: 0 to below 1 (n, 2 + 49 + 6 swaps): the grid's begin, keys of its cells, and of each swap two sides and
            two places.
        swaps: of an image.
        rows, columns: of the images, at least 16.
    """
    begin, keys, drawn = numbers.split((2, SPARE**2, 6 * swaps), 1)
    cells = keys.argsort(stable=True, dim=1)[:, : 2 * swaps].view(-1, swaps, 2)
    drawn = drawn.reshape(-1, swaps, 6)
    corners, sides, steps = [], [], []
    for axis, length in enumerate((rows, columns)):
        cell, least = length // LARGEST, -(-length // SMALLEST)
        side = least + (drawn[..., axis] * (cell - least + 1)).long()  # (n, swaps)
        within = (drawn[..., 2 + 2 * axis : 4 + 2 * axis] * (cell - side + 1)[..., None]).long()
        number = cells // SPARE if axis == 0 else cells % SPARE
        first = (begin[:, axis] * (length - SPARE * cell + 1)).long()
        corners.append(first[:, None, None] + number * cell + within)  # (n, swaps, 2)
        sides.append(side)
        steps.append(torch.arange(cell, device=numbers.device))
    inside = (steps[0][:, None] < sides[0][..., None, None]) & (steps[1] < sides[1][..., None, None])
    corner = corners[0] * columns + corners[1]
    # a place outside of a smaller patch does once more what the corner does
    places = corner[..., None, None] + torch.where(inside, steps[0][:, None] * columns + steps[1], 0)[:, :, None]
    one, other = (places[:, :, which].flatten(1) for which in (0, 1))
    found = torch.arange(rows * columns, device=numbers.device).repeat(len(numbers), 1)
    return found.scatter(1, torch.cat((one, other), 1), torch.cat((other, one), 1))


def moved(images: Tensor, taken_from: Tensor) -> Tensor:
    """Return images (n, channels, rows, columns) whose pixels are taken from those places."""
    channels = images.shape[1]
    return images.flatten(2).gather(2, taken_from[:, None].expand(-1, channels, -1)).view(images.shape)


class Decoder(nn.Module):
    """A few transposed convolutions from a feature map to an image.

    Args:
        channels: of the map.
        rows: of the map.
        image_size: of the image, in pixels.
    """

    def __init__(self, channels: int, rows: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        doublings = max(1, round(math.log2(image_size / rows)))
        widths = [DECODER_WIDTHS[min(step, len(DECODER_WIDTHS) - 1)] for step in range(doublings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 1)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 3, image_size, image_size) of maps (n, channels, rows, rows)."""
        size = (self.image_size, self.image_size)
        restored = self.layers(features)
        if restored.shape[-2:] == size:
            return restored
        return nn.functional.interpolate(restored, size, mode="bilinear", align_corners=False)


METHOD = Context
