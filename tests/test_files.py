"""Files are whole or absent, tables run nothing in a spreadsheet, and what cannot be read is named in one line."""

import contextlib
import csv
import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medtl import files
from medtl.errors import MedtlError

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "=", "-", "-1-1"]
PLAIN = ["-0.5", "+1e-3", "-7", "1,5", "a=b", "", "-inf", "'quoted'", "x\ty"]


def stored(path: Path) -> list[list[str]]:
    """What any other program reads."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_formulas_are_neutralised_and_numbers_are_not(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "t.csv", [["name"], *([field] for field in (*FORMULAS, *PLAIN))])
    found = [row[0] if row else "" for row in stored(tmp_path / "t.csv")[1:]]
    assert found == [f"'{field}" for field in FORMULAS] + PLAIN
    assert not any(field[0] in "=@\t\r" for field in found if field)


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2, max_size=2)))
def test_what_is_written_is_read_back(rows: list[list[str]]) -> None:
    assume(not (rows and rows[0][0].startswith("\ufeff")))  # the mark of a spreadsheet
    with tempfile.TemporaryDirectory() as folder:
        files.write_csv(Path(folder) / "t.csv", rows)
        assert files.read_csv(Path(folder) / "t.csv") == rows


def test_a_table_that_a_spreadsheet_saved_has_its_first_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,1\n", encoding="utf-8-sig")
    assert files.read_rows(tmp_path / "t.csv") == [{"image": "a.png", "label": "1"}]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"é": 1})
    assert path.read_bytes() == '{\n "é": 1\n}\n'.encode()
    with contextlib.suppress(RuntimeError), files.replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "is not valid JSON"), (b"\xff\xfe", "is not text in UTF-8"), (b"[1]", "holds no JSON object")],
)
def test_unreadable_json_is_one_line_that_names_the_file(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(MedtlError, match=r"x\.json cannot be read: No such file"):
        files.read_object(path)
    path.write_bytes(content)
    with pytest.raises(MedtlError, match=words) as told:
        files.read_object(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_ragged_table_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(MedtlError, match=r"t\.csv line 3 has not the 2 columns"):
        files.read_rows(tmp_path / "t.csv")
    (tmp_path / "empty.csv").write_text("")
    assert files.read_rows(tmp_path / "empty.csv") == []


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.file_hash(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
