"""Which run goes on, from which checkpoint, and what cannot go on."""

import contextlib
import dataclasses
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medtl import datalist
from medtl.compare.checks import Bundle
from medtl.compare.plan import Cell
from medtl.compare.task import Task
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.runs import folder as run_folder
from medtl.runs import resume
from medtl.runs.record import RunRecord, Start
from medtl.runs.recorder import Recorder
from medtl.runs.workflow import Workflow
from medtl.weights.starts import Start as StartOf
from medtl.writers import checkpoint

pytestmark = pytest.mark.slow

RECIPE = {"epochs": 3, "seed": 0, "learning_rate": 0.1, "device": "cpu", "num_workers": 0}


@pytest.fixture
def data(tmp_path: Path) -> DataList:
    entry = {"image": "a.png", "label": 0, "patient": "p/1", "source": "p", "sha256": "0" * 64}
    listed = DataList("p", ("a", "b"), 1, "none", "test", False, training=[entry], validation=[entry], test=[])
    datalist.write(listed, tmp_path / "data")
    return datalist.read(tmp_path / "data")


def record(data: DataList, **recipe: Any) -> Recorder:
    return Recorder({"name": "made", "version": "1"}, data, {**RECIPE, **recipe})


def interrupted(
    folder: Path, data: DataList, *names: str, status: str = "interrupted", begun: RunRecord | None = None
) -> Path:
    """A run's folder with whole checkpoints."""
    (folder / "checkpoints").mkdir(parents=True)
    dataclasses.replace(begun or record(data).record, status=status).write(folder)
    for number, name in enumerate(names, 1):
        facts = {"epoch": number, "iteration": 10 * number, "processes": 1, "best_epoch": 0}
        checkpoint.write({"x": torch.zeros(3)}, folder / "checkpoints" / name, facts)
    return folder


def last_line(captured: pytest.CaptureFixture[str]) -> str:
    return captured.readouterr().err.strip().splitlines()[-1]


def refused(captured: pytest.CaptureFixture[str], folder: Path, words: str, made: Recorder, status: int = 2) -> str:
    with pytest.raises(MedtlError) as told:
        resume.open_run(str(folder), words, made)
    assert told.value.exit_status == status
    return str(told.value)


