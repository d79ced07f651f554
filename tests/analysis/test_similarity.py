"""SVCCA and CKA against other ways to compute them, and on layers whose likeness is known."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from sklearn.cross_decomposition import CCA

from medtl.analysis.similarity import cka, svcca
from medtl.errors import UsageError

Array = NDArray[np.float64]


def layer(points: int, neurons: int, seed: int) -> Array:
    """Neurons of very different variance, as those of a trained layer."""
    generator = np.random.default_rng(seed)
    return np.asarray(generator.normal(size=(points, neurons)) * np.linspace(3, 0.2, neurons) + 1)


def rotation(size: int, seed: int) -> Array:
    return np.asarray(scipy.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0])


def test_a_layer_is_like_itself_rotated_scaled_and_shifted() -> None:
    one = layer(300, 12, 0)
    for other in (one, one @ rotation(12, 1), 3 * one @ rotation(12, 2) - 7):
        assert svcca(one, other).value == pytest.approx(1)
        assert cka(one, other) == pytest.approx(1)


def test_unrelated_layers_are_unlike() -> None:
    one, other = layer(4000, 8, 0), layer(4000, 8, 1)
    assert svcca(one, other).value < 0.1
    assert abs(cka(one[:500], other[:500])) < 0.05
    # plain CKA of wide layers on few pictures is far above 0; the debiased one is not
    wide = [np.random.default_rng(seed).normal(size=(40, 2000)) for seed in (2, 3)]
    assert abs(cka(*wide)) < 0.1


def test_svcca_agrees_with_scikit_learns_cca_of_the_kept_directions() -> None:
    one = layer(200, 6, 0)
    other = one[:, :4] @ rotation(4, 3) + layer(200, 4, 5)
    found = svcca(one, other, kept=1.0)
    assert found.directions == (6, 4)
    model = CCA(n_components=4, max_iter=5000, tol=1e-12).fit(one, other)
    scores = model.transform(one, other)
    expected = [abs(np.corrcoef(scores[0][:, k], scores[1][:, k])[0, 1]) for k in range(4)]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-4)


def test_directions_are_kept_by_squares_of_singular_values() -> None:
    """Two neurons of SD 10 and 1 hold 100 : 1 of the variance; by plain singular values both would be needed."""
    generator = np.random.default_rng(0)
    columns = np.linalg.qr(generator.normal(size=(100, 2)) - 0)[0]
    columns -= columns.mean(0)
    columns = np.linalg.qr(columns)[0]
    one = columns * [10, 0.9]
    assert svcca(one, one).directions == (1, 1)
    assert svcca(columns * [10, 1.2], one).directions == (2, 1)


def unbiased_hsic(k: Array, m: Array) -> float:
    """The U-statistic by its definition: over all ordered quadruples of different pictures (Song et al. 2012)."""
    n = len(k)
    total = 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def test_cka_agrees_with_the_definition_over_all_quadruples() -> None:
    one, other = layer(9, 5, 0), layer(9, 3, 1)
    other[:, 0] += one[:, 0]
    k, m = one @ one.T, other @ other.T
    expected = unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    assert cka(one, other) == pytest.approx(expected)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="same points"):
        svcca(layer(10, 2, 0), layer(11, 2, 0))
    with pytest.raises(UsageError, match="same for every picture"):
        svcca(np.ones((10, 2)), layer(10, 2, 0))
    with pytest.raises(UsageError, match="same for every picture"):
        cka(np.ones((10, 2)), layer(10, 2, 0))
    with pytest.raises(UsageError, match="four pictures"):
        cka(layer(3, 2, 0), layer(3, 2, 1))
