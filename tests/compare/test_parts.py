"""The parts of the grid that need no process: words, names, records, progress; and how a process is ended."""

import contextlib
import io
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import compare_fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from medtl.compare import cell as compare_cell
from medtl.compare.cell import Stop, last_error, run_cell
from medtl.compare.checks import check_backbones, check_ids, read_bundle, read_data
from medtl.compare.plan import ONE_SETTING, Cell, Request, Setting, as_row, cells_of, from_row, settings_of, short_init
from medtl.compare.progress import Board, in_words, shown
from medtl.compare.standing import tried
from medtl.compare.state import State, clear, look, without_paths
from medtl.compare.task import command_of, task_of
from medtl.compare.warm import Warm
from medtl.compare.words import axes, names, shares, split_words, whole_numbers
from medtl.errors import MedtlError, UsageError
from medtl.report import provenance


def test_words_are_read_as_monai_reads_them() -> None:
    words = ["--epochs", "3", "bundles/x", "--learning_rate=-1e-3", "--train#trainer#amp", "false", "--shift", "-0.5"]
    assert split_words(words) == (
        Path("bundles/x"),
        {"epochs": "3", "learning_rate": "-1e-3", "train#trainer#amp": "false", "shift": "-0.5"},
    )
    assert split_words(["b", "--image-size=a=b"]) == (Path("b"), {"image_size": "a=b"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["b", "--epochs", "3", "4"], "unexpected word '4'"),
        (["b", "--epochs"], "--epochs needs a value"),
        (["b", "--epochs", "--image_size", "3"], "--epochs needs a value"),
        (["b", "--epochs", "3", "--epochs=4"], "--epochs is given twice: 3 and 4"),
        (["--epochs", "b"], "which bundle?"),
    ],
)
def test_words_that_belong_nowhere(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_words(words)
    assert said in str(caught.value)


def test_lists() -> None:
    assert names("--inits", "random, /a/b.pt") == ("random", "/a/b.pt")
    assert whole_numbers("--seeds", "10,0") == (10, 0)
    assert shares("--fractions", "1,0.25") == (1.0, 0.25)


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (whole_numbers, "0,x", "expected whole numbers from 0"),
        (whole_numbers, "-1", "expected whole numbers from 0"),
        (whole_numbers, "1.0", "expected whole numbers from 0"),
        (whole_numbers, "0,1,00", "0 stands there twice"),
        (whole_numbers, "", "expected whole numbers from 0"),
        (names, "a,,b", "expected a comma-separated list"),
        (names, "a,b,a", "a stands there twice"),
        (shares, "0", "expected numbers above 0 and up to 1"),
        (shares, "nan", "expected numbers above 0 and up to 1"),
        (shares, "1.0,1", "1.0 stands there twice"),
    ],
)
def test_lists_that_are_none(read: object, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read("--option", text)  # type: ignore[operator]
    assert str(caught.value).startswith(f"--option {text}: ")
    assert said in str(caught.value)


def changed(request: Request, **changes: object) -> Request:
    return Request(**{**vars(request), **changes})


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ({"epoch": "3"}, "--epoch 3: train.json of made_bundle has no id of that name; did you mean --epochs?"),
        ({"train#trainer#ampp": "1"}, "did you mean --train#trainer#amp?"),
        ({"job": "1"}, "did you mean --jobs?"),
        ({"zzzz": "1"}, "its ids stand at the top of the file"),
        ({"seed": "1"}, "--seed 1: a comparison sets it for each cell; say --seeds instead"),
        ({"output_dir": "x"}, "say --out instead"),
        ({"image_size": "32"}, "--image_size 32: the settings of this grid differ in it; say --vary instead"),
        ({"resum": "auto"}, "its ids stand at the top of the file"),
    ],
)
def test_ids_that_the_bundle_has_not(tmp_path: Path, ids: dict[str, str], said: str) -> None:
    settings = (Setting("small", (("image_size", "32"),)), Setting("large", (("image_size", "64"),)))
    request = changed(compare_fakes.make(tmp_path), ids=ids, settings=settings)
    with pytest.raises(UsageError) as caught:
        check_ids(read_bundle(request.bundle), request)
    assert said in str(caught.value)


def test_ids_of_every_training_are_taken_though_no_config_names_them(tmp_path: Path) -> None:
    settings = (Setting("patient", (("patience", "5"),)), Setting("impatient", (("patience", "1"),)))
    request = compare_fakes.make(tmp_path)
    bundle = read_bundle(request.bundle)
    check_ids(bundle, changed(request, ids={"patience": "5"}))
    check_ids(bundle, changed(request, settings=settings))
    with pytest.raises(UsageError, match="did you mean --patience"):
        check_ids(bundle, changed(request, ids={"patienc": "5"}))


