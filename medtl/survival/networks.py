"""Networks that give one risk a bag of features. Their input is padded: (n, most, width + 1), whose last column is 1
for an instance and 0 for padding."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from medtl.errors import UsageError

METHODS = ("attention", "clusters")
MOST_CLUSTERED = 100_000  # instances that K-means is fitted on


class RiskNetwork(nn.Module):
    """What both networks share: the scale of the features, of the training patients only.

    Args:
        width: of a feature.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit_features(self, bags: Sequence[NDArray[np.float32]], seed: int) -> None:
        """Take over mean and SD of the instances of training bags, each (instances, width)."""
        rows = torch.from_numpy(np.concatenate(bags)).double()
        self.mean.copy_(rows.mean(dim=0))
        spread = rows.std(dim=0, unbiased=False)
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def standardised(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, most, width) of mean 0 and SD 1 over the training instances, and the mask (n, most)."""
        mask = padded[..., -1] > 0.5
        return (padded[..., :-1] - self.mean) / self.scale, mask


class AttentionRisk(RiskNetwork):
    """Gated attention over a bag's instances (Ilse, Tomczak and Welling 2018), then one number.

    Args:
        width: of a feature.
        hidden: of the embedded instances.
        dropout: of the embedded instances.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(width)
        self.embed = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.tanh = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.gate = nn.Sequential(nn.Linear(hidden, hidden), nn.Sigmoid())
        self.weigh = nn.Linear(hidden, 1)
        self.head = nn.Linear(hidden, 1)

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        features, mask = self.standardised(padded)
        embedded = self.embed(features)
        return self.head(pooled(embedded, self.weigh(self.tanh(embedded) * self.gate(embedded))[..., 0], mask))


class ClusterRisk(RiskNetwork):
    """The mean embedding of each cluster of a bag's instances, and attention over the clusters that the bag has: after
    DeepAttnMISL (Yao et al. 2020), with clusters by K-means over the training patients. Unlike there, a cluster weighs
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

    def fit_features(self, bags: Sequence[NDArray[np.float32]], seed: int) -> None:
        """Take over scale and clusters of the instances of training bags.

        Raises:
            UsageError: they hold fewer different instances than clusters.
        """
        super().fit_features(bags, seed)
        rows = np.concatenate(bags)
        if len(rows) > MOST_CLUSTERED:
            rows = np.random.default_rng(seed).choice(rows, MOST_CLUSTERED, replace=False)
        rows = (rows - self.mean.cpu().numpy()) / self.scale.cpu().numpy()
        different, clusters = len(np.unique(rows, axis=0)), len(self.centres)
        if different < clusters:
            raise UsageError(f"--clusters {clusters}: the training patients have {different} different instances only")
        fitted = KMeans(clusters, n_init=4, random_state=seed).fit(rows)
        self.centres.copy_(torch.from_numpy(fitted.cluster_centers_))

    def forward(self, padded: Tensor) -> Tensor:
        """Return risks (n, 1)."""
        features, mask = self.standardised(padded)
        nearest = torch.cdist(features, self.centres.expand(len(features), -1, -1)).argmin(dim=-1)
        member = nn.functional.one_hot(nearest, len(self.centres)).to(features.dtype) * mask[..., None]
        counts = member.sum(dim=1)  # (n, clusters)
        means = member.transpose(1, 2) @ self.embed(features) / counts.clamp_min(1)[..., None]
        shares = counts.clamp_min(1).log()  # makes the mean of equally weighed clusters that of the instances
        return self.head(pooled(means, self.weigh(means)[..., 0] + shares, counts > 0))


def pooled(embedded: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (n, hidden) of rows (n, most, hidden), weighted by the softmax of (n, most) over those that the
    mask (n, most) keeps."""
    attention = weights.masked_fill(~mask, float("-inf")).softmax(dim=1)
    return (attention[..., None] * embedded).sum(dim=1)


def build_risk_network(
    method: str, width: int, hidden: int = 64, dropout: float = 0.25, clusters: int = 6
) -> RiskNetwork:
    """Return a network of a method.

    Args:
        method: "attention" or "clusters".
        width: of a feature.
        hidden: of the embedded instances.
        dropout: 0 to below 1.
        clusters: of "clusters"; the other method has none.

    Raises:
        UsageError: there is no such method, or a number cannot be.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method} is not one of {', '.join(METHODS)}")
    for name, value in (("hidden", hidden), ("clusters", clusters)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"--{name} {value}: expected a whole number of at least 1")
    if method == "attention":
        return AttentionRisk(width, hidden, dropout)
    return ClusterRisk(width, hidden, dropout, clusters)
