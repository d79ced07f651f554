"""A finished segmentation as the start of another: its trunk is taken, its decoder begins anew."""

import json
from pathlib import Path

import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config
from masked_runs import made_run, masked_list

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
    assert not any(name in before and torch.equal(before[name], after[name]) for name in after if "logits" in name)
