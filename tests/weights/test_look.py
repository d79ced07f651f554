"""``medtl weights look`` says what a file is, and ``get`` takes a copy only where it fits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner
from vit_forward import as_hugging_face, draw

from medtl.cli import app
from medtl.errors import MedtlError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.places import SHIPPED
from medtl.weights import look as looking

pytestmark = pytest.mark.slow


def looked(*words: object) -> dict:
    done = CliRunner().invoke(app, ["weights", "look", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A few grey pictures in a folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = torch.Generator().manual_seed(1)
    for number in range(5):
        pixels = torch.nn.functional.interpolate(torch.rand(1, 1, 9, 9, generator=random), 80, mode="bilinear")
        Image.fromarray((pixels[0, 0] * 255).byte().numpy()).save(folder / f"{number}.png")
    return folder


def test_a_file_of_a_training_is_described(tmp_path: Path, pictures: Path) -> None:
    network = build_classifier("resnet18", 7, image_size=64)
    torch.save({"model": network, "epoch": 3}, tmp_path / "mine.pt")
    (tmp_path / "mine.card.json").write_text(
        json.dumps(
            {
                "input": {"mean": [0.5], "std": [0.25]},
                "licence": "CC0-1.0",
                "data": {"name": "tb", "classes": list("abcdefg")},
            }
        )
    )
    found = looked(tmp_path / "mine.pt", "--images", pictures)
    assert (found["networks"], found["head"]["classes"], found["licence"]) == (["resnet18"], 7, "CC0-1.0")
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    assert found["head"]["names"] == list("abcdefg")
    assert found["trained_on"] == ["tb"]
    assert "monai.networks.nets.resnet.ResNet" in found["code"]
    assert found["normalisation"]["stated"]["mean"] == [0.5] * 3
    assert found["normalisation"]["evidence"]["verdict"] == "cannot tell"  # it has never seen an image
    lines = looking.lines(looking.look(tmp_path / "mine.pt"))
    assert "network: resnet18" in lines
    assert any(line.startswith("code: monai.") and line.endswith("not run") for line in lines)
    assert any("--images DIR" in line for line in lines)


def test_a_vit_is_named_and_its_normalisation_cannot_be_told(tmp_path: Path, pictures: Path) -> None:
    save_file(draw(384, 14, 4, scaled=True), tmp_path / "mine.safetensors")
    found = looked(tmp_path / "mine.safetensors", "--images", pictures)
    assert found["networks"] == ["vit_s14"]
    assert found["layout"] == "those of timm's VisionTransformer"
    assert (found["head"]["classes"], found["code"]) == (0, [])
    assert found["normalisation"]["evidence"]["verdict"] == "cannot tell"
    assert "DINOv2" in found["normalisation"]["stated"]["assumed"]


def test_a_network_of_a_library_is_found_by_the_files_name(shared_data: Path) -> None:
    found = looked(SHIPPED / "mobilenet_v2_imagenet.safetensors", "--images", shared_data / "natural")
    assert "torchvision/mobilenet_v2" in found["networks"]
    assert (found["head"]["classes"], found["trained_on"]) == (1000, ["imagenet"])
    assert found["licence"].startswith("Apache-2.0")
    assert found["normalisation"]["evidence"]["verdict"].startswith(("ImageNet", "near ImageNet"))
    assert found["normalisation"]["doubt"] == ""


def test_a_card_that_the_weights_contradict_is_doubted(tmp_path: Path, shared_data: Path) -> None:
    save_file(load_file(SHIPPED / "mobilenet_v2_imagenet.safetensors"), tmp_path / "mobilenet_v2.safetensors")
    card = {"input": {"mean": [0.0], "std": [1.0]}}
    (tmp_path / "mobilenet_v2.card.json").write_text(json.dumps(card))
    found = looking.look(tmp_path / "mobilenet_v2.safetensors", shared_data / "natural")
    assert "does not know images of mean 0 and SD 1" in found.doubt
    assert looking.lines(found)[-1] == f"warning: {found.doubt}"


def test_what_fits_nothing_says_why(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(4, 1, 3, 7, 7)}, tmp_path / "volume.safetensors")
    found = looked(tmp_path / "volume.safetensors")
    assert found["networks"] == []
    assert "3-D weights" in found["reason"]
    (tmp_path / "none.pt").write_text("")
    with pytest.raises(MedtlError, match=r"none\.pt is not a readable file of tensors"):
        looking.look(tmp_path / "none.pt")
    with pytest.raises(UsageError, match="no such file"):
        looking.look(tmp_path / "absent.pt")


def test_get_takes_a_copy_that_fits_and_refuses_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.save(draw(768, 14, 37, scaled=True), tmp_path / "copy.bin")
    words = ["weights", "get", "raddino", "--backbone", "vit_b14", "--from"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "copy.bin")], catch_exceptions=False)
    installed = tmp_path / "cache/medtl/weights/vit_b14_raddino.pt"
    assert installed.read_bytes() == (tmp_path / "copy.bin").read_bytes()
    assert "nobody publishes one to check it by" in done.stdout
    assert "--init raddino --backbone vit_b14" in done.stdout
    torch.save({"blocks.0.norm1.weight": torch.zeros(3)}, tmp_path / "other.bin")
    with pytest.raises(MedtlError, match=r"--from .*other\.bin does not fit vit_b14"):
        CliRunner().invoke(app, [*words, str(tmp_path / "other.bin")], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"absent\.bin: no such file"):
        CliRunner().invoke(app, [*words, str(tmp_path / "absent.bin")], catch_exceptions=False)


def test_the_head_is_what_gives_classes(tmp_path: Path) -> None:
    """Behind a prefix, too; neither a pooler nor a projection."""
    resnet = build_classifier("resnet18", 7).state_dict()
    vit, small = as_hugging_face(draw(768, 16, 4, scaled=False), dinov2=False), draw(384, 14, 4, scaled=True)
    files = {
        "Lightning": ({f"backbone.{name}": t for name, t in resnet.items()}, "backbone.fc.weight", 7),
        "pooler": (vit | {"pooler.dense.weight": torch.zeros(768, 768)}, "", 0),
        "classes beside a pooler": (
            vit | {"classifier.weight": torch.zeros(5, 768), "pooler.dense.weight": torch.zeros(768, 768)},
            "classifier.weight",
            5,
        ),
        "DINO": (
            {f"backbone.{name}": t for name, t in small.items()} | {"head.mlp.4.weight": torch.zeros(256, 8)},
            "",
            0,
        ),
        "MoCo": (
            {f"module.encoder_q.{name}": t for name, t in resnet.items() if name[:2] != "fc"}
            | {"module.encoder_q.fc.2.weight": torch.zeros(128, 512)},
            "",
            0,
        ),
    }
    for name, (state, head, classes) in files.items():
        torch.save(state, tmp_path / "file.pt")
        found = looking.look(tmp_path / "file.pt")
        assert (len(found.networks), found.head, found.head_classes) == (1, head, classes), name


@pytest.mark.parametrize("count", [65, 100, 127, 300])
def test_pictures_are_evenly_chosen(count: int, tmp_path: Path) -> None:
    """A folder may be sorted by class."""
    for number in range(count):
        Image.fromarray(np.full((4, 4), round(255 * number / (count - 1)), np.uint8)).save(
            tmp_path / f"{number:03}.png"
        )
    seen = looking.pictures(tmp_path)
    assert 32 <= len(seen) <= 64
    assert seen.max() > 0.95
    assert seen.mean().item() == pytest.approx(0.5, abs=0.05)
