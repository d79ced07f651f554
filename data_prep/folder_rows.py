"""Which pictures somebody's own folder holds, and what is known of each: from class folders, or from a table."""

import ast
import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from medtl.errors import BadFileError, UsageError
from medtl.readers.picture import kind

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
DELIMITERS = (",", ";", "\t")
NEEDED = ("path", "label")
KNOWN = (*NEEDED, "patient", "split")
EXPECTED = "DIR/<class>/… or DIR/{train,val,test}/<class>/… with PNG, JPEG, TIFF or DICOM pictures"


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        file: relative to the folder, or to the table's.
        path: where it lies.
        labels: class names.
        patient: as the table or the path names the patient; empty where neither does.
        split: training, validation or test where it is given.
    """

    file: str
    path: Path
    labels: tuple[str, ...]
    patient: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Found:
    """What is to be prepared.

    Attributes:
        rows: by file.
        rejected: (row, reason); its file alone may be known.
        multilabel: labels are lists.
        passed_over: files of other kinds.
    """

    rows: tuple[Row, ...]
    rejected: tuple[tuple[Row, str], ...]
    multilabel: bool
    passed_over: int = 0


def from_folders(raw: Path) -> Found:
    """The pictures of class folders.

    Raises:
        UsageError: there are none, or split folders stand beside others.
    """
    tops = {path.name: path for path in _visible(raw) if path.is_dir()}
    splits = {name: SPLIT_NAMES[name.lower()] for name in tops if name.lower() in SPLIT_NAMES}
    others = [name for name in tops if name not in splits and any(True for _ in _files(tops[name]))]
    if splits and others:
        raise UsageError(
            f"{raw} holds split folders ({', '.join(splits)}) and others ({', '.join(others[:3])}): expected {EXPECTED}"
        )
    rows: list[Row] = []
    rejected: list[tuple[Row, str]] = []
    passed_over = 0
    for top in [tops[name] for name in splits] or [raw]:
        for path in _files(top):
            file = path.relative_to(raw).as_posix()
            inside = path.relative_to(top).parts
            row = Row(file, path, inside[:1] if len(inside) > 1 else (), split=splits.get(top.name) if splits else None)
            what = _kind(path)
            if what is None:
                passed_over += 1
            elif what == "nifti":
                rejected.append((row, "is a volume; expected single pictures"))
            elif not row.labels:
                rejected.append((row, "lies in no class folder"))
            else:
                rows.append(row)
    if not rows:
        flat = f"; {len(rejected):,} picture(s) lie in no class folder" if rejected else ""
        raise UsageError(f"{raw} holds no picture to use: expected {EXPECTED}, or a --table{flat}")
    return Found(tuple(sorted(rows, key=lambda row: row.file)), tuple(rejected), False, passed_over)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] not in "._")


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, in a repeatable order; a class folder may be a link,
    links below it are not followed."""
    for path in _visible(folder):
        if not path.is_dir():
            yield path
            continue
        for parent, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name[0] not in "._")
            yield from (Path(parent, name) for name in sorted(names) if name[0] not in "._")


def _kind(path: Path) -> str | None:
    try:
        return kind(path) if path.is_file() else "raster"
    except OSError:
        return "raster"  # reading it tells what is wrong


def from_table(table: Path, raw: Path) -> Found:
    """The pictures that a CSV lists in columns path and label, and where they are known patient and split, in any
    order; other columns are passed over.

    Args:
        table: separated by comma, semicolon or tab. Paths are relative to ``raw`` or to the table's own folder.
        raw: the folder.

    Raises:
        UsageError: there is no such file, or it is no such table; says which columns there are.
    """
    records = _records(table)
    rows: dict[str, Row] = {}
    rejected: list[tuple[Row, str]] = []
    multilabel = False
    for number, record in records:
        where = f"line {number} of the table"
        row = Row(where, raw, ())
        try:
            file, path = _locate(record["path"], raw, table.parent)
            row = Row(file, path, (), record.get("patient", ""))
            labels, several = _labels(record["label"])
            row = replace(row, labels=labels, split=_split(record.get("split", "")))
            if file in rows:
                raise BadFileError(f"stands twice in the table, again in line {number}")
            if not path.is_file():
                raise BadFileError("is missing")
            if _kind(path) not in ("raster", "dicom"):
                raise BadFileError("is neither PNG, JPEG, TIFF nor DICOM")
        except BadFileError as error:
            reason = str(error)
            rejected.append((row, reason if row.file == where or where in reason else f"{reason} ({where})"))
            continue
        multilabel |= several
        rows[file] = row
    if not rows and not rejected:
        raise UsageError(f"--table {table} lists no picture")
    return Found(tuple(rows[file] for file in sorted(rows)), tuple(rejected), multilabel)


