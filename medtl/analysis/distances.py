"""Distances between two sets of feature vectors, and how purely each set stands among its own."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from medtl.errors import UsageError

Features = NDArray[np.float64]


def frechet(one: Features, other: Features) -> float:
    """Return the squared Fréchet distance of the normal distributions with the means and covariances of two sets
    (Dowson and Landau 1982; as "FID" Heusel et al. 2017): |m₁ − m₂|² + tr(S₁ + S₂ − 2 (S₁ S₂)^½).

    tr (S₁ S₂)^½ is the sum of the singular values of X₁ X₂ᵀ, centred and scaled, so no matrix root of nearly singular
    covariances is taken, and fewer pictures than features do not matter to the arithmetic. They matter to the figure:
    it is biased upwards, the more so the fewer pictures there are.

    Args:
        one, other: (n, features), at least two rows each.

    Raises:
        UsageError: a set has one row.
    """
    if min(len(one), len(other)) < 2:
        raise UsageError("a Fréchet distance needs at least two pictures of each set")
    first, second = (
        (each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (one.astype(np.float64), other.astype(np.float64))
    )
    apart = np.square(one.mean(0, dtype=np.float64) - other.mean(0, dtype=np.float64)).sum()
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(apart + np.square(first).sum() + np.square(second).sum() - 2 * shared)


def bandwidth(sets: Sequence[Features]) -> float:
    """Return the median distance between two feature vectors of all sets together: the width of the kernel that all
    pairs of sets share.

    Args:
        sets: each (n, features).
    """
    pooled = np.concatenate(sets)
    pairs = cdist(pooled, pooled)[np.triu_indices(len(pooled), 1)]
    return float(np.median(pairs)) or 1.0


def mmd(one: Features, other: Features, width: float) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy (Gretton et al., JMLR 2012, equation 3) with
    the Gaussian kernel exp(−d² / 2 width²); it may fall below 0 where the sets do not differ.

    Args:
        one, other: (n, features), at least two rows each.
        width: of the kernel, above 0.

    Raises:
        UsageError: a set has one row.
    """
    if min(len(one), len(other)) < 2:
        raise UsageError("a maximum mean discrepancy needs at least two pictures of each set")

    def kernel(a: Features, b: Features) -> NDArray[np.float64]:
        return np.asarray(np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)))

    within = [
        (k.sum() - np.trace(k)) / (len(each) * (len(each) - 1)) for each in (one, other) for k in [kernel(each, each)]
    ]
    return float(sum(within) - 2 * kernel(one, other).mean())


def neighbours(sets: Sequence[Features], k: int) -> NDArray[np.float64]:
    """Return how the k nearest neighbours of each set's pictures spread over the sets: (sets, sets), rows adding up to
    1; the diagonal is the purity of the source. Where nothing tells the sets apart, every field is about 1 / sets.

    Each set enters with as many pictures as the smallest has, for a larger one would be everybody's neighbour.

    Args:
        sets: each (n, features).
        k: neighbours of a picture, itself not counted.

    Raises:
        UsageError: the sets are too small for k.
    """
    size = min(map(len, sets))
    if not 1 <= k < size:
        raise UsageError(f"{k} neighbours of a picture need sets of more than {k} pictures; the smallest has {size}")
    pooled = np.concatenate([each[:size] for each in sets])
    source = np.repeat(np.arange(len(sets)), size)
    near = NearestNeighbors(n_neighbors=k).fit(pooled).kneighbors(return_distance=False)
    return np.stack(
        [np.bincount(source[near[source == row]].ravel(), minlength=len(sets)) / (size * k) for row in range(len(sets))]
    )


def pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fields above the diagonal of a (sets, sets) matrix, row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def matrix_of(sets: Sequence[Features], distance: Callable[[Features, Features], float]) -> NDArray[np.float64]:
    """Return a distance for all pairs of sets: (sets, sets), symmetric; on the diagonal that of a set's first half from
    its second, which is what chance alone makes of it.

    Args:
        sets: each (n, features), at least four rows; their order is random.
        distance: of two sets.
    """
    found = np.zeros((len(sets), len(sets)))
    for row, column in itertools.combinations_with_replacement(range(len(sets)), 2):
        half = len(sets[row]) // 2
        one, other = (sets[row], sets[column]) if row != column else (sets[row][:half], sets[row][half:])
        found[row, column] = found[column, row] = distance(one, other)
    return found
