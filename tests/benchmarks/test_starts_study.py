"""The study's script names what it would run, leaves out starts that have seen a set, and its ranks are scipy's."""

import itertools
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from report_grids import write_grid, write_run
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from medtl.files import read_rows

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
    told = ("--shared", str(tmp_path), "--out", str(tmp_path / "study"), "--list")
    found = printed(*told, "--steps", "data,probe,tune,report", "--selfsupervised", str(tmp_path / "own"))
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
        for start in ("mini", str(tmp_path / "own" / "masked")):
            asked = start in after(words, "--inits").split(",")
            assert asked == (not seen and after(words, "--backbones") == "resnet18")


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


def test_gains_over_shares_are_those_of_the_predictions(tmp_path: Path) -> None:
    (tmp_path / "shared" / "data").mkdir(parents=True)
    areas: dict[tuple[str, float], list[float]] = defaultdict(list)
    for share, init, seed in itertools.product((1.0, 0.1), ("random", "imagenet"), (0, 1)):
        place = tmp_path / "out" / "fractions" / "busi" / "resnet18" / "cells" / f"{init}_{share}_{seed}"
        write_run(place, ("plain", "pattern"), None, STRENGTHS[init] * share, init=init, seed=seed)
        record = json.loads((place / "run.json").read_text())
        record["bundle"]["name"] = "probe"
        record["recipe"] = {"backbone": "resnet18", "init": init, "seed": seed, "fold": None, "head": "logistic",
                            "train_fraction": share}  # fmt: skip
        record |= {"head": {"name": "logistic"}, "times": {"embed_s": 1.0, "head_s": 0.1}}
        (place / "run.json").write_text(json.dumps(record))
        test = [row for row in read_rows(place / "predictions.csv") if row["split"] == "test"]
        areas[init, share].append(
            roc_auc_score([int(row["label"]) for row in test], [float(row["prob_pattern"]) for row in test])
        )
    words = ("--shared", str(tmp_path / "shared"), "--out", str(tmp_path / "out"), "--steps", "table", "--sets", "busi")
    found = printed(*words, "--networks", "resnet18")
    assert found.returncode == 0, found.stderr
    lines = [line.strip("| ").split(" | ") for line in found.stdout.splitlines() if line.startswith("| busi")]
    assert [line[:3] for line in lines] == [["busi", "1", "resnet18"], ["busi", "0.1", "resnet18"]]
    for line, share in zip(lines, (1.0, 0.1), strict=True):
        assert float(line[3]) == pytest.approx(np.mean(areas["random", share]), abs=6e-4)
        gain = float(line[4].strip("*").split(" ")[0].replace("−", "-"))
        assert gain == pytest.approx(np.mean(areas["imagenet", share]) - np.mean(areas["random", share]), abs=6e-4)
    assert (tmp_path / "out" / "fractions.png").stat().st_size > 1000


def test_a_mistyped_set_is_told(tmp_path: Path) -> None:
    found = printed("--shared", str(tmp_path), "--out", str(tmp_path / "study"), "--sets", "bsui")
    assert found.returncode == 2
    assert "--sets bsui: expected some of breastmnist" in found.stderr
