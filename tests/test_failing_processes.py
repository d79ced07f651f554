"""Of several processes one fails: the job ends, with that one's error in one line and nobody waiting for ever."""

import functools
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT, config, draw
from fine_tune_lists import CLASSES, some_list
from rank_work import on_two_machines
from resume_runs import Run, free_port, run_bundle

from medtl import datalist
from medtl.bundles import begin
from medtl.bundles.facade import lost
from medtl.errors import UsageError
from medtl.files import file_hash
from medtl.writers import checkpoint

pytestmark = pytest.mark.slow

TB = ROOT / "bundles" / "tb"
SMALL = ["--epochs", "2", "--image_size", "32", "--batch_size", "4", "--num_workers", "0"]


@pytest.fixture(scope="module")
def data(module_path: Path) -> Path:
    return some_list(module_path, CLASSES["tb"])


def words(data: str, out: str, *configs: str, folder: Path = TB) -> list[str]:
    names = config("train", *configs, "multi_gpu_train", folder=folder)
    return ["run", "--config_file", names, "--dataset_dir", data, "--output_dir", out, *SMALL]


def ended(run: Run) -> list[str]:
    """The error lines of two processes that have both ended, neither well and neither with a traceback."""
    run.wait()
    printed = run.log.read_text()
    assert all(process.exitcode not in (0, None) for process in run.processes), printed
    assert "Traceback" not in printed
    return [line for line in printed.splitlines() if line.startswith("error: ")]


def test_a_picture_that_one_process_cannot_read_ends_both(data: Path, tmp_path: Path) -> None:
    copy = some_list(tmp_path / "data", CLASSES["tb"])
    damaged = copy / "images" / "training03.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    listed = datalist.read(copy)
    listed.training[3]["sha256"] = file_hash(damaged)
    datalist.write(listed, copy)
    what = functools.partial(run_bundle, words(str(copy), str(tmp_path / "run"), "per_image"))
    told = ended(Run(what, tmp_path / "log", 2))
    assert told.count(f"error: {damaged} is not a readable image, or is cut short") == 1
    assert [line.partition(", and")[0][:15] for line in told if "cannot go on" in line] == ["error: process "]
    assert len(told) == 2


def test_a_missing_picture_is_named_where_they_are_packed(tmp_path: Path) -> None:
    copy = some_list(tmp_path / "data", CLASSES["tb"])
    listed = datalist.read(copy)
    listed.training[3] = draw(copy, "training03.png", 1, 31)  # unlike any that a test before this one has packed
    datalist.write(listed, copy)
    (copy / "images" / "training03.png").unlink()
    what = functools.partial(run_bundle, words(str(copy), str(tmp_path / "run")))
    told = ended(Run(what, tmp_path / "log", 2))
    assert f"error: {copy / 'images' / 'training03.png'} is missing" in told


def test_a_full_disk_of_the_process_that_writes_ends_both(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    what = functools.partial(run_bundle, [*words(str(data), str(out)), "--save_interval", "0"])
    run = Run(what, tmp_path / "log", 2)
    assert run.until(lambda: bool(checkpoint.found(out / "checkpoints"))), run.log.read_text()
    pid = run.processes[0].pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))  # weights alone have more
    told = ended(run)
    assert any("File too large" in line and str(out) in line for line in told)
    assert checkpoint.problem_of(checkpoint.found(out / "checkpoints")[0]) == ""


@pytest.mark.parametrize(
    ("listed", "out", "expected"),
    [
        ("data", "{}/run", "error: --dataset_dir data: no such folder; expected a data_prep output that holds"),
        ("{}/first/data", "run", "error: --output_dir run is not the folder that the first process writes: several"),
    ],
)
def test_what_another_machine_lacks_is_told(listed: str, out: str, expected: str, tmp_path: Path) -> None:
    some_list(tmp_path / "first" / "data", CLASSES["tb"])
    (tmp_path / "second").mkdir()
    told = words(listed.format(tmp_path), out.format(tmp_path))
    what = functools.partial(on_two_machines, told, tmp_path / "first", tmp_path / "second")
    lines = ended(Run(what, tmp_path / "log", 2))
    assert sum(line.startswith(expected) for line in lines) == 1, lines
    assert not list(tmp_path.rglob("model.pt"))


def test_more_processes_than_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match=r"^torchrun --nproc_per_node 4: this machine has 2 GPU\(s\), one a process$"):
        begin.processes(True)


ENDED = """
import atexit, os, torch
atexit.register(lambda: print("in a group:", torch.distributed.is_initialized()))
from medtl.bundles import begin
from medtl.errors import MedtlError, ToldToStop
begin.processes(True)
"""


@pytest.mark.parametrize(
    ("last", "kept"), [("", False), ("raise ToldToStop('saved')", False), ("raise MedtlError('full disk')", True)]
)
def test_a_process_that_ends_well_leaves_the_group(last: str, kept: bool) -> None:
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    told = subprocess.run([sys.executable, "-c", ENDED + last], env=os.environ | alone, capture_output=True, text=True)
    assert told.stdout.split("\n")[-2] == f"in a group: {kept}", told.stderr


def test_only_a_lost_connection_is_taken_for_one() -> None:
    error = RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:1] Connection closed by peer. Look.\nmore")
    assert str(lost(error)).endswith("(" + str(error).split(". ")[0] + ")")
    assert lost(RuntimeError("expected scalar type Float but found Half")) is None
