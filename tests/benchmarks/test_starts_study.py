"""The study's script names what it would run, leaves out starts that have seen a set, and its ranks are scipy's."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_grids import write_grid, write_run
from scipy.stats import spearmanr

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "starts_study.py"
STRENGTHS = {"random": 0.2, "imagenet": 0.9, "cpmid": 0.6}


def printed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=120)


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_no_start_is_judged_on_a_set_that_it_has_seen(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = printed("--shared", str(tmp_path), "--out", str(tmp_path / "study"), "--list")
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "study").exists()
    commands = [shlex.split(line[2:]) for line in found.stdout.splitlines() if line.startswith("$ ")][2:]
    probed = {(words[2], after(words, "--backbones")): words for words in commands if words[:2] == ["medtl", "probe"]}
    tuned = [words for words in commands if words[:2] == ["medtl", "compare"]]
    assert len(probed) == len(tuned) == 5 * 3
    for words in tuned:
        data = after(words, "--dataset_dir")
        beside = probed[data, after(words, "--backbones")]
        for one, other in (("--inits", "--starts"), ("--seeds", "--seeds"), ("--fractions", "--fractions")):
            assert after(words, one) == after(beside, other)
        assert after(words, "--image_size") == after(beside, "--image_size") == "128"
        assert (Path(words[2]) / "configs" / "train.json").is_file()
        seen = Path(data).name in ("chestxray2017", "covid_radiography")
        assert ("mini" in after(words, "--inits")) == (not seen and after(words, "--backbones") == "resnet18")


def test_ranks_are_those_of_scipy_and_come_with_an_interval(tmp_path: Path) -> None:
    (tmp_path / "shared" / "data").mkdir(parents=True)
    for name in ("busi", "breastmnist"):
        for init, strength in STRENGTHS.items():
            place = tmp_path / "out" / name / "probe" / "cells" / f"resnet18_{init}_seed0_logistic"
            write_run(place, ("plain", "pattern"), None, strength, init=init, seed=0)
            record = json.loads((place / "run.json").read_text())
            record["bundle"]["name"] = "probe"
            record["recipe"] = {"backbone": "resnet18", "init": init, "seed": 0, "fold": None, "head": "logistic",
                                "train_fraction": 1.0}  # fmt: skip
            record |= {"head": {"name": "logistic"}, "times": {"embed_s": 1.0, "head_s": 0.1}}
            record["data"]["name"] = "made"
            (place / "run.json").write_text(json.dumps(record))
        write_grid(tmp_path / "out" / name / "tuned", ("plain", "pattern"), backbones=("resnet18",), seeds=(0, 1))
    words = ("--shared", str(tmp_path / "shared"), "--out", str(tmp_path / "out"), "--steps", "ranks")
    found = printed(*words, "--sets", "busi,breastmnist")
    assert found.returncode == 0, found.stderr
    kept = json.loads((tmp_path / "out" / "ranks.json").read_text())
    for name in ("busi", "breastmnist"):
        frozen, tuned = ([row[side][0] for row in kept[name]["starts"]] for side in (1, 2))
        assert len(frozen) == len(STRENGTHS)
        assert kept[name]["spearman"] == pytest.approx(spearmanr(frozen, tuned).statistic)
    mean, low, high = kept["mean"]
    assert mean == pytest.approx(np.mean([kept[name]["spearman"] for name in ("busi", "breastmnist")]))
    assert np.isnan(low) or low <= high
    assert "| mean of 2 sets |" in found.stdout


def test_a_mistyped_set_is_told(tmp_path: Path) -> None:
    found = printed("--shared", str(tmp_path), "--out", str(tmp_path / "study"), "--sets", "bsui")
    assert found.returncode == 2
    assert "--sets bsui: expected some of breastmnist" in found.stderr
