"""A network of timm goes through a fine-tune bundle like medtl's own: torchvision's weights, evaluation, a start of its
own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[1] / "bundles" / "folder" / "configs"
NETWORK = ("--backbone", "timm/mobilenetv2_100", "--epochs", "1", "--num_workers", "0")


def bundle(config: str, *words: object) -> str:
    """What ``python -m monai.bundle run`` prints to standard error."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_network_of_timm_trains_evaluates_and_starts_another_run(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data.parent / "weights" / "mobilenet_v2_imagenet.safetensors"
    train, evaluate = CONFIGS / "train.json", CONFIGS / "evaluate.json"
    first, second = tmp_path / "first", tmp_path / "second"
    printed = bundle(str(train), *NETWORK, "--init", weights, "--freeze", "all_but_last:1", "--output_dir", first)
    assert "100.0 % of the trunk's parameters loaded (312 tensors); 100.0 % of the file's trunk used" in printed
    measured = json.loads((first / "metrics.json").read_text())["test_auc"]
    words = ("--weights", first / "model.pt", "--split", "test", "--output_dir", tmp_path / "e")
    bundle(f"['{train}','{evaluate}']", *words)
    assert abs(json.loads((tmp_path / "e" / "metrics.json").read_text())["test_auc"] - measured) < 1e-6
    bundle(str(train), *NETWORK, "--init", first, "--freeze", "trunk", "--output_dir", second)
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (first, second))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "classifier.weight" in changed
    assert changed <= {"classifier.weight", "classifier.bias"}
