"""Killed, repeated, changed: whatever happened before, a finished run leaves the same files. And the command line."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from data_prep import piece, sample
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def _tree(folder: Path) -> dict[str, str]:
    """Every file and its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _times(folder: Path) -> dict[str, tuple[int, int]]:
    paths = sorted([*(folder / "images").rglob("*"), *(folder / ".progress").glob("*.json")])
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths if path.is_file()}


def _images(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in (folder / "images").rglob("*") if path.is_file()}


def _start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # though pytest may ignore it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _all_gone(group: int, seconds: float = 20) -> bool:
    """Whether every process of a session ends in time."""
    for _ in range(int(seconds / 0.05)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _stop_when(process: subprocess.Popen[str], out: Path, records: int, stop: signal.Signals, extra: float) -> None:
    """Send a signal to a run ``extra`` seconds after it has recorded that many pieces."""
    while process.poll() is None and len(list((out / ".progress").glob("*.json"))) < records:
        time.sleep(0.002)
    time.sleep(extra)
    process.send_signal(stop)
    process.communicate(timeout=60)


def test_killed_at_any_moment_a_rerun_gives_what_an_undisturbed_run_gives(
    phantoms: Callable[[str], Path], tmp_path: Path
) -> None:
    """The undisturbed run has one worker, the others two: that makes no difference either."""
    words = ("msd", "--raw", phantoms("msd"), "--workers", 2)
    assert _start(*words[:3], "--workers", 1, "--out", tmp_path / "calm").wait(timeout=120) == 0
    rng = np.random.default_rng()
    halfway = 0
    for records in (0, 1, 9, 22):
        process = _start(*words, "--out", tmp_path / "killed")
        _stop_when(process, tmp_path / "killed", records, signal.SIGKILL, float(rng.uniform(0, 0.03)))
        assert _all_gone(process.pid), "workers outlive the process that was killed"
        halfway += process.returncode == -signal.SIGKILL
    assert halfway >= 2
    assert _start(*words, "--out", tmp_path / "killed").wait(timeout=120) == 0
    assert _tree(tmp_path / "killed") == _tree(tmp_path / "calm")
    assert problems_of_data(tmp_path / "killed")[1] == []


def test_killed_with_wrong_options_then_run_with_the_right_ones(
    phantoms: Callable[[str], Path], tmp_path: Path
) -> None:
    words = ("msd", "--raw", phantoms("msd"), "--workers", 1)
    for records in (2, 6):
        process = _start(*words, "--key-slices", "all", "--out", tmp_path / "out")
        _stop_when(process, tmp_path / "out", records, signal.SIGKILL, 0.004)
    for folder in ("out", "calm"):
        assert _start(*words, "--key-slices", "largest:1", "--out", tmp_path / folder).wait(timeout=120) == 0
    assert _tree(tmp_path / "out") == _tree(tmp_path / "calm")


@pytest.mark.parametrize("moment", ["before its record", "among its images"])
def test_stopped_within_a_piece_nothing_is_left_behind(
    moment: str, prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a piece had written when the power went, a run with other options leaves only its own images."""
    calls: list[int] = []
    if moment == "before its record":
        target, last, original = "data_prep.piece._record", 5, piece._record
    else:
        target, last, original = "data_prep.piece.os.replace", 2 * 5 + 3, os.replace

    def stopping(*arguments: Any) -> Any:
        # images come as they are, everything else under a temporary name
        calls.append(moment == "before its record" or ".medtl-part" not in str(arguments[0]))
        if sum(calls) == last:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, stopping)
        assert prep("msd", "--raw", small["msd"], "--key-slices", "all").status == 130
    assert sum(calls) == last
    ended = prep("msd", "--raw", small["msd"], "--key-slices", "largest:1")
    assert ended.status == 0
    assert _images(ended.folder) == {entry["image"] for entry in ended.entries}
    fresh = prep("msd", "--raw", small["msd"], "--key-slices", "largest:1", "--out", tmp_path / "fresh")
    assert _tree(ended.folder) == _tree(fresh.folder)


def test_interrupted_it_says_so_without_a_traceback(phantoms: Callable[[str], Path], tmp_path: Path) -> None:
    process = _start("msd", "--raw", phantoms("msd"), "--out", tmp_path / "out", "--workers", 2)
    while process.poll() is None and not list((tmp_path / "out" / ".progress").glob("*.json")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    *before, line = err.splitlines()
    assert "interrupted" in line
    assert all("passed over" in each for each in before)
    assert _all_gone(process.pid)


@pytest.mark.parametrize("name", ["chexpert", "msd", "lidc"])
def test_a_finished_folder_is_left_as_it_is(
    name: str, prep: Callable[..., Any], small: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prep(name, "--raw", small[name])
    assert first.status == 0
    tree, times = _tree(first.folder), _times(first.folder)
    monkeypatch.setattr(f"data_prep.{name}.process", lambda *_: pytest.fail("work was done again"))
    again = prep(name, "--raw", small[name])
    assert (again.status, again.out) == (0, first.out)
    assert _tree(again.folder) == tree
    assert _times(again.folder) == times
    assert problems_of_data(first.folder)[1] == []


def test_a_raw_copy_elsewhere_gives_the_same_bytes(
    prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path
) -> None:
    """Where the download lies leaves no trace, not even in the records."""
    shutil.copytree(small["msd"], tmp_path / "other/place")
    one = prep("msd", "--raw", small["msd"], "--out", tmp_path / "one")
    two = prep("msd", "--raw", tmp_path / "other/place", "--out", tmp_path / "two")
    assert _tree(one.folder) == _tree(two.folder)


def test_only_the_case_that_changed_is_done_again(
    prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(small["msd"], raw)
    before = _times(prep("msd", "--raw", raw).folder)
    label = raw / "Task02_Heart/labelsTr/la_002.nii.gz"
    volume = nib.load(label)
    mask = np.asarray(volume.dataobj).copy()
    mask[..., 4:] = 0  # fewer slices than before
    nib.save(nib.Nifti1Image(mask, volume.affine), label)
    ended = prep("msd", "--raw", raw)
    after = _times(ended.folder)
    assert ended.status == 0
    for path in before.keys() | after.keys():
        assert (before.get(path) == after.get(path)) == ("la_002" not in path), path
    assert _images(ended.folder) == {entry["image"] for entry in ended.entries}
    fresh = prep("msd", "--raw", raw, "--out", tmp_path / "fresh")
    assert _tree(fresh.folder) == _tree(ended.folder)


def test_a_label_that_changed_in_the_table_alone(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    """The images are the same files: what the table says about them counts too."""
    rows = [(f"train/patient{n:05d}/study1/view1_frontal.jpg", {"Edema": "1.0"}) for n in range(4)]
    raw = write_chexpert(tmp_path / "raw", rows)
    assert {entry["class"] for entry in prep("chexpert", "--raw", raw).entries} == {"Edema"}
    table = raw / "CheXpert-v1.0-small/train.csv"
    table.write_text(table.read_text().replace(",1.0,,", ",,1.0,", 1))
    ended = prep("chexpert", "--raw", raw)
    assert [entry["class"] for entry in ended.entries].count("Consolidation") == 1


def test_other_options_leave_nothing_of_the_old_ones(
    prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path
) -> None:
    for name, one, other in (
        ("msd", ("--key-slices", "all", "--channels", "all"), ("--key-slices", "largest:1")),
        ("lidc", ("--nodule-slices", "all"), ("--min-readers", "2")),
        ("chexpert", ("--rule", "multilabel"), ("--rule", "exactly-one")),
    ):
        many = prep(name, "--raw", small[name], *one, "--out", tmp_path / name)
        before = _images(many.folder)
        stranger = many.folder / "images" / "mine.png"
        stranger.write_bytes(b"not written by data_prep")
        few = prep(name, "--raw", small[name], *other, "--out", tmp_path / name)
        assert few.status == 0
        assert stranger.read_bytes() == b"not written by data_prep"
        stranger.unlink()
        assert _images(few.folder) == {entry["image"] for entry in few.entries} != before
        fresh = prep(name, "--raw", small[name], *other, "--out", tmp_path / f"{name}-fresh")
        assert _tree(few.folder) == _tree(fresh.folder)


def test_a_download_that_was_left_out_leaves_nothing(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    prep("cpmid", "--msd", small["msd"], "--lidc", small["lidc"])
    ended = prep("cpmid", "--msd", small["msd"])
    assert {path.split("/")[1] for path in _images(ended.folder)} == {"msd"}
    assert not list((ended.folder / ".progress").glob("lidc*"))


@pytest.mark.parametrize("damage", ["image", "record", "list", "rejected", "half a record", "record of another kind"])
def test_what_was_deleted_or_damaged_is_made_again(
    damage: str, prep: Callable[..., Any], small: dict[str, Path]
) -> None:
    ended = prep("msd", "--raw", small["msd"])
    tree = _tree(ended.folder)
    record = sorted((ended.folder / ".progress").glob("*.json"))[3]
    if damage == "image":
        (ended.folder / ended.entries[0]["image"]).unlink()
    elif damage in ("half a record", "record of another kind"):
        record.write_text(
            record.read_text()[:100] if damage == "half a record" else '{"entries": [{}], "rejected": []}'
        )
    else:
        names = {"record": record, "list": ended.folder / "datalist.json", "rejected": ended.folder / "rejected.csv"}
        names[damage].unlink()
    assert _tree(ended.folder) != tree
    assert prep("msd", "--raw", small["msd"]).status == 0
    assert _tree(ended.folder) == tree


def test_two_workers_write_what_one_writes(phantoms: Callable[[str], Path], tmp_path: Path) -> None:
    for workers in (1, 2):
        words = ("lidc", "--raw", phantoms("lidc"), "--out", tmp_path / str(workers), "--workers", workers)
        assert _start(*words).wait(timeout=120) == 0
    assert _tree(tmp_path / "1") == _tree(tmp_path / "2")


def test_a_repaired_file_is_taken_up(prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(small["msd"], tmp_path / "raw")
    image = tmp_path / "raw/Task02_Heart/imagesTr/la_001.nii.gz"
    content = image.read_bytes()
    image.write_bytes(content[:-40])
    for _ in range(2):  # the second time from the record
        broken = prep("msd", "--raw", tmp_path / "raw")
        assert (broken.status, len(broken.rejected)) == (3, 1)
    image.write_bytes(content)
    whole = prep("msd", "--raw", tmp_path / "raw")
    assert (whole.status, whole.rejected) == (0, [])
    assert "la_001" in {entry["case"] for entry in whole.entries}


def test_everything_rejected(prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(small["msd"] / "Task02_Heart", tmp_path / "raw/Task02_Heart")
    for label in (tmp_path / "raw/Task02_Heart/labelsTr").iterdir():
        label.unlink()
    ended = prep("msd", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert len(ended.rejected) == 4
    assert ended.entries == []
    assert "Traceback" not in ended.err


def test_a_folder_of_another_data_set_is_refused(
    prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path
) -> None:
    ended = prep("msd", "--raw", small["msd"])
    for forget in ((), ("datalist.json",), ()):  # also while the other is not finished
        for name in forget:
            (ended.folder / name).unlink()
        tree = _tree(ended.folder)
        other = prep("chexpert", "--raw", small["chexpert"])
        assert other.status == 2
        (line,) = other.err.splitlines()
        assert "'msd'" in line
        assert "'chexpert'" in line
        assert _tree(ended.folder) == tree


def test_out_must_be_a_folder_of_its_own(prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    tree = _tree(small["msd"])
    for out in (small["msd"], tmp_path / "file"):
        ended = prep("msd", "--raw", small["msd"], "--out", out)
        assert ended.status == 2
        assert len(ended.err.splitlines()) == 1
    assert _tree(small["msd"]) == tree
    assert (tmp_path / "file").read_text() == "x"


def test_two_at_once_are_refused(prep: Callable[..., Any], small: dict[str, Path], tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out/.progress").mkdir(parents=True)
    with FileLock(tmp_path / "out/.progress/lock"):
        ended = prep("msd", "--raw", small["msd"])
    assert ended.status == 2
    assert "another data_prep" in ended.err
    assert prep("msd", "--raw", small["msd"]).status == 0


@pytest.mark.parametrize("raw", ["/nowhere", "file"])
@pytest.mark.parametrize("name", ["chexpert", "msd", "lidc"])
def test_raw_must_be_a_folder(name: str, raw: str, prep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ended = prep(name, "--raw", tmp_path / raw if raw == "file" else raw)
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert raw in line
    assert not ended.folder.exists()


def test_the_command_line() -> None:
    """As a user calls it: the list, one line for a mistake, a suggestion for a slip."""
    listing = subprocess.run(
        [sys.executable, "-m", "data_prep", "--list"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    for name in ("chexpert", "msd", "lidc", "cpmid"):
        assert any(line.startswith(f"{name} ") for line in listing.stdout.splitlines())
    for words, wanted in (
        (("msd", "--raw", "/nowhere", "--out", "x"), "/nowhere"),
        (("msd", "--raw", ".", "--out", "x", "--worker", "2"), "--workers"),
        (("msdd", "--raw", "."), "msd"),
        (("msd", "--raw", "."), "--out"),
        (("msd", "--raw", ".", "--out", "x", "--workers", "0"), "workers"),
    ):
        process = _start(*words)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert wanted in err.splitlines()[-1]
        assert "Traceback" not in err


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_only_when_asked_for(debug: bool, tmp_path: Path) -> None:
    process = _start("msd", "--raw", "/nowhere", "--out", tmp_path / "out", *(["--debug"] if debug else []))
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("Traceback" in err) == debug


def test_the_built_in_sample(prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sample._cache.cache_clear()
    try:
        ended = prep("msd", "--raw", "sample")
        assert ended.status == 0
        assert ended.listed["sample"] is True
        assert {entry["class"] for entry in ended.entries} == {"Brain", "Heart", "Liver", "Lung", "Prostate"}
        assert problems_of_data(ended.folder)[1] == []
        assert prep("lidc", "--raw", tmp_path / "cache").status == 2
    finally:
        sample._cache.cache_clear()
