"""The whole way: raw downloads → data list → trained, evaluated bundle → predictions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_runs import SMALL, bundle, bundle_here, config, rows

from data_prep import sample
from medtl import datalist
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first_run(module_path: Path) -> tuple[Path, str]:
    """The README's first command (after installation), word for word."""
    status, printed = bundle("run", "--config_file", config("train"), cwd=module_path)
    assert status == 0, printed
    (run,) = (module_path / "runs" / "cpmid_resnet18").iterdir()
    return run, printed


def test_sample_is_sound_and_holds_every_class() -> None:
    folder = sample.prepared("cpmid")
    listed = datalist.read(folder)
    assert listed.sample is True
    assert problems_of_data(folder)[1] == []
    for split in ("training", "validation"):
        assert min(datalist.class_counts(listed, split).values()) >= 4


def test_newcomers_run_says_what_it_does_and_learns(first_run: tuple[Path, str]) -> None:
    run, printed = first_run
    assert "BUILT-IN SAMPLE of cpmid: phantoms, not patients" in printed
    assert "(recipe: 100)" in printed
    assert "(recipe: 256)" in printed
    assert "(recipe: 224)" in printed
    metrics = json.loads((run / "metrics.json").read_text())
    # 0.47 to 0.70 on three processors: the last bits of a convolution differ, and so few steps amplify them
    assert metrics["val_accuracy"] > 0.3
    assert metrics["val_auc"] > 0.8
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["sample"] is True
    assert "learning_rate 0.025 (recipe: 0.1)" in printed
    assert record["recipe"]["learning_rate"] == 0.025  # the rate goes with the batch


def test_only_the_presets_values_differ_on_the_sample() -> None:
    config_of = json.loads(Path(config("train")).read_text())
    preset = {name for name, value in config_of.items() if "facade.preset(" in str(value)}
    assert preset == {"epochs", "batch_size", "image_size", "learning_rate"}


def test_trained_weights_are_evaluated_and_predict(first_run: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = first_run
    words = ("--weights", str(run / "model.pt"), "--split", "test", "--output_dir", str(tmp_path / "test"))
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate"), *words)
    assert status == 0, printed
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())["test_accuracy"] > 0.2
    pictures = sample.prepared("cpmid") / "images" / "msd" / "Brain"
    words = ("--input", str(pictures), "--weights", str(run / "model.pt"), "--image_size", "48")
    status, printed = bundle_here(
        "run", "--config_file", config("inference"), *words, "--output_dir", str(tmp_path / "out")
    )
    assert status == 0, printed
    table = rows(tmp_path / "out" / "predictions.csv")
    right = [max(row, key=lambda name: float(row[name]) if name.startswith("prob_") else -1) for row in table]
    assert right.count("prob_Brain") > len(right) / 4


def test_real_images_go_the_whole_way(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "cpmid"
    words = ["--chexpert", shared_data / "chexpert", "--msd", shared_data / "msd", "--lidc", shared_data / "lidc"]
    command = [sys.executable, "-m", "data_prep", "cpmid", *map(str, words), "--out", str(out), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = datalist.read(out)
    assert sum(count > 0 for count in datalist.class_counts(listed).values()) >= 12
    words = ["--dataset_dir", str(out), "--output_dir", str(tmp_path / "run"), *SMALL]
    status, printed = bundle_here("run", "--config_file", config("train"), *words)
    assert status == 0, printed
    assert "BUILT-IN SAMPLE" not in printed
    assert len(rows(tmp_path / "run" / "predictions.csv")) == len(listed.validation)
