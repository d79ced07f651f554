"""Mixup of whole batches on the device, each image with a partner and a weight of its own."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medtl.errors import UsageError
from medtl.transforms.batch import COLUMNS, PARTNER, WEIGHT
from medtl.transforms.counter import random_bits, uniform


@dataclass(frozen=True)
class Mixup:
    """Mixup (Zhang et al. 2018): each image is blended with another of the same set, and so are their labels.

    The partner comes from the whole set, not from the batch, so that it depends on (seed, epoch, index) alone.

    Args:
        num_classes: length of the soft labels.
        alpha: both parameters of the beta distribution of the weights.
        seed: of partners and weights.
    """

    num_classes: int
    alpha: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf or self.num_classes < 1:
            raise UsageError(f"mixup: alpha {self.alpha} must lie above 0, num_classes {self.num_classes} at 1 or more")

    def partners(self, index: Tensor, epoch: int, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the partner of each image (n,), int64, and the weight of the image itself (n,), float32.

        Args:
            index: the images' places (n,), int64.
            epoch: from 0.
            shares: from ``running_shares``, on the images' device.
        """
        numbers = uniform(random_bits(index, self.seed, epoch, COLUMNS))
        partner = torch.searchsorted(shares, numbers[:, PARTNER].contiguous(), right=True)
        table = _beta_quantiles(self.alpha, index.device)
        return partner, table[(numbers[:, WEIGHT] * len(table)).long()]

    def soft(self, label: Tensor) -> Tensor:
        """Return labels as shares of the classes (n, num_classes), float32, from class indices (n,) or multi-hot
        vectors."""
        if label.ndim > 1:
            return label.float()
        return torch.zeros((len(label), self.num_classes), device=label.device).scatter_(1, label[:, None], 1.0)

    def blend(self, own: Tensor, other: Tensor, weight: Tensor) -> Tensor:
        """Return ``weight`` of ``own`` and the rest of ``other``, in their dtype and memory format."""
        return torch.lerp(other, own, weight.to(own.dtype).view(-1, *[1] * (own.ndim - 1)))


def running_shares(count: int, weights: Tensor | None = None) -> Tensor:
    """Share of the draws that falls on the first, the first two … of a set's images (count,), float64, rising to 1.

    Args:
        count: images of the set.
        weights: chance of each to be drawn (count,), up to a factor; None draws all alike.
    """
    sums = (torch.ones(count) if weights is None else weights.cpu()).double().cumsum(0)
    return sums / sums[-1]


@functools.lru_cache(maxsize=4)
def _beta_quantiles(alpha: float, device: torch.device, count: int = 4096) -> Tensor:
    import numpy as np
    from scipy.special import betaincinv

    middle = (np.arange(count) + 0.5) / count
    return torch.from_numpy(betaincinv(alpha, alpha, middle)).float().to(device)
