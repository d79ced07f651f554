"""On a Dask cluster the same bytes come out, and what is wrong with it is told in a line."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cluster_pieces
import numpy as np
import pytest
from PIL import Image

import medtl
from data_prep import cluster, run
from data_prep.msd import CARD as MSD
from data_prep.piece import Piece, do
from medtl import cluster as client
from medtl.errors import MedtlError

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'medtl[dask]'")

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path that differs by process")


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """Two worker processes of one thread; a piece that ends two of them is given up."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def msd(tmp_path_factory: pytest.TempPathFactory, write_msd: Callable[..., None]) -> Path:
    """Seven cases; not to be changed."""
    root = tmp_path_factory.mktemp("msd")
    rng = np.random.default_rng(0)
    for number in range(7):
        labels = np.zeros((12, 10, 8), np.uint8)
        labels[3:9, 3:8, 2:6] = 1
        image = rng.integers(1, 1000, (12, 10, 8)).astype(np.int16)
        write_msd(root / "Task02_Heart", f"la_{number:03d}", image, labels)
    return root


@pytest.fixture
def address(dask: Any) -> str:
    return dask.scheduler.address


def _tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _prepare(raw: Path, out: Path, names: tuple[str, ...], scheduler: str | None) -> dict[str, str]:
    raw.mkdir(exist_ok=True)
    run.prepare(
        MSD,
        [cluster_pieces.source(raw, *names)],
        out,
        created_by="test",
        sample=False,
        workers=1,
        scheduler=scheduler,
        seed=0,
        validation_fraction=0.0,
    )
    return _tree(out)


def _refused(ended: Any, status: int) -> str:
    """The only line of a command that ended so."""
    assert (ended.status, ended.out) == (status, "")
    (line,) = ended.err.splitlines()
    return line


