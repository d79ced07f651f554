"""The resumable grid: what is run, what is not run again, and what is left when it is stopped or killed."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import compare_fakes
import pytest
from bundle_runs import bundle_here
from compare_fakes import attempts, make, records, results, run, steps
from filelock import FileLock

from medtl.compare import cell as cells
from medtl.compare.cell import environment, locked_log
from medtl.compare.plan import Request, short_init
from medtl.compare.run import compare
from medtl.compare.state import LOCK_NAME, write_grid
from medtl.errors import MedtlError, ToldToStop, UsageError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EACH_STEP = [1, 2, 3, 4]
ALL = ["resnet18_random_seed0", "resnet18_random_seed1", "resnet34_random_seed0", "resnet34_random_seed1"]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return make(tmp_path)


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a comparison as a process of its own; what is left of it is killed."""
    processes: list[subprocess.Popen[str]] = []

    def begin(folder: Path, jobs: int = 2) -> subprocess.Popen[str]:
        words = [sys.executable, compare_fakes.__file__, str(folder), str(jobs)]
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),  # not ignored, as under nohup
        )
        processes.append(process)
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def inodes(request: Request, name: str) -> list[tuple[int, int]]:
    """What would change if any file of a cell's folder were written again."""
    folder = request.out / "cells" / name
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()]


def read(request: Request) -> dict:
    return json.loads((request.out / "grid.json").read_text())


def statuses(request: Request) -> dict[str, str]:
    if not (request.out / "grid.json").exists():
        return {}
    return {row["name"]: row["status"] for row in read(request)["cells"]}


def trained(request: Request) -> dict[str, list[int]]:
    """Which steps each cell trained, in order, with repetition."""
    found: dict[str, list[int]] = {}
    for line in steps(request):
        name, step = line.split(":")
        found.setdefault(name, []).append(int(step))
    return found


def half_way(request: Request, name: str) -> bool:
    """Whether a cell has saved itself after its second step."""
    return (request.out / "cells" / name / "checkpoints" / "epoch_0002.json").exists()


def pid_of(request: Request, name: str) -> int:
    """The process that a cell's log names last."""
    lines = (request.out / "cells" / name / "log.txt").read_text().splitlines()
    return int([line for line in lines if line.startswith("process ")][-1].split()[1].rstrip(":"))


