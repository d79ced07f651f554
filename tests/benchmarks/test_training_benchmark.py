"""The training benchmark runs and says what it should; its figures are not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_every_way_and_judges_each_ratio(tmp_path: Path) -> None:
    settings = "--device cpu --image_size 32 --batch_size 4 --images 8 --seconds 0.05 --rounds 1 --workers 0"
    command = [
        sys.executable,
        ROOT / "benchmarks" / "training.py",
        *settings.split(),
        "--json",
        tmp_path / "found.json",
    ]
    run = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"bare", "medtl", "zoo", "input medtl", "input zoo, a core"} <= found["images_per_second"].keys()
    assert all(rate > 0 for rates in found["images_per_second"].values() for rate in rates)
    assert set(found["ratios"]) == {"medtl/bare", "medtl/zoo", "input medtl/zoo, a core"}
    assert run.stdout.count("aim") == 2