def test_nested_ids_are_known(tmp_path: Path) -> None:
    request = changed(compare_fakes.make(tmp_path), ids={"train#trainer#amp": "false", "published#epochs": "3"})
    check_ids(read_bundle(request.bundle), request)


def test_a_bundle_without_what_a_comparison_varies(tmp_path: Path) -> None:
    request = compare_fakes.make(tmp_path)
    path = request.bundle / "configs" / "train.json"
    config = json.loads(path.read_text())
    del config["fold"]
    path.write_text(json.dumps(config))
    check_ids(read_bundle(request.bundle), request)
    with pytest.raises(UsageError, match="has no id 'fold', which --folds sets"):
        check_ids(read_bundle(request.bundle), changed(request, folds=(0,)))
    with pytest.raises(UsageError, match="no such folder; expected a bundle"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"--backbones resnet19: .* is not one of .*did you mean resnet18"):
        check_backbones(("resnet18", "resnet19"))


def test_data_that_do_not_suit(tmp_path: Path) -> None:
    request = compare_fakes.make(tmp_path)
    bundle = read_bundle(request.bundle)
    assert read_data(bundle, changed(request, folds=(0, 1))).name == "made"
    with pytest.raises(UsageError, match=r"^--folds 5: .* has the folds 0, 1"):
        read_data(bundle, changed(request, folds=(5,)))
    with pytest.raises(UsageError, match=r"^--dataset_dir .*nowhere: no such folder"):
        read_data(bundle, changed(request, dataset_dir=tmp_path / "nowhere"))
    configs = request.bundle / "configs"
    outputs = {"pred": {"channel_def": {"0": "ill", "1": "well"}}}
    (configs / "metadata.json").write_text(json.dumps({"network_data_format": {"outputs": outputs}}))
    assert read_bundle(request.bundle).classes == ()  # its classes are those of the data
    (configs / "train.json").write_text('{"classes": "$list(@_meta_#…#channel_def.values())"}')
    with pytest.raises(UsageError, match="has the classes one, two; made_bundle has ill, well"):
        read_data(read_bundle(request.bundle), request)


def test_cells_have_different_names_and_survive_grid_json() -> None:
    request = Request(
        Path("b"), Path("d"), ("resnet18", "vit_b16"), ("random", "/a/x.pt", "/b/x.pt", "x.pt"), (0, 1), Path("g"),
        folds=(0, 1), fractions=(1.0, 0.1),
    )  # fmt: skip
    cells = cells_of(request)
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 4 * 2 * 2 * 2
    assert cells[0].name == "resnet18_random_seed0_fold0_frac1.0"
    assert cells[1].seed == 1  # the last dimension varies fastest
    assert [from_row(json.loads(json.dumps(as_row(cell)))) for cell in cells] == cells
    assert all("/" not in cell.name + cell.init for cell in cells)
    assert short_init("imagenet") == "imagenet"
    twice = replace(request, inits=("a/x.pt", "./a/x.pt"))
    assert cells_of(twice) == cells_of(replace(request, inits=("a/x.pt",)))


def test_every_id_may_be_a_dimension() -> None:
    varied = axes(["freeze=none,trunk;train::augmentation::flip=0,0.5", "learning_rate=1e-3"])
    assert varied == {"freeze": ("none", "trunk"), "train#augmentation#flip": ("0", "0.5"), "learning_rate": ("0.001",)}
    settings = settings_of(varied)
    assert [setting.name for setting in settings] == [
        f"freeze-{freeze}_flip-{flip}_learning_rate-0.001" for freeze in ("none", "trunk") for flip in ("0", "0.5")
    ]
    request = Request(Path("b"), Path("d"), ("resnet18",), ("random",), (0, 1), Path("g"), settings=settings)
    cells = cells_of(request)
    assert cells[0].name == "resnet18_random_freeze-none_flip-0_learning_rate-0.001_seed0"
    assert len({cell.name for cell in cells}) == 8
    row = json.loads(json.dumps(as_row(cells[-1])))
    assert row["ids"] == {"freeze": "trunk", "train#augmentation#flip": 0.5, "learning_rate": 0.001}
    assert from_row(row) == cells[-1]
    assert settings_of({}) == ONE_SETTING


