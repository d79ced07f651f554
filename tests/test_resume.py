"""Bundles that are killed, told to stop or run out of disk go on to the last bit of what they would have been."""

import functools
import json
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT, config
from rank_work import SIZES, evaluate_sizes
from resume_runs import Run, differences, iteration, record, run_bundle, small_list, undisturbed_runs

from data_prep.chestxray2017 import CARD as CHESTXRAY2017
from data_prep.cpmid import CARD as CPMID
from medtl.writers import checkpoint

pytestmark = pytest.mark.slow

SMALL = ["--epochs", "3", "--image_size", "32", "--batch_size", "10", "--num_workers", "0", "--device", "cpu"]
RESUME = ["--resume", "auto"]
SAVING = [*RESUME, "--save_interval", "0"]  # after each batch
TABLES = ("predictions.csv", "metrics.json", "history.csv")


def training(data: Path, out: Path, processes: int = 1, *more: str, bundle: str = "cpmid_resnet18") -> Run:
    """A training of 12 batches in ``out``; its log lies beside it."""
    configs = ("train", "multi_gpu_train") if processes > 1 else ("train",)
    file = config(*configs, folder=ROOT / "bundles" / bundle)
    where = ["--dataset_dir", str(data), "--output_dir", str(out), "--learning_rate", "0.01"]
    words = ["run", "--config_file", file, *where, *SMALL, *more]
    return Run(functools.partial(run_bundle, words), out.with_suffix(".log"), processes)


def assert_same(run: Path, whole: Path) -> None:
    """All that the two runs left is the same."""
    states = [checkpoint.read(folder / "checkpoints" / "epoch_0003.pt") for folder in (run, whole)]
    assert set(differences(*states)) <= {".record.seconds"}
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (run, whole)]
    assert differences(*weights) == []
    for name in TABLES:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert record(run)["status"] == record(whole)["status"] == "finished"
    assert record(run)["metrics"] == record(whole)["metrics"]


@pytest.fixture(scope="module")
def data(module_path: Path) -> Path:
    return small_list(module_path / "data", "cpmid", CPMID.classes)


@pytest.fixture(scope="module")
def undisturbed(data: Path, module_path: Path) -> Callable[[int], Path]:
    return undisturbed_runs(functools.partial(training, data), module_path)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_points_it_goes_on_to_the_same_bits(
    processes: int, undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    whole, out = undisturbed(processes), tmp_path / "run"
    chance = random.Random(processes)

    def writes() -> bool:
        """A checkpoint is half-written, and there is one before it."""
        return bool(iteration(out)) and any(out.glob("checkpoints/.epoch_*.medtl-part"))

    run = training(data, out, processes, *SAVING)
    assert run.until(writes), run.log.read_text()
    run.kill()
    assert list(out.glob("checkpoints/.epoch_*.medtl-part"))
    reached, wanted = iteration(out), chance.randint(1, 5)
    run = training(data, out, processes, *SAVING)
    assert run.until(lambda: iteration(out) >= reached + wanted), run.log.read_text()
    time.sleep(chance.uniform(0, 0.2))
    run.kill()
    assert record(out)["status"] == "running"
    run = training(data, out, processes, *RESUME)
    assert run.wait() == 0, run.log.read_text()
    printed = run.log.read_text()
    assert printed.count("going on from ") == len(record(out)["resumed"]) == 2
    assert not list(out.rglob("*.medtl-part"))
    assert_same(out, whole)


@pytest.mark.parametrize("processes", [1, 2])
def test_all_processes_stop_where_one_is_told_to(
    processes: int, undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    whole, out = undisturbed(processes), tmp_path / "run"
    run = training(data, out, processes, *RESUME)
    assert run.until(lambda: iteration(out) >= 4), run.log.read_text()
    run.tell(signal.SIGUSR1)
    assert run.wait() == 75
    assert [process.exitcode for process in run.processes] == [75] * processes
    line = run.log.read_text().strip().splitlines()[-1]
    newest = checkpoint.found(out / "checkpoints")[0]
    assert f"saved {newest}; go on with the same command and --resume auto" in line
    assert record(out)["status"] == "interrupted"
    assert checkpoint.facts(newest)["iteration"] < 12
    run = training(data, out, processes, *RESUME)
    assert run.wait() == 0, run.log.read_text()
    assert_same(out, whole)
    run = training(data, out, processes, *RESUME)
    assert run.wait() == 0
    assert run.log.read_text().strip().splitlines()[-1] == f"{out} holds a finished run: nothing is left to do"


def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_gone_on_from(
    undisturbed: Callable[[int], Path], data: Path, tmp_path: Path
) -> None:
    whole, out = undisturbed(1), tmp_path / "run"
    run = training(data, out, 1, *SAVING)
    assert run.until(lambda: iteration(out) >= 2), run.log.read_text()
    pid = run.processes[0].pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))  # weights alone have more
    assert run.wait() == 1
    line = run.log.read_text().strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "File too large" in line
    assert str(out) in line
    assert "Traceback" not in run.log.read_text()
    assert record(out)["status"] == "failed"
    last = checkpoint.found(out / "checkpoints")[0]
    assert checkpoint.problem_of(last) == ""
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    last.write_bytes(damaged)
    run = training(data, out, 1, *RESUME)
    assert run.wait() == 0, run.log.read_text()
    assert f"{last} is damaged (its SHA-256 has changed): looking at the one before" in run.log.read_text()
    assert_same(out, whole)


@pytest.mark.parametrize(
    ("processes", "options"), [(1, ()), (2, ("--ema", "0.9", "--mixup", "0.4", "--accumulate", "2"))]
)
def test_a_fine_tuning_that_is_told_to_stop_opens_its_test_split_in_the_end(
    processes: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    listed = small_list(tmp_path / "data", "chestxray2017", CHESTXRAY2017.classes, test=6)
    whole, out = tmp_path / "whole", tmp_path / "run"
    run = training(listed, whole, processes, *options, bundle="chestxray2017")
    assert run.wait() == 0, run.log.read_text()
    run = training(listed, out, processes, *RESUME, *options, bundle="chestxray2017")
    assert run.until(lambda: iteration(out) >= 4), run.log.read_text()
    run.tell(signal.SIGTERM)
    assert run.wait() == 75, run.log.read_text()
    run = training(listed, out, processes, *RESUME, *options, bundle="chestxray2017")
    assert run.wait() == 0, run.log.read_text()
    assert_same(out, whole)
    assert record(out)["test"].startswith("opened once")


def test_one_and_two_processes_measure_the_same(tmp_path: Path) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        run = Run(functools.partial(evaluate_sizes, tmp_path / name), tmp_path / f"{name}.log", processes)
        run.wait()
        assert {process.exitcode for process in run.processes} == {0}, run.log.read_text()
    for size in SIZES:
        one, *two = [
            json.loads((tmp_path / name).read_text())
            for name in (f"one/{size}_0.json", f"two/{size}_0.json", f"two/{size}_1.json")
        ]
        assert two[0] == two[1]
        # A processor may sum a convolution in another order for a batch of another size: the last bits are its own.
        assert two[0] == pytest.approx(one, rel=1e-5, nan_ok=True)
        assert 0 <= one["val_accuracy"] <= 1
