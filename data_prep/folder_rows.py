"""Which pictures somebody's own folder holds, and what is known of each: from class folders, or from a table."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from data_prep.folder_labels import CLASSIFICATION, Wanted, nfc, scheme
from data_prep.folder_tables import GROUPS, Line, read_table
from medtl.errors import BadFileError, UsageError, tell
from medtl.readers.dicom import may_hold_image
from medtl.readers.find import HIDDEN, Passed, Tree, images, is_hidden
from medtl.readers.kinds import kind

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LOST = "is lost: "  # in the reason of a class that would be missing without a word
OLDEST = 90  # years that are told; older people are rare enough to be recognised
EXPECTED = "DIR/<class>/… or DIR/{train,val,test}/<class>/… with PNG, JPEG, TIFF, BMP, WebP, GIF or DICOM pictures"


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        file: relative to the folder, or to the table's.
        path: where it lies.
        labels: class names; the text of the number of a regression.
        patient: as the table or the path names the patient; empty where neither does.
        split: training, validation or test where it is given.
        group: sex, age and site, as far as a table tells them.
    """

    file: str
    path: Path
    labels: tuple[str, ...]
    patient: str = ""
    split: str | None = None
    group: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class Found:
    """What is to be prepared.

    Attributes:
        rows: by file.
        rejected: (row, reason); its file alone may be known.
        task: "classification", "multilabel" or "regression".
        passed: files that are passed over.
        names: of the classes in index order, or of the number; empty where the rows name them.
        notes: what was understood of the labels, to be told.
    """

    rows: tuple[Row, ...]
    rejected: tuple[tuple[Row, str], ...]
    task: str = CLASSIFICATION
    passed: tuple[Passed, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def from_folders(raw: Path) -> Found:
    """Return the pictures of class folders, every file below ``raw`` accounted for (see ``medtl.readers.find``).

    A class none of whose files is a picture is rejected by its name: it would be missing without a word.

    Raises:
        UsageError: there are no pictures, or split folders stand beside others.
    """
    tree = images(raw)
    tops = list(dict.fromkeys(_parts(file.name)[0] for file in tree.files if len(_parts(file.name)) > 1))
    splits = {name: SPLIT_NAMES[name.lower()] for name in tops if name.lower() in SPLIT_NAMES}
    others = [name for name in tops if name not in splits]
    if splits and others:
        raise UsageError(
            f"{raw} holds split folders ({', '.join(splits)}) and others ({', '.join(others[:3])}): expected {EXPECTED}"
        )
    rows: list[Row] = []
    rejected = [(Row(one.name, raw / one.name, ()), one.reason) for one in tree.refused]
    for file in tree.files:
        top, *rest = _parts(file.name)
        inside = rest if top in splits else [top, *rest]
        row = Row(file.name, file.path, tuple(inside[:1]) if len(inside) > 1 else (), split=splits.get(top))
        if file.kind in ("nifti", "itk"):
            rejected.append((row, "is a volume; expected single pictures"))
        elif not row.labels:
            rejected.append((row, "lies in no class folder"))
        elif file.kind == "dicom" and not may_hold_image(file.path):
            rejected.append((row, "is DICOM without an image"))
        else:
            rows.append(row)
    if not rows:
        flat = f"; {len(rejected):,} file(s) cannot be used: {rejected[0][0].file} {rejected[0][1]}" if rejected else ""
        raise UsageError(f"{raw} holds no picture to use: expected {EXPECTED}, or a --table{flat}")
    lost = _lost(raw, tree, list(splits), {row.labels[0] for row in rows})
    rejected += [(Row(folder, raw / folder, ()), reason) for folder, reason in lost]
    return Found(tuple(sorted(rows, key=lambda row: row.file)), tuple(rejected), passed=tree.passed)


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts


def _lost(raw: Path, tree: Tree, splits: Sequence[str], there: set[str]) -> list[tuple[str, str]]:
    """Return the folder and reason of every class that has a folder and no picture."""
    files = Counter(
        PurePosixPath(*_parts(name)[: 2 if splits else 1]).as_posix()
        for name, why in (*((one.name, "") for one in tree.refused), *tree.passed)
        if why != HIDDEN
    )
    lost = []
    for top in [raw / name for name in splits] or [raw]:
        for folder in sorted(path for path in top.iterdir() if path.is_dir() and not is_hidden(path.name)):
            name, inside = nfc(folder.name), nfc(folder.relative_to(raw).as_posix())
            if name not in there and files[inside]:
                lost.append((inside, f"class {name!r} {LOST}none of its {files[inside]:,} file(s) is a picture"))
            elif not files[inside] and not any(folder.iterdir()):
                tell(f"data_prep: warning: the folder {inside} is empty")
    return lost


def from_table(table: Path, raw: Path, wanted: Wanted = Wanted()) -> Found:
    """Return the pictures that a CSV lists in columns path, label (or one a finding) and where they are known patient,
    split, sex, age and site, in any order; other columns are passed over.

    Args:
        table: separated by comma, semicolon or tab. Paths are relative to ``raw`` or to the table's own folder.
        raw: the folder.
        wanted: what the options say of the labels.

    Raises:
        UsageError: there is no such file, or it is no such table; says which columns there are.
    """
    columns, lines = read_table(table, ("path",), "path and label, where known patient and split")
    how = scheme(table, columns, [line.cells for line in lines if not line.fault], wanted)
    found, rejected = _listed(lines, table, raw, how.read)
    return Found(found, rejected, how.task, names=how.names, notes=how.notes)


def about_pictures(table: Path, raw: Path) -> Found:
    """Return what a CSV says of pictures that need no label: path, and where known patient, split, sex, age and site.

    Args:
        table, raw: as of ``from_table``.

    Raises:
        UsageError: there is no such file, it has no column path, or it lists no picture.
    """
    columns, lines = read_table(table, ("path",), "path, where known patient and split")
    told = [name for name in ("patient", "split", *GROUPS) if name in columns]
    if not told:
        raise UsageError(
            f"--table {table} says nothing of its pictures: expected a column patient, split, sex, age or site"
        )
    return Found(*_listed(lines, table, raw, lambda cells: ()), notes=(f"of the table: {', '.join(told)}",))


def _listed(
    lines: Sequence[Line],
    table: Path,
    raw: Path,
    labels_of: Callable[[Mapping[str, str]], tuple[str, ...]],
) -> tuple[tuple[Row, ...], tuple[tuple[Row, str], ...]]:
    """Return the pictures of a table's lines, by file, and what cannot be used of them, with the reason."""
    rows: dict[str, Row] = {}
    places: dict[str, int] = {}
    unlike: dict[str, list[int]] = {}  # lines of a picture of which the table says different things
    rejected: list[tuple[Row, str]] = []
    for line in lines:
        cells, where = line.cells, f"line {line.number} of the table"
        row = Row(where, raw, ())
        try:
            if line.fault:
                raise BadFileError(line.fault)
            file, path = _locate(cells["path"], raw, table.parent)
            row = Row(file, path, (), cells.get("patient", ""))
            row = replace(row, labels=labels_of(cells), split=_split(cells.get("split", "")), group=_group(cells))
            if file in unlike or (file in rows and row != rows[file]):
                unlike.setdefault(file, [places[file]]).append(line.number)
                continue
            if file in rows:
                raise BadFileError(f"stands twice in the table, again in line {line.number}")
            if not path.is_file():
                raise BadFileError("is missing")
            if _kind(path) not in ("raster", "dicom"):
                raise BadFileError("is no picture (PNG, JPEG, TIFF, BMP, WebP, GIF or DICOM)")
        except BadFileError as error:
            reason = str(error)
            rejected.append((row, reason if row.file == where or where in reason else f"{reason} ({where})"))
            continue
        rows[file], places[file] = row, line.number
    for file, numbers in unlike.items():
        said = f"stands in lines {' and '.join(map(str, numbers))} of the table, which say different things of it"
        rejected.append((rows.pop(file), said))
    if not rows and not rejected:
        raise UsageError(f"--table {table} lists no picture")
    return tuple(rows[file] for file in sorted(rows)), tuple(rejected)


def _group(record: Mapping[str, str]) -> tuple[tuple[str, str | int], ...]:
    """What a line tells of the patient, ages above 90 as 90."""
    known: dict[str, str | int] = {name: record[name] for name in GROUPS if record.get(name)}
    if "age" in known:
        try:
            known["age"] = min(int(float(known["age"])), OLDEST)
        except (ValueError, OverflowError):
            raise BadFileError("has an age that is no number of years") from None
    return tuple(known.items())


def _kind(path: Path) -> str | None:
    try:
        return kind(path)
    except OSError:
        return "raster"  # reading it tells what is wrong


def _locate(text: str, raw: Path, beside: Path) -> tuple[str, Path]:
    """Return the file relative to its root, and its path, of a table's cell; the picture need not be there."""
    if not text or "\0" in text:
        raise BadFileError("names no picture")
    cell = text if os.sep == "\\" else text.replace("\\", "/")
    # names look alike in both Unicode forms, and tables and archives of different systems have different ones
    forms = dict.fromkeys((cell, *(unicodedata.normalize(form, cell) for form in ("NFC", "NFD"))))
    inside = []
    for root, form in ((root, form) for root in (raw, beside) for form in forms):
        relative = os.path.relpath(os.path.normpath(os.path.abspath(root / form)), os.path.abspath(root))
        if relative != ".." and not relative.startswith(f"..{os.sep}"):
            inside.append((PurePosixPath(Path(relative)).as_posix(), root / relative))
    if not inside:
        raise BadFileError("its path leads outside of the folder")
    try:
        return next((found for found in inside if found[1].is_file()), inside[0])
    except OSError:
        raise BadFileError("is no possible file name") from None


def _split(text: str) -> str | None:
    if text and text.lower() not in SPLIT_NAMES:
        raise BadFileError(f"its split {text!r} is not train, val or test")
    return SPLIT_NAMES[text.lower()] if text else None


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression whose first group is the patient.

    Raises:
        UsageError: it is no regular expression, or has no group.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--patient-pattern {pattern!r} is no regular expression: {error}") from None
    if not expression.groups:
        raise UsageError(f"--patient-pattern {pattern!r} has no group: put the patient's part in brackets")
    return expression


def with_patients(found: Found, pattern: str) -> Found:
    """Return the same pictures, with the patient that a regular expression's first group finds in the path, where the
    table names none.

    Raises:
        UsageError: it is no regular expression, has no group, or fits no path.
    """
    expression = compiled(pattern)
    rows, rejected = [], list(found.rejected)
    for row in found.rows:
        match = expression.search(row.file)
        patient = row.patient or nfc((match and match[1]) or "")
        if patient:
            rows.append(replace(row, patient=patient))
        else:
            rejected.append((row, "its path does not fit --patient-pattern, so its patient is unknown"))
    if not rows:
        raise UsageError(f"--patient-pattern {pattern!r} fits no path, such as {found.rows[0].file}")
    return replace(found, rows=tuple(rows), rejected=tuple(rejected))


def with_classes(found: Found, classes: Sequence[str]) -> Found:
    """Return the same pictures without those of other classes.

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
