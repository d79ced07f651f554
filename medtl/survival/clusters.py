"""Clusters of instances, found among the training patients; a patient of any fold is told by the nearest centres."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans, SpectralClustering
from torch import Tensor, nn

from medtl.errors import UsageError

KINDS = ("kmeans", "spectral")
MOST = {"kmeans": 100_000, "spectral": 2_000}  # instances that clusters are found among
NEIGHBOURS = 10  # of an instance in the graph of spectral clusters


def centres_of(rows: NDArray[np.float32], kind: str, clusters: int, seed: int) -> Tensor:
    """Return the centres (clusters, width) of K-means, or the means of spectral clusters, of instances (n, width).

    Of more than ``MOST`` instances as many are drawn. Spectral clusters have no rule for other instances: the nearest
    mean is taken.

    Raises:
        UsageError: there are fewer different instances than clusters.
    """
    if len(rows) > MOST[kind]:
        rows = np.random.default_rng(seed).choice(rows, MOST[kind], replace=False)
    different = len(np.unique(rows, axis=0))
    if different < clusters:
        raise UsageError(f"--clusters {clusters}: the training patients have {different} different instances only")
    if kind == "kmeans":
        return torch.from_numpy(KMeans(clusters, n_init=4, random_state=seed).fit(rows).cluster_centers_)
    near = min(NEIGHBOURS, len(rows))
    graph = SpectralClustering(clusters, affinity="nearest_neighbors", n_neighbors=near, random_state=seed)
    member = graph.fit_predict(rows)
    means = [
        rows[member == own].mean(axis=0) if (member == own).any() else rows.mean(axis=0) for own in range(clusters)
    ]
    return torch.from_numpy(np.stack(means))


def members(features: Tensor, mask: Tensor, centres: Tensor) -> Tensor:
    """Return (n, most, clusters), 1 where an instance (n, most, width) that the mask keeps is nearest to a centre."""
    nearest = torch.cdist(features, centres.expand(len(features), -1, -1)).argmin(dim=-1)
    return nn.functional.one_hot(nearest, len(centres)).to(features.dtype) * mask[..., None]


def shares_and_means(embedded: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share (n, clusters) of a bag's instances in each cluster, and their mean (n, clusters, hidden); 0
    where a cluster has none. ``embedded`` is (n, most, hidden), ``member`` as ``members`` gives it."""
    counts = member.sum(dim=1)
    means = member.transpose(1, 2) @ embedded / counts.clamp_min(1)[..., None]
    return counts / counts.sum(dim=1, keepdim=True).clamp_min(1), means
