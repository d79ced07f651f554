"""medtl cache: what lies in the caches, of which data set, and that it goes away; nobody else can look into them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medtl.cli import app
from medtl.data.packed import pack
from medtl.datalist import DataList, write
from medtl.files import file_hash


def prepared(folder: Path, name: str, grey: int) -> DataList:
    entries = []
    for number in range(3):
        path = folder / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), grey + number, np.uint8)).save(path)
        entries.append(
            {
                "image": f"images/{number}.png",
                "label": number % 2,
                "patient": f"x/{number}",
                "source": "x",
                "sha256": file_hash(path),
            }
        )
    made = DataList(name, ("a", "b"), 1, "", "", False, entries, [], [], folder)
    write(made, folder)
    return made


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of two data sets of one name, and downloaded weights."""
    monkeypatch.delenv("MEDTL_PACKED", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for name, grey in (("one", 10), ("two", 90)):
        pack(prepared(tmp_path / name, "folder", grey), "train", 8)
    folder = tmp_path / "home" / "medtl"
    (folder / "weights").mkdir()
    (folder / "weights" / "resnet18_imagenet.pt").write_bytes(b"weights")
    return folder


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["cache", *words])
    assert result.exit_code == 0, result.output
    return result.output


def packed(cache: Path) -> set[str]:
    return {path.name for path in (cache / "packed").glob("*.u8")}


def test_it_lists_sizes_and_data_sets_and_deletes_nothing(cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    told = run()
    assert all(f"packed/{name}  folder" in told for name in packed(cache))
    assert "weights/resnet18_imagenet.pt" in told
    assert sorted(cache.rglob("*")) == before


def test_clear_deletes_all_but_weights(cache: Path) -> None:
    run("--clear")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["resnet18_imagenet.pt"]


def test_one_data_set_is_found_by_its_pictures_not_its_name(cache: Path, tmp_path: Path) -> None:
    name = next(
        path.name.replace(".about.json", ".u8")
        for path in (cache / "packed").glob("*.about.json")
        if json.loads(path.read_text())["first"] == file_hash(tmp_path / "two" / "images" / "0.png")
    )
    assert name in run("--dataset", str(tmp_path / "two"))
    others = packed(cache) - {name}
    run("--clear", "--dataset", str(tmp_path / "two"))
    assert packed(cache) == others
    assert len(others) == 1


def test_a_folder_of_ones_own_for_packed_files_is_listed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDTL_PACKED", str(tmp_path / "fast"))
    found = pack(prepared(tmp_path / "one", "folder", 10), "train", 8)
    assert found.path
    assert found.path.name in run()
    run("--clear")
    assert not found.path.exists()
    assert (tmp_path / "one" / "images" / "0.png").exists()


def test_a_folder_that_is_no_data_set_is_told(cache: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["cache", "--clear", "--dataset", str(tmp_path)])
    assert result.exit_code != 0
    assert len(packed(cache)) == 2