def _records(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, known column → cell without blanks around it) of each line of a table that is not empty."""
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
    columns = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        there = ", ".join(repr(name) for name in columns) or "none"
        raise UsageError(
            f"--table {table} has no column {' and '.join(map(repr, missing))}; there are {there}"
            f" (expected path and label, where known patient and split)"
        )
    places = {name: columns.index(name) for name in KNOWN if name in columns}
    return [
        (number, {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()})
        for number, cells in lines[1:]
    ]


def _locate(text: str, raw: Path, beside: Path) -> tuple[str, Path]:
    """File relative to its root, and its path, of a table's cell; the picture need not be there."""
    if not text or "\0" in text:
        raise BadFileError("names no picture")
    cell = text if os.sep == "\\" else text.replace("\\", "/")
    inside = []
    for root in (raw, beside):
        relative = os.path.relpath(os.path.normpath(os.path.abspath(root / cell)), os.path.abspath(root))
        if relative != ".." and not relative.startswith(f"..{os.sep}"):
            inside.append((PurePosixPath(Path(relative)).as_posix(), root / relative))
    if not inside:
        raise BadFileError("its path leads outside of the folder")
    try:
        return next((found for found in inside if found[1].is_file()), inside[0])
    except OSError:
        raise BadFileError("is no possible file name") from None


def _labels(text: str) -> tuple[tuple[str, ...], bool]:
    """Class names of a cell, and whether it is a list: ``a``, ``a|b`` or ``["a", "b"]``."""
    names: Sequence[object] = text.split("|")
    is_list = len(names) > 1
    if text.startswith("[") and text.endswith("]"):
        try:
            names, is_list = ast.literal_eval(text), True
        except (ValueError, SyntaxError):
            raise BadFileError("its label is no list of names") from None
    found = tuple(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
    if not found:
        raise BadFileError("has no label")
    return found, is_list


def _split(text: str) -> str | None:
    if text and text.lower() not in SPLIT_NAMES:
        raise BadFileError(f"its split {text!r} is not train, val or test")
    return SPLIT_NAMES[text.lower()] if text else None


def with_patients(found: Found, pattern: str) -> Found:
    """The same pictures, with the patient that a regular expression's first group finds in the path, where the table
    names none.

    Raises:
        UsageError: it is no regular expression, has no group, or fits no path.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--patient-pattern {pattern!r} is no regular expression: {error}") from None
    if not expression.groups:
        raise UsageError(f"--patient-pattern {pattern!r} has no group: put the patient's part in brackets")
    rows, rejected = [], list(found.rejected)
    for row in found.rows:
        match = expression.search(row.file)
        patient = row.patient or (match and match[1]) or ""
        if patient:
            rows.append(replace(row, patient=patient))
        else:
            rejected.append((row, "its path does not fit --patient-pattern, so its patient is unknown"))
    if not rows:
        raise UsageError(f"--patient-pattern {pattern!r} fits no path, such as {found.rows[0].file}")
    return replace(found, rows=tuple(rows), rejected=tuple(rejected))


def with_classes(found: Found, classes: Sequence[str]) -> Found:
    """The same pictures without those of other classes.

    Raises:
        UsageError: a class has no picture; says which there are.
    """
    there = sorted({name for row in found.rows for name in row.labels})
    absent = [name for name in classes if name not in there]
    if absent:
        raise UsageError(f"--classes: no picture of class {absent[0]!r}; there are {', '.join(map(repr, there))}")
    rows, rejected = [], list(found.rejected)
    for row in found.rows:
        unknown = [name for name in row.labels if name not in classes]
        if unknown:
            rejected.append((row, f"its class {unknown[0]!r} is not among --classes"))
        else:
            rows.append(row)
    return replace(found, rows=tuple(rows), rejected=tuple(rejected))