def test_two_cells_of_one_folder_are_refused() -> None:
    alike = settings_of({"loss": ("[a+b]", "[a-b]")})
    with pytest.raises(UsageError, match=r"loss=\[a\+b\] and of .*loss=\[a-b\] would both have the folder cells/"):
        cells_of(Request(Path("b"), Path("d"), ("resnet18",), ("random",), (0,), Path("g"), settings=alike))


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (["freeze"], "--vary freeze: expected ID=A,B"),
        (["freeze=none;"], "--vary : expected ID=A,B"),
        (["freeze=none", "--freeze=trunk"], "freeze is varied twice"),
        (["freeze=none,none"], "none stands there twice"),
    ],
)
def test_settings_that_are_none(vary: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        axes(vary)
    assert said in str(caught.value)


def test_a_folder_that_another_process_keeps_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_cell, "LINGERING_SECONDS", 0.0)
    request = compare_fakes.make(tmp_path)
    task = task_of(request, read_bundle(request.bundle), cells_of(request)[0], "made", "", None)
    log = compare_cell.locked_log(task.folder)
    assert log is not None
    with log, contextlib.closing(Warm({}, preload=False)) as warm, pytest.raises(MedtlError, match="still runs in"):
        run_cell(task, warm, Stop())


PARTS = st.text("abcXYZ019-+", min_size=1, max_size=8)


@given(st.lists(PARTS, min_size=2, max_size=5), st.sampled_from(["{}", "error: {}: no", "'{}'", "({}, 3)", "--x={}"]))
def test_no_absolute_path_is_left(parts: list[str], sentence: str) -> None:
    path = "/" + "/".join(parts)
    assert without_paths(sentence.format(path)) == sentence.format(f"…/{parts[-1]}")
    assert without_paths(sentence.format("and/or, 1/2 km/h")) == sentence.format("and/or, 1/2 km/h")


def test_known_folders_are_cut_even_with_spaces() -> None:
    known = (Path("/home/Jane Doe/my data"), Path("/home/Jane Doe"))
    assert without_paths("/home/Jane Doe/my data/a b.png: no", known) == "…/a b.png: no"
    assert without_paths("/home/Jane Doe/my data has none", known) == "…/my data has none"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("error: first\nerror: --x 3: no\nlater\n", 2, "--x 3: no"),
        ("epoch 1\rlast words\n\n  \n", 1, "last words"),
        ("Traceback\n  File\nKeyError: 'a'\n\nTraceback\nRuntimeError: Failed\n'$x'\n", 1, "KeyError: 'a'"),
        ("epoch 1\n", -9, "ended by signal 9 (Killed); its last line: epoch 1"),
        ("process 12: python\n", 1, "nothing was printed"),
        ("", 1, "nothing was printed"),
        ("\udcff\n", 1, "�"),
    ],
)
def test_the_reason_is_read_from_this_attempts_log(tmp_path: Path, text: str, status: int, said: str) -> None:
    log = tmp_path / "log.txt"
    before = b"error: of an earlier attempt\n"
    log.write_bytes(before + text.encode("utf-8", errors="surrogateescape"))
    assert last_error(log, len(before), status) == said


