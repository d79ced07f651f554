"""The plain loop of a careful user: what it does to pictures, what it leaves behind, and that it goes on."""

import importlib.util
import json
import math
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from fine_tune_lists import some_list

from medtl.errors import UsageError
from medtl.runs.predictions import read_predictions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("careful_baseline", ROOT / "benchmarks" / "careful_baseline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_changed_a_little_and_half_of_them_flipped(script: ModuleType) -> None:
    """A bright spot right of the middle is found within the largest rotation, scale and shift, on either side."""
    torch.manual_seed(0)
    image = torch.zeros(400, 3, 65, 65)
    image[:, :, 30:35, 46:51] = 255.0  # its centre 16 pixels to the right
    changed = script.augmented(image)
    assert changed.shape == image.shape
    places = torch.arange(65) - 32.0
    weight = changed[:, 0] / changed[:, 0].sum((1, 2), keepdim=True)
    x, y = (weight.sum(1) * places).sum(1), (weight.sum(2) * places).sum(1)
    assert 0.4 < (x < 0).float().mean() < 0.6
    farthest = 16 / 0.9 + 0.05 * 65 / 0.9 * math.sqrt(2)
    assert x.abs().max() < farthest
    assert y.abs().max() < math.sin(math.radians(10)) * 16 / 0.9 + 0.05 * 65 / 0.9 * math.sqrt(2)
    assert x.abs().std() > 1


def test_no_batch_holds_a_single_picture(script: ModuleType) -> None:
    assert [len(part) for part in script.batches(33)] == [32]
    assert sorted(torch.cat(list(script.batches(70))).tolist()) == list(range(70))


def test_the_table_sets_means_beside_each_other(script: ModuleType) -> None:
    mine = {"random": {0: {"test_auc": 0.8, "test_accuracy": 0.5, "test_f1_macro": 0.4}}}
    settings = {"batch_size-64": {"random": {0: {"test_auc": 0.9}, 1: {"test_auc": 0.94}}}, "batch_size-32": {}}
    lines = script.table(mine, settings).splitlines()
    assert lines[0] == "| start | metric | plain loop | batch_size-64 | batch_size-32 |"
    assert lines[2] == "| random | auc | 0.800 (n 1) | 0.920 ± 0.028 (n 2) | - |"
    assert lines[3] == "| random | accuracy | 0.500 (n 1) | - | - |"


@pytest.mark.slow
def test_a_small_study_is_written_and_goes_on(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = some_list(tmp_path / "data", ("a", "b"), sizes={"training": 33, "validation": 8, "test": 8})
    grid = tmp_path / "grid" / "cells" / "one"
    grid.mkdir(parents=True)
    one = {"name": "one", "status": "finished", "init": "random", "seed": 0}
    waiting = {**one, "name": "two", "status": "waiting"}
    (tmp_path / "grid" / "grid.json").write_text(json.dumps({"cells": [one, waiting]}))
    (grid / "metrics.json").write_text(json.dumps({"test_auc": 0.5, "test_accuracy": 0.25}))
    words = [str(data), "--out", str(tmp_path / "out"), "--starts", "random,mini", "--seeds", "0", "--image_size", "32"]

    def study(*more: str) -> str:
        monkeypatch.setattr("sys.argv", ["careful_baseline.py", *words, *more])
        script.main()
        return capsys.readouterr().out

    study("--epochs", "2")
    shutil.copy(tmp_path / "out" / "random-seed0" / "predictions.csv", grid)
    printed = study("--epochs", "2", "--compare", str(tmp_path / "grid"))
    assert "| plain loop | medtl |" in printed
    assert " | 0.500 (n 1) |" in printed
    assert "| random | medtl | +0.000 (" in printed
    cell = tmp_path / "out" / "mini-seed0"
    metrics = json.loads((cell / "metrics.json").read_text())
    assert (metrics["learning_rate"], metrics["epochs"]) == (1e-4, 2)
    assert json.loads((tmp_path / "out" / "random-seed0" / "metrics.json").read_text())["learning_rate"] == 3e-4
    split = read_predictions(cell / "predictions.csv", ("a", "b"), "classification")["test"]
    assert (split.values.argmax(1) == split.labels).mean() == pytest.approx(metrics["test_accuracy"])
    before = (cell / "predictions.csv").stat().st_mtime_ns
    assert study("--epochs", "2").count("seed 0:") == 2
    assert (cell / "predictions.csv").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="was made with other --epochs"):
        study("--epochs", "3")
