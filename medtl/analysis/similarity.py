"""How alike two layers are: SVCCA and debiased linear CKA, in float64."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError

Array = NDArray[np.float64]
KEPT = 0.99  # of the variance, the sum of squares, as in the paper; its authors' code sums singular values
ENOUGH = 5  # points a neuron, below which CCA finds what is not there


@dataclass(frozen=True)
class Svcca:
    """What SVCCA found.

    Attributes:
        value: mean canonical correlation, 0..1.
        directions: kept of each of the two layers.
        points: that they were compared on.
        points_a_direction: fewer than ENOUGH flatter: with as many directions as points anything is alike.
    """

    value: float
    directions: tuple[int, int]
    points: int

    @property
    def points_a_direction(self) -> float:
        """Return the points for each kept direction of the larger layer."""
        return self.points / max(1, *self.directions)


def svcca(one: Array, other: Array, kept: float = KEPT) -> Svcca:
    """Return singular vector canonical correlation (Raghu et al., NeurIPS 2017): of each layer the directions that hold
    ``kept`` of its variance, then the mean of the canonical correlations between these.

    Args:
        one, other: (points, neurons), the same points in both.
        kept: share of the sum of squares about the mean, above 0 and up to 1.

    Raises:
        UsageError: the layers have different points, or a layer is the same at all of them.
    """
    _check(one, other)
    bases = [_basis(each, kept) for each in (one, other)]
    if not min(each.shape[1] for each in bases):
        raise UsageError("a layer gives the same for every picture, so it cannot be compared")
    correlations = np.clip(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False), 0, 1)
    return Svcca(float(correlations.mean()), (bases[0].shape[1], bases[1].shape[1]), len(one))


def _basis(layer: Array, kept: float) -> Array:
    """Orthonormal directions over points (points, k) that hold so much of the variance."""
    left, singular, _ = np.linalg.svd(layer - layer.mean(0), full_matrices=False)
    energy = np.square(singular)
    if not energy.sum() > 0:
        return left[:, :0]
    count = int(np.searchsorted(np.cumsum(energy) / energy.sum(), kept - 1e-12)) + 1
    is_there = singular > singular[0] * max(layer.shape) * np.finfo(np.float64).eps
    return np.asarray(left[:, : min(count, int(is_there.sum()))])


def cka(one: Array, other: Array) -> float:
    """Return linear centred kernel alignment (Kornblith et al., ICML 2019) with the unbiased estimate of HSIC (Song et
    al., JMLR 2012, equation 5): 1 for layers that differ by a rotation and a factor, about 0 for unrelated ones
    whatever their widths; it may fall below 0.

    Args:
        one, other: (pictures, numbers), the same pictures in both, at least four.

    Raises:
        UsageError: there are fewer than four pictures, others in one than in the other, or a layer is the same for all.
    """
    _check(one, other)
    if len(one) < 4:
        raise UsageError(f"debiased CKA needs at least four pictures, not {len(one)}")
    first, second = (_gram(each) for each in (one, other))
    norm = _hsic(first, first) * _hsic(second, second)
    if not norm > 0:
        raise UsageError("a layer gives the same for every picture, so it cannot be compared")
    return float(_hsic(first, second) / np.sqrt(norm))


def _gram(layer: Array) -> Array:
    centred = layer - layer.mean(0)  # changes nothing in exact numbers, and keeps the digits
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0)
    return np.asarray(gram)


def _hsic(one: Array, other: Array) -> float:
    """Song's unbiased estimate from two Gram matrices without diagonals."""
    n = len(one)
    both = (one * other).sum()
    sums = one.sum() * other.sum() / ((n - 1) * (n - 2))
    rows = 2 * (one.sum(0) @ other.sum(0)) / (n - 2)
    return float((both + sums - rows) / (n * (n - 3)))


def _check(one: Array, other: Array) -> None:
    if one.ndim != 2 or other.ndim != 2 or len(one) != len(other):
        raise UsageError(
            f"layers of shapes {one.shape} and {other.shape}: expected (points, neurons) of the same points"
        )
