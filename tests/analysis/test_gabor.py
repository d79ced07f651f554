"""Gabor-likeness: 1 for a Gabor function, whatever its phase and sign; noise is what it is read beside."""

import numpy as np
import pytest

from medtl.analysis.gabor import likeness, of_noise, planes
from medtl.errors import UsageError


def gabor(side: int, angle: float, cycles: float, width: float, phase: float) -> np.ndarray:
    axis = (np.arange(side) - (side - 1) / 2) / side
    y, x = np.meshgrid(axis, axis, indexing="ij")
    wave = np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return np.asarray(np.exp(-(x**2 + y**2) / (2 * width**2)) * wave)


@pytest.mark.parametrize("side", [7, 16])
def test_gabor_functions_are_like_gabor_functions(side: int) -> None:
    in_dictionary = np.stack([gabor(side, np.pi / 6, 1.5, 0.22, phase) for phase in (0.0, 1.0, 2.5)])
    between = np.stack([gabor(side, angle, 1.8, 0.25, 0.4) for angle in (0.2, 1.0, 2.2)])
    colours = np.array([0.5, -2.0, 1.0])[None, :, None, None]
    assert likeness(in_dictionary[:, None] * colours) == pytest.approx(np.ones(3))
    assert likeness(between[:, None] * colours).min() > 0.85


def test_noise_scores_lower_and_like_other_noise() -> None:
    noise = of_noise((3, 7, 7), 500, 0)
    assert noise.max() < 0.95
    other = likeness(np.random.default_rng(7).normal(size=(500, 3, 7, 7)))
    assert np.median(other) == pytest.approx(np.median(noise), abs=0.05)
    assert likeness(gabor(7, 0.3, 1.0, 0.22, 0)[None, None])[0] > np.quantile(noise, 0.99)


def test_a_flat_filter_is_like_nothing() -> None:
    assert likeness(np.ones((1, 3, 7, 7))).tolist() == [0]


def test_a_plane_holds_what_all_channels_share() -> None:
    shape = gabor(7, 0.3, 1.0, 0.3, 0)
    (plane,) = planes(shape[None, None] * np.array([2.0, 0.0, -1.0])[None, :, None, None])
    assert abs(np.corrcoef(plane.ravel(), shape.ravel())[0, 1]) == pytest.approx(1)


def test_small_kernels_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 5"):
        likeness(np.ones((4, 3, 3, 3)))
