"""A network's first batch norm tells which normalisation it was trained with, or nothing; never the wrong one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.weights import evidence
from medtl.weights.evidence import ALIKE, CANDIDATES, CANNOT, Candidate, doubt, first_layers, weigh


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Grey pictures with light shapes on dark ground, values 0..1, some with a slight colour."""
    random = np.random.default_rng(4)
    rows, columns = np.mgrid[:64, :64]
    made = []
    for _ in range(48):
        centre, radius = random.uniform(16, 48, 2), random.uniform(8, 24)
        shape = np.hypot(rows - centre[0], columns - centre[1]) < radius
        grey = 0.15 + 0.5 * shape + random.normal(0, 0.06, (64, 64)) + random.uniform(-0.05, 0.15)
        made.append(np.stack([grey * tint for tint in (1.0, 0.95, 0.85)]))
    return torch.from_numpy(np.clip(made, 0, 1)).float()


def trained(candidate: Candidate, pictures: torch.Tensor, channels: int = 3, names: str = "conv1 bn1") -> dict:
    """A first convolution whose batch norm has seen pictures that were normalised so; written with torch's layers."""
    torch.manual_seed(2)
    convolution = torch.nn.Conv2d(channels, 32, 7, 2, 3, bias=False)
    layers = torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(32, momentum=None))
    seen = pictures[:, [2, 1, 0]] if candidate.bgr else pictures
    normalised = torch.stack([(seen[:, k] - candidate.mean[k]) / candidate.std[k] for k in range(3)], dim=1)
    with torch.no_grad():
        layers.train()(normalised if channels == 3 else normalised.mean(1, keepdim=True))
    first, second = names.split()
    state = {f"{first}.weight": convolution.weight.detach()}
    return state | {f"{second}.{name}": tensor for name, tensor in layers[1].state_dict().items()}


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.name)
def test_each_normalisation_is_told_by_the_pictures_it_was_trained_on(
    candidate: Candidate, pictures: torch.Tensor
) -> None:
    found = weigh(trained(candidate, pictures), pictures)
    assert found.ranked[0][0] == candidate.name
    assert found.verdict.startswith("near ImageNet" if candidate.name in ALIKE else candidate.name) or (
        found.verdict == candidate.name
    )
    others = weigh(trained(candidate, pictures[:24]), pictures[24:])
    assert others.verdict in (CANNOT, candidate.name) or (
        others.verdict.startswith("near ImageNet") and candidate.name in ALIKE
    )


def test_pictures_of_another_kind_tell_nothing(pictures: torch.Tensor) -> None:
    found = weigh(trained(CANDIDATES[0], pictures), torch.rand(16, 3, 64, 64))
    assert found.verdict == CANNOT
    assert found.reason


def test_one_channel_and_other_names_are_understood(pictures: torch.Tensor) -> None:
    grey = pictures.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    xrays = CANDIDATES[-1]
    for names in ("model.features.conv0 model.features.norm0", "conv_stem bn1", "backbone.0 backbone.1"):
        assert weigh(trained(xrays, grey, 1, names), grey).verdict == xrays.name


def kernels(channels: int) -> torch.Tensor:
    return torch.rand(4, channels, 7, 7)


def test_networks_without_batch_norm_or_training_tell_nothing(pictures: torch.Tensor) -> None:
    vit = {"patch_embed.proj.weight": torch.rand(8, 3, 16, 16), "norm.weight": torch.rand(8)}
    assert weigh(vit, pictures).verdict == CANNOT
    assert first_layers(vit) is None
    fresh = {
        "conv1.weight": torch.rand(4, 3, 7, 7),
        "bn1.running_mean": torch.zeros(4),
        "bn1.running_var": torch.ones(4),
    }
    assert "never seen an image" in weigh(fresh, pictures).reason


def test_only_gross_contradictions_are_doubted(pictures: torch.Tensor) -> None:
    state = trained(CANDIDATES[0], pictures)
    assert doubt(state, pictures, IMAGENET_MEAN, IMAGENET_STD) == ""
    assert doubt(trained(CANDIDATES[3], pictures), pictures, (0.5,), (0.5,)) == ""
    for mean, std in (((0.0,) * 3, (1 / 255,) * 3), ((0.0,), (1.0,))):
        assert "such as ImageNet gives" in doubt(state, pictures, mean, std)
    assert doubt(state, torch.rand(16, 3, 64, 64), (0.0,), (1 / 255,)) == ""


def test_pictures_are_shrunk_and_chosen_evenly() -> None:
    ramp = torch.arange(200, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 128, 96)
    small = evidence.shrunk(ramp)
    assert small.shape == (50, 3, 64, 64)
    assert small[:, 0, 0, 0].mul(255).round().tolist() == list(range(0, 200, 4))


PUBLIC = {
    "resnet18_imagenet": "near ImageNet",
    "mobilenet_v2_imagenet": "near ImageNet",
    "efficientnet_lite0": "0.5/0.5",
}


@pytest.mark.parametrize(("file", "right"), PUBLIC.items())
@pytest.mark.parametrize("data", ["chestxray2017", "natural", "ham10000", "chase_db1"])
def test_public_weights_are_never_told_wrongly(file: str, right: str, data: str, shared_data: Path) -> None:
    from medtl.weights.look import pictures as read

    found = weigh(load_file(next((shared_data.parent / "weights").glob(f"{file}*"))), read(shared_data / data))
    allowed = {"ham10000": (), "chase_db1": ()}.get(data, (right,))
    told = found.verdict if found.verdict != "ImageNet" else "near ImageNet"
    assert told == CANNOT or told.startswith(right)
    assert not allowed or told.startswith(allowed)


@pytest.mark.full
def test_of_ten_files_of_known_normalisation_most_are_told_and_none_wrongly(shared_data: Path) -> None:
    """Three public files, medtl's own, five networks that are trained for some steps, a ViT; judged on X-rays, those
    five on other X-rays than they were trained on."""
    from medtl.networks.classifier import build_classifier
    from medtl.weights.look import pictures as read
    from medtl.weights.read import read_state_dict

    root = Path(__file__).resolve().parents[2]
    xrays = read(shared_data / "chestxray2017" / "chest_xray" / "val")
    files = {next((shared_data.parent / "weights").glob(f"{file}*")): right for file, right in PUBLIC.items()}
    files[root / "bundles" / "medtl_mini_resnet18"] = "ImageNet"
    found = [(weigh(read_state_dict(file), xrays).verdict, right) for file, right in files.items()]
    seen = read(shared_data / "chestxray2017" / "chest_xray" / "train")
    for candidate in (CANDIDATES[0], *CANDIDATES[3:6], CANDIDATES[7]):
        torch.manual_seed(1)
        network = build_classifier("resnet18", 2, image_size=64).train()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (candidate.mean, candidate.std))
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        for step in range(60):
            batch = seen[step % 2 :: 2]
            loss = torch.nn.functional.cross_entropy(network((batch - mean) / std), torch.arange(len(batch)) % 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = "near ImageNet" if candidate.name in ALIKE else candidate.name
        found.append((weigh(network.state_dict(), xrays).verdict, right))
    found.append((weigh(build_classifier("vit_b16", 2).state_dict(), xrays).verdict, CANNOT))
    assert [pair for pair in found if pair[0] != CANNOT and pair[0] not in pair[1] and pair[1] not in pair[0]] == []
    assert sum(told != CANNOT for told, _ in found) >= 5, found