def test_grid_json_and_folders(request_: Request, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(request_, folds=(0, 1), seeds=(7,), ids={"epochs": "3", "image_size": "32"}) == 0
    names = [f"{backbone}_random_seed7_fold{fold}" for backbone in ("resnet18", "resnet34") for fold in (0, 1)]
    content = read(request_)
    assert list(content) == ["bundle", "dataset", "dataset_sha256", "ids", "cells"]
    assert (content["bundle"], content["dataset"]) == ("made_bundle", "made")
    assert content["ids"] == {"epochs": 3, "image_size": 32}
    assert [row["name"] for row in content["cells"]] == names
    first = {"name": names[0], "backbone": "resnet18", "init": "random", "seed": 7, "fold": 0}
    assert content["cells"][0] == {**first, "status": "finished", "error": ""}
    assert sorted(path.name for path in (request_.out / "cells").iterdir()) == names
    assert "training" in (request_.out / "cells" / names[0] / "log.txt").read_text()
    config = json.loads((request_.out / "cells" / names[1] / "run.json").read_text())["config"]
    assert {key: config[key] for key in ("seed", "fold", "backbone", "epochs")} == {
        "seed": "7",
        "fold": "1",
        "backbone": "resnet18",
        "epochs": "3",
    }
    printed = capfd.readouterr()
    assert [line.split(": finished in 0.1 min, val_auc 0.")[0] for line in printed.out.splitlines()] == [
        f"{number}/4 {name}" for number, name in enumerate(names, 1)
    ]
    assert printed.err.splitlines()[-1] == f"all 4 cells are finished: medtl report {request_.out}"


def test_only_cells_that_may_go_on_keep_checkpoints(request_: Request) -> None:
    (request_.dataset_dir / "fail").write_text(f"{ALL[1]}\n")  # half-way
    assert run(request_) == 1
    assert statuses(request_) == {name: "failed" if name == ALL[1] else "finished" for name in ALL}
    left = {path.parent.name for path in (request_.out / "cells").glob("*/checkpoints")}
    assert left == {ALL[1]}
    assert all((request_.out / "cells" / name / "model.pt").is_file() for name in ALL if name != ALL[1])


def test_fractions_are_a_dimension(request_: Request) -> None:
    assert run(request_, backbones=("resnet18",), seeds=(0,), fractions=(1.0, 0.25)) == 0
    rows = read(request_)["cells"]
    assert [(row["name"], row["fold"], row["train_fraction"]) for row in rows] == [
        ("resnet18_random_seed0_frac1.0", None, 1.0),
        ("resnet18_random_seed0_frac0.25", None, 0.25),
    ]


@pytest.mark.parametrize(("first", "then"), [((), (1.0, 0.25)), ((1.0,), ())])
def test_all_patients_are_the_same_ones_whether_asked_for_or_not(
    request_: Request, first: tuple[float, ...], then: tuple[float, ...]
) -> None:
    one = {"backbones": ("resnet18",), "seeds": (0,)}
    assert run(request_, **one, fractions=first) == 0
    names = [row["name"] for row in read(request_)["cells"]]
    assert run(request_, **one, fractions=then) == 0
    more = ["resnet18_random_seed0_frac0.25"] if 0.25 in then else []
    assert attempts(request_) == [row["name"] for row in read(request_)["cells"]] == [*names, *more]
    assert set(statuses(request_).values()) == {"finished"}


def test_the_same_command_again_does_nothing_and_new_seeds_grow_the_grid(request_: Request) -> None:
    assert run(request_) == 0
    before = {name: inodes(request_, name) for name in ALL}
    assert run(request_) == 0
    assert attempts(request_) == ALL
    assert run(request_, seeds=(2, 0)) == 0  # seed 1 is not asked for and stays
    assert {name: inodes(request_, name) for name in ALL} == before
    assert attempts(request_)[4:] == ["resnet18_random_seed2", "resnet34_random_seed2"]
    assert statuses(request_) == dict.fromkeys([*ALL, "resnet18_random_seed2", "resnet34_random_seed2"], "finished")


def test_jobs_run_at_a_time_and_never_more(request_: Request) -> None:
    (request_.dataset_dir / "brief").write_text(" ".join(ALL))
    assert run(request_, jobs=2, seeds=(0, 1, 2)) == 0
    times = []
    for file, step in (("ran", 1), ("ended", -1)):
        lines = (request_.dataset_dir / file).read_text().splitlines()
        times += [(float(line.split()[1]), step) for line in lines]
    level = most = 0
    for _, step in sorted(times):
        level += step
        most = max(most, level)
    assert most == 2


def test_a_failed_cell_is_named_and_the_rest_runs(request_: Request, capfd: pytest.CaptureFixture[str]) -> None:
    (request_.dataset_dir / "fail").write_text(ALL[1])
    assert run(request_) == 1
    assert attempts(request_) == ALL
    row = read(request_)["cells"][1]
    assert (row["status"], row["error"]) == ("failed", "--dataset_dir …/data: a.png cannot be read")
    printed = capfd.readouterr()
    assert f"2/4 {ALL[1]}: failed after 0.0 min: --dataset_dir " in printed.out
    log = request_.out / "cells" / ALL[1] / "log.txt"
    assert printed.err.splitlines()[-1] == f"1 of 4 cells failed; the first that ran is {ALL[1]}: read {log}"

    before = {name: inodes(request_, name) for name in ALL if name != ALL[1]}
    (request_.dataset_dir / "fail").unlink()
    assert run(request_) == 0
    assert attempts(request_) == [*ALL, ALL[1]]
    assert {name: inodes(request_, name) for name in before} == before
    assert read(request_)["cells"][1]["error"] == ""
    assert log.read_text().count("training") == 2  # what the first attempt printed is kept
    assert trained(request_)[ALL[1]] == EACH_STEP  # it went on


@pytest.mark.parametrize("change", ["epochs", "dataset", "config", "version", "weights", "more ids"])
def test_what_is_common_to_all_cells_must_not_change(request_: Request, change: str) -> None:
    assert run(request_, inits=("imagenet",), backbones=("resnet18",), seeds=(0,)) == 0
    changed = {"inits": ("imagenet",), "backbones": ("resnet18",), "seeds": (1,)}  # the finished cell is not asked for
    config = request_.bundle / "configs" / "train.json"
    if change == "epochs":
        changed["ids"] = {"epochs": "5"}
        said = "was made with epochs 3, this command says 5"
    elif change == "more ids":
        changed["ids"] = {"epochs": "3", "image_size": "32"}
        said = "was made with image_size 64, this command says 32"
    elif change == "dataset":
        listed = request_.dataset_dir / "datalist.json"
        listed.write_text(listed.read_text().replace("a.png", "b.png"))
        said = "was made with another data list"
    elif change == "config":
        config.write_text(config.read_text().replace("100", "90"))
        said = "was made with another 'published' in configs/train.json"
    elif change == "version":
        config.with_name("metadata.json").write_text('{"version": "0.2.0"}')
        said = "was made with bundle version 0.1.0, this command says 0.2.0"
    else:
        record = request_.out / "cells" / "resnet18_imagenet_seed0" / "run.json"
        record.write_text(
            record.read_text().replace('"sha256": "' + compare_fakes.resolve("imagenet", "resnet18"), '"sha256": "abc')
        )
        said = "started from other weights"
    if change == "weights":
        changed["seeds"] = (0, 1)
    with pytest.raises(UsageError, match=r"^cell resnet18_imagenet_seed0 ") as caught:
        run(request_, **changed)
    assert said in str(caught.value)
    assert str(caught.value).endswith("; choose another --out")
    assert attempts(request_) == ["resnet18_imagenet_seed0"]


def test_the_same_value_in_other_words_is_no_change(request_: Request) -> None:
    assert run(request_, seeds=(0,)) == 0
    assert run(request_, seeds=(0,), ids={"epochs": " 3.0", "image_size": "64"}) == 0
    assert attempts(request_) == [ALL[0], ALL[2]]


def test_another_bundle_or_data_set_is_refused(request_: Request) -> None:
    assert run(request_, seeds=(0,)) == 0
    other = request_.bundle.with_name("other")
    shutil.copytree(request_.bundle, other)
    with pytest.raises(UsageError, match="is of bundle made_bundle, this command of other; choose another --out"):
        run(request_, bundle=other)


def test_a_folder_with_other_files_is_left_alone(request_: Request) -> None:
    request_.out.mkdir()
    (request_.out / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds files but no grid\.json"):
        run(request_)
    assert [path.name for path in request_.out.iterdir()] == ["thesis.tex"]


def test_files_that_no_run_left_are_never_removed(request_: Request) -> None:
    own = request_.out / "cells" / ALL[0] / "model.pt"
    assert run(request_, backbones=("resnet34",)) == 0
    own.parent.mkdir()
    own.write_text("precious")
    assert run(request_) == 1
    assert own.read_text() == "precious"
    (row,) = (row for row in read(request_)["cells"] if row["name"] == ALL[0])
    assert (row["status"], "move them away" in row["error"]) == ("failed", True)


def test_a_finished_cell_that_lost_its_predictions_is_named_not_replaced(request_: Request) -> None:
    assert run(request_) == 0
    (request_.out / "cells" / ALL[3] / "predictions.csv").unlink()
    assert run(request_) == 1
    assert "has no predictions.csv" in read(request_)["cells"][3]["error"]
    assert attempts(request_) == ALL


def test_a_start_that_is_missing_fails_its_cells_at_once(request_: Request, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(request_, inits=("random", "cpmid"), seeds=(0,)) == 1
    row = read(request_)["cells"][-1]
    assert (row["name"], row["status"]) == ("resnet34_cpmid_seed0", "failed")
    assert row["error"] == "--inits cpmid: no weights of resnet34 in …/else"
    assert len(attempts(request_)) == 3
    said = "--inits cpmid: no weights of resnet34 in /somewhere/else"
    assert f"resnet34_cpmid_seed0: failed: {said}\n" in capfd.readouterr().err
    assert run(request_, inits=("random", "cpmid")) == 1
    assert f"resnet34_cpmid_seed0 and 1 more: failed: {said}\n" in capfd.readouterr().err
    with pytest.raises(UsageError, match="no cell can run; resnet34_cpmid_seed5: --inits cpmid: no weights"):
        run(request_, inits=("cpmid",), backbones=("resnet34",), seeds=(5,))


def test_a_path_of_weights_stands_there_without_its_folder(request_: Request, tmp_path: Path) -> None:
    weights = f"{tmp_path}/mine_1/model.pt"
    assert run(request_, inits=(weights,), backbones=("resnet18",), seeds=(0,)) == 0
    text = (request_.out / "grid.json").read_text()
    assert str(tmp_path) not in text
    assert read(request_)["cells"][0]["init"] == short_init(weights)
    assert short_init(weights).startswith("mine_1-model-")
    assert short_init(f"{tmp_path}/mine_2/../mine_1/model.pt") == short_init(weights)
    assert short_init(f"{tmp_path}/mine_2/model.pt") != short_init(weights)
    moved = replace(request_, inits=(weights,), backbones=("resnet18",), seeds=(0, 1))
    assert run(moved) == 0
    assert len(attempts(request_)) == 2


def test_a_second_comparison_is_refused(request_: Request) -> None:
    request_.out.mkdir()
    with FileLock(request_.out / LOCK_NAME), pytest.raises(UsageError, match="another medtl compare works there"):
        run(request_)
    assert run(request_, seeds=(0,)) == 0


def test_a_cell_whose_process_still_runs_is_not_touched(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "STOP_SECONDS", 0.3)
    log = locked_log(request_.out / "cells" / ALL[2])
    assert log is not None
    write_grid(request_.out, {"bundle": "made_bundle", "dataset": "made"}, {})
    with log, pytest.raises(MedtlError, match="resnet34_random_seed0 is still being run by a process"):
        run(request_)
    assert attempts(request_) == []
    assert run(request_) == 0


@pytest.mark.parametrize("moment", ["early", "slow", "reboot"])
def test_killed_in_the_middle_the_same_command_gives_the_same_numbers(
    tmp_path: Path, started: Callable[..., subprocess.Popen[str]], moment: str
) -> None:
    """Killed while two cells are finished and two have begun: before these have written anything; half-way, so that
    the kernel tells them to stop; or half-way and killed with it."""
    whole, killed = make(tmp_path / "whole"), make(tmp_path / "killed")
    assert run(whole) == 0

    waits = killed.dataset_dir / ("early" if moment == "early" else "slow")
    waits.write_text(" ".join(ALL[2:]))
    process = started(tmp_path / "killed")
    until(lambda: [statuses(killed).get(name) for name in ALL[:2]] == ["finished"] * 2)
    until(lambda: len(attempts(killed)) == 4)
    until(lambda: moment == "early" or all(half_way(killed, name) for name in ALL[2:]))
    before = {name: inodes(killed, name) for name in ALL[:2]}
    pids = [pid_of(killed, name) for name in ALL[2:]]
    assert all(alive(pid) for pid in pids) or sys.platform != "linux"
    ended = pids if moment == "reboot" else []
    for pid in ended:
        os.kill(pid, signal.SIGSTOP)  # so that it does not hear of the comparison's end
    process.kill()
    for pid in ended:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    if sys.platform == "linux":
        until(lambda: not any(alive(pid) for pid in pids))
    cut_off = {"early": None, "slow": "interrupted", "reboot": "running"}[moment]
    assert [records(killed).get(name, {}).get("status") for name in ALL[2:]] == [cut_off] * 2

    waits.unlink()
    assert run(killed) == 0
    assert {name: inodes(killed, name) for name in ALL[:2]} == before
    assert attempts(killed)[4:] == ALL[2:]
    assert results(killed) == results(whole)
    assert trained(killed) == dict.fromkeys(ALL, EACH_STEP)  # nothing was lost and nothing done twice
    assert [records(killed)[name].get("resumed") for name in ALL[2:]] == [None if moment == "early" else [2]] * 2


@pytest.mark.parametrize(
    ("harm", "resumed", "again"),
    [
        ("none", [2], [3, 4]),
        ("one checkpoint", [1], [2, 3, 4]),
        ("all checkpoints", None, EACH_STEP),
        ("no resume", None, EACH_STEP),
    ],
)
def test_what_can_go_on_does_and_all_else_begins_anew(
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
    harm: str,
    resumed: list[int] | None,
    again: list[int],
) -> None:
    one = {"backbones": ("resnet18",), "seeds": (0,)}
    whole, cut = make(tmp_path / "whole"), make(tmp_path / "cut")
    assert run(whole, **one) == 0
    if harm == "no resume":  # a bundle derived from one of an earlier version
        config = cut.bundle / "configs" / "train.json"
        config.write_text(json.dumps({id_: v for id_, v in json.loads(config.read_text()).items() if id_ != "resume"}))
    (cut.dataset_dir / "slow").write_text(ALL[0])
    process = started(tmp_path / "cut", 1)
    until(lambda: half_way(cut, ALL[0]))
    os.kill(pid_of(cut, ALL[0]), signal.SIGSTOP)  # it shall not save itself: it stays as it is
    process.kill()
    process.wait()
    os.kill(pid_of(cut, ALL[0]), signal.SIGKILL)
    checkpoints = cut.out / "cells" / ALL[0] / "checkpoints"
    for step in {"one checkpoint": [2], "all checkpoints": [1, 2]}.get(harm, []):
        (checkpoints / f"epoch_000{step}.pt").write_text("damaged")

    (cut.dataset_dir / "slow").unlink()
    assert run(cut, **one) == 0
    assert trained(cut)[ALL[0]] == [1, 2, *again]
    assert records(cut)[ALL[0]].get("resumed") == resumed
    assert results(cut) == {name: text for name, text in results(whole).items() if name == ALL[0]}


def test_a_cell_is_never_gone_on_with_by_another_recipe(request_: Request) -> None:
    """Cut off, it is named and nothing of it is touched; failed, what the command puts right may be the reason."""
    one = {"backbones": ("resnet18",), "seeds": (0,)}
    (request_.dataset_dir / "told").write_text(" ".join([ALL[0]] * 9))
    assert run(request_, **one) == 75
    folder, before = request_.out / "cells" / ALL[0], inodes(request_, ALL[0])
    for ids, said in (
        ({"epochs": "5"}, "was made with epochs 3, this command says 5"),
        ({"epochs": "3", "image_size": "32"}, "was made with image_size 64, this command says 32"),
    ):
        for changes in (one, {"backbones": ("resnet34",)}):  # where the command does not name it, too
            with pytest.raises(UsageError) as caught:
                run(request_, ids=ids, **changes)
            assert str(caught.value) == (
                f"cell {ALL[0]}, begun, not finished, {said}; choose another --out, or remove {folder} to begin it anew"
            )
    assert inodes(request_, ALL[0]) == before
    shutil.rmtree(folder)
    (request_.dataset_dir / "told").unlink()
    (request_.dataset_dir / "fail").write_text(ALL[0])
    assert run(request_, **one) == 1
    (request_.dataset_dir / "fail").unlink()
    (request_.dataset_dir / "steps").unlink()
    assert run(request_, **one, ids={"epochs": "5"}) == 0
    assert trained(request_)[ALL[0]] == EACH_STEP
    assert "resumed" not in records(request_)[ALL[0]]


def test_how_often_it_is_saved_may_change_and_where_it_goes_on_is_no_choice(request_: Request) -> None:
    one = {"backbones": ("resnet18",), "seeds": (0,)}
    (request_.dataset_dir / "told").write_text(" ".join([ALL[0]] * 9))
    assert run(request_, **one) == 75
    (request_.dataset_dir / "told").unlink()
    assert run(request_, **one, ids={"epochs": "3", "save_interval": "60"}) == 0
    assert trained(request_)[ALL[0]] == EACH_STEP
    with pytest.raises(UsageError, match="--resume auto: a comparison goes on by itself where it was; leave this out"):
        run(request_, ids={"resume": "auto"})


def test_weights_that_changed_are_not_gone_on_from(request_: Request) -> None:
    one = {"backbones": ("resnet18",), "seeds": (0,), "inits": ("imagenet",)}
    name = "resnet18_imagenet_seed0"
    (request_.dataset_dir / "told").write_text(" ".join([name] * 9))
    assert run(request_, **one) == 75
    record = request_.out / "cells" / name / "run.json"
    record.write_text(record.read_text().replace(compare_fakes.resolve("imagenet", "resnet18") or "", "abc"))
    with pytest.raises(UsageError, match=f"cell {name}, begun, not finished, started from other weights"):
        run(request_, **one)


def test_a_cell_that_somebody_told_to_stop_is_taken_up_again_at_the_end(
    request_: Request, capfd: pytest.CaptureFixture[str]
) -> None:
    (request_.dataset_dir / "told").write_text(f"{ALL[1]} {ALL[1]}")
    assert run(request_) == 0
    assert attempts(request_) == [*ALL, ALL[1], ALL[1]]
    assert trained(request_) == dict.fromkeys(ALL, EACH_STEP)
    assert records(request_)[ALL[1]]["resumed"] == [1, 2]
    printed = capfd.readouterr().out
    assert printed.count(f"{ALL[1]}: told to stop after 0.0 min, goes on later\n") == 2
    assert "failed" not in printed


def test_told_to_stop_each_time_it_waits_and_the_same_command_goes_on(
    request_: Request, capfd: pytest.CaptureFixture[str]
) -> None:
    (request_.dataset_dir / "told").write_text(" ".join([ALL[1]] * 9))
    assert run(request_) == 75
    assert attempts(request_) == [*ALL, *[ALL[1]] * 3]
    assert statuses(request_) == {**dict.fromkeys(ALL, "finished"), ALL[1]: "waiting"}
    assert read(request_)["cells"][1]["error"] == "begun, not finished"
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"1 of 4 cells wait, told to stop 4 times (the first is {ALL[1]}); the same command goes on"
    )
    (request_.dataset_dir / "told").unlink()
    assert run(request_) == 0
    assert trained(request_)[ALL[1]] == EACH_STEP


def test_a_mistake_of_all_cells_is_found_before_anything_is_written(request_: Request) -> None:
    deep = request_.out / "of" / "mine"
    with pytest.raises(UsageError, match=r"^--epochs 0: expected a whole number of at least 1$"):
        run(request_, ids={"epochs": "0"}, out=deep)
    assert not request_.out.exists()
    request_.out.mkdir()
    with pytest.raises(UsageError, match=r"^--epochs 0: "):
        run(request_, ids={"epochs": "0"})
    assert list(request_.out.iterdir()) == []
    assert attempts(request_) == []


def test_told_to_stop_before_a_cell_was_begun_it_leaves_nothing(
    request_: Request, capfd: pytest.CaptureFixture[str]
) -> None:
    def preflight(config: Path, overrides: Mapping[str, str]) -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        return ""

    with pytest.raises(ToldToStop, match=r"^stopped by SIGUSR1 before a cell was begun; the same command goes on$"):
        compare(request_, command=compare_fakes.command, resolve=compare_fakes.resolve, preflight=preflight)
    assert capfd.readouterr() == ("", "")
    assert not request_.out.exists()


@pytest.mark.parametrize("file", ["told", "fail", "nothing"])
def test_what_has_run_is_not_tried_again(request_: Request, file: str) -> None:
    """But where a cell failed, the reason may be common to all."""
    (request_.dataset_dir / file).write_text(" ".join([ALL[0]] * 9))
    assert run(request_, backbones=("resnet18",), seeds=(0,)) == {"told": 75, "fail": 1, "nothing": 0}[file]
    (request_.dataset_dir / file).unlink()
    asked: list[str] = []

    def preflight(config: Path, overrides: Mapping[str, str]) -> str:
        asked.append(Path(overrides["output_dir"]).name)
        return ""

    assert compare(request_, command=compare_fakes.command, resolve=compare_fakes.resolve, preflight=preflight) == 0
    assert asked == (ALL[:1] if file == "fail" else [])


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and waits to be collected does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)]
)
def test_told_to_stop_it_stops_its_cells_and_says_how_to_go_on(
    request_: Request,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
    number: signal.Signals,
    status: int,
) -> None:
    (request_.dataset_dir / "slow").write_text(" ".join(ALL))
    process = started(tmp_path, 2)
    until(lambda: len(attempts(request_)) == 2)
    until(lambda: all(half_way(request_, name) for name in ALL[:2]))
    process.send_signal(number)
    process.send_signal(number)  # timeout(1) sends two
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == status
    assert printed.splitlines()[-1] == (
        f"stopped by {number.name}: 0 of 4 cells are finished; the same command goes on"
    )
    for name in ALL[:2]:
        log = locked_log(request_.out / "cells" / name)
        assert log is not None  # nothing runs there any more
        log.close()
    assert [records(request_)[name]["status"] for name in ALL[:2]] == ["interrupted"] * 2
    assert statuses(request_) == dict.fromkeys(ALL, "waiting")
    (request_.dataset_dir / "slow").unlink()
    assert run(request_) == 0
    assert trained(request_) == dict.fromkeys(ALL, EACH_STEP)


