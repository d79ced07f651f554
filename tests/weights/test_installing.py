"""``medtl weights get`` with a copy at hand, word by word: the file, a card of what its name said, and what a run and
``weights look`` make of both."""

import json
from pathlib import Path

import pytest
import torch
from keras_forward import NETWORKS, Layers, write
from safetensors.torch import save_file
from typer.testing import CliRunner, Result
from vit_forward import as_hugging_face, draw

from medtl.cards import IMAGENET_MEAN
from medtl.catalogue import catalogue
from medtl.cli import app
from medtl.errors import MedtlError
from medtl.networks.backbones import zoo
from medtl.networks.classifier import build_classifier
from medtl.weights.installing import get
from medtl.weights.starts import resolve

pytestmark = pytest.mark.slow

HALF = (0.5,) * 3
KAGGLE = "kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are installed; no other place holds any."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("MEDTL_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "medtl" / "weights"


def command(*words: object) -> Result:
    return CliRunner().invoke(app, ["weights", *map(str, words)], catch_exceptions=False)


def dense(grey: bool = False) -> torch.nn.Module:
    network = zoo.torchvision().models.densenet121(num_classes=18)
    if grey:
        network.features.conv0 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        network.register_buffer("op_threshs", torch.rand(18))
    return network


def test_the_second_family_of_radimagenet_replaces_the_first(tmp_path: Path, cache: Path) -> None:
    """Else the first would still be found, and normalised by the other one's card."""
    state = dense().state_dict()
    torch.save({n.replace("features.", "backbone.0."): t for n, t in state.items() if n[:8] == "features"},
               tmp_path / "DenseNet121.pt")  # fmt: skip
    done = command("get", "radimagenet", "--backbone", "densenet121", "--from", tmp_path / "DenseNet121.pt")
    assert done.exit_code == 0, done.output
    assert "trained on: radimagenet\n" in done.output
    start = resolve("radimagenet", "densenet121")
    assert (start.path, start.mean, start.bgr) == (cache / "densenet121_radimagenet.pt", HALF, True)
    layers = Layers()
    with torch.no_grad():
        NETWORKS["DenseNet121"](torch.rand(1, 3, 32, 32), layers)
    get("radimagenet", "densenet121", cache, write(layers.made, tmp_path / "RadImageNet-DenseNet121_notop.h5"))
    start = resolve("radimagenet", "densenet121")
    assert (start.path, start.std, start.bgr) == (cache / "densenet121_radimagenet.h5", (1.0,) * 3, True)
    assert sorted(path.name for path in cache.iterdir()) == [
        "densenet121_radimagenet.card.json", "densenet121_radimagenet.h5",
    ]  # fmt: skip
    looked = command("look", cache / "densenet121_radimagenet.h5").output
    for line in ("network: densenet121", "layout: those of Keras's DenseNet", "trained on: radimagenet",
                 "licence: not stated for the weights; their repository", "channels BGR"):  # fmt: skip
        assert line in looked


def test_what_a_network_of_torchxrayvision_has_seen_is_kept(tmp_path: Path, cache: Path) -> None:
    torch.save(dense(grey=True), tmp_path / KAGGLE, _use_new_zipfile_serialization=False)
    get("torchxrayvision", "densenet121", cache, tmp_path / KAGGLE)
    start = resolve("torchxrayvision", "densenet121")
    assert (start.trained_on, start.mean, start.assumed) == (("rsna",), HALF, "")
    assert start.licence.startswith("Apache-2.0")
    looked = command("look", start.path).output
    assert "trained on: rsna\n" in looked
    assert "head: classifier.weight, 18 classes" in looked
    assert "not run" in looked


def test_rad_dino_keeps_its_own_mean(tmp_path: Path, cache: Path) -> None:
    save_file(as_hugging_face(draw(768, 14, 4, scaled=True), dinov2=True), tmp_path / "model.safetensors")
    done = get("raddino", "vit_b14", cache, tmp_path / "model.safetensors")
    assert done.path.name == "vit_b14_raddino.safetensors"
    assert json.loads((cache / "vit_b14_raddino.card.json").read_text())["input"]["mean"] == [0.5307] * 3
    start = resolve("raddino", "vit_b14")
    assert start.mean == (0.5307,) * 3
    assert "mimic-cxr" in start.trained_on


def test_what_is_not_theirs_is_refused_and_what_nobody_knows_is_said(tmp_path: Path, cache: Path) -> None:
    torch.save(build_classifier("resnet18", 3).state_dict(), tmp_path / "mine.pt")
    for word, backbone, words in (
        ("imagenet", "resnet18", "is not resnet18-f37072fd.pth: its SHA-256"),
        ("radimagenet", "resnet34", "does not fit resnet34"),
        ("torchxrayvision", "densenet121", "does not fit densenet121"),
    ):
        with pytest.raises(MedtlError, match=words):
            get(word, backbone, cache, tmp_path / "mine.pt")
    assert not cache.exists()
    get("cpmid", "resnet18", cache, tmp_path / "mine.pt")
    assert (resolve("cpmid", "resnet18").trained_on, resolve("cpmid", "resnet18").mean) == (("cpmid",), IMAGENET_MEAN)
    get("radimagenet", "resnet18", cache, tmp_path / "mine.pt")  # nobody publishes one, so nobody says its input
    assert "input" not in json.loads((cache / "resnet18_radimagenet.card.json").read_text())
    assert "assumed" in resolve("radimagenet", "resnet18").assumed


@pytest.mark.parametrize(
    ("network", "backbone", "file", "std", "bgr"),
    [
        ("ResNet50", "keras/resnet50", "resnet50", 1 / 255, True),
        ("InceptionV3", "keras/inception_v3", "inception_v3", 0.5, False),
        ("IRV2", "timm/inception_resnet_v2", "inception_resnet_v2", 0.5, False),
    ],
)
def test_keras_imagenet_files_expect_what_keras_feeds_them(
    network: str, backbone: str, file: str, std: float, bgr: bool, tmp_path: Path, cache: Path
) -> None:
    """Under its maker's name and under any other, by path and by the word; what is got is found again."""
    layers = Layers()
    with torch.no_grad():
        NETWORKS[network](torch.rand(1, 3, 107, 107), layers)
    theirs = write(layers.made, tmp_path / f"{file}_weights_tf_dim_ordering_tf_kernels_notop.h5")
    mean = (123.68 / 255, 116.779 / 255, 103.939 / 255) if bgr else HALF
    by_path = resolve(str(theirs), backbone)
    assert (by_path.mean, by_path.std, by_path.bgr) == (mean, (std,) * 3, bgr)
    get("imagenet", backbone, cache, theirs.rename(tmp_path / "copy.h5"))
    start = resolve("imagenet", backbone)
    assert start.path == cache / f"{backbone.replace('/', '_')}_imagenet.h5"
    assert (start.mean, start.std, start.bgr, start.trained_on) == (mean, (std,) * 3, bgr, ("imagenet",))
    assert "Keras" in start.licence
    assert str(start.path) in [row["path"] for row in catalogue()["weights"]]
