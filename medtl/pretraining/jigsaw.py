"""Jigsaw puzzles (Noroozi and Favaro, ECCV 2016): in which of P orders do the nine tiles of an image lie?"""

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.pretraining.method import Seen, Trunk, Views
from medtl.pretraining.network import looking
from medtl.transforms.batch import BatchTransform
from medtl.transforms.counter import random_bits, uniform

PUZZLE_SEED = 2**32  # the order and the places of tiles, apart from what augments the image
SIDE = 3
TILES = SIDE * SIDE
SHARE = 64 / 75  # of a cell's side that a tile takes: no edge goes on from one tile to the next
LEAST_TILE = 32  # pixels, of which a convolutional trunk's last map still has one place
LEAST_SD = 0.01  # in units of the normalisation: a tile that shows one value stays 0


@dataclass(frozen=True)
class Jigsaw:
    """The nine tiles of a 3 × 3 grid go through the trunk one by one; from the features of all nine a small network
    says which order of a fixed set they lie in.

    Each tile is cut at a random place of its cell (which leaves gaps) and normalised by its own mean and SD (which
    leave no brightness to go by). Colours are left as they are.

    Args:
        permutations: size of the set, 2 to 1000; with few images a large one is learnt by heart.
        tile: side in pixels to which tiles are resized; 0 leaves them as cut, but not below 32.
        width: of the layer between features and answer.
        flip, crop, gamma: of the whole image, as of ``BatchTransform``.
    """

    permutations: int = 100
    tile: int = 0
    width: int = 1024
    flip: float = 0.5
    crop: float = 0.7
    gamma: float = 0.3

    name: ClassVar[str] = "jigsaw"
    needs_labels: ClassVar[bool] = False
    takes: ClassVar[Literal["logits", "pooled", "map"]] = "pooled"
    shows_whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 2 <= self.permutations <= 1000 or self.width < 1:
            raise UsageError(f"permutations {self.permutations} must lie from 2 to 1000, width {self.width} from 1 on")
        if self.tile and self.tile < LEAST_TILE:
            raise UsageError(f"tile {self.tile}: expected 0 or at least {LEAST_TILE} pixels")

    def views(self, plain: BatchTransform) -> Views:
        """Return the nine tiles of each image and the number of their order."""
        image = replace(plain, flip=self.flip, crop=self.crop, gamma=self.gamma, dtype="float32")
        return Puzzle(image, plain, self.permutations, self.tile)

    def head(self, trunk: Trunk) -> nn.Module:
        """Return what answers from nine tiles' features: (9 n, features) to (n, permutations).

        Raises:
            UsageError: the network takes no pictures of a tile's size.
        """
        side = self.tile or max(LEAST_TILE, cut_side(trunk.image_size))
        try:
            with looking(trunk.network) as device:
                trunk.network(torch.zeros(1, 3, side, side, device=device))
        except (RuntimeError, ValueError, AssertionError):
            raise UsageError(
                f"--method jigsaw: {trunk.backbone} takes no tiles of {side} pixels; resize them to a size that it"
                f' takes by --method "jigsaw(tile={trunk.image_size})"'
            ) from None
        return nn.Sequential(
            nn.Unflatten(0, (-1, TILES)),
            nn.Flatten(1),
            nn.Linear(TILES * trunk.width, self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, self.permutations),
        )

    def loss(self, seen: Seen) -> Tensor:
        """Return the cross-entropy with the order."""
        return nn.functional.cross_entropy(seen.answers, seen.targets["order"])

    def describe(self) -> str:
        """Return what is asked, and how much guessing achieves."""
        orders = permutations(self.permutations)
        apart = (orders[:, None] != orders[None]).sum(2)[~np.eye(len(orders), dtype=bool)]
        return (
            f"in which of {self.permutations:,} orders the {TILES} tiles of an image lie (two orders differ in"
            f" {apart.mean():.1f} tiles, at least {apart.min()}); chance 1/{self.permutations} ="
            f" {1 / self.permutations:.2g}, loss of guessing {math.log(self.permutations):.3f}"
        )


