"""Masked image modelling for any trunk with a feature map (SimMIM, Xie et al., CVPR 2022): cells of the image are
hidden; what do they show?

Hidden cells take the value 0 after normalisation, ImageNet's mean colour, so that convolutions run as they are. (SparK,
Tian et al., ICLR 2023, uses sparse convolutions instead, for batch norms that see holes count them: the kept trunk's
statistics are those of pictures with holes.)
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.pretraining.context import Decoder
from medtl.pretraining.method import Seen, Trunk, Views
from medtl.transforms.batch import BatchTransform
from medtl.transforms.counter import random_bits, uniform

MASK_SEED = 2**35  # which cells are hidden, apart from what augments the image


@dataclass(frozen=True)
class Masked:
    """A fixed share of the cells of a grid is hidden; a light decoder on the last feature map restores the image, and
    the hidden pixels are scored by L1.

    Args:
        ratio: share of the cells that is hidden, above 0 and below 1.
        cells: along each side, 2 to 32; 7 are cells of 32 pixels in an image of 224.
        flip, crop: of the image before, as of ``BatchTransform``.
    """

    ratio: float = 0.6
    cells: int = 7
    flip: float = 0.5
    crop: float = 0.67

    name: ClassVar[str] = "masked"
    needs_labels: ClassVar[bool] = False
    takes: ClassVar[Literal["logits", "pooled", "map"]] = "map"
    shows_whole: ClassVar[bool] = False  # what a label means may be hidden

    def __post_init__(self) -> None:
        if not 2 <= self.cells <= 32:
            raise UsageError(f"cells {self.cells}: expected 2 to 32 along each side")
        if not 0 < self.hidden < self.cells**2:
            raise UsageError(
                f"ratio {self.ratio} hides {self.hidden} of {self.cells**2} cells; expected some, and not all"
            )

    @property
    def hidden(self) -> int:
        """Return how many cells of an image are hidden."""
        return round(self.ratio * self.cells**2)

    def views(self, plain: BatchTransform) -> Views:
        """Return each image with hidden cells, as it was, and which pixels are hidden."""
        return Hidden(replace(plain, flip=self.flip, crop=self.crop), self.cells, self.hidden)

    def head(self, trunk: Trunk) -> nn.Module:
        """Return the decoder: a map (n, channels, rows, columns) to images (n, 3, image_size, image_size)."""
        return Decoder(*trunk.map_shape[:2], trunk.image_size)

    def loss(self, seen: Seen) -> Tensor:
        """Return the mean absolute difference from the image, over hidden pixels and channels."""
        hidden = seen.targets["hidden"]
        apart = (seen.answers - seen.targets["whole"].float()).abs() * hidden
        return apart.sum() / (hidden.sum() * seen.answers.shape[1])

    def describe(self) -> str:
        """Return what is asked."""
        return f"what {self.hidden} hidden of {self.cells**2} cells of an image show (absolute error)"


@dataclass(frozen=True)
class Hidden:
    """Images to images with hidden cells.

    Args:
        transform: augments the whole image.
        cells: along each side.
        hidden: how many of them are hidden.
    """

    transform: BatchTransform
    cells: int
    hidden: int

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Return ``image`` with hidden cells and ``whole``, without, both (n, 3, rows, columns), and ``hidden`` (n, 1,
        rows, columns), boolean.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        whole = self.transform(image, index, epoch)
        keys = uniform(random_bits(index, self.transform.seed + MASK_SEED, epoch, self.cells**2))
        chosen = keys.argsort(stable=True, dim=1)[:, : self.hidden]
        grid = torch.zeros_like(keys, dtype=torch.bool).scatter(1, chosen, True).view(-1, self.cells, self.cells)
        rows, columns = (
            torch.arange(length, device=image.device) * self.cells // length for length in whole.shape[-2:]
        )
        hidden = grid[:, rows[:, None], columns][:, None]
        return {"image": whole.masked_fill(hidden, 0), "whole": whole, "hidden": hidden}


METHOD = Masked
