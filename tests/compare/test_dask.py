"""Six cells on a two-worker Dask cluster of processes: killed and gone on with, to what a local comparison gives."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare_fakes
import pytest
from compare_fakes import attempts, make, records, results, run, steps

from medtl.compare.cell import still_runs
from medtl.errors import MedtlError

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'medtl[dask]'")
pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
SIX = [f"{backbone}_random_seed{seed}" for backbone in ("resnet18", "resnet34") for seed in SEEDS]
ALL = ["resnet18_random_seed0", "resnet18_random_seed1", "resnet34_random_seed0", "resnet34_random_seed1"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two worker processes."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def half_way(request: Any, name: str) -> bool:
    return (request.out / "cells" / name / "checkpoints" / "epoch_0002.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_killed_or_stopped_and_gone_on_with_it_gives_what_a_local_one_gives(
    tmp_path: Path, address: str, number: signal.Signals
) -> None:
    whole, cut = make(tmp_path / "whole"), make(tmp_path / "cut")
    assert run(whole, seeds=SEEDS) == 0
    (cut.dataset_dir / "slow").write_text(" ".join(SIX[3:5]))
    words = [sys.executable, compare_fakes.__file__, str(tmp_path / "cut"), "1", address, *map(str, SEEDS)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: all(half_way(cut, name) for name in SIX[3:5]))  # two at a time: one a worker
    process.send_signal(number)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else -number), printed
    until(lambda: not any(still_runs(cut.out / "cells" / name) for name in SIX))  # the scheduler told the workers
    assert [records(cut)[name]["status"] for name in SIX[:5]] == ["finished"] * 3 + ["interrupted"] * 2
    assert SIX[5] not in records(cut)
    (cut.dataset_dir / "slow").unlink()
    assert run(cut, dask=address, seeds=SEEDS) == 0
    assert results(cut) == results(whole)
    assert list(results(cut)) == SIX
    assert sorted(steps(cut)) == sorted(steps(whole))  # nothing was lost and nothing done twice
    assert sorted(attempts(cut)[5:]) == SIX[3:]


def test_a_cell_that_fails_stops_no_other_and_a_worker_that_sees_other_data_ends_it(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make(tmp_path)
    (request.dataset_dir / "fail").write_text(ALL[1])
    assert run(request, dask=address) == 1
    assert [records(request)[name]["status"] for name in ALL] == ["finished", "failed", "finished", "finished"]
    monkeypatch.setattr("medtl.compare.dask.__version__", "0.0.0")
    with pytest.raises(MedtlError, match=r"^--dask: a worker has medtl .*, this command is of 0\.0\.0"):
        run(request, dask=address)


@pytest.mark.full
def test_real_cells_on_workers_are_those_of_one_machine(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two settings of a bundle, trained by MONAI on the workers' own warm processes."""
    from data_prep import sample

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [
        sys.executable,
        "-m",
        "medtl",
        "compare",
        "breastmnist",
        "--dataset_dir",
        str(sample.prepared("breastmnist")),
    ]
    words += ["--backbones", "resnet18", "--inits", "random", "--vary", "learning_rate=1e-3,1e-4", "--epochs", "1"]
    words += ["--image_size", "32", "--num_workers", "0"]
    for where in (["--out", str(tmp_path / "here")], ["--out", str(tmp_path / "there"), "--dask", address]):
        done = subprocess.run([*words, *where], capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
    names = [f"resnet18_random_learning_rate-{rate}_seed0" for rate in ("0.001", "0.0001")]
    for name in names:
        for file in ("metrics.json", "predictions.csv", "history.csv"):
            here, there = ((tmp_path / where / "cells" / name / file).read_bytes() for where in ("here", "there"))
            assert here == there, f"{name}/{file}"