@dataclass(frozen=True)
class Puzzle:
    """Images to shuffled tiles.

    Args:
        image: augments the whole image.
        plain: has the seed and the wanted dtype.
        permutations: how many orders there are.
        tile: as of ``Jigsaw``.
    """

    image: BatchTransform
    plain: BatchTransform
    permutations: int
    tile: int

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Return ``image`` (9 n, 3, side, side), rows 9 i to 9 i + 8 being image i's tiles as they lie, and ``order``
        (n,), int64: tile k shows cell ``permutations(…)[order][k]``.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        numbers = uniform(random_bits(index, self.plain.seed + PUZZLE_SEED, epoch, 1 + 2 * TILES))
        order = (numbers[:, 0] * self.permutations).long()
        orders = torch.from_numpy(permutations(self.permutations)).to(index.device).long()
        tiles = cut(self.image(image, index, epoch), numbers[:, 1:].view(-1, TILES, 2))
        places = torch.arange(len(index), device=index.device)[:, None]
        shuffled = normalised(tiles[places, orders[order]]).flatten(0, 1)
        side = self.tile or max(LEAST_TILE, shuffled.shape[-1])
        if side != shuffled.shape[-1]:
            shuffled = nn.functional.interpolate(shuffled, (side, side), mode="bilinear", align_corners=False)
        return {"image": shuffled.to(getattr(torch, self.plain.dtype)), "order": order}


def cut_side(image_size: int) -> int:
    """Return the side of a tile as it is cut, in pixels."""
    return max(1, int(image_size // SIDE * SHARE))


def cut(pictures: Tensor, places: Tensor) -> Tensor:
    """Return one tile of each cell, row by row (n, 9, channels, side, side).

    Args:
        pictures: (n, channels, size, size), size at least 3; what does not divide by 3 is left out at the right and
            the bottom.
        places: of the tiles in their cells (n, 9, 2), rows and columns, 0 to below 1.
    """
    count, channels, size = pictures.shape[:3]
    cell, side = size // SIDE, cut_side(size)
    number = torch.arange(TILES, device=pictures.device)
    corner = torch.stack((number // SIDE, number % SIDE), 1) * cell + (places * (cell - side + 1)).long()
    step = torch.arange(side, device=pictures.device)
    rows, columns = (corner[..., axis, None] + step for axis in (0, 1))  # (n, 9, side) each
    wanted = (rows[..., :, None] * pictures.shape[3] + columns[..., None, :]).view(count, 1, -1)
    found = pictures.flatten(2).gather(2, wanted.expand(-1, channels, -1))
    return found.view(count, channels, TILES, side, side).transpose(1, 2)


def normalised(tiles: Tensor) -> Tensor:
    """Return tiles (…, channels, side, side) of mean 0 and SD 1 in each channel; what shows one value becomes 0."""
    centred = tiles - tiles.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt().clamp(min=LEAST_SD)


@functools.cache
def permutations(count: int, tiles: int = TILES) -> NDArray[np.int8]:
    """Return (count, tiles) orders of tiles that are far apart, the same ones always.

    The first one leaves the tiles as they are. Each next one is, of all that are left, one whose mean Hamming distance
    to those before is the largest, the first of these in lexical order.

    Args:
        count: at most the factorial of ``tiles``.
        tiles: 2 or more.
    """
    every = np.array(list(itertools.permutations(range(tiles))), dtype=np.int8)
    apart = np.zeros(len(every), dtype=np.int32)  # sum of the distances to the chosen ones
    chosen = [0]
    while len(chosen) < count:
        apart += (every != every[chosen[-1]]).sum(1, dtype=np.int32)
        apart[chosen[-1]] = -(2**30)  # never again
        chosen.append(int(apart.argmax()))
    return every[chosen]


METHOD = Jigsaw
