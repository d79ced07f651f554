"""The random numbers of batch augmentation against a scalar implementation and statistics."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medtl.transforms import counter
from medtl.transforms.counter import gaussian, random_bits, uniform

COLUMNS = 21


def splitmix(state: int) -> int:
    """SplitMix64's output for a state, written as in the published C code."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_mixer_gives_the_published_numbers() -> None:
    # first outputs of SplitMix64 seeded with 1234567, as used to test other implementations
    state, found = 1234567, []
    for _ in range(3):
        found.append(counter._mixed_number(state + counter._GOLDEN))
        state = (state + counter._GOLDEN) % 2**64
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    numbers = torch.tensor([counter._signed(1234567 + (k + 1) * counter._GOLDEN) for k in range(3)])
    assert [int(n) % 2**64 for n in counter._mixed(numbers)] == found


@given(index=st.integers(0, 2**40), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
@settings(max_examples=40)
def test_random_bits_are_those_of_a_scalar_implementation(index: int, seed: int, epoch: int) -> None:
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15
    base = splitmix((splitmix(seed) + epoch * golden) & mask)
    own = splitmix((index * golden + base - golden) & mask)
    expected = [splitmix((own + column * golden) & mask) for column in range(5)]
    found = random_bits(torch.tensor([index]), seed, epoch, 5)[0]
    assert [int(n) % 2**64 for n in found] == expected


def test_random_numbers_are_evenly_spread_and_independent() -> None:
    numbers = uniform(random_bits(torch.arange(20000), 0, 0, COLUMNS)).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in range(COLUMNS):
        assert stats.kstest(numbers[:, column], "uniform").pvalue > 1e-4
    correlations = np.corrcoef(numbers.T) - np.eye(COLUMNS)
    assert np.abs(correlations).max() < 0.035
    following = uniform(random_bits(torch.arange(20000), 0, 1, COLUMNS)).numpy()
    assert abs(np.corrcoef(numbers[:, 0], following[:, 0])[0, 1]) < 0.035
    neighbours = np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]
    assert abs(neighbours) < 0.035


def test_noise_is_standard_normal() -> None:
    values = gaussian(random_bits(torch.arange(4), 0, 0, 1)[:, 0], torch.Size((1, 100, 100))).flatten().numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-4
