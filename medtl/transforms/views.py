"""Two views of each image, for contrastive pretraining."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medtl.transforms.batch import BatchTransform

OTHER_SEED = 2**31  # apart from any seed that a user would name


@dataclass(frozen=True)
class TwoViews:
    """A batch augmented twice, independently: the second views lie behind the first.

    Args:
        transform: draws one view.
    """

    transform: BatchTransform

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> Tensor:
        """Images (n, 1 or 3, rows, columns), uint8, to (2 n, 3, rows, columns); row n + i shows the image of row i.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        other = replace(self.transform, seed=self.transform.seed + OTHER_SEED)
        return torch.cat((self.transform(image, index, epoch), other(image, index, epoch)))
