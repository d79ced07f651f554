"""Somebody's own CSV, whatever its separator, capital letters and words for what is not known."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.folder_labels import MISSING, nfc
from medtl.errors import UsageError

DELIMITERS = (",", ";", "\t")
GROUPS = ("sex", "age", "site")  # columns by which reports tell patients apart
TELLING = frozenset({"patient", "split", *GROUPS})  # columns of which a word such as NA tells nothing


@dataclass(frozen=True)
class Line:
    """A line of a table that is not empty.

    Attributes:
        number: of its last row in the file, from 1.
        cells: column in small letters to the cell, without blanks around it; a patient, split or group in Unicode's
            composed form, and empty where it is not known (blank, NA …). Paths stay as they are written.
        fault: why its cells cannot be told apart; empty for most.
    """

    number: int
    cells: Mapping[str, str]
    fault: str = ""


def read_table(table: Path, needed: Sequence[str], expected: str) -> tuple[dict[str, str], list[Line]]:
    """Return the columns of somebody's own CSV, in small letters, to what the table calls them; and its lines.

    Args:
        table: separated by comma, semicolon or tab.
        needed: columns that must be there.
        expected: columns, in words.

    Raises:
        UsageError: there is no such file, or it is no such table; says which columns there are.
    """
    if not table.is_file():
        raise UsageError(f"--table {table}: no such file")
    try:
        text = table.read_text(encoding="utf-8-sig")
        head = text.split("\n", 1)[0]
        delimiter = max(DELIMITERS, key=head.count)
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError:
        raise UsageError(f"--table {table} is not UTF-8 text; save it as CSV (UTF-8)") from None
    except csv.Error as error:
        raise UsageError(f"--table {table} is no CSV: {error}") from None
    heads = [cell.strip() for cell in lines[0][1]] if lines else []
    places = {name.lower(): place for place, name in reversed(list(enumerate(heads)))}  # of two alike the first counts
    missing = " and ".join(repr(name) for name in needed if name not in places)
    if missing:
        there = ", ".join(repr(name.lower()) for name in heads) or "none"
        raise UsageError(f"--table {table} has no column {missing}; there are {there} (expected {expected})")
    places = dict(sorted(places.items(), key=lambda item: item[1]))
    columns = {name: heads[place] for name, place in places.items()}
    return columns, [_line(number, cells, places, len(heads)) for number, cells in lines[1:]]


def _line(number: int, cells: Sequence[str], places: Mapping[str, int], width: int) -> Line:
    told = {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()}
    told |= {name: "" if told[name].lower() in MISSING else nfc(told[name]) for name in TELLING & told.keys()}
    surplus = any(cell.strip() for cell in cells[width:])
    fault = f"has more than the {width} cells of the table's first line: is a cell with a separator in quotes?"
    return Line(number, told, fault if surplus else "")
