"""A bundle's mistakes: exceptions from Python, one line and a status from the command line; and which run it is."""

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from bundle_runs import CPU, ROOT, SMALL, bundle_here, config, last_line
from fine_tune_lists import CLASSES, some_list
from monai.bundle import ConfigWorkflow
from resume_runs import Run, iteration, record, run_bundle

from medtl.bundles import facade
from medtl.errors import MedtlError, UsageError
from medtl.runs import workflow

pytestmark = pytest.mark.slow

TB = ROOT / "bundles" / "tb"
TINY = {"epochs": 1, "image_size": 32, "batch_size": 20, "num_workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def data(module_path: Path) -> Path:
    return some_list(module_path, CLASSES["tb"])


def by_hand(**given: Any) -> None:
    made = ConfigWorkflow(workflow_type="train", **given)
    made.initialize()
    made.run()
    made.finalize()


WAYS = pytest.mark.parametrize("run", [monai.bundle.run, by_hand])


@WAYS
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lrr": 0.5}, r"^--lrr 0\.5: train\.json has no id of that name; did you mean --learning_rate\?$"),
        ({"train#trainer#max_epoch": 3}, r"did you mean --train#trainer#max_epochs\?"),
        ({"compile": "false"}, "^--compile false: expected True or False"),
        ({"epochs": 0}, "^--epochs 0: expected a whole number of at least 1$"),
        ({"backbone": "resnet19"}, "resnet19"),
        ({"dataset_dir": "/nowhere"}, "^--dataset_dir /nowhere: no such folder"),
    ],
)
def test_a_mistake_is_an_exception_from_python(
    run: Callable[..., None], given: dict, words: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        run(
            config_file=config("train", folder=TB),
            output_dir=str(tmp_path / "run"),
            **{"dataset_dir": str(data), **given},
        )
    assert not (tmp_path / "run").exists()


@WAYS
def test_a_run_from_python_is_recorded_as_one_from_the_command_line(
    run: Callable[..., None], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["somebody.py", "--epochs", "99"])
    monkeypatch.chdir(tmp_path)
    file = os.path.relpath(TB / "configs" / "train.json")
    given = {**TINY, "train#augmentation#flip": 0.25}
    run(config_file=file, dataset_dir=str(data), output_dir="python", **given)
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    status, printed = bundle_here(
        "run", "--config_file", file, "--dataset_dir", str(data), "--output_dir", "line", *words
    )
    assert status == 0, printed
    python, line = record(tmp_path / "python"), record(tmp_path / "line")
    assert python["bundle"] == {"name": "tb", "version": "0.1.0"}
    assert python["overrides"] == {**given, "dataset_dir": str(data), "output_dir": "python"}
    assert python["config"]["train"]["augmentation"]["flip"] == 0.25
    for known in ("bundle", "task", "network", "preprocessing", "start", "data", "recipe", "versions", "config_files"):
        assert python[known] == line[known], known
    assert {**python["config"], "output_dir": ""} == {**line["config"], "output_dir": ""}
    assert python["command"][:3] == ["run", "--config_file", str(TB / "configs" / "train.json")]
    assert set(zip(python["command"][3::2], python["command"][4::2], strict=True)) >= {("--epochs", "1")}
    assert python["network"]["num_classes"] == 2
    assert python["network"]["image_size"] == python["preprocessing"]["image_size"] == 32


def test_the_command_of_a_python_run_makes_it_again(data: Path, tmp_path: Path) -> None:
    given = {**TINY, "dataset_dir": str(data)}
    files = [config("train", folder=TB), config("per_image", folder=TB)]
    monai.bundle.run(config_file=files, output_dir=str(tmp_path / "one"), **given)
    told = record(tmp_path / "one")
    assert told["config_files"] == ["train.json", "per_image.json"]
    assert told["preprocessing"]["by"] == "transforms"
    words = [str(tmp_path / "two") if word == str(tmp_path / "one") else word for word in told["command"]]
    assert bundle_here(*words)[0] == 0
    assert (tmp_path / "one" / "predictions.csv").read_bytes() == (tmp_path / "two" / "predictions.csv").read_bytes()


def test_a_run_that_fails_in_python_leaves_a_folder_that_can_be_used(data: Path, tmp_path: Path) -> None:
    given = {"config_file": config("train", folder=TB), "dataset_dir": str(data), "output_dir": str(tmp_path), **TINY}
    with pytest.raises(MedtlError, match="training has diverged"):
        monai.bundle.run(**given, learning_rate=1e30)
    assert record(tmp_path)["status"] == "failed"
    monai.bundle.run(**{**given, "output_dir": str(tmp_path / "other")})
    assert record(tmp_path / "other")["status"] == "finished"


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    bug = KeyError("of ours")
    bug.__context__ = UsageError("handled")  # raised while that was dealt with
    assert facade.cause_of(bug) is None
    assert facade.end(bug) == 1
    printed = capsys.readouterr().err
    assert "KeyError: 'of ours'" in printed
    assert "error: handled" not in printed


def test_mistakes_are_found_within_what_monai_makes_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    wrapped = RuntimeError("Failed to evaluate")
    wrapped.__cause__ = RuntimeError("Failed to instantiate")
    wrapped.__cause__.__cause__ = UsageError("--x 1: expected 2")
    assert facade.end(wrapped) == 2
    assert capsys.readouterr().err == "error: --x 1: expected 2\n"
    wrapped.__cause__.__cause__ = OSError(28, "No space left on device", "/there")
    assert facade.end(wrapped) == 1
    assert capsys.readouterr().err == "error: /there: No space left on device\n"
    assert facade.end(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_of_several_processes_one_tells_what_all_find(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert facade.end(UsageError("common")) == 2
    assert facade.end(MedtlError("my picture")) == 1
    assert capsys.readouterr().err == "error: my picture\n"


def test_outside_a_run_there_is_no_workflow() -> None:
    assert workflow.current() == workflow.Workflow(Path.cwd())
    assert not workflow.started_by_command()


def test_what_goes_wrong_before_a_workflow_begins_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    meta = str(TB / "configs" / "metadata.json")
    words = ["--meta_file", meta, "--ckpt_file", "model.pt", "--filepath", "x.ts", "--backbone", "resnet19"]
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "ckpt_export", "network_def", *words]
    done = subprocess.run(
        [*command, "--config_file", config("train", folder=TB)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (2, False), done.stderr
    assert last_line(done.stderr).startswith("error: ")
    assert "resnet19" in last_line(done.stderr)


@pytest.mark.parametrize("reached", ["set-up", "training", "checkpoint"])
def test_ctrl_c_is_one_line_and_the_run_goes_on(reached: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    file = config("train", folder=TB)
    words = ["run", "--config_file", file, "--dataset_dir", str(data), "--output_dir", str(out), *SMALL, *CPU]
    words += ["--epochs", "3", "--save_interval", "0", "--resume", "auto"]
    run = Run(functools.partial(run_bundle, words), tmp_path / "log")
    conditions = {
        "set-up": lambda: (out / "run.json").exists(),
        "training": lambda: iteration(out) >= 2,
        "checkpoint": lambda: bool(iteration(out)) and any(out.glob("checkpoints/.epoch_*.medtl-part")),
    }
    assert run.until(conditions[reached]), run.log.read_text()
    run.tell(signal.SIGINT)
    assert run.wait() == 130, run.log.read_text()
    printed = run.log.read_text()
    assert last_line(printed) == "interrupted"
    assert "Traceback" not in printed
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    run = Run(functools.partial(run_bundle, words), tmp_path / "log")
    assert run.wait() == 0, run.log.read_text()
    assert record(out)["status"] == "finished"
