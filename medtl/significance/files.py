"""Prediction files, medtl's own and those of other tools, as arrays over the same images."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError, UsageError
from medtl.files import read_rows
from medtl.runs.predictions import as_entries, common_split
from medtl.runs.record import find

PROBABILITY = "prob_"
NUMBER = "pred"
NAMES = ("image", "case", "id")  # columns that name a row, where none is told
SUM = 0.01  # that the probabilities of one class an image may be off 1
YES = ("1", "1.0", "True", "true")
NO = ("0", "0.0", "False", "false")

Row = dict[str, str]


@dataclass(frozen=True)
class Columns:
    """Names of the columns that other tools use; None for medtl's own.

    Attributes:
        label: the truth.
        score: of the positive class, higher is more positive.
        id: of the image, by which files are matched.
        by: whose an image is; images of one are not independent. An empty one is not known: an image for itself.
        split: the value of the column ``split`` that is read, as of ``same_split``; None for all rows.
    """

    label: str | None = None
    score: str | None = None
    id: str | None = None
    by: str | None = None
    split: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """What one file says.

    Attributes:
        name: of the file, for people.
        ids: (n,) of the images; of one that is listed under several classes each entry, ``a.png as effusion``.
        owners: (n,) whose they are; None where no column says so and each image has one row.
        labels: class indices (n,), multi-hot (n, n_classes), or numbers (n,).
        scores: (n, n_classes), or (n, 1): predicted numbers.
        classes: names in index order; empty for numbers.
        probabilities: whether the scores lie in 0..1, so that they can be taken for answers.
        positive: the class of two that the run beside the file names positive; empty where none does.
    """

    name: str
    ids: tuple[str, ...]
    owners: tuple[str, ...] | None
    labels: NDArray
    scores: NDArray[np.float64]
    classes: tuple[str, ...]
    probabilities: bool
    positive: str = ""

    @property
    def task(self) -> str:
        """Return "classification", "multilabel" or "regression"."""
        return "regression" if not self.classes else "multilabel" if self.labels.ndim == 2 else "classification"

    def rows(self, places: Sequence[int]) -> "Answers":
        """Return some of the rows, in the order that is asked for."""
        index = np.asarray(places, dtype=np.int64)
        owners = None if self.owners is None else tuple(self.owners[i] for i in index)
        ids = tuple(self.ids[i] for i in index)
        return replace(self, ids=ids, owners=owners, labels=self.labels[index], scores=self.scores[index])


def read_answers(path: Path, columns: Columns, positive: str | None = None) -> Answers:
    """Return what a prediction file says.

    Args:
        path: a CSV: medtl's ``image,patient,split,label,prob_<class>…`` or ``…,label,pred``; of another tool where
            ``columns.score`` names a column.
        columns: their names.
        positive: the positive class, as the label column of another tool spells it.

    Raises:
        UsageError: there is no such file or column, or nothing says which class is positive.
        MedtlError: a field is not what it should be; names the file and the line.
    """
    rows = _rows(path)
    if columns.split is not None:
        rows = [row for row in rows if row[_column(path, tuple(row), "split", "--split")] == columns.split]
    header = tuple(rows[0])
    label = _column(path, header, columns.label or "label", "--label")
    named = columns.id or next((name for name in NAMES if name in header), None)
    ids = tuple(str(number) for number in range(len(rows)))
    if named is not None:
        ids = tuple(row[_column(path, header, named, "--id")] for row in rows)
    owners = None
    if columns.by is not None:
        by = _column(path, header, columns.by, "--by")
        owners = tuple(row[by] or own for row, own in zip(rows, ids, strict=True))
    if columns.score is not None:
        truth, classes = _two_classes(path, [row[label] for row in rows], positive)
        scores = _numbers(path, rows, [_column(path, header, columns.score, "--score")])[:, 0]
        inside = bool(((scores >= 0) & (scores <= 1)).all())
        both = np.stack([1 - scores if inside else -scores, scores], axis=1)
        return _once(path, Answers(name_of(path, columns.score), ids, owners, truth, both, classes, inside))
    wanted = [name for name in header if name.startswith(PROBABILITY)]
    if wanted:
        classes = tuple(name.removeprefix(PROBABILITY) for name in wanted)
        record = find(path.parent)
        scores = _numbers(path, rows, wanted)
        truth = _class_labels(path, [row[label] for row in rows], scores, record.task if record else None)
        positive = record.positive_class if record and record.positive_class in classes else ""
        told = Answers(name_of(path), ids, owners, truth, scores, classes, True, positive)
        return _once(path, told if told.task == "multilabel" else _listed(told))
    if NUMBER in header:
        truth = _numbers(path, rows, [label])[:, 0]
        return _once(path, Answers(name_of(path), ids, owners, truth, _numbers(path, rows, [NUMBER]), (), False))
    raise UsageError(
        f"{path} has no column {PROBABILITY}<class> or {NUMBER}; name the column of the positive class's score: --score"
    )


def _listed(told: Answers) -> Answers:
    """The same with each class of an image as an entry of its own; where there are several and no owners, an image owns
    its entries, which are not independent."""
    entries = as_entries(told.ids, [""] * len(told.ids), told.labels.tolist(), told.classes)
    if tuple(entries) == told.ids:
        return told
    return replace(told, ids=tuple(entries), owners=told.owners or told.ids)


def _once(path: Path, told: Answers) -> Answers:
    """The same, where each row is of another image.

    Raises:
        MedtlError: two are of one; names it.
    """
    if len(set(told.ids)) < len(told.ids):
        twice = Counter(told.ids).most_common(1)[0][0]
        raise MedtlError(f"{path} has the image {twice} twice; expected a row an image, or one for each of its classes")
    return told


def matched(files: Sequence[Answers]) -> tuple[list[Answers], int]:
    """Return files on the images that all of them have, in one order, and how many others there are.

    Raises:
        UsageError: they have no image in common, or are of different classes.
        MedtlError: they disagree about an image's label or owner; names it.
    """
    first = files[0]
    for other in files[1:]:
        if (other.classes, other.task) != (first.classes, first.task):
            raise UsageError(
                f"{first.name} and {other.name} are of different classes: {', '.join(first.classes) or 'numbers'} and"
                f" {', '.join(other.classes) or 'numbers'}"
            )
    common = set(first.ids).intersection(*(other.ids for other in files[1:]))
    if not common:
        raise UsageError(f"{first.name} and {files[1].name} have no image in common; is --id the right column?")
    order = [name for name in first.ids if name in common]
    aligned = []
    for each in files:
        place = {name: row for row, name in enumerate(each.ids)}
        aligned.append(each.rows([place[name] for name in order]))
    for other in aligned[1:]:
        for row, name in enumerate(order):
            same = np.array_equal(other.labels[row], aligned[0].labels[row])
            if not same or (other.owners is not None and other.owners[row] != (aligned[0].owners or other.owners)[row]):
                raise MedtlError(f"{first.name} and {other.name} disagree about {name}")
    return aligned, len(set().union(*(each.ids for each in files)) - common)


def name_of(path: Path, score: str | None = None) -> str:
    """Return a file's name for people: of a run's predictions.csv the run's folder, with the column where one is
    named."""
    name = path.resolve().parent.name if path.stem == "predictions" else path.stem
    return f"{name}:{score}" if score else name


def same_split(paths: Sequence[Path], wanted: str | None = None) -> list[str | None]:
    """Return the split that is read of each file, one for all: ``wanted``, or that of ``common_split``. None of a file
    without a column ``split``.

    Raises:
        UsageError: there is no such file or split, or the files share none.
        MedtlError: a file has no rows.
    """
    splits = [list(dict.fromkeys(row["split"] for row in rows if "split" in row)) for rows in map(_rows, paths)]
    for path, own in zip(paths, splits, strict=True):
        if wanted is not None and wanted not in own:
            has = f"the splits {', '.join(own)}" if own else "no column split"
            raise UsageError(f"--split {wanted}: {path} has {has}")
    split = wanted or common_split([own for own in splits if own])
    if split is None:
        said = [f"{path} has {', '.join(own)}" for path, own in zip(paths, splits, strict=True) if own]
        raise UsageError(f"the files share no split: {'; '.join(said)}")
    return [split if own else None for own in splits]


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected a table of predictions")
    rows = read_rows(path)
    if not rows:
        raise MedtlError(f"{path} has no rows")
    return rows


def _column(path: Path, header: Sequence[str], name: str, option: str) -> str:
    if name not in header:
        raise UsageError(f"{option} {name}: {path} has the columns {', '.join(header)}")
    return name


def _numbers(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> NDArray[np.float64]:
    values = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        for place, name in enumerate(columns):
            try:
                values[number, place] = float(row[name])
            except ValueError:
                values[number, place] = math.nan
            if not math.isfinite(values[number, place]):
                raise MedtlError(f"{path} has {name} {row[name]!r} in row {number + 1} of the split; expected a number")
    return values


def _class_labels(path: Path, texts: Sequence[str], scores: NDArray[np.float64], task: str | None) -> NDArray:
    """Class indices or, as the task of the run beside the file or the labels show (``0;3``; or blank, where the
    probabilities of a row do not add up to 1), multi-hot."""
    n_classes, of_one = scores.shape[1], bool((np.abs(scores.sum(axis=1) - 1) < SUM).all())
    several = any(";" in text or (not text and not of_one) for text in texts) if task is None else task == "multilabel"
    parts = [[part for part in text.split(";") if part] if several else [text] for text in texts]
    labels = np.zeros((len(texts), n_classes), np.int64)
    for row, own in enumerate(parts):
        for part in own:
            if not part.isdecimal() or int(part) >= n_classes:
                raise MedtlError(f"{path} has label {texts[row]!r}; expected a class index below {n_classes}")
            labels[row, int(part)] = 1
    return labels if several else labels.argmax(axis=1)


def _two_classes(path: Path, texts: Sequence[str], positive: str | None) -> tuple[NDArray, tuple[str, ...]]:
    """0 and 1 from the label column of another tool, and the names of the two, the positive one last."""
    there = list(dict.fromkeys(texts))
    if positive is None:
        if not set(there) <= {*YES, *NO}:
            raise UsageError(f"--positive is missing: the labels of {path} are {', '.join(sorted(there)[:5])}")
        return np.array([int(text in YES) for text in texts]), ("0", "1")
    if positive not in there:
        raise UsageError(f"--positive {positive}: the labels of {path} are {', '.join(sorted(there)[:5])}")
    others = [name for name in there if name != positive]
    negative = others[0] if len(others) == 1 else f"not {positive}"
    return np.array([int(text == positive) for text in texts]), (negative, positive)
