"""The lists on which recipes are compared, and the study's commands and tables."""

import importlib.util
import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from fine_tune_lists import some_list

from medtl import datalist
from medtl.files import write_json

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def dealer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deal_parts", BENCHMARKS / "deal_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_tested_in_one_part_and_the_test_split_in_none(dealer: ModuleType, tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", ("a", "b"), sizes={"training": 33, "validation": 8, "test": 9})
    listed = datalist.read(data)
    pool = [*listed.training, *listed.validation]
    dealt = list(dealer.parts(listed, 4))
    tested = [entry["image"] for part in dealt for entry in part.test]
    assert sorted(tested) == sorted(entry["image"] for entry in pool)
    for part in dealt:
        names = [entry["image"] for split in datalist.SPLITS for entry in part.split(split)]
        assert sorted(names) == sorted(tested)
        shares = Counter(entry["label"] for entry in part.test)
        for label, count in Counter(entry["label"] for entry in pool).items():
            assert abs(shares[label] - count / 4) < 1
    dealer.write(dealt[1], tmp_path / "out")
    again = datalist.read(tmp_path / "out")
    assert all(again.split(split) == dealt[1].split(split) for split in datalist.SPLITS)
    assert all((again.folder / entry["image"]).is_file() for entry in again.test)
    dealer.write(dealt[1], tmp_path / "out")  # once more changes nothing
    assert datalist.read(tmp_path / "out").test == again.test


def test_a_share_keeps_the_whole_test_split(dealer: ModuleType, tmp_path: Path) -> None:
    listed = datalist.read(some_list(tmp_path, ("a", "b"), sizes={"training": 40, "validation": 8, "test": 9}))
    part = dealer.share(listed, 0.25)
    assert part.test == listed.test
    assert len({entry["patient"] for entry in part.validation}) == 2
    assert 0 < len(part.training) < 20
    assert all(entry in listed.training for entry in part.training)


@pytest.mark.slow
def test_the_study_says_what_it_runs_and_sets_the_parts_together(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = [sys.executable, BENCHMARKS / "recipe_study.py", "--shared", str(tmp_path), "--out", str(tmp_path / "out")]
    told = subprocess.run([*words, "--list"], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    commands = [shlex.split(line[2:]) for line in told.stdout.splitlines() if line.startswith("$ ")]
    trained = [line for line in commands if line[:2] == ["medtl", "compare"]]
    plain = [line for line in commands if any("careful_baseline" in word for word in line)]
    assert len(trained) == len(plain) == 1 + 5 + 1
    for line, beside in zip(trained, plain, strict=True):
        assert line[line.index("--dataset_dir") + 1] == beside[2]
        assert line[line.index("--seeds") + 1] == beside[beside.index("--seeds") + 1]
    for part in range(5):
        one = {"name": "a", "status": "finished", "init": "random", "seed": part, "setting": "batch_size-32"}
        grid = tmp_path / "out" / "medtl" / "breastmnist_parts" / str(part)
        own = tmp_path / "out" / "plain" / "breastmnist_parts" / f"random-seed{part}"
        for folder, value in ((grid / "cells" / "a", 0.5 + part / 10), (own, 0.5)):
            folder.mkdir(parents=True)
            write_json(folder / "metrics.json", {f"test_{name}": value for name in ("auc", "accuracy", "f1_macro")})
        (grid / "grid.json").write_text(json.dumps({"cells": [one]}))
    words += ["--studies", "breastmnist_parts", "--steps", "table"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert "| start | metric | plain loop | batch_size-32 |" in told.stdout
    assert "| random | auc | 0.500 ± 0.000 (n 5) | 0.700 ± 0.158 (n 5) |" in told.stdout