def test_ctrl_c_does_not_wait_for_cells_that_do_not_hear(
    request_: Request, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    for file in ("slow", "deaf"):
        (request_.dataset_dir / file).write_text(ALL[0])
    process = started(tmp_path, 1)
    until(lambda: half_way(request_, ALL[0]))
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == (
        "the cells that run have up to 100 seconds to save themselves; Ctrl-C kills them at once\n"
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 75
    assert statuses(request_) == dict.fromkeys(ALL, "waiting")
    for file in ("slow", "deaf"):
        (request_.dataset_dir / file).unlink()
    assert run(request_) == 0
    assert trained(request_) == dict.fromkeys(ALL, EACH_STEP)


def test_two_at_once_from_the_command_line(
    request_: Request, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    (request_.dataset_dir / "slow").write_text(" ".join(ALL))
    first = started(tmp_path, 1)
    until(lambda: len(attempts(request_)) == 1)
    second = started(tmp_path, 1)
    printed, _ = second.communicate(timeout=120)
    assert (second.returncode, len(printed.splitlines())) == (2, 1)
    assert "another medtl compare works there" in printed
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 75


def test_cells_at_a_time_share_the_cores_unless_the_user_says_otherwise() -> None:
    alone = environment({"A": "1"}, 1, False)
    assert alone == {"A": "1", "PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    assert environment({"OMP_WAIT_POLICY": "ACTIVE"}, 1, False)["OMP_WAIT_POLICY"] == "ACTIVE"
    assert environment({"OMP_NUM_THREADS": "1"}, 4, False)["OMP_NUM_THREADS"] == "1"
    assert int(environment({}, 2, False)["OMP_NUM_THREADS"]) == max(1, (os.cpu_count() or 1) // 2)


@pytest.fixture(scope="module")
def breast() -> Path:
    """The prepared sample of the smallest fine-tune bundle."""
    if not (ROOT / "bundles" / "breastmnist" / "configs" / "train.json").is_file():
        pytest.skip("bundles/breastmnist is not there")
    from data_prep import sample

    return Path(sample.prepared("breastmnist"))


def medtl(*words: str) -> tuple[int, str]:
    """The command as a user gives it: exit status, and all that was printed."""
    process = begun(*words)
    printed, _ = process.communicate(timeout=600)
    return process.returncode, printed


def begun(*words: str) -> subprocess.Popen[str]:
    """The command, which runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "medtl", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_real_thing(breast: Path, tmp_path: Path) -> None:
    """A cell through MONAI itself that is killed after its first epoch, as in a reboot, and goes on to the numbers of a
    run that nobody disturbed; another that fails; what they recorded agrees with what the next command asks."""
    command = ["compare", str(ROOT / "bundles" / "breastmnist"), "--dataset_dir", str(breast)]
    command += ["--backbones", "resnet18", "--out", str(tmp_path / "grid")]
    ids = ["--image_size=32", "--num_workers", "0", "--train#trainer#decollate", "False", "--epochs"]
    request = Request(Path(), Path(), (), (), (), tmp_path / "grid")
    folder = tmp_path / "grid" / "cells" / "resnet18_random_seed0"

    process = begun(*command, *ids, "3", "--inits", "random")
    until(lambda: (folder / "checkpoints" / "epoch_0001.json").exists() or process.poll() is not None, 600)
    os.kill(pid_of(request, folder.name), signal.SIGSTOP)
    process.kill()
    os.kill(pid_of(request, folder.name), signal.SIGKILL)
    process.communicate()
    assert records(request)[folder.name]["status"] == "running"
    reached = max(path.name for path in (folder / "checkpoints").glob("epoch_*.pt"))
    assert reached < "epoch_0003.pt"

    status, printed = medtl(*command, *ids, "3", "--inits", f"random,{tmp_path}/none/w.pt")
    assert status == 1, printed
    rows = read(request)["cells"]
    assert [(row["init"].split("-")[0], row["status"]) for row in rows] == [("random", "finished"), ("none", "failed")]
    assert read(request)["ids"] == {"epochs": 3, "image_size": 32, "num_workers": 0, "train#trainer#decollate": False}
    assert str(tmp_path) not in (tmp_path / "grid" / "grid.json").read_text()
    assert "no such file or folder" in rows[1]["error"]
    assert [each["from"] for each in records(request)[folder.name]["resumed"]] == [reached]
    where = ["--dataset_dir", str(breast), "--output_dir", str(tmp_path / "whole"), "--seed", "0"]
    config = ["--config_file", str(ROOT / "bundles" / "breastmnist" / "configs" / "train.json")]
    status, printed = bundle_here("run", *config, *where, "--backbone", "resnet18", "--init", "random", *ids, "3")
    assert status == 0, printed
    for name in ("metrics.json", "predictions.csv", "history.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name

    before = inodes(request, folder.name)
    status, printed = medtl(*command, *ids, "3", "--inits", "random")
    assert (status, printed.splitlines()[0]) == (0, "1 of 1 cells were finished before")
    assert inodes(request, folder.name) == before
    status, printed = medtl(*command, *ids, "2", "--inits", "random")
    assert (status, len(printed.splitlines())) == (2, 1)
    assert "cell resnet18_random_seed0 was made with epochs 3, this command says 2; choose another --out" in printed


def test_an_id_within_a_list_is_the_same_when_the_command_is_repeated(request_: Request) -> None:
    path = request_.bundle / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["train"]["handlers"] = [{"interval": 1}, {"every": 2}]
    path.write_text(json.dumps(config))
    once = {"backbones": ("resnet18",), "seeds": (0,)}
    for _ in range(2):
        assert run(request_, ids={"epochs": "3", "train#handlers#0#interval": "2"}, **once) == 0
    assert attempts(request_) == [ALL[0]]
    with pytest.raises(UsageError, match="was made with another train#handlers; choose another --out"):
        run(request_, ids={"epochs": "3", "train#handlers#0#interval": "3"}, **once)


def test_cells_of_weights_that_a_later_command_does_not_name_stay(request_: Request, tmp_path: Path) -> None:
    one = {"backbones": ("resnet18",), "seeds": (0,)}
    assert run(request_, inits=("random", f"{tmp_path}/mine/model.pt"), **one) == 0
    assert run(request_, inits=("random", f"{tmp_path}/other/model.pt"), **one) == 0
    assert len(attempts(request_)) == 3
    assert sorted(row["status"] for row in read(request_)["cells"]) == ["finished"] * 3
