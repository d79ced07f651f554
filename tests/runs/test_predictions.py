"""An image that a list names under several classes is an entry for each, and is refused where it is one entry twice."""

from pathlib import Path

import pytest

from medtl.errors import MedtlError
from medtl.files import write_csv
from medtl.runs.predictions import read_predictions

HEADER = ("image", "patient", "split", "label", "prob_edema", "prob_nodule")


def written(folder: Path, *rows: tuple[object, ...]) -> Path:
    write_csv(folder / "predictions.csv", [HEADER, *rows])
    return folder / "predictions.csv"


def test_entries_of_one_image_are_named_by_their_class(tmp_path: Path) -> None:
    rows = [
        ("a.png", "p", "test", 0, 0.7, 0.3),
        ("a.png", "p", "test", 1, 0.7, 0.3),
        ("b.png", "q", "test", 1, 0.2, 0.8),
        ("a.png", "p", "val", 1, 0.7, 0.3),
    ]
    found = read_predictions(written(tmp_path, *rows), ("edema", "nodule"), "classification")
    assert found["test"].names == ("a.png as edema", "a.png as nodule", "b.png")
    assert found["test"].labels.tolist() == [0, 1, 1]
    assert found["test"].patients.tolist() == ["p", "p", "q"]
    assert found["val"].names == ("a.png",)


def test_one_entry_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ("a.png", "p", "test", 0, 0.7, 0.3), ("a.png", "p", "test", 0, 0.6, 0.4))
    with pytest.raises(MedtlError, match=r"image a\.png twice in split test"):
        read_predictions(path, ("edema", "nodule"), "classification")


def test_rows_of_unknown_patients_are_nobodys_but_their_own(tmp_path: Path) -> None:
    rows = [("a.png", "", "test", 0, 0.7, 0.3), ("b.png", "", "test", 1, 0.7, 0.3), ("c.png", "p", "test", 1, 0.2, 0.8)]
    found = read_predictions(written(tmp_path, *rows), ("edema", "nodule"), "classification")
    assert found["test"].patients.tolist() == ["a.png", "b.png", "p"]