def test_a_new_run_needs_a_folder_without_one(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = record(data)
    assert resume.open_run(str(tmp_path / "run"), "", first) == ""
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    line = refused(capsys, tmp_path / "run", "", record(data))
    advice = "holds another run; choose another folder, or go on with a run that has not finished by --resume auto"
    assert advice in line
    for status in ("interrupted", "finished", "failed"):
        folder = interrupted(tmp_path / status, data, "epoch_0001.pt", status=status)
        assert advice in refused(capsys, folder, "", record(data))


def test_auto_takes_the_newest_whole_checkpoint_and_says_what_is_damaged(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", "epoch_0002.pt", "epoch_0003_batch_00002.pt")
    within, second, first = checkpoint.found(folder / "checkpoints")
    within.with_suffix(".json").unlink()
    second.write_bytes(second.read_bytes()[:-7])
    (folder / "checkpoints" / ".epoch_0004.pt.123.medtl-part").touch()
    made = record(data)
    assert resume.open_run(str(folder), "auto", made) == str(first)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"{within} was not written to its end: looking at the one before",
        f"{second} is damaged (its SHA-256 has changed): looking at the one before",
        f"going on from {first}: epoch 1, iteration 10",
    ]
    written = json.loads((folder / "run.json").read_text())
    assert written["status"] == "running"
    assert [each["from"] for each in written["resumed"]] == ["epoch_0001.pt"]
    assert not list(folder.rglob("*.medtl-part"))
    made.lock = None  # that process is gone
    first.write_bytes(b"")
    within.unlink()
    assert "no checkpoint in" in refused(capsys, folder, "auto", record(data), 1)


def test_a_path_names_a_run_or_one_of_its_checkpoints(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", "epoch_0002.pt")
    second, first = checkpoint.found(folder / "checkpoints")
    for path, expected in ((folder, second), (folder / "checkpoints", second), (first, first)):
        assert resume.output_dir(str(tmp_path / "bundles" / "made"), str(path)) == str(folder)
        made = record(data)
        assert resume.open_run(str(folder), str(path), made) == str(expected)
        made.lock = None  # that process is gone
    capsys.readouterr()
    first.write_bytes(b"")
    assert refused(capsys, folder, str(first), record(data), 1).endswith("is damaged (its SHA-256 has changed)")
    assert "goes on in its own folder" in refused(capsys, tmp_path / "other", str(folder), record(data))
    assert "expected auto, a run's folder or one of its" in refused(capsys, folder, "model.pt", record(data))
    assert "expected auto, a run's folder or a checkpoint" in refused(capsys, folder, 7, record(data))  # type: ignore[arg-type]


def test_auto_begins_what_is_not_there_or_died_before_its_first_checkpoint(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "absent", interrupted(tmp_path / "early", data, status="running")):
        assert resume.open_run(str(folder), "auto", record(data)) == ""
        assert last_line(capsys) == f"nothing to resume in {folder}: the run begins"
        assert "resumed" not in json.loads((folder / "run.json").read_text())
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.pt").touch()
    assert "no run.json that can be read" in refused(capsys, tmp_path / "foreign", "auto", record(data))


def test_without_a_folder_auto_takes_the_newest_that_is_not_finished(
    data: DataList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root, runs = str(tmp_path / "bundles" / "made"), tmp_path / "runs" / "made"
    assert resume.output_dir(root, "auto").startswith("runs/made/20")  # a new one
    for number, status in enumerate(("interrupted", "failed", "running", "finished", "failed")):
        names = ("epoch_0001.pt",) if number < 4 else ()
        folder = interrupted(runs / str(number), data, *names, status=status)
        content = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**content, "started": f"2026-01-0{number + 1}"}))
    assert resume.output_dir(root, "auto") == str(Path("runs/made/2"))
    monkeypatch.setattr(resume, "DYING_SECONDS", 0)
    running = record(data)
    resume.open_run("runs/made/2", "auto", running)  # somebody trains there now
    assert resume.output_dir(root, "auto") == str(Path("runs/made/1"))
    assert resume.output_dir(root, "") not in {str(path) for path in runs.iterdir()}


def test_only_one_process_trains_in_a_folder(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "DYING_SECONDS", 0.1)
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")
    first = record(data)
    resume.open_run(str(folder), "auto", first)
    assert "another process trains there" in refused(capsys, folder, "auto", record(data))
    assert first.lock is not None


