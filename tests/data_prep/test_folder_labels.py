"""What the labels of one's own table mean: classes, findings or numbers, and which of them when nobody says."""

from pathlib import Path

import pytest

from data_prep.folder_labels import Scheme, Wanted, in_order, scheme
from medtl.errors import BadFileError, UsageError

TABLE = Path("t.csv")


def of(cells: list[str], patients: list[str] | None = None, **wanted: object) -> tuple[Scheme, list[dict[str, str]]]:
    columns = {name: name for name in ("path", "label", "patient")}
    people = patients or [f"p{n}" for n in range(len(cells))]
    records = [
        {"path": f"{n}.png", "label": c, "patient": p} for n, (c, p) in enumerate(zip(cells, people, strict=True))
    ]
    return scheme(TABLE, columns, records, Wanted(**wanted)), records


def read(how: Scheme, records: list[dict[str, str]]) -> list[tuple[str, ...] | str]:
    found: list[tuple[str, ...] | str] = []
    for record in records:
        try:
            found.append(how.read(record))
        except BadFileError as error:
            found.append(str(error))
    return found


def test_several_findings_make_empty_cells_pictures_without_one() -> None:
    how, records = of(["effusion|edema", "", "edema", "mass; edema", '["mass"]', "[]", "nan"])
    assert how.task == "multilabel"
    assert read(how, records) == [
        *(("effusion", "edema"), (), ("edema",), ("mass", "edema"), ("mass",), ()),
        "its label 'nan' is no class",
    ]


def test_no_finding_is_none_unless_it_is_named_a_class() -> None:
    cells = ["No Finding", "edema|mass", "edema", "No Finding|mass"]
    how, records = of(cells)
    assert read(how, records)[:3] == [(), ("edema", "mass"), ("edema",)]
    assert "and a finding" in str(read(how, records)[3])
    assert any("No Finding" in note for note in how.notes)
    how, records = of(cells, classes=("No Finding", "edema", "mass"))
    assert read(how, records)[0] == ("No Finding",)


def test_a_single_class_has_no_missing_label() -> None:
    how, records = of(["benign", "", "NA", "malignant", "NaN", "None"])
    assert how.task == "classification"
    assert read(how, records) == [
        *(("benign",), "has no label", "its label 'NA' is no class", ("malignant",)),
        *("its label 'NaN' is no class", "its label 'None' is no class"),
    ]
    how, records = of(["benign", "None"], classes=("benign", "None"))
    assert read(how, records) == [("benign",), ("None",)]
    how, records = of(["benign", ""], task="multilabel")
    assert read(how, records) == [("benign",), ()]


def test_one_point_nought_is_class_one() -> None:
    how, records = of(["0.0", "1.0", "", "1.0", "1"], ["a", "b", "c", "d", "e"])
    assert read(how, records) == [("0",), ("1",), "has no label", ("1",), ("1",)]
    assert in_order({"10", "2", "0", "1.5"}) == ("0", "1.5", "2", "10")
    assert in_order({"10", "2", "grade 1"}) == ("10", "2", "grade 1")


@pytest.mark.parametrize(
    "cells",
    [
        [f"{40 + 1.5 * n}" for n in range(24)],  # fractions
        [str(40 + n) for n in range(24)],  # whole years, each of one patient
        [str(20 + n % 60) for n in range(300)],  # more numbers than anybody has classes
    ],
)
def test_numbers_that_look_measured_are_asked_about(cells: list[str]) -> None:
    with pytest.raises(UsageError, match="--task regression"):
        of(cells)
    how, records = of(cells, task="regression")
    assert (how.task, how.names) == ("regression", ("label",))
    assert [float(names[0]) for names in read(how, records)] == [float(cell) for cell in cells]
    how, _ = of(cells, task="classification")
    assert how.task == "classification"


def test_numbered_classes_are_not_asked_about() -> None:
    assert of([str(n % 12) for n in range(60)])[0].task == "classification"


def test_a_regression_names_what_is_no_number() -> None:
    how, records = of(["40.5", "", "n/a", "inf", "forty"], task="regression")
    assert read(how, records) == [
        *(("40.5",), "has no label", "its label 'n/a' is no number"),
        *("its label 'inf' is no number", "its label 'forty' is no number"),
    ]


HOT = {"path": "path", "age": "Age", "edema": "Edema", "mass": "mass", "never": "never"}


def hot(**wanted: object) -> tuple[Scheme, list[dict[str, str]]]:
    rows = [("61", "1", "0", "0"), ("40", "0", "0", "0"), ("33", "1.0", "True", "0"), ("50", "", "1", "0")]
    records = [dict(zip(HOT, ("x.png", *row), strict=True)) for row in rows]
    return scheme(TABLE, HOT, records, Wanted(**wanted)), records


def test_one_column_a_finding() -> None:
    how, records = hot()
    assert (how.task, how.names) == ("multilabel", ("Edema", "mass"))
    assert read(how, records) == [("Edema",), (), ("Edema", "mass"), "its edema is ''; expected 0 or 1"]
    assert any("age" in note and "never" in note for note in how.notes)
    how, records = hot(classes=("mass",))
    assert read(how, records) == [(), (), ("mass",), ("mass",)]
    how, records = hot(task="regression", classes=("Age",))
    assert (how.names, read(how, records)[0]) == (("Age",), ("61.0",))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"classes": ("tumour",)}, "no column 'tumour'"),
        ({"task": "regression"}, "no column 'label' of numbers"),
        ({"task": "regression", "classes": ("age", "mass")}, "one column of numbers"),
        ({"task": "detection"}, "is not one of"),
    ],
)
def test_columns_that_are_not_there(wanted: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        hot(**wanted)


def test_a_comma_is_told() -> None:
    how, records = of(["a, b", "a", "b"])
    assert any("--separator" in note for note in how.notes)
    how, records = of(["a, b", "a", ""], separator=",")
    assert read(how, records) == [("a", "b"), ("a",), ()]
