"""What the labels of somebody's own table say: one class a picture, any number of findings, or a number."""

import ast
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtl.errors import BadFileError, UsageError

CLASSIFICATION, MULTILABEL, REGRESSION = TASKS = ("classification", "multilabel", "regression")
LABEL = "label"  # the column of class names, lists of findings, or numbers
DESCRIBING = ("path", "patient", "split")  # columns that are no label
SEPARATORS = "|;"
MISSING = frozenset({"nan", "na", "n/a", "#n/a", "<na>", "null", "none"})  # as pandas and R write it
WITHOUT = frozenset({"no finding", "no findings"})  # as the NIH's chest X-rays name it
ONE, ZERO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})
MOST_NUMBERED = 30  # classes with numbers for names: of more, a table is asked whether it means the numbers

Record = Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What the options say of the labels.

    Attributes:
        task: one of ``TASKS``; None leaves it to the labels.
        classes: class names in index order; the columns of the findings, or the column of the number.
        separator: between the findings of a cell; empty for ``|`` or ``;``.
    """

    task: str | None = None
    classes: tuple[str, ...] = ()
    separator: str = ""

    def __post_init__(self) -> None:
        if self.task not in (None, *TASKS):
            raise UsageError(f"--task {self.task} is not one of {', '.join(TASKS)}")
        if self.task == REGRESSION and len(self.classes) > 1:
            raise UsageError(f"--classes {','.join(self.classes)}: a regression predicts one column of numbers")


@dataclass(frozen=True)
class Scheme:
    """How a table's labels are read.

    Attributes:
        task: one of ``TASKS``.
        read: a record to its class names, or to the text of its number; raises BadFileError where there is none.
        names: of the classes in index order, or of the number; empty where the records name them.
        notes: what was understood, to be told.
    """

    task: str
    read: Callable[[Record], tuple[str, ...]]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def scheme(table: Path, columns: Mapping[str, str], records: Sequence[Record], wanted: Wanted) -> Scheme:
    """Return how the labels of a table are to be read.

    Args:
        table: for messages.
        columns: names of all columns, in small letters, to what the table calls them.
        records: column, in small letters, to cell.
        wanted: what the options say.

    Raises:
        UsageError: no column holds labels, or they are numbers and nobody says whether these are classes.
    """
    if wanted.task == REGRESSION:
        return _of_numbers(table, columns, wanted)
    if LABEL in columns:
        return _of_names(table, records, wanted)
    return _of_columns(table, columns, records, wanted)


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return class names in index order: of numbers by size, others by the alphabet."""
    if names and all(_number(name) is not None for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def nfc(name: str) -> str:
    """Return a name in the one Unicode form in which all that look alike are alike."""
    return unicodedata.normalize("NFC", name)


def _of_numbers(table: Path, columns: Mapping[str, str], wanted: Wanted) -> Scheme:
    column = wanted.classes[0].lower() if wanted.classes else LABEL
    if column not in columns:
        raise UsageError(
            f"--table {table} has no column {column!r} of numbers (--classes NAME names it); there are"
            f" {_named(columns)}"
        )

    def read(record: Record) -> tuple[str, ...]:
        value = _number(record[column])
        if value is None:
            raise BadFileError(
                f"its {column} {record[column]!r} is no number" if record[column] else f"has no {column}"
            )
        return (repr(value),)

    return Scheme(REGRESSION, read, (wanted.classes or (columns[column],))[:1])


def _of_names(table: Path, records: Sequence[Record], wanted: Wanted) -> Scheme:
    """Of a column of class names, or of lists of findings."""
    cells = [record[LABEL] for record in records]
    listed = any(_is_list(cell, wanted) for cell in cells)
    task = wanted.task or (MULTILABEL if listed else CLASSIFICATION)
    whole = _whole(cells, wanted) if task == CLASSIFICATION else {}
    if whole and wanted.task is None and not wanted.classes:
        _check_numbers(table, records)

    def read(record: Record) -> tuple[str, ...]:
        names = tuple(whole.get(name, name) for name in _names(record[LABEL], wanted))
        if task == MULTILABEL:
            return _findings(names, wanted)
        if not names:
            raise BadFileError("has no label")
        if len(names) > 1:
            raise BadFileError(f"has {len(names)} labels; --task {CLASSIFICATION} takes one")
        return names

    return Scheme(task, read, notes=_notes(cells, task, wanted))


def _is_list(cell: str, wanted: Wanted) -> bool:
    listed = cell.startswith("[") and cell.endswith("]")
    return listed or any(mark in cell for mark in wanted.separator or SEPARATORS)


def _names(cell: str, wanted: Wanted) -> tuple[str, ...]:
    """The names in a cell: ``a``, ``a|b`` or ``["a", "b"]``; none in an empty one.

    Raises:
        BadFileError: it is a list of something else, or says that the label is missing.
    """
    parts: Sequence[object] = [cell]
    if cell.startswith("[") and cell.endswith("]"):
        try:
            parts = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise BadFileError("its label is no list of names") from None
    else:
        for mark in wanted.separator or SEPARATORS:
            parts = [piece for part in parts for piece in str(part).split(mark)]
    names = tuple(dict.fromkeys(nfc(str(part).strip()) for part in parts if str(part).strip()))
    missing = [name for name in names if name.lower() in MISSING and name not in wanted.classes]
    if missing:
        raise BadFileError(f"its label {missing[0]!r} is no class")
    return names


def _findings(names: tuple[str, ...], wanted: Wanted) -> tuple[str, ...]:
    without = [name for name in names if name.lower() in WITHOUT and name not in wanted.classes]
    if without and len(names) > len(without):
        raise BadFileError(f"its label says {without[0]!r} and a finding")
    return () if without else names


def _notes(cells: Sequence[str], task: str, wanted: Wanted) -> tuple[str, ...]:
    notes = []
    none = Counter(
        cell.strip() for cell in cells if cell.strip().lower() in WITHOUT and cell.strip() not in wanted.classes
    )
    if task == MULTILABEL and none:
        told = ", ".join(f"{name!r} of {count:,}" for name, count in none.items())
        notes.append(f"no finding, and no class: {told} picture(s); --classes makes one of it")
    commas = [cell for cell in cells if "," in cell and not _is_list(cell, wanted)]
    if commas and "," not in wanted.separator and not wanted.classes:
        notes.append(f"warning: {commas[0]!r} is taken for one name; --separator , takes it for several")
    return tuple(notes)


def _whole(cells: Sequence[str], wanted: Wanted) -> dict[str, str]:
    """Of a column of whole numbers, each as it is written to the number without a fraction: pandas writes 1.0 for the
    class 1 as soon as one label is missing. Empty where any label is something else."""
    there = {cell for cell in cells if cell and (cell.lower() not in MISSING or cell in wanted.classes)}
    values = {cell: _number(cell) for cell in there}
    if any(value is None for value in values.values()):
        return {}
    return {
        cell: str(int(value)) if value.is_integer() else cell for cell, value in values.items() if value is not None
    }


def _check_numbers(table: Path, records: Sequence[Record]) -> None:
    """Refuse a column of numbers that look measured rather than counted off, until somebody says what they are."""
    people: dict[float, set[str]] = defaultdict(set)
    for place, record in enumerate(records):
        value = _number(record[LABEL])
        if value is not None:
            people[value].add(record.get("patient") or f"line {place}")
    alone = sum(len(each) == 1 for each in people.values())
    measured = any(not value.is_integer() for value in people)
    many = len(people) > 2 and (alone > len(people) / 2 or len(people) > MOST_NUMBERED)
    if measured or many:
        shown = ", ".join(f"{value:g}" for value in sorted(people)[:3])
        raise UsageError(
            f"--table {table}: the labels are {len(people)} different numbers ({shown} …), {alone} of them of a single"
            f" patient: say --task {REGRESSION} to predict the number, or --task {CLASSIFICATION} to take each for a"
            " class"
        )


def _of_columns(table: Path, columns: Mapping[str, str], records: Sequence[Record], wanted: Wanted) -> Scheme:
    """Of one column of 0 and 1 a finding."""
    others = [name for name in columns if name and name not in DESCRIBING]
    given = {name.lower(): name for name in wanted.classes}
    absent = [name for name in given if name not in others]
    if absent:
        raise UsageError(f"--table {table} has no column {absent[0]!r}, nor one {LABEL!r}; there are {_named(columns)}")
    found = [name for name in (given or others) if given or _is_finding(records, name)]
    there = [name for name in found if any(record[name].lower() in ONE for record in records)]
    if not there:
        raise UsageError(
            f"--table {table} has no column {LABEL!r}; there are {_named(columns)} (expected path and label, or a"
            " column of 0 and 1 for each finding; where known patient and split)"
        )
    names = {name: nfc(given.get(name, columns[name])) for name in there}

    def read(record: Record) -> tuple[str, ...]:
        for name in there:
            if record[name].lower() not in ONE | ZERO:
                raise BadFileError(f"its {name} is {record[name]!r}; expected 0 or 1")
        positive = tuple(names[name] for name in there if record[name].lower() in ONE)
        if wanted.task == CLASSIFICATION and len(positive) != 1:
            raise BadFileError(f"has {len(positive)} labels; --task {CLASSIFICATION} takes one")
        return positive

    notes = [f"one column a finding: {', '.join(names.values())}"]
    passed = [name for name in others if name not in there]
    notes += [f"columns that are passed over: {', '.join(passed)} (--classes names others)"] if passed else []
    return Scheme(wanted.task or MULTILABEL, read, tuple(names.values()), tuple(notes))


def _is_finding(records: Sequence[Record], column: str) -> bool:
    """Whether most of a column's cells are 0 or 1: the others are then named, not the column dropped."""
    cells = [record[column].lower() for record in records if record[column]]
    return sum(cell in ONE | ZERO for cell in cells) > len(cells) / 2


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _named(columns: Collection[str]) -> str:
    return ", ".join(map(repr, columns)) or "none"