def test_a_finished_run_is_left_alone(data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", status="finished")
    before = (folder / "run.json").read_bytes()
    assert refused(capsys, folder, "auto", record(data), 0) == f"{folder} holds a finished run: nothing is left to do"
    assert (folder / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"learning_rate": 0.2}, "begun with learning_rate 0.1, this command says 0.2; only the same run can go on"),
        ({"seed": 1}, "begun with seed 0, this command says 1; only"),
        (
            {"epochs": 9},
            "begun with epochs 3, this command says 9 (the learning rate follows a schedule over all epochs)",
        ),
        ({"extra": "x"}, "begun with extra None, this command says x"),
    ],
)
def test_another_recipe_is_refused(
    changed: dict[str, Any], expected: str, data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")
    assert expected in refused(capsys, folder, "auto", record(data, **changed))


def test_what_does_not_change_the_numbers_may_change(data: DataList, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")
    assert resume.open_run(str(folder), "auto", record(data, num_workers=2))


def test_other_data_another_bundle_and_other_processes_are_refused(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")
    other = Recorder({"name": "other", "version": "1"}, data, RECIPE)
    assert "begun with bundle made, this is other" in refused(capsys, folder, "auto", other)
    path = checkpoint.found(folder / "checkpoints")[0]
    known = checkpoint.facts(path)
    path.with_suffix(".json").write_text(json.dumps({**known, "processes": 2}))
    assert "was trained by 2 processes, now there are 1" in refused(capsys, folder, "auto", record(data))
    data.training[0]["label"] = 1
    datalist.write(data, tmp_path / "data")
    assert "another data list than --dataset_dir" in refused(capsys, folder, "auto", record(data))


def test_another_override_or_config_is_refused(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*files: str, **overrides: Any) -> Recorder:
        given = {name.replace("__", "#"): value for name, value in overrides.items()}
        running = Workflow(tmp_path, tuple(tmp_path / file for file in files), given)
        return Recorder({"name": "made", "version": "1"}, data, RECIPE, running)

    begun = run("train.json", train__augmentation__flip=0)
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", begun=begun.record)
    other = run("train.json", train__augmentation__flip=0.5, resume="auto", save_interval=5)
    line = refused(capsys, folder, "auto", other)
    assert "begun with --train#augmentation#flip 0, this command has --train#augmentation#flip 0.5" in line
    line = refused(capsys, folder, "auto", run("train.json", resume="auto"))
    assert "this command has no --train#augmentation#flip" in line
    other = run("train.json", "per_image.json", train__augmentation__flip=0)
    assert "begun with the configs train.json;" in refused(capsys, folder, "auto", other)
    same = run("train.json", "multi_gpu_train.json", train__augmentation__flip=0, resume="auto", num_workers=4)
    assert resume.open_run(str(folder), "auto", same)


CONFIG: dict[str, Any] = {
    "dataset_dir": "$sample.prepared('made')",
    "resume": "",
    "save_interval": 600,
    "init": "random",
    "learning_rate": 0.1,
    "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
    "loss": {"_target_": "made.loss"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": "@learning_rate"},
    "train": {
        "augmentation": {"_target_": "made.augmentation", "rotate": 0.15},
        "handlers": [{"_target_": "made.progress"}, {"_target_": "made.checkpoints", "interval": 1}],
        "network": "@network",
    },
}
ORIGIN = {"name": "made", "version": "1"}


def of_config(
    data: DataList, change: dict[str, Any] | None = None, *more: str, overrides: dict[str, Any] | None = None
) -> Recorder:
    """What a run of CONFIG records, values of which are changed by id; ``more`` configs are named, and set nothing."""
    parser = ConfigParser(deepcopy(CONFIG))
    parser.update({**(change or {}), **(overrides or {})})
    files = tuple(Path("made", "configs", name) for name in ("train.json", *more))
    running = Workflow(Path("made"), files, overrides or {}, json.loads(json.dumps(parser.config)))
    recipe = {**RECIPE, "init": parser.config["init"]}
    return Recorder(ORIGIN, data, recipe, running)


@pytest.mark.parametrize(
    ("id_", "value"),
    [
        ("optimizer#_target_", "torch.optim.SGD"),
        ("loss", {"_target_": "made.loss", "smoothing": 0.1}),
        ("train#augmentation#rotate", 0.8),
        ("train#handlers#1#interval", 2),
        ("lr_scheduler", {"_target_": "made.cosine"}),
    ],
)
def test_a_config_that_was_changed_is_refused(
    id_: str, value: Any, data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", begun=of_config(data).record)
    before = (folder / "run.json").read_bytes()
    other = of_config(data, {id_: value}).record
    line = refused(capsys, folder, "auto", of_config(data, {id_: value}))
    assert f"was begun with another {id_.removesuffix('#1#interval')}" in line
    assert line.endswith(" in train.json; only the same run can go on")
    assert (folder / "run.json").read_bytes() == before
    assert other.data is not None  # a comparison says so, too
    task = Task(
        Cell("made", "", "", 0), folder, Bundle(Path(), "made", "1", dict(other.config)), "p", other.data.sha256, {}
    )
    assert task.difference() == f"was made with another {id_.partition('#')[0]!r} in configs/train.json"


def test_another_version_of_the_bundle_is_refused(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")
    other = Recorder({"name": "made", "version": "2"}, data, RECIPE)
    assert "was begun with bundle version 1, this is 2" in refused(capsys, folder, "auto", other)


def test_the_same_config_from_elsewhere_goes_on(data: DataList, tmp_path: Path) -> None:
    """Generated again with its ids in another order, other places, device and frequency of saving, a value that the
    config has anyway, and torchrun with one process."""
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", begun=of_config(data).record)
    over = {
        "dataset_dir": "/elsewhere/data",
        "output_dir": str(folder),
        "resume": "auto",
        "save_interval": 5,
        "device": "cpu",
        "num_workers": 3,
        "debug": True,
        "train#augmentation#rotate": 0.15,
    }
    launched = {"imports": ["$import torch"], "distributed": True, "train#network": {"_target_": "made.Parallel"}}
    for change, *more in (({},), (launched, "multi_gpu_train.json")):
        made = of_config(data, change, *more, overrides=over)
        turned = dict(reversed(made.record.config.items()))
        made.record = dataclasses.replace(made.record, config=turned)
        assert resume.open_run(str(folder), "auto", made)
        made.lock = None  # that process is gone


def test_weights_that_lie_elsewhere_are_compared_by_their_hash(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = of_config(data, overrides={"init": "/here/w.pt"}).record
    folder = interrupted(
        tmp_path / "run", data, "epoch_0001.pt", begun=dataclasses.replace(begun, start=Start("w.pt", "w.pt", "abc"))
    )
    moved = of_config(data, overrides={"init": "/there/w.pt"})
    assert resume.open_run(str(folder), "auto", moved)
    for sha256, fits in (("abc", True), ("def", False)):
        given = StartOf("/there/w.pt", "resnet18", Path("/there/w.pt"), (0.5,) * 3, (0.5,) * 3, "", sha256)
        with contextlib.nullcontext() if fits else pytest.raises(UsageError, match="holds other weights than the run"):
            moved.started_from(given, None, str(folder))
    moved.lock = None  # that process is gone
    line = refused(capsys, folder, "auto", of_config(data, overrides={"init": "imagenet"}))
    assert "begun with init /there/w.pt, this command says imagenet" in line
    unknown = interrupted(tmp_path / "other", data, "epoch_0001.pt", begun=begun)  # nobody recorded the hash
    assert "says /there/w.pt" in refused(capsys, unknown, "auto", of_config(data, overrides={"init": "/there/w.pt"}))


@pytest.mark.parametrize("named", [True, False])
def test_the_threads_of_a_run_that_goes_on_are_those_that_it_takes(
    named: bool,
    data: DataList,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = dataclasses.replace(record(data).record, threads=3)
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt", begun=begun)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if named:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        resume.open_run(str(folder), "auto", record(data))
        written, taken = json.loads((folder / "run.json").read_text()), torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)
    assert written["threads"] == taken == (1 if named else 3)
    assert f", {taken} threads)" in written["device"]
    assert written["resumed"][0].get("threads_before") == ("3" if named else None)
    warning = "warning: begun with 3 threads, now there are 1: last digits may differ"
    assert (warning in capsys.readouterr().err) == named


def test_tensorboard_hides_what_came_after_the_checkpoint(data: DataList, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run", data, "epoch_0001.pt")  # after iteration 10
    for start, path in ((0, ""), (10, str(checkpoint.found(folder / "checkpoints")[0]))):
        board = resume.board(str(folder), path)
        assert board is not None
        for step in range(start + 1, start + 6 + (not start) * 10):
            board.add_scalar("loss", step + start, step)
        board.close()
        # TensorBoard reads files in the order of their names, of which two of the same second may lie either way
        (written,) = (folder / "tensorboard").glob("events.out.tfevents.[0-9][0-9]*")
        written.rename(written.with_name(f"events.out.tfevents.{start // 10}"))
    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    assert [(event.step, event.value) for event in shown.Scalars("loss")] == [
        *((step, step) for step in range(1, 11)),
        *((step, step + 10) for step in range(11, 16)),
    ]


def test_the_time_that_a_run_took_before_counts(data: DataList, tmp_path: Path) -> None:
    made = record(data)
    made.load_state_dict({"seconds": 100.0})
    assert 100 <= made.state_dict()["seconds"] < 110
    made.interrupt(tmp_path)
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["status"] == "interrupted"
    assert 100 <= written["duration_s"] < 110


def test_a_folder_that_cannot_be_made_is_one_line(
    data: DataList, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written: Not a directory" in refused(capsys, tmp_path / "file" / "run", "auto", record(data))
    assert run_folder.unwritable(tmp_path / "new") == ""
