"""One's own table of patients: covariates or files of features, hashed names, folds with as many events."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medtl.files import write_csv
from medtl.integrity import problems_of_data
from medtl.survival.bags import read_bag

Prep = Callable[..., Any]


def test_covariates(prep: Prep, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    rows = [[f"Doe{k}", 10 + k, k % 2, "M" if k % 3 else "F", 40 + 5 * k, f"{k / 2}", "kept"] for k in range(12)]
    rows += [["Doe3", 5, 1, "F", 50, 1, "x"], ["Roe", 0, 1, "F", 50, 1, "x"], ["Poe", 3, 1, "F", 50, "", "x"]]
    write_csv(tmp_path / "t.csv", [["patient", "time", "event", "sex", "age", "psa", "note"], *rows])
    words = ("--raw", tmp_path / "raw", "--table", tmp_path / "t.csv", "--task", "survival", "--name", "own")
    ended = prep("folder", *words, "--test-fraction", 0, "--folds", 3)
    assert ended.status == 3
    found = ended.listed["training"]
    assert (ended.listed["task"], len(found)) == ("survival", 12)
    assert Counter((entry["fold"], entry["event"]) for entry in found) == {(f, e): 2 for f in range(3) for e in (0, 1)}
    bags = {float(entry["time"]): read_bag(ended.folder / entry["features"]).tolist() for entry in found}
    assert bags[10] == [[0, 40, 0]]
    assert bags[21] == [[1, 90, 5.5]]  # who is older than 89 is 90
    assert "not used: note" in ended.err
    assert "Doe" not in (ended.folder / "datalist.json").read_text()
    with open(ended.folder / "rejected.csv", newline="") as file:
        reasons = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert list(reasons) == ["t.csv line 14", "t.csv line 15", "t.csv line 16"]
    assert problems_of_data(ended.folder)[1] == []


def test_features_of_files(prep: Prep, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "bags").mkdir(parents=True)
    for k in range(10):
        np.save(raw / "bags" / f"{k}.npy", np.full((3, 4), k))
    np.save(raw / "bags" / "nan.npy", np.full((3, 4), np.nan))
    rows = [[f"p{k}", 1 + k, k % 2, f"bags/{k}.npy"] for k in range(10)]
    rows += [["p10", 3, 1, "bags/nan.npy"], ["p11", 3, 1, "bags/none.npy"]]
    write_csv(tmp_path / "t.csv", [["patient", "time", "event", "features"], *rows])
    ended = prep("folder", "--raw", raw, "--table", tmp_path / "t.csv", "--task", "survival", "--test-fraction", 0.2)
    assert ended.status == 3
    assert (len(ended.listed["test"]), len(ended.listed["training"])) == (2, 8)
    entry = ended.listed["test"][0]
    assert read_bag(ended.folder / entry["features"])[0, 0] == entry["time"] - 1


@pytest.mark.parametrize(
    ("header", "said"), [(["patient", "time"], "event"), (["patient", "time", "event", "note"], "neither")]
)
def test_a_table_that_cannot_be_used(header: list[str], said: str, prep: Prep, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_csv(tmp_path / "t.csv", [header, ["a", "1", "1", "x"][: len(header)]])
    ended = prep("folder", "--raw", tmp_path / "raw", "--table", tmp_path / "t.csv", "--task", "survival")
    assert ended.status == 2
    assert said in ended.err
    assert prep("folder", "--raw", tmp_path / "raw", "--task", "survival").status == 2


def test_a_table_is_read_as_other_tables_of_ones_own_are(prep: Prep, tmp_path: Path) -> None:
    """Semicolons, capital letters, a byte order mark, NA, a surplus cell; ages above 89 stay untold."""
    (tmp_path / "raw").mkdir()
    lines = ["Patient;Time;Event;Age;Site", *(f"Doe{k};{10 + k};{k % 2};{100 + k};NA" for k in range(10))]
    lines += ["Roe;3;1;50;a;surplus", "NA;3;1;50;a"]
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    words = ("--raw", tmp_path / "raw", "--table", tmp_path / "t.csv", "--task", "survival", "--test-fraction", 0)
    ended = prep("folder", *words, "--folds", 2)
    assert ended.status == 3
    assert [(file, reason.split(":")[0]) for file, reason in ended.rejected] == [
        ("t.csv line 12", "has more than the 5 cells of the table's first line"),
        ("t.csv line 13", "names no patient"),
    ]
    found = ended.listed["training"]
    assert len(found) == 10
    assert {float(read_bag(ended.folder / entry["features"])[0, 0]) for entry in found} == {90.0}
    assert {entry["group"].get("site") for entry in found} == {None}
    (tmp_path / "t.csv").write_bytes("patient,time,event,age\nMüller,1,1,50\n".encode("latin-1"))
    assert "is not UTF-8 text" in prep("folder", *words).err


def test_files_of_features_are_found_under_the_name_that_the_table_has(prep: Prep, tmp_path: Path) -> None:
    """A file from a Mac has its marks apart from their letters, and the table may have them so, too."""
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [unicodedata.normalize("NFD", f"M\u00fcller{k}.npy") for k in range(10)]
    for name in names:
        np.save(raw / name, np.ones((2, 3)))
    rows = [[f"p{k}", 1 + k, k % 2, name] for k, name in enumerate(names)]
    write_csv(tmp_path / "t.csv", [["patient", "time", "event", "features"], *rows])
    ended = prep("folder", "--raw", raw, "--table", tmp_path / "t.csv", "--task", "survival", "--test-fraction", 0)
    assert (ended.status, len(ended.listed["training"])) == (0, 10)