def test_clearing_leaves_the_log_alone_and_the_record_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("log.txt", "model.pt", "checkpoints/a.pt", "tensorboard/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "kept").write_text("")
    (tmp_path / "link").symlink_to(outside)
    assert look(tmp_path) == "foreign"
    (tmp_path / "run.json").write_text('{"status": "running"}')
    assert look(tmp_path) == "unfinished"
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            clear(tmp_path)
    assert look(tmp_path) == "unfinished"
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
    assert look(tmp_path) == "nothing"
    assert (outside / "kept").exists()


def test_what_a_run_leaves_that_dies_before_it_has_a_record_is_nothing(tmp_path: Path) -> None:
    for name in ("log.txt", ".writable", "checkpoints/.lock", ".run.json.0.medtl-part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert look(tmp_path) == "nothing"
    (tmp_path / "checkpoints" / "epoch_0001.pt").touch()
    assert look(tmp_path) == "foreign"


def test_a_few_cells_show_every_value_of_each_dimension() -> None:
    request = Request(
        Path("b"), Path("d"), ("resnet18", "resnet34"), ("random", "cpmid"), (0, 1, 2), Path("g"), folds=(0, 1)
    )
    cells = cells_of(request)
    kept = tried(cells)
    assert kept[0] == cells[0]
    assert len(kept) == 6  # the first, two more seeds, and one more of each other dimension
    for name in ("backbone", "init", "seed", "fold"):
        assert {getattr(cell, name) for cell in kept} == {getattr(cell, name) for cell in cells}
    assert tried(cells[:1]) == cells[:1]


def test_a_process_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_cell, "STOP_SECONDS", 0.3)
    request = compare_fakes.make(tmp_path)
    (request.dataset_dir / "slow").write_text(cells_of(request)[0].name)
    (request.dataset_dir / "deaf").write_text(cells_of(request)[0].name)
    task = task_of(request, read_bundle(request.bundle), cells_of(request)[0], "made", "", None)
    stop = Stop()
    with contextlib.closing(Warm(os.environ, preload=False)) as warm, ThreadPoolExecutor(1) as threads:
        doing = threads.submit(run_cell, task, warm, stop, compare_fakes.command)
        while not (task.folder / "checkpoints" / "epoch_0002.json").exists():
            time.sleep(0.02)
        stop.set(signal.SIGTERM)
        assert doing.result(timeout=20).status == "waiting"
    assert not compare_cell.still_runs(task.folder)


def test_what_starts_cells_is_missed_when_it_is_gone(tmp_path: Path) -> None:
    warm = Warm(os.environ, preload=False)
    sleep = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(60)"]
    with open(tmp_path / "log", "ab") as log:
        pid, ended = warm.start(sleep, log)
        os.kill(warm._process.pid, signal.SIGKILL)
        with pytest.raises(MedtlError, match="the process that starts cells has ended"):
            ended.result(timeout=20)
        with pytest.raises(MedtlError, match="the process that starts cells has ended"):
            warm.start(sleep, log)
    os.kill(pid, signal.SIGKILL)


CELLS = [Cell(f"cell{number}", "resnet18", "random", number) for number in range(9)]


def test_a_small_terminal_shows_what_matters() -> None:
    statuses = ["finished"] * 4 + ["failed"] + ["running"] + ["waiting"] * 3
    states = {cell: State(status) for cell, status in zip(CELLS, statuses, strict=True)}  # type: ignore[arg-type]
    assert [cell.name for cell in shown(states, 5)] == ["cell3", "cell4", "cell5", "cell6", "cell7"]
    assert shown(states, 99) == CELLS


def test_the_table_on_a_terminal_and_lines_elsewhere() -> None:
    states = {cell: State() for cell in CELLS[:3]}
    for terminal in (True, False):
        printed = io.StringIO()
        console = Console(file=printed, force_terminal=terminal, width=90, height=30, color_system=None)
        with Board(states, console) as board:
            board.tell(CELLS[0], State("running", "", 0.0))
            board.tell(CELLS[0], State("running", "", 1.26))
            board.tell(CELLS[0], State("finished", "", 2.0, "val_auc 0.8000"))
            board.tell(CELLS[1], State("failed", "[bold]no[/bold] such file " + "x" * 100, 0.5))
        text = printed.getvalue()
        if terminal:
            assert "3 cells: 1 finished, 0 running, 1 waiting, 1 failed" in text
            assert "1.3" in text
            assert "val_auc 0.8000" in text
            assert "[bold]no[/bold]" in text
        else:
            assert text == (
                "1/3 cell0: finished in 2.0 min, val_auc 0.8000\n"
                f"2/3 cell1: failed after 0.5 min: [bold]no[/bold] such file {'x' * 100}\n"
            )
    assert in_words(State("failed", "no weights")) == "failed: no weights"


def test_a_report_repeats_the_settings_of_a_grid() -> None:
    settings = settings_of(axes(["learning_rate=1e-3,1e-4;freeze=none,trunk"]))
    cells = cells_of(Request(Path("b"), Path("d"), ("resnet18",), ("random",), (0,), Path("g"), settings=settings))
    grid = {"bundle": "folder", "ids": {"epochs": 3}, "cells": [as_row(cell) for cell in cells]}
    line = provenance._grid_command(grid)
    assert "--vary learning_rate=0.001,0.0001 --vary freeze=none,trunk --epochs 3 " in line
    assert " --protocol made --epochs 3 " in provenance._grid_command({**grid, "protocol": "made"})


def test_a_cell_runs_the_bundle_that_the_command_meant_wherever_its_worker_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compare_fakes.make(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    request = replace(made, bundle=made.bundle.relative_to(tmp_path / "here"), out=Path("grid"))
    task = task_of(request, read_bundle(request.bundle), cells_of(request)[0], "made", "", None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = command_of(task, resumes=False)
    assert Path(words[words.index("--config_file") + 1]).is_file()
    assert task.folder.is_absolute()
