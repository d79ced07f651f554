"""DDTI's outlines: SVG points as JSON text within XML. The layout is as three independent readers of the set use it; no
real file was at hand."""

import json
from pathlib import Path

import pytest

from medtl.errors import BadFileError
from medtl.readers.ddti_xml import read_outlines

SQUARE = [{"x": 10, "y": 20}, {"x": 30, "y": 20}, {"x": 30, "y": 40}, {"x": 10, "y": 40}]


def case(path: Path, *marks: tuple[str, str]) -> Path:
    inside = "".join(f"<mark>\n<image>{image}</image><svg>{text}</svg></mark>" for image, text in marks)
    path.write_text(f"<case><number>1</number><age>41</age><sex>F</sex><tirads>4a</tirads>{inside}</case>")
    return path


def region(points: list) -> dict:
    return {"points": points, "annotation": {}, "regionType": "freehand"}


def test_outlines_belong_to_the_image_that_the_mark_names(tmp_path: Path) -> None:
    two = json.dumps([region(SQUARE), region(SQUARE[:3])])
    path = case(tmp_path / "7.xml", ("1", two), ("2", json.dumps([region(SQUARE)])), ("3", ""))
    found, broken = read_outlines(path)
    assert {image: [len(outline) for outline in own] for image, own in found.items()} == {"1": [4, 3], "2": [4]}
    assert found["2"][0][:2] == ((10.0, 20.0), (30.0, 20.0))
    assert broken == []


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([region(SQUARE)])[:-9],  # cut off, as two files of the set are said to be
        json.dumps([{"points": [{"x": 1}]}]),
        json.dumps([region([{"x": 1, "y": 1e9}, *SQUARE])]),
        json.dumps(7),
        "[" * 100_000,
    ],
)
def test_a_mark_that_cannot_be_read_is_named_and_the_others_count(tmp_path: Path, text: str) -> None:
    found, broken = read_outlines(case(tmp_path / "7.xml", ("1", text), ("2", json.dumps([region(SQUARE)]))))
    assert list(found) == ["2"]
    assert [("image 1" in sentence) for sentence in broken] == [True]


def test_lines_and_points_enclose_nothing(tmp_path: Path) -> None:
    assert read_outlines(case(tmp_path / "7.xml", ("1", json.dumps([region(SQUARE[:2])])))) == ({}, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<case><mark></case>", "not well-formed XML"),
        ('<!DOCTYPE case [<!ENTITY a "b">]><case>&a;</case>', "document type, which a DDTI case never has"),
        ("<LidcReadMessage/>", "not a DDTI case"),
        ("<case>" * 40 + "</case>" * 40, "nested too deeply for a DDTI case"),
    ],
)
def test_what_is_no_case_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "7.xml").write_text(content)
    with pytest.raises(BadFileError, match=words):
        read_outlines(tmp_path / "7.xml")
