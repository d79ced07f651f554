"""Attention over clusters of a bag's instances, after DeepAttnMISL (Yao et al. 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medtl.survival.clusters import centres_of, members, shares_and_means
from medtl.survival.network import Bag, RiskNetwork, pooled


class DeepAttnMisl(RiskNetwork):
    """The mean embedding of each cluster of a bag's instances, and attention over the clusters that the bag has.

    Unlike the publication's, clusters are found by K-means among all training patients together, and a cluster weighs
    as many times more as it has instances: otherwise how large it is could not be seen.

    Args:
        width: of a feature.
        hidden: of the embedded instances.
        dropout: before the last layer.
        clusters: how many.
    """

    centres: Tensor

    def __init__(self, width: int, hidden: int, dropout: float, clusters: int) -> None:
        super().__init__(width)
        self.register_buffer("centres", torch.zeros(clusters, width))
        self.embed = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        half = max(1, hidden // 2)
        self.weigh = nn.Sequential(nn.Linear(hidden, half), nn.Tanh(), nn.Linear(half, 1))
        self.head = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Dropout(dropout), nn.Linear(half, 1))

    def fit(self, bags: Sequence[Bag], label: Tensor, seed: int) -> None:
        """Take over scale and clusters of the instances of training bags.

        Raises:
            UsageError: they hold fewer different instances than clusters.
        """
        super().fit(bags, label, seed)
        self.centres.copy_(centres_of(self.scaled_rows(bags), "kmeans", len(self.centres), seed))

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        features, mask = self.standardised(padded)
        member = members(features, mask, self.centres)
        _, means = shares_and_means(self.embed(features), member)
        counts = member.sum(dim=1)
        sizes = counts.clamp_min(1).log()  # makes the mean of equally weighed clusters that of the instances
        return self.head(pooled(means, self.weigh(means)[..., 0] + sizes, counts > 0))
