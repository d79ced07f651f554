"""The script of the probe's speed runs; its figures are not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "probe.py"


def test_it_measures_two_calls_and_the_rate(tmp_path: Path) -> None:
    words = ["--shared", str(tmp_path), "--backbones", "resnet18,vit_s99", "--image_size", "32", "--seeds", "1"]
    words += ["--fractions", "1.0", "--compare_epochs", "0", "--json", str(tmp_path / "found.json")]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vit_s99: not known, left out" in done.stdout
    assert "624 pictures (drawings)" in done.stdout
    assert set(json.loads((tmp_path / "found.json").read_text())) == {"first", "second", "rate"}