@pytest.mark.parametrize("name", ["cpmid", "folder"])
def test_the_same_bytes_as_without(
    name: str,
    address: str,
    prep: Callable[..., Any],
    msd: Path,
    write_chexpert: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two downloads with damaged files, and one's own images with a secret; paths are relative, workers elsewhere."""
    monkeypatch.chdir(tmp_path)
    words: tuple[object, ...]
    if name == "cpmid":
        rows = [(f"train/patient{n:05d}/study1/view1_frontal.jpg", {"Edema": "1.0"}) for n in range(12)]
        write_chexpert(Path("chexpert"), rows)
        monkeypatch.setattr("data_prep.chexpert.ROWS_A_PIECE", 4)
        next(Path("chexpert").rglob("*.jpg")).write_bytes(b"no picture")
        shutil.copytree(msd, "msd")
        damaged = Path("msd/Task02_Heart/imagesTr/la_003.nii.gz")
        damaged.write_bytes(damaged.read_bytes()[:-40])
        words = ("cpmid", "--chexpert", "chexpert", "--msd", "msd")
    else:
        rng = np.random.default_rng(0)
        for number in range(24):
            path = Path("raw", "ab"[number % 2], f"p{number:02d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
        path.write_bytes(b"no picture")
        monkeypatch.setattr("data_prep.folder.ROWS_A_PIECE", 4)
        Path("key").write_text("k" * 32)
        words = ("folder", "--raw", "raw", "--patient-pattern", r"(p\d+)", "--key-file", "key")
    alone = prep(*words, "--out", "alone")
    assert alone.status == 3
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.processes.do", lambda *_: pytest.fail("worked in this process"))
        together = prep(*words, "--out", "together", "--dask", address)
    assert (together.status, together.out, together.err) == (3, alone.out, alone.err)
    assert together.rejected == alone.rejected
    assert len(alone.rejected) == (2 if name == "cpmid" else 1)
    assert len(list(Path("alone/.progress").glob("*.json"))) >= 6
    assert _tree(Path("together")) == _tree(Path("alone"))


def test_what_is_done_stays_done_on_the_cluster_of_a_scheduler_file(
    address: str, prep: Callable[..., Any], msd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prep("msd", "--raw", msd)
    (first.folder / first.entries[0]["image"]).unlink()
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": address}))
    asked: list[str] = []
    submit = distributed.Client.submit

    def counted(client: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options["key"][1])
        return submit(client, *arguments, **options)

    monkeypatch.setattr("distributed.Client.submit", counted)
    again = prep("msd", "--raw", msd, "--dask", file)
    assert (again.status, again.out) == (0, first.out)
    assert len(asked) == 1
    assert (again.folder / first.entries[0]["image"]).is_file()


def test_no_more_in_flight_than_there_are_workers(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pieces there are."""
    flying: list[int] = []
    submit = distributed.Client.submit

    def counted(client: Any, *arguments: Any, **options: Any) -> Any:
        flying.append(sum(state.status == "pending" for state in client.futures.values()))
        return submit(client, *arguments, **options)

    monkeypatch.setattr("distributed.Client.submit", counted)
    names = tuple(f"case{number:02d}" for number in range(40))
    made = _prepare(tmp_path / "raw", tmp_path / "out", names, address)
    assert len(flying) == 40
    assert max(flying) <= 1  # before the second of two is asked for
    assert made == _prepare(tmp_path / "raw", tmp_path / "alone", names, None)


def test_a_worker_that_dies_costs_nothing(address: str, tmp_path: Path) -> None:
    names = ("calm", "unlucky", "quiet", "still")
    made = _prepare(tmp_path / "raw", tmp_path / "out", names, address)
    assert made == _prepare(tmp_path / "raw", tmp_path / "alone", names, None)


def test_a_case_that_ends_every_worker_is_named(address: str, tmp_path: Path) -> None:
    """And the rest is kept for the next run."""
    with pytest.raises(MedtlError, match=r"fates: 2 workers died of fatal .*resume"):
        _prepare(tmp_path / "raw", tmp_path / "out", ("calm", "quiet", "fatal"), address)
    kept = {path.stem for path in (tmp_path / "out/.progress").glob("*.json")}
    assert kept == {"fates-calm", "fates-quiet"}
    assert not (tmp_path / "out/datalist.json").exists()
    _prepare(tmp_path / "raw", tmp_path / "out", ("calm", "quiet"), address)


def test_interrupted_it_keeps_nothing_that_comes_later(dask: Any, address: str, tmp_path: Path) -> None:
    """A running piece cannot be stopped: what it makes after Ctrl-C must not meet the files of the next run."""
    raw, out = tmp_path / "raw", tmp_path / "out"

    def interrupt() -> None:
        while not (raw / "slow.begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            _prepare(raw, out, ("slow", "calm"), address)
    finally:
        signal.signal(signal.SIGINT, before)
    (raw / "go").touch()
    deadline = time.monotonic() + 60
    while any(dask.run(lambda dask_worker: dask_worker.state.executing_count).values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = {path.name for path in (out / ".progress").iterdir()}
    assert left <= {"name", "lock", "fates-calm.json"}
    assert not (out / "images/fates/slow.png").exists()


@NEEDS_PROC
@pytest.mark.parametrize("elsewhere", ["out", "raw"])
def test_workers_that_see_other_folders_are_refused(
    elsewhere: str,
    address: str,
    prep: Callable[..., Any],
    msd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """/proc/self/cwd is another folder for each process that began elsewhere."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(msd, "raw")
    folders = {"raw": tmp_path / "raw", "out": tmp_path / "out"}
    folders[elsewhere] = Path("/proc/self/cwd") / elsewhere
    ended = prep("msd", "--raw", folders["raw"], "--out", folders["out"], "--dask", address)
    line = _refused(ended, 1)
    assert {"out": "the output folder", "raw": "the raw files of msd"}[elsewhere] in line
    assert "same paths" in line
    assert {path.name for path in (tmp_path / "out/.progress").iterdir()} == {"name", "lock"}


@pytest.mark.parametrize("lack", ["version", "everything"])
def test_workers_without_this_medtl_are_refused(
    lack: str, dask: Any, address: str, prep: Callable[..., Any], msd: Path
) -> None:
    def spoil() -> None:
        import sys

        import medtl

        if lack == "version":
            medtl.__version__ = "0.0.0"
        else:
            sys.modules["data_prep.cluster"] = None  # type: ignore[assignment]

    def repair(version: str) -> None:
        import sys

        import medtl

        medtl.__version__ = version
        if sys.modules.get("data_prep.cluster", medtl) is None:
            del sys.modules["data_prep.cluster"]

    (one, *_) = dask.nthreads()
    dask.run(spoil, workers=[one])
    try:
        line = _refused(prep("msd", "--raw", msd, "--dask", address), 1)
    finally:
        dask.run(repair, medtl.__version__)
    assert one in line
    assert f"medtl {'0.0.0' if lack == 'version' else medtl.__version__}" in line


def test_a_worker_is_no_scheduler(dask: Any, prep: Callable[..., Any], msd: Path) -> None:
    (worker, *_) = dask.nthreads()
    ended = prep("msd", "--raw", msd, "--dask", worker)
    assert "not a scheduler" in _refused(ended, 1)
    assert not ended.folder.exists()


def test_a_cluster_without_workers_is_waited_for(prep: Callable[..., Any], msd: Path, tmp_path: Path) -> None:
    with distributed.LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    ) as local:
        lock = tmp_path / "out/.progress/lock"

        def add() -> None:
            while not lock.exists():
                time.sleep(0.01)
            time.sleep(0.3)
            local.scale(1)

        thread = threading.Thread(target=add, daemon=True)
        thread.start()
        ended = prep("msd", "--raw", msd, "--dask", local.scheduler_address)
        thread.join()
    assert ended.status == 0
    assert ended.err.splitlines() == ["data_prep: the Dask cluster has no worker yet; waiting for the first"]


@pytest.mark.parametrize("listener", ["none", "silent", "a stranger"])
def test_an_address_where_no_scheduler_answers(
    listener: str, prep: Callable[..., Any], msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.REACH_SECONDS <= 10
    monkeypatch.setattr(client, "REACH_SECONDS", 1.0)

    def answer() -> None:
        try:
            while True:
                server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        except OSError:
            pass

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        place = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if listener != "none":
            server.listen()
        if listener == "a stranger":
            threading.Thread(target=answer, daemon=True).start()
        began = time.monotonic()
        ended = prep("msd", "--raw", msd, "--dask", place)
        seconds = time.monotonic() - began
        server.close()
    line = _refused(ended, 1)
    assert place in line
    assert "scheduler" in line
    assert seconds < 20
    assert not ended.folder.exists()


@pytest.mark.parametrize(
    "word", ["banana", "http://127.0.0.1:8787", "127.0.0.1:8786", "tcp://host", "none.json", "list.json", "half.json"]
)
def test_what_names_no_scheduler(word: str, prep: Callable[..., Any], msd: Path, tmp_path: Path) -> None:
    if word == "list.json":
        (tmp_path / word).write_text("[1]")
    if word == "half.json":
        (tmp_path / word).write_text('{"address": "tcp://')
    named = str(tmp_path / word) if word.endswith(".json") else word
    ended = prep("msd", "--raw", msd, "--dask", named)
    line = _refused(ended, 2)
    assert f"--dask {named}" in line
    assert "tcp://HOST:PORT" in line
    assert not ended.folder.exists()


def test_encryption_needs_certificates(prep: Callable[..., Any], msd: Path) -> None:
    ended = prep("msd", "--raw", msd, "--dask", "tls://127.0.0.1:8786")
    assert "distributed.comm.tls" in _refused(ended, 2)


def test_processes_and_a_cluster_exclude_each_other(prep: Callable[..., Any], msd: Path) -> None:
    ended = prep("msd", "--raw", msd, "--dask", "tcp://127.0.0.1:8786", "--workers", "2")
    assert "--workers" in _refused(ended, 2)


def test_without_dask_the_command_that_installs_it_is_told(
    prep: Callable[..., Any], msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "distributed" else found(name))
    ended = prep("msd", "--raw", msd, "--dask", "tcp://127.0.0.1:8786")
    assert "pip install 'medtl[dask]'" in _refused(ended, 2)


def _errands(tmp_path: Path, count: int) -> list[cluster.Errand]:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (out / ".progress").mkdir(parents=True)
    source = cluster_pieces.source(raw, *(f"case{number}" for number in range(count)))
    lease = out / ".progress/lease"
    lease.write_text("token")
    witness = cluster._witness(source)
    assert witness is not None
    ground = cluster.Ground(medtl.__version__, lease, "token", (witness,))
    pieces = [Piece(work, out / ".progress" / f"{work.id}.json", "key", None) for work in source.works]
    return [cluster.Errand(ground, source, piece, out) for piece in pieces]


def test_threads_of_one_worker_take_turns(tmp_path: Path) -> None:
    cluster_pieces.at_once.clear()
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(cluster._do, _errands(tmp_path, 12)))
    assert [len(one.entries) for one in done] == [1] * 12
    assert cluster_pieces.at_once == [1] * 12


def test_a_worker_looks_before_each_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So one that joins later, and was not asked at the beginning, does no harm either."""
    (errand,) = _errands(tmp_path, 1)
    ground = errand.ground
    assert ground.fault() is None
    monkeypatch.setattr(medtl, "__version__", "0.0.0")
    assert "install the same version" in (ground.fault() or "")
    monkeypatch.undo()
    raw = errand.piece.work.files[0]
    content = raw.read_bytes()
    raw.write_bytes(b"another")
    assert "raw files of fates" in (ground.fault() or "")
    raw.write_bytes(content)
    ground.lease.write_text("of another run")
    fault = ground.fault() or ""
    assert "output folder" in fault
    assert str(tmp_path) not in fault  # workers log it
    with pytest.raises(MedtlError, match="over"):
        do(errand.source, errand.piece, errand.out, ground.lasts)
    assert {path.name for path in errand.out.rglob("*")} == {".progress", "lease"}


def test_an_errand_shows_no_secret() -> None:
    """A worker logs the arguments of what failed."""
    errand = cluster.Errand(*(4 * ["hush"]))  # type: ignore[arg-type]
    assert "hush" not in f"{errand} {errand!r}"
