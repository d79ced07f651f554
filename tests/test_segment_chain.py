"""A finished segmentation as the start of another, trunk and decoder, and of a classification."""

import json
from pathlib import Path

import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config
from masked_runs import CLASSES, made_run, masked_list

from data_prep.__main__ import app as data_prep
from medtl import datalist
from medtl.networks.classifier import build_classifier
from medtl.networks.segmenter import Segmenter, build_segmenter
from medtl.weights import starts
from medtl.weights.decoder import load_decoder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("backbone", "decoder"), [("resnet18", "cenet"), ("timm/mobilenetv2_050", "deeplabv3plus")])
def test_the_trunk_of_a_run_is_taken(backbone: str, decoder: str, tmp_path: Path) -> None:
    made_run(tmp_path / "unet", masked_list(tmp_path / "data"), backbone, "unet")
    words = ["--dataset_dir", str(tmp_path / "data"), "--init", str(tmp_path / "unet"), "--backbone", backbone]
    words += ["--decoder", decoder, "--freeze", "trunk", "--epochs", "1", "--image_size", "64", "--batch_size", "2"]
    train = config("train", folder=ROOT / "bundles" / "segment")
    words += ["--output_dir", str(tmp_path / "run"), *CPU]
    status, printed = bundle_here("run", "--config_file", train, *words)
    assert status == 0, printed
    start = json.loads((tmp_path / "run" / "run.json").read_text())["start"]
    assert (start["coverage"], start["used"]) == (1.0, 1.0)
    assert "eyes" in start["trained_on"]
    before, after = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("unet", "run"))
    trunk = [name for name in before if name.startswith("backbone.")]
    assert trunk == [name for name in after if name.startswith("backbone.")]
    for name in trunk:  # frozen, so that what was loaded is still there
        assert torch.equal(before[name], after[name]), name
    assert start["decoder"] == 0.0
    assert not any(name in before and torch.equal(before[name], after[name]) for name in after if "logits" in name)


@pytest.mark.parametrize("decoder", ["unet", "etnet", "deeplabv3plus"])
def test_the_same_decoder_is_taken_but_answers_for_other_classes_are_not(decoder: str, tmp_path: Path) -> None:
    def made(classes: int, seed: int) -> Segmenter:
        torch.manual_seed(seed)
        return build_segmenter("resnet18", classes, output_stride=16, decoder=decoder)

    before, same, other = made(3, 1), made(3, 2), made(5, 3)
    torch.save(before.state_dict(), tmp_path / "model.pt")
    names = [name for name in before.state_dict() if name.startswith("classifier.")]
    report = load_decoder(same, tmp_path / "model.pt", CLASSES, CLASSES)
    assert report is not None
    assert report.share == 1
    assert all(torch.equal(before.state_dict()[name], same.state_dict()[name]) for name in names)
    untouched = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    report = load_decoder(other, tmp_path / "model.pt", CLASSES, ("a", "b", "c", "d"))
    assert report is not None
    assert 0.95 < report.share < 1
    kept = {name for name in names if torch.equal(other.state_dict()[name], untouched[name])}
    loaded = {name for name in names if before.state_dict()[name].shape == untouched[name].shape}
    assert all(torch.equal(before.state_dict()[name], other.state_dict()[name]) for name in loaded)
    assert loaded
    assert set(names) - loaded <= kept
    renamed = made(3, 4)
    report = load_decoder(renamed, tmp_path / "model.pt", CLASSES, ("cup", "disc"))  # the same number, another order
    assert report is not None
    assert report.share < 1


def test_another_decoder_and_a_classifier_leave_the_decoder_as_it_is(tmp_path: Path) -> None:
    torch.save(build_segmenter("resnet18", 3, output_stride=32, decoder="unet").state_dict(), tmp_path / "unet.pt")
    torch.save({"conv1.weight": torch.zeros(1), "classifier.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    network = build_segmenter("resnet18", 3, output_stride=32, decoder="cenet")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = load_decoder(network, tmp_path / "unet.pt", CLASSES, CLASSES)
    assert report is not None
    assert report.share == 0
    assert load_decoder(network, tmp_path / "other.pt", (), CLASSES) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_classification_starts_from_the_trunk_of_a_segmentation(tmp_path: Path) -> None:
    trained = made_run(tmp_path / "unet", masked_list(tmp_path / "data"), "resnet18", "unet")
    start = starts.resolve(str(tmp_path / "unet"), "resnet18")
    assert start.trained_on == ("eyes",)
    network = build_classifier("resnet18", 7)
    report = starts.apply(network, start, "resnet18")
    assert report is not None
    assert report.coverage == report.used == 1
    for name, tensor in trained.backbone.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name


def test_a_segmentation_goes_on_from_one_of_the_same_decoder(tmp_path: Path) -> None:
    """With trunk and decoder as they were, a run that learns nothing (a learning rate of nearly none) predicts the same
    as the run it starts from."""
    made_run(tmp_path / "first", masked_list(tmp_path / "data"), "resnet18", "unet")
    words = ["--dataset_dir", str(tmp_path / "data"), "--init", str(tmp_path / "first"), "--decoder", "unet"]
    words += ["--epochs", "1", "--image_size", "64", "--batch_size", "2", "--learning_rate", "1e-12"]
    train = config("train", folder=ROOT / "bundles" / "segment")
    status, printed = bundle_here("run", "--config_file", train, *words, "--output_dir", str(tmp_path / "run"), *CPU)
    assert status == 0, printed
    assert "100.0 % of the decoder's parameters loaded" in printed
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"]["decoder"] == 1
    before, after = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("first", "run"))
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)


def test_a_mix_of_lists_with_masks_is_trained_on_and_is_a_start(tmp_path: Path) -> None:
    """M3-SEG of Wen et al. in small: CT, MR and histology, of the drawn samples; then vessels from there."""
    words = ["mix", "--task", "segmentation", "--lists", "chaos_ct=sample,chaos=sample,tnbc=sample"]
    words += ["--samples", "12", "--validation-fraction", "0.3", "--out", str(tmp_path / "m3"), "--workers", "1"]
    with pytest.raises(SystemExit) as ended:
        data_prep(words, prog_name="data_prep")
    assert not ended.value.code
    listed = datalist.read(tmp_path / "m3")
    train = config("train", folder=ROOT / "bundles" / "segment")
    tiny = ["--epochs", "1", "--image_size", "64", *CPU]
    folders = ["--dataset_dir", str(tmp_path / "m3"), "--output_dir", str(tmp_path / "first")]
    status, printed = bundle_here("run", "--config_file", train, *folders, *tiny)
    assert status == 0, printed
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert {f"val_dice_{name}" for name in listed.classes} <= metrics.keys()
    folders = ["--init", str(tmp_path / "first"), "--output_dir", str(tmp_path / "second")]
    status, printed = bundle_here("run", "--config_file", train, *folders, *tiny)
    assert status == 0, printed
    start = json.loads((tmp_path / "second" / "run.json").read_text())["start"]
    assert (start["coverage"], start["used"]) == (1.0, 1.0)
    assert 0.99 < start["decoder"] < 1  # all but the layers that answer
    assert start["trained_on"] == ["chaos", "chaos_ct", "medtl-mini", "tnbc"]
