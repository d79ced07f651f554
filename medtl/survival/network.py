"""What all networks that give one risk a bag share. Their input is padded: (n, most, width + 1), whose last column is 1
for an instance and 0 for padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medtl.survival.bags import Bag


class RiskNetwork(nn.Module):
    """What they share: the scale of the features, of the training patients only.

    Attributes:
        by_gradient: whether epochs of training change it. Of others ``fit`` does all that there is to do.

    Args:
        width: of a feature.
    """

    by_gradient = True
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, bags: Sequence[Bag], label: Tensor, seed: int) -> None:
        """Take over from training patients what no gradient gives.

        Args:
            bags: each (instances, width).
            label: (n, 2) time and event.
            seed: of draws.
        """
        rows = torch.from_numpy(np.concatenate(bags)).double()
        self.mean.copy_(rows.mean(dim=0))
        spread = rows.std(dim=0, unbiased=False)
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def standardised(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, most, width) of mean 0 and SD 1 over the training instances, and the mask (n, most)."""
        mask = padded[..., -1] > 0.5
        return (padded[..., :-1] - self.mean) / self.scale, mask

    def scaled_rows(self, bags: Sequence[Bag]) -> Bag:
        """Return all instances (n, width) of bags, of mean 0 and SD 1."""
        rows = (np.concatenate(bags) - self.mean.cpu().numpy()) / self.scale.cpu().numpy()
        return rows.astype(np.float32)


def pooled(embedded: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (n, hidden) of rows (n, most, hidden), weighted by the softmax of (n, most) over those that the
    mask (n, most) keeps."""
    attention = weights.masked_fill(~mask, float("-inf")).softmax(dim=1)
    return (attention[..., None] * embedded).sum(dim=1)
