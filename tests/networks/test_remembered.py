"""A frozen trunk that sees each picture once: the logits, gradients and random numbers of the whole network."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT, bundle_here, config, rows
from torch import Tensor, nn

from medtl.networks.classifier import build_classifier
from medtl.networks.freezing import freeze
from medtl.networks.registry import backbone_of
from medtl.networks.remembered import RememberedTrunk

FOLDER = ROOT / "bundles" / "breastmnist"
STILL = [word for name in ("flip", "rotate", "scale", "translate") for word in (f"--train#augmentation#{name}", "0")]


def made(backbone: str, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    network = build_classifier(backbone, 3, image_size=64, dropout=dropout)
    freeze(network, backbone, "trunk")
    return network.train()


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """How many pictures a module saw in each pass."""
    seen: list[int] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    yield seen
    handle.remove()


@pytest.mark.parametrize("backbone", ["resnet18", "vit_s14", "timm/mobilenetv3_small_050", "densenet121"])
def test_logits_and_gradients_are_those_of_the_whole_network(backbone: str) -> None:
    size = 70 if backbone == "vit_s14" else 64
    torch.manual_seed(0)
    network = build_classifier(backbone, 3, image_size=size, dropout=0.5)
    freeze(network, backbone, "trunk")
    network.train()
    images, labels = torch.rand(20, 3, size, size), torch.arange(20) % 3
    inferer = RememberedTrunk(backbone)
    head = network.get_submodule(backbone_of(backbone).head)

    def outcome(logits: Tensor) -> tuple[Tensor, Tensor]:
        network.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        return logits.detach(), next(head.parameters()).grad.clone()

    for order in (torch.arange(20), torch.randperm(20)):
        torch.manual_seed(5)  # of dropout in the head, from which nothing may be drawn for the trunk
        theirs = outcome(network(images[order]))
        torch.manual_seed(5)
        ours = outcome(inferer(images[order], network))
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
        assert network.training
    assert len(inferer.features) == 20


def test_a_picture_passes_the_trunk_once_and_its_bits_depend_on_no_other_picture() -> None:
    network, images = made("resnet18"), torch.rand(40, 3, 64, 64)
    inferer = RememberedTrunk("resnet18")
    with counted(network.get_submodule("conv1")) as seen:
        for _ in range(3):
            for batch in images[torch.randperm(40)].split(7):
                inferer(batch, network)
    known = len(inferer.features)
    assert known == 40
    assert len(seen) == 2 + math.ceil(40 / 7)  # two trials, the first epoch's batches, and no more
    other = RememberedTrunk("resnet18")
    for batch in images.flip(0).split(9):
        other(batch, network)
    assert other.features.keys() == inferer.features.keys()
    assert all(torch.equal(other.features[key], found) for key, found in inferer.features.items())


@pytest.mark.parametrize("backbone", ["torchvision/squeezenet1_1", "torchvision/vgg11"])
def test_what_is_not_the_same_is_run_as_it_is(backbone: str) -> None:
    """SqueezeNet averages behind its head, and VGG has dropout before it."""
    network, images = made(backbone), torch.rand(3, 3, 64, 64)
    inferer = RememberedTrunk(backbone)
    for seed in range(2):
        torch.manual_seed(seed)
        theirs = network(images)
        torch.manual_seed(seed)
        assert torch.equal(inferer(images, network), theirs)
    assert inferer.features == {}


@pytest.mark.slow
def test_a_run_that_remembers_is_the_run_that_does_not(tmp_path: Path) -> None:
    words = ("--freeze", "trunk", *STILL, "--epochs", "3", "--device", "cpu", "--num_workers", "0")
    plain = [word for part in ("train", "validate") for word in (f"--{part}#inferer#_target_", "SimpleInferer")]
    told = {}
    for name, more in (("remembered", ()), ("plain", plain)):
        file = config("train", folder=FOLDER)
        status, told[name] = bundle_here(
            "run", "--config_file", file, "--output_dir", str(tmp_path / name), *words, *more
        )
        assert status == 0, told[name]
    assert "passes the trunk once" in told["remembered"]
    assert "passes the trunk once" not in told["plain"]
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in told)
    assert one == pytest.approx(other, abs=1e-4, nan_ok=True)
    losses = [[float(row["train_loss"]) for row in rows(tmp_path / name / "history.csv")] for name in told]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_with_augmentation_or_a_trunk_that_trains_nothing_is_remembered(tmp_path: Path) -> None:
    for name, words in (("augmented", ("--freeze", "trunk")), ("training", tuple(STILL))):
        common = ("--epochs", "1", "--device", "cpu", "--num_workers", "0", "--output_dir", str(tmp_path / name))
        status, told = bundle_here("run", "--config_file", config("train", folder=FOLDER), *common, *words)
        assert status == 0, told
        assert "passes the trunk once" not in told
