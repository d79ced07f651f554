"""Distances of feature vectors against other ways to compute them."""

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from sklearn.metrics.pairwise import rbf_kernel

from medtl.analysis.distances import bandwidth, frechet, matrix_of, mmd, neighbours
from medtl.errors import UsageError

Array = NDArray[np.float64]


def cloud(count: int, seed: int, centre: float = 0.0, width: int = 4) -> Array:
    return np.random.default_rng(seed).normal(centre, 1, (count, width))


def test_frechet_agrees_with_the_root_of_the_covariances() -> None:
    one, other = cloud(60, 0) * [1, 2, 3, 4], cloud(50, 1, 2.0)
    covariances = [np.cov(each.T) for each in (one, other)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet(one, other) == pytest.approx(expected)


def test_frechet_of_fewer_pictures_than_features_is_exact_where_it_is_known() -> None:
    one = cloud(5, 0, width=40)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet(one, one + 3) == pytest.approx(9 * 40)  # a shift alone


def test_mmd_agrees_with_sums_over_pairs() -> None:
    one, other = cloud(12, 0), cloud(9, 1, 0.7)
    kernels = [rbf_kernel(a, b, gamma=1 / (2 * 1.5**2)) for a, b in ((one, one), (other, other), (one, other))]
    expected = -2 * kernels[2].mean()
    for kernel in kernels[:2]:
        expected += kernel[~np.eye(len(kernel), dtype=bool)].mean()
    assert mmd(one, other, 1.5) == pytest.approx(expected)


def test_mmd_of_one_distribution_scatters_about_zero() -> None:
    found = [mmd(cloud(40, seed), cloud(40, 100 + seed), 2.0) for seed in range(40)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_the_kernels_width_is_the_median_distance() -> None:
    assert bandwidth([np.array([[0.0], [1.0]]), np.array([[5.0]])]) == 4
    assert bandwidth([np.zeros((3, 2))]) == 1  # of pictures that are all alike


def test_neighbours_of_sets_apart_are_their_own_and_else_by_chance() -> None:
    apart = neighbours([cloud(30, 0), cloud(30, 1, 50.0)], 5)
    assert apart.tolist() == [[1, 0], [0, 1]]
    mixed = neighbours([cloud(400, seed) for seed in range(3)], 10)
    assert np.abs(mixed - 1 / 3).max() < 0.08
    assert mixed.sum(1) == pytest.approx([1, 1, 1])


def test_a_larger_set_is_not_everybodys_neighbour() -> None:
    found = neighbours([cloud(300, 0), cloud(3000, 1)], 10)
    assert abs(found[0, 1] - 0.5) < 0.08


def test_the_diagonal_is_one_half_from_the_other() -> None:
    sets = [cloud(20, 0), cloud(30, 1)]
    found = matrix_of(sets, frechet)
    assert found[0, 1] == found[1, 0] == frechet(*sets)
    assert found[1, 1] == frechet(sets[1][:15], sets[1][15:]) > 0


def test_too_few_pictures_are_refused() -> None:
    for distance in (frechet, lambda a, b: mmd(a, b, 1.0)):
        with pytest.raises(UsageError, match="at least two"):
            distance(cloud(1, 0), cloud(5, 1))
    with pytest.raises(UsageError, match="more than 5 pictures"):
        neighbours([cloud(5, 0), cloud(9, 1)], 5)
