"""Clusters and ridge Cox: how a start's features tell a risk without a network behind them.

Wen et al. 2021 name K-means and spectral clusters (six) and do not say how these become a risk. Here a patient is the
share of instances in each cluster and, for each, this share times the mean of the first principal components.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medtl.survival import linear
from medtl.survival.bags import padded
from medtl.survival.clusters import MOST, centres_of, members, shares_and_means
from medtl.survival.network import Bag, RiskNetwork

COMPONENTS = 32


class ClusterCox(RiskNetwork):
    """Ridge Cox on shares of clusters and mean principal components.

    Args:
        width: of a feature.
        kind: "kmeans" or "spectral".
        clusters: how many.
    """

    by_gradient = False
    centres: Tensor
    axes: Tensor
    vector_mean: Tensor
    vector_scale: Tensor

    def __init__(self, width: int, kind: str, clusters: int) -> None:
        super().__init__(width)
        self.kind, components = kind, min(COMPONENTS, width)
        size = clusters * (1 + components)
        self.register_buffer("centres", torch.zeros(clusters, width))
        self.register_buffer("axes", torch.zeros(width, components))
        self.register_buffer("vector_mean", torch.zeros(size))
        self.register_buffer("vector_scale", torch.ones(size))
        self.weights = nn.Parameter(torch.zeros(size), requires_grad=False)

    def fit(self, bags: Sequence[Bag], label: Tensor, seed: int) -> None:
        """Find scale, clusters, components and coefficients of training patients.

        Raises:
            UsageError: they hold fewer different instances than clusters.
        """
        super().fit(bags, label, seed)
        rows = self.scaled_rows(bags)
        self.centres.copy_(centres_of(rows, self.kind, len(self.centres), seed))
        if len(rows) > MOST["kmeans"]:
            rows = np.random.default_rng(seed).choice(rows, MOST["kmeans"], replace=False)
        _, vectors = np.linalg.eigh(np.cov(rows, rowvar=False).reshape(rows.shape[1], -1))
        self.axes.copy_(torch.from_numpy(vectors[:, ::-1][:, : self.axes.shape[1]].copy()))
        with torch.no_grad():
            shown = torch.cat([self.vector(padded([bag], len(self.mean)).to(self.mean.device)) for bag in bags]).cpu()
        for own, found in zip(
            (self.vector_mean, self.vector_scale, self.weights.data),
            linear.fitted(shown, label, "cox", seed),
            strict=True,
        ):
            own.copy_(found)

    def vector(self, padded: Tensor) -> Tensor:
        """Return what is known of each patient, (n, clusters · (1 + components))."""
        features, mask = self.standardised(padded)
        shares, means = shares_and_means(features @ self.axes, members(features, mask, self.centres))
        return torch.cat([shares, (shares[..., None] * means).flatten(1)], dim=1)

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        scaled = (self.vector(padded) - self.vector_mean) / self.vector_scale
        return (scaled @ self.weights)[:, None]
