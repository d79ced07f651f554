"""Stages of networks side by side."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medtl.analysis.layers import as_points, compare, with_base_line
from medtl.analysis.subject import stages, subject
from medtl.errors import UsageError
from medtl.networks.classifier import features

SIZE = 32


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (12, 3, SIZE, SIZE), dtype=np.uint8)


def test_stages_are_what_the_network_computes(pixels: NDArray[np.uint8]) -> None:
    of = subject("random", "resnet18", SIZE, 1)
    found = stages(of, pixels, batch=5)
    mean, std = (torch.tensor(each)[:, None, None] for each in (of.start.mean, of.start.std))
    with torch.no_grad():
        expected = features(of.network, "resnet18", (torch.from_numpy(pixels).float() / 255 - mean) / std)
    assert list(found) == ["layer1", "layer2", "layer3", "layer4"]
    for one, other in zip(found.values(), expected, strict=True):
        assert torch.allclose(torch.from_numpy(one), other, atol=1e-4)


def test_a_network_is_like_itself_and_its_own_file(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    one = subject("random", "resnet18", SIZE, 1)
    torch.save(one.network.state_dict(), tmp_path / "mine.pt")
    same = subject(str(tmp_path / "mine.pt"), "resnet18", SIZE)
    for layer in with_base_line(one, same, pixels, (5, 6), SIZE):
        assert layer.cka == pytest.approx(1, abs=1e-4)
        assert layer.svcca.value == pytest.approx(1, abs=1e-4)
        low, mean, high = layer.base_cka
        assert low <= mean <= high < 0.999


@pytest.mark.slow
def test_networks_of_two_kinds_are_compared_stage_by_stage(pixels: NDArray[np.uint8]) -> None:
    one, other = (subject("random", name, SIZE, 1) for name in ("resnet18", "densenet121"))
    found = with_base_line(one, other, pixels, (5, 6), SIZE)
    assert [layer.names[0] for layer in found] == ["layer1", "layer2", "layer3", "layer4"]
    assert len({layer.names[1] for layer in found}) == 4
    assert all(len(layer.base_cka) == 3 for layer in found)


def test_places_are_the_same_in_both_networks() -> None:
    generator = np.random.default_rng(0)
    one = generator.normal(size=(6, 4, 5, 5)).astype(np.float32)
    both = as_points(one, 2 * one, 0)
    assert both[0].shape == (150, 4)
    assert np.allclose(both[1], 2 * both[0])
    coarse = as_points(one, one[:, :, :2, :2], 0)  # of maps of two sizes the pictures are the points
    assert coarse[0] == pytest.approx(one.mean((2, 3)), abs=1e-6)
    (layer,) = compare({"a": one}, {"b": one})
    assert layer.names == ("a", "b")


def test_a_bundle_says_which_network_it_is() -> None:
    bundle = Path(__file__).resolve().parents[2] / "bundles" / "medtl_mini_resnet18"
    of = subject(str(bundle), None, SIZE)
    assert (of.name, of.backbone) == ("medtl_mini_resnet18", "resnet18")
    with pytest.raises(UsageError, match="is of resnet18"):
        subject(str(bundle), "resnet50", SIZE)


def test_what_nobody_describes_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--backbone"):
        subject("random", None, SIZE)
    with pytest.raises(UsageError, match="no such file"):
        subject(str(tmp_path / "absent"), "resnet18", SIZE)
