"""TCGA's table and features of other programs: patients with times, events and folds."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import tcga_survival
from medtl.files import read_rows, write_csv
from medtl.integrity import problems_of_data
from medtl.survival.bags import read_bag

Prep = Callable[..., Any]
ROWS = [
    ["TCGA-02-0001", "GBM", "44", "FEMALE", "[Not Available]", "1", "358"],
    ["TCGA-02-0003", "GBM", "93", "MALE", "[Not Available]", "0", "144"],
    ["TCGA-CS-4938", "LGG", "31", "FEMALE", "G2", "0", "3574"],
    ["TCGA-CS-4941", "LGG", "67", "MALE", "G3", "1", "234"],
    ["TCGA-CS-5390", "LGG", "47", "FEMALE", "G2", "0", ""],
    ["TCGA-CS-4941", "LGG", "67", "MALE", "G3", "1", "234"],
    ["TCGA-CS-6290", "LGG", "31", "MALE", "[Discrepancy]", "1", "100"],
]


def written(path: Path, rows: list[list[str]] = ROWS) -> Path:
    write_csv(path, [tcga_survival.COLUMNS, *rows])
    return path


def entries(ended: Any) -> dict[str, dict[str, Any]]:
    return {entry["patient"]: entry for entry in ended.listed["training"]}


def test_covariates_are_the_features_without_any(prep: Prep, tmp_path: Path) -> None:
    ended = prep("tcga_survival", "--table", written(tmp_path / "t.csv"), "--folds", 2)
    assert ended.status == 3
    found = entries(ended)
    assert list(found) == ["TCGA-02-0001", "TCGA-02-0003", "TCGA-CS-4938", "TCGA-CS-4941"]
    assert (ended.listed["task"], ended.listed["classes"]) == ("survival", ["censored", "event"])
    bags = [read_bag(ended.folder / entry["features"]).tolist() for entry in found.values()]
    assert bags == [[[44, 0, 4]], [[90, 1, 4]], [[31, 0, 2]], [[67, 1, 3]]]
    old = found["TCGA-02-0003"]
    assert (old["time"], old["event"], old["group"]["age"], old["group"]["sex"]) == (144, 0, 90, "M")
    with open(ended.folder / "rejected.csv", newline="") as file:
        reasons = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"t.csv line 6", "t.csv line 7", "t.csv line 8"}
    assert "survival" in reasons["t.csv line 6"]
    assert "twice" in reasons["t.csv line 7"]
    assert problems_of_data(ended.folder)[1] == []


def test_features_of_all_slides_become_one_bag(prep: Prep, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "h").mkdir(parents=True)
    np.savez(raw / "h" / "TCGA-02-0001-01Z-00-DX1.npz", features=np.zeros((3, 4)))
    np.save(raw / "h" / "TCGA-02-0001-01Z-00-DX2.npy", np.ones((2, 4)))
    np.save(raw / "h" / "TCGA-CS-4938.npy", np.ones((2, 4)))
    np.save(raw / "h" / "TCGA-CS-4941.npy", np.full((2, 4), np.inf))
    np.save(raw / "h" / "TCGA-XX-0000.npy", np.ones((2, 4)))
    (raw / "notes.txt").write_text("x")
    written(raw / "t.csv", ROWS[:4])
    ended = prep("tcga_survival", "--raw", raw, "--folds", 2)
    assert ended.status == 3
    found = entries(ended)
    assert list(found) == ["TCGA-02-0001", "TCGA-CS-4938"]
    assert read_bag(ended.folder / found["TCGA-02-0001"]["features"]).mean(axis=1).tolist() == [0, 0, 0, 1, 1]
    with open(ended.folder / "rejected.csv", newline="") as file:
        named = {Path(row["file"]).name for row in csv.DictReader(file)}
    assert named == {"TCGA-CS-4941.npy", "TCGA-XX-0000.npy"}
    assert "1 patients of the table have no features" in ended.err
    assert "no features" in ended.err


def test_a_folder_or_a_table_but_not_both(prep: Prep, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv")
    for words in ((), ("--raw", tmp_path, "--table", table), ("--raw", tmp_path, "--features", tmp_path)):
        assert prep("tcga_survival", *words).status == 2
    assert prep("tcga_survival", "--table", table, "--type", "UCEC").status == 2
    assert prep("tcga_survival", "--table", tmp_path / "absent.csv").status == 2


def test_real_table(prep: Prep, shared_survival: Path) -> None:
    ended = prep("tcga_survival", "--table", shared_survival)
    rows = read_rows(shared_survival)
    found = entries(ended)
    assert len(rows) == 1111
    assert len(found) == 1105  # five were never followed for a day, one has no grade
    folds = Counter((entry["fold"], entry["group"]["diagnosis"], entry["event"]) for entry in found.values())
    for diagnosis in tcga_survival.TYPES:
        for event in (0, 1):
            sizes = [folds[fold, diagnosis, event] for fold in range(tcga_survival.FOLDS)]
            assert max(sizes) - min(sizes) <= 1
    shutil.rmtree(ended.folder)


@pytest.fixture
def shared_survival() -> Path:
    import os

    path = Path(os.environ.get("MEDTL_SHARED", "../shared")) / "data" / "tcga_survival" / "TCGA-CDR_GBM_LGG.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in $MEDTL_SHARED")
    return path
