"""The batch augmentation of ``medtl.transforms.batch`` for pictures with masks: one geometry for both."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medtl.errors import UsageError
from medtl.transforms.batch import COLUMNS, BatchTransform, sampling_grid
from medtl.transforms.counter import random_bits, uniform


@dataclass(frozen=True)
class JointTransform:
    """Pictures by ``images``; masks by the same matrices, by the nearest pixel, background where nothing was.

    Args:
        images: of the pictures. Not erasing: the mask would know nothing of it.

    Raises:
        UsageError: it erases.
    """

    images: BatchTransform

    def __post_init__(self) -> None:
        if self.images.erase:
            raise UsageError("erase blackens pictures where their masks stay: leave it 0 for a segmentation")

    def __call__(self, image: Tensor, mask: Tensor, index: Tensor, epoch: int = 0) -> tuple[Tensor, Tensor]:
        """Augmented pictures and masks.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            mask: (n, rows, columns), uint8.
            index: places in the split (n,), int64, on the same device.
            epoch: from 0.

        Returns:
            (n, 3, rows, columns) normalised, and (n, rows, columns) int64.
        """
        return self.images(image, index, epoch), self.moved(mask, index, epoch)

    def moved(self, mask: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return masks (n, rows, columns) where the pictures' geometry takes them, int64."""
        own = self.images
        if not any((own.flip, own.rotate, own.scale, own.translate, own.crop < 1)):
            return mask.long()
        rows, columns = mask.shape[-2:]
        numbers = uniform(random_bits(index, own.seed, epoch, COLUMNS))
        places = sampling_grid(own.matrices(numbers, rows, columns).float(), rows, columns)
        values = mask[:, None].float()
        moved = torch.nn.functional.grid_sample(values, places, "nearest", "zeros", align_corners=False)
        return moved[:, 0].round().long()
