"""The folder that a run writes into."""

import json
from pathlib import Path

import pytest

from medtl.errors import UsageError
from medtl.runs import folder as run_folder


def test_a_file_is_no_folder_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run_folder.problem_of(tmp_path / "file") == "is a file; expected a folder"


@pytest.mark.parametrize("left", ["model.pt", "predictions.csv", "checkpoints/epoch_001.pt"])
def test_what_a_run_left_is_not_written_over(tmp_path: Path, left: str) -> None:
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    assert "holds another run" in run_folder.problem_of(tmp_path)


@pytest.mark.parametrize(
    ("record", "in_use"),
    [
        (json.dumps({"status": "failed"}), False),
        (json.dumps({"status": "running"}), True),
        (json.dumps({"status": "finished"}), True),
        (json.dumps([]), True),
        ("{", True),
    ],
)
def test_only_a_failed_run_may_be_replaced(tmp_path: Path, record: str, in_use: bool) -> None:
    (tmp_path / "run.json").write_text(record)
    assert bool(run_folder.problem_of(tmp_path)) is in_use


def test_what_cannot_go_on_is_not_advised_to(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").touch()
    with pytest.raises(UsageError) as told:
        run_folder.create(str(tmp_path))
    assert str(told.value) == f"--output_dir {tmp_path} holds another run; choose another folder"


def test_a_number_is_no_name_of_a_folder() -> None:
    with pytest.raises(UsageError, match=r"write a number as \./2024"):
        run_folder.check_name(2024)


def test_runs_lie_in_the_working_directory_never_in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundles" / "tb"
    (bundle / "configs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run_folder.runs(str(bundle)) == Path("runs/tb")
    monkeypatch.chdir(bundle / "configs")
    assert run_folder.runs(str(bundle)) == tmp_path / "runs" / "tb"
