"""cmd's algebra: what an affine network must do, and what a distance between sets of points is."""

import numpy as np
import pytest
import torch
from torch import nn

from medtl.analysis.affine import (
    INITIALISATIONS,
    affine_network,
    cmd,
    coordinates,
    intra_cmd,
    outputs,
    rescaled,
    subsets,
)
from medtl.errors import UsageError

SIZE = 32


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_without_its_pool_the_network_is_affine(initialisation: str) -> None:
    """The mean output is the output for the mean picture: cmv sees pictures as a whole, not what they show."""
    network, images = affine_network(initialisation, 3, SIZE, pool=False), pictures(7)
    with torch.no_grad():
        mean_output, output_of_mean = network(images).mean(0), network(images.mean(0, keepdim=True))[0]
    assert torch.allclose(mean_output, output_of_mean, rtol=1e-3, atol=1e-5 * mean_output.abs().max().item())


def test_the_pool_is_all_that_is_not_affine() -> None:
    network, images = affine_network("kaiming", 0, SIZE), pictures(7)
    with torch.no_grad():
        mean_output, output_of_mean = network(images).mean(0), network(images.mean(0, keepdim=True))[0]
    assert not torch.allclose(mean_output, output_of_mean, rtol=1e-2)
    kinds = {type(module) for module in network.modules()}
    assert nn.MaxPool2d in kinds
    assert not kinds & {nn.BatchNorm2d, nn.ReLU}


def test_initialisations_are_what_they_are_called() -> None:
    weight = affine_network("orthogonal", 0, SIZE).get_parameter("layer1.0.conv1.weight").flatten(1)
    assert torch.allclose(weight @ weight.T, torch.eye(64), atol=1e-5)
    for name, expected in (("kaiming", (2 / (64 * 9)) ** 0.5), ("xavier", (2 / (2 * 64 * 9)) ** 0.5)):
        weight = affine_network(name, 0, SIZE).get_parameter("layer1.0.conv1.weight")
        assert weight.std().item() == pytest.approx(expected, rel=0.02)
    with pytest.raises(UsageError, match="kaiming"):
        affine_network("he", 0, SIZE)


def test_weights_follow_the_seed_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (affine_network("xavier", seed, SIZE) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.get_parameter("fc.weight"), same.get_parameter("fc.weight"))
    assert not torch.equal(one.get_parameter("fc.weight"), other.get_parameter("fc.weight"))


def test_outputs_do_not_depend_on_the_batch() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)
    network = affine_network("xavier", 0, SIZE)
    assert outputs(network, pixels, batch=2) == pytest.approx(outputs(network, pixels), rel=1e-4)


def test_distances_of_points_that_one_can_count() -> None:
    one, other = np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[4.0, 0.0]])
    assert cmd(one, other) == (4 + 5) / 2
    assert intra_cmd(one) == 3  # of different subsets: a subset's distance from itself is left out


def test_rescaling_is_a_division_by_the_references_own_spread() -> None:
    points = {"a": np.array([[0.0, 0.0], [0.0, 2.0]]), "b": np.array([[6.0, 0.0], [6.0, 2.0]])}
    once = rescaled([points], "a")
    large = rescaled([{name: 300 * each for name, each in points.items()}], "a")
    assert once == pytest.approx(large)  # magnitudes of initialisations do not matter
    assert once[0, 0, 0] == 1
    assert once[0, 0, 1] == pytest.approx((6 + 40**0.5) / 2 / 2)
    with pytest.raises(UsageError, match="alike"):
        rescaled([{"a": np.zeros((3, 2)), "b": np.ones((3, 2))}], "a")


def test_subsets_are_no_more_than_half_of_the_pictures() -> None:
    chosen = subsets(30, 4, 50, 0)
    assert chosen.shape == (4, 15)
    assert all(len(set(row)) == 15 for row in chosen.tolist())
    values = np.arange(60.0).reshape(30, 2)
    assert coordinates(values, chosen)[2] == pytest.approx(values[chosen[2]].mean(0))
