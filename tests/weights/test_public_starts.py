"""Public starts are found by their makers' names, with the input that they expect; what is not at hand says how."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import MedtlError, UsageError
from medtl.networks.backbones import zoo
from medtl.networks.classifier import build_classifier
from medtl.places import SHIPPED
from medtl.weights.contract import contract_of
from medtl.weights.load import load_pretrained
from medtl.weights.sources import SOURCES, named, official
from medtl.weights.starts import apply, resolve

pytestmark = pytest.mark.slow

WORDS = {"imagenet", "radimagenet", "torchxrayvision", "dinov2", "raddino", "biomedclip", "mae", "cpmid", "mini"}
HALF = (0.5,) * 3
XRAYS = (1 / 2048,) * 3
TXV = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$MEDTL_WEIGHTS; no other place holds anything but what comes with medtl."""
    for name in ("shelf", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path / "shelf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "shelf"


def radimagenet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ResNet's trunk as RadImageNet's PyTorch release names it."""
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    parts = {name: name.partition(".") for name in state if not name.startswith("fc.")}
    return {f"backbone.{numbers[first]}.{rest}": state[name] for name, (first, _, rest) in parts.items()}


def test_each_word_says_what_it_is() -> None:
    assert set(named()) == WORDS
    for word in WORDS:
        source = SOURCES.find(word)
        assert source.title
        assert source.licence
        # RadImageNet's two families differ, so their files' records say it, and only they
        assert len(source.mean) == len(source.std) == (0 if word == "radimagenet" else 3)
        assert source.trained_on or word == "mini"  # which says so on its card


@pytest.mark.parametrize(
    ("word", "backbone", "words"),
    [
        ("radimagenet", "resnet50", "github.com/BMEII-AI/RadImageNet .*--backbone resnet50 --from FILE"),
        ("torchxrayvision", "densenet121", f"torchxrayvision/releases/download/v1/{TXV} by hand .*hash is not known"),
        ("dinov2", "vit_s14", "medtl weights get dinov2 --backbone vit_s14; offline: .*dinov2_vits14_pretrain.pth"),
        ("raddino", "vit_b14", "huggingface.co/microsoft/rad-dino/resolve/main/model.safetensors by hand"),
        ("biomedclip", "vit_b16", "open_clip_pytorch_model.bin by hand"),
        ("mae", "vit_b16", "mae_pretrain_vit_base.pth by hand"),
        ("radimagenet", "keras/resnet50", "github.com/BMEII-AI/RadImageNet .*--backbone keras/resnet50 --from FILE"),
        ("radimagenet", "resnet18", "official files are known of resnet50, densenet121"),
    ],
)
def test_what_is_not_at_hand_says_where_it_was_looked_for_and_how_to_get_it(
    word: str, backbone: str, words: str, shelf: Path
) -> None:
    with pytest.raises(UsageError, match=f"no weights of {backbone} in .*{shelf}.*{words}") as caught:
        resolve(word, backbone)
    assert "\n" not in str(caught.value)


def test_a_file_without_known_hash_is_never_downloaded() -> None:
    for word, backbone in (("raddino", "vit_b14"), ("mae", "vit_b16"), ("torchxrayvision", "resnet50")):
        with pytest.raises(UsageError, match="have no download"):
            official(word, backbone)
        assert official(word, backbone, Path("mine.bin")).sha256 == ""
    assert len(official("dinov2", "vit_b14").sha256) == 64


@torch.no_grad()
@pytest.mark.parametrize("name", ["ResNet50.pt", "resnet50_radimagenet.pt"])
def test_radimagenet_takes_blue_green_red_and_is_turned(name: str, shelf: Path) -> None:
    theirs = build_classifier("resnet50", 2, image_size=64).eval()
    torch.save(radimagenet(theirs.state_dict()), shelf / name)
    start = resolve("radimagenet", "resnet50")
    assert (start.path, start.mean, start.std, start.bgr) == (shelf / name, HALF, HALF, True)
    assert (start.trained_on, start.assumed) == (("radimagenet",), "")
    ours = build_classifier("resnet50", 2, image_size=64).eval()
    report = apply(ours, start, "resnet50")
    assert report is not None
    assert "turned from blue, green, red" in str(report)
    ours.fc.load_state_dict(theirs.fc.state_dict())
    red_green_blue = torch.rand(2, 3, 64, 64)
    assert torch.allclose(ours(red_green_blue), theirs(red_green_blue.flip(1)), atol=1e-5)


def test_its_name_alone_is_not_believed(shelf: Path) -> None:
    state = build_classifier("resnet50", 2, image_size=64).state_dict()
    torch.save(radimagenet(state), shelf / "ResNet50.pt")
    by_path = contract_of(shelf / "ResNet50.pt", "", "resnet50", "--init")
    assert (by_path.mean, by_path.bgr) == (HALF, True)
    assert "--init radimagenet says so" in by_path.assumed
    torch.save(state, shelf / "ResNet50.pt")  # somebody's own
    by_path = contract_of(shelf / "ResNet50.pt", "", "resnet50", "--init")
    assert (by_path.mean, by_path.bgr) == (IMAGENET_MEAN, False)


def test_its_two_families_expect_different_inputs(shelf: Path) -> None:
    (shelf / "RadImageNet-DenseNet121_notop.h5").write_bytes(b"\x89HDF")
    keras = resolve("radimagenet", "densenet121")
    assert keras.path == shelf / "RadImageNet-DenseNet121_notop.h5"
    assert keras.std == (1.0,) * 3
    assert [round(255 * value, 3) for value in keras.mean] == [123.68, 116.779, 103.939]
    (shelf / "densenet121_radimagenet.pt").write_bytes(b"")
    assert resolve("radimagenet", "densenet121").mean == HALF


@torch.no_grad()
@pytest.mark.parametrize("whole", [True, False], ids=["pickled network", "state dict"])
def test_torchxrayvisions_grey_network_computes_the_same(whole: bool, shelf: Path) -> None:
    """A DenseNet with one input channel for values -1024..1024, as their release pickles it: as a whole."""
    theirs = zoo.torchvision().models.densenet121(num_classes=18).eval()
    theirs.features.conv0 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    theirs.register_buffer("op_threshs", torch.rand(18))
    torch.save(theirs if whole else theirs.state_dict(), shelf / TXV, _use_new_zipfile_serialization=False)
    start = resolve("torchxrayvision", "densenet121")
    assert (start.mean, start.std) == (HALF, XRAYS)
    assert "chexpert" in start.trained_on
    ours = build_classifier("densenet121", 2, image_size=64).eval()
    report = apply(ours, start, "densenet121")
    assert report is not None
    assert report.fits
    grey = torch.rand(2, 1, 64, 64)
    seen: list[torch.Tensor] = []
    ours.class_layers.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ours((grey.expand(-1, 3, -1, -1) - start.mean[0]) / start.std[0])
    expected = theirs.features(grey * 2048 - 1024).relu().mean((2, 3))
    assert float((seen[0] - expected).abs().max() / expected.abs().max()) < 1e-5


def test_what_one_of_its_networks_has_seen_is_known_by_its_name(shelf: Path) -> None:
    state = build_classifier("densenet121", 2, image_size=64).state_dict()
    torch.save(state, shelf / TXV.replace("nih-pc-chex-mimic_ch-google-openi-kaggle", "kaggle"))
    assert resolve("torchxrayvision", "densenet121").trained_on == ("rsna",)


def test_hugging_faces_and_open_clips_settings_are_read(shelf: Path) -> None:
    weights = {"embeddings.patch_embeddings.projection.weight": torch.zeros(1)}
    files = {
        "processor": (
            "preprocessor_config.json",
            {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3},
            0.5307,
            0.2583,
        ),
        "scaled": (
            "preprocessor_config.json",
            {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5},
            0.25,
            0.25,
        ),
        "plain": ("preprocessor_config.json", {"do_normalize": False}, 0.0, 1.0),
        "clip": ("open_clip_config.json", {"preprocess_cfg": {"mean": [0.48] * 3, "std": [0.27] * 3}}, 0.48, 0.27),
    }
    for name, (file, content, mean, std) in files.items():
        (shelf / name).mkdir()
        save_file(weights, shelf / name / "model.safetensors")
        (shelf / name / file).write_text(json.dumps(content))
        found = contract_of(shelf / name / "model.safetensors", "", "vit_b14", "--init")
        assert found.mean == pytest.approx((mean,) * 3), name
        assert found.std == pytest.approx((std,) * 3), name
        assert found.assumed == ""
    (shelf / "plain" / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": "none"}')
    with pytest.raises(MedtlError, match=r"preprocessor_config.json\.std is none"):
        contract_of(shelf / "plain" / "model.safetensors", "", "vit_b14", "--init")


@pytest.mark.parametrize(
    ("names", "backbone", "mean"),
    [
        (("visual.trunk.patch_embed.proj.weight", "text.x"), "vit_b16", 0.48145466),
        (("blocks.0.ls1.gamma", "patch_embed.proj.weight"), "vit_s14", IMAGENET_MEAN[0]),
        (("mask_token", "patch_embed.proj.weight"), "vit_b16", IMAGENET_MEAN[0]),
        (("embeddings.patch_embeddings.projection.weight",), "vit_b16", 0.5),
        (("features.conv0.weight", "op_threshs"), "densenet121", 0.5),
    ],
)
def test_a_layout_alone_gives_an_assumption_that_is_said(
    names: tuple[str, ...], backbone: str, mean: float, shelf: Path
) -> None:
    save_file({name: torch.zeros(1) for name in names}, shelf / "mine.safetensors")
    found = contract_of(shelf / "mine.safetensors", "", backbone, "--init")
    assert found.mean[0] == mean
    assert "assumed" in found.assumed


@pytest.mark.parametrize("backbone", ["torchvision/mobilenet_v2", "timm/mobilenetv2_100"])
def test_one_start_comes_with_medtl(backbone: str) -> None:
    start = resolve("imagenet", backbone)
    assert start.path == SHIPPED / "mobilenet_v2_imagenet.safetensors"
    assert start.path.stat().st_size < 10 * 2**20
    assert (start.mean, start.std, start.trained_on) == (IMAGENET_MEAN, IMAGENET_STD, ("imagenet",))
    assert start.licence.startswith("Apache-2.0")
    assert "Apache License" in (SHIPPED / "NOTICE").read_text(encoding="utf-8")
    network = build_classifier(backbone, 2, image_size=64)
    report = load_pretrained(network, start.path, backbone)
    assert report.fits
    assert load_file(start.path)["features.0.0.weight"].dtype == torch.float16
    first = next(tensor for tensor in network.state_dict().values() if tensor.ndim == 4)
    assert torch.equal(first, load_file(start.path)["features.0.0.weight"].float())


def test_what_a_user_puts_on_the_shelf_comes_before_it(shelf: Path) -> None:
    own = build_classifier("torchvision/mobilenet_v2", 2, image_size=64).state_dict()
    save_file(own, shelf / "torchvision_mobilenet_v2_imagenet.safetensors")
    assert (
        resolve("imagenet", "torchvision/mobilenet_v2").path == shelf / "torchvision_mobilenet_v2_imagenet.safetensors"
    )


def test_the_licence_is_that_of_the_library_whose_weights_they_are() -> None:
    copy = Path("copy.safetensors")
    assert official("imagenet", "timm/tf_efficientnet_lite0", copy).licence.startswith("apache-2.0")
    assert official("imagenet", "timm/vit_small_patch16_dinov3", copy).licence.startswith("dinov3")
    assert official("imagenet", "torchvision/vgg11", copy).licence.startswith("BSD-3-Clause")
