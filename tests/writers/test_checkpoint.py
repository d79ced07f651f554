"""Checkpoints are whole, or known not to be."""

import hashlib
import secrets
from pathlib import Path

import pytest
import torch

from medtl.writers import checkpoint

STATE = {"weights": torch.arange(1000.0), "epoch": 3}


def written(folder: Path, *names: str) -> list[Path]:
    for name in names:
        checkpoint.write(STATE, folder / name, {"epoch": 3})
    return [folder / name for name in names]


def test_what_was_written_comes_back_and_opens_without_pickles(tmp_path: Path) -> None:
    (path,) = written(tmp_path, "epoch_0003.pt")
    assert checkpoint.problem_of(path) == ""
    assert checkpoint.facts(path) == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "epoch": 3}
    assert torch.equal(checkpoint.read(path)["weights"], STATE["weights"])  # type: ignore[arg-type]
    assert {each.name for each in tmp_path.iterdir()} == {"epoch_0003.pt", "epoch_0003.json"}


def test_damage_of_every_kind_is_found(tmp_path: Path) -> None:
    (path,) = written(tmp_path, "epoch_0001.pt")
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:700] + bytes([whole[700] ^ 1]) + whole[701:]):
        path.write_bytes(damaged)
        assert "is damaged" in checkpoint.problem_of(path)
    path.write_bytes(whole)
    assert checkpoint.problem_of(path) == ""
    path.with_suffix(".json").write_text('{"sha256"')
    assert "not written to its end" in checkpoint.problem_of(path)
    path.with_suffix(".json").unlink()
    assert "not written to its end" in checkpoint.problem_of(path)


def test_the_newest_training_comes_first(tmp_path: Path) -> None:
    within = [checkpoint.name_of(2, batch) for batch in (5, 12)]
    written(tmp_path, within[0], checkpoint.name_of(10, None), checkpoint.name_of(2, None), within[1], "epoch_0001.pt")
    (tmp_path / "other.pt").touch()
    names = [path.name for path in checkpoint.found(tmp_path)]
    assert names == ["epoch_0010.pt", "epoch_0002.pt", "epoch_0002_batch_00012.pt", within[0], "epoch_0001.pt"]
    assert checkpoint.found(tmp_path / "absent") == []


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = written(tmp_path, "model.pt")
    before = path.read_bytes()
    monkeypatch.setattr(secrets, "token_hex", lambda _: "x")
    (tmp_path / ".model.pt.x.medtl-part").symlink_to("/dev/full")  # takes nothing: ENOSPC
    with pytest.raises(OSError, match="No space left on device") as raised:
        checkpoint.write_tensors({"weights": torch.zeros(10**6)}, path)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))
