"""predictions.csv as arrays, refused in one line where it cannot be what it says."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError
from medtl.files import read_csv
from medtl.metrics.registry import bounds
from medtl.metrics.segmentation import kinds

PROBABILITY = "prob_"
PREFERRED = ("test", "val")  # splits
ROUNDING = 1e-3  # probabilities are written with seven digits, some by half-precision networks


@dataclass(frozen=True, eq=False)
class Sample:
    """What one network said about one split; or several networks about the folds of one set, one below the other.

    Attributes:
        names: (n,) of the rows, no two alike: images, of one under several classes each entry (``a.png as effusion``);
            cases of a segmentation; patients of a survival.
        images: (n,) the same without the class: what the row is of, in a data list and in other splits.
        patients: (n,) whose they are; of one that is not known (empty in the file) the row's own name.
        labels: (n,) class indices or (n, n_classes) multi-hot; (n, 0) for a segmentation; (n,) floating-point numbers
            of a regression; (n, 2) floating-point times and events of a survival.
        values: (n, n_classes) probabilities; (n, 1) predicted numbers or risks; for a segmentation (n, n_columns)
            IoU, Dice and what is measured of contours, NaN where an organ is neither there nor found.
        columns: class names, or the columns' names such as ``iou_liver``.
        networks: (n,) index of the network whose values each row has; None for one.
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    patients: NDArray[np.str_]
    labels: NDArray
    values: NDArray[np.float64]
    columns: tuple[str, ...]
    networks: NDArray[np.int64] | None = None

    @property
    def kind(self) -> str:
        """Return "classification", "multilabel", "regression", "segmentation" or "survival"."""
        if self.labels.ndim == 2 and self.labels.dtype.kind == "f":
            return "survival"
        if self.labels.ndim == 1:
            return "regression" if self.labels.dtype.kind == "f" else "classification"
        return "multilabel" if self.labels.shape[1] else "segmentation"

    def rows(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Sample":
        """Return some of the rows, in the order that is asked for."""
        index = np.asarray(chosen, dtype=np.int64)
        names, images = (tuple(each[i] for i in index) for each in (self.names, self.images))
        whose = None if self.networks is None else self.networks[index]
        return Sample(names, images, self.patients[index], self.labels[index], self.values[index], self.columns, whose)

    def only(self, columns: Sequence[str]) -> "Sample":
        """Return some of the columns, in the order that is asked for."""
        places = [self.columns.index(name) for name in columns]
        return replace(self, values=self.values[:, places], columns=tuple(columns))

    def by_network(self) -> "list[Sample]":
        """Return what each network said."""
        if self.networks is None:
            return [self]
        return [self.rows(np.flatnonzero(self.networks == k)) for k in np.unique(self.networks)]


def read_predictions(path: Path, classes: Sequence[str], task: str | None) -> dict[str, Sample]:
    """Return the splits of a predictions.csv, in the order in which they stand there.

    Args:
        path: of the file.
        classes: names in index order; not used for a segmentation.
        task: of the run, as its record says; where that is silent, images have one class each.

    Raises:
        MedtlError: a column is missing, a label is no class, a number is none, or an image occurs twice with one label.
    """
    header, *lines = read_csv(path) or [[]]
    ragged = next((number for number, line in enumerate(lines, 2) if len(line) != len(header)), None)
    if ragged is not None:
        raise MedtlError(f"{path} line {ragged} has not the {len(header)} columns of its header")
    table = {name: [line[place] for line in lines] for place, name in enumerate(header)}
    if not lines:
        raise MedtlError(f"{path} has no rows")
    if task == "survival":
        return _splits(path, table, "patient", read_risks(path, table))
    if task == "regression":
        return _splits(path, table, "image", read_numbers(path, table, classes))
    segmentation = header[:1] == ["case"]
    wanted = _organ_columns(header) if segmentation else [PROBABILITY + name for name in classes]
    needed = ["case" if segmentation else "image", "patient", "split", *([] if segmentation else ["label"]), *wanted]
    missing = [name for name in needed if name not in table]
    extra = [] if segmentation else [n for n in header if n.startswith(PROBABILITY) and n not in wanted]
    if missing or extra or not wanted:
        what = (
            f"no column {missing[0]!r}" if missing else f"a column {extra[0]!r}" if extra else "no column iou_<organ>"
        )
        raise MedtlError(f"{path} has {what}; expected {','.join(needed)}")
    values = _numbers(path, table, wanted, blank=segmentation)
    if segmentation:
        labels = np.zeros((len(lines), 0), np.int64)
    else:
        multilabel = task == "multilabel"
        if not multilabel:
            _check_sums(path, values)
        labels = _labels(path, table["label"], len(classes), multilabel)
    columns = tuple(wanted) if segmentation else tuple(classes)
    names = images = table[needed[0]]
    if not segmentation and task != "multilabel":
        names = as_entries(images, table["split"], [int(label) for label in labels], classes)
    whole = Sample(tuple(names), tuple(images), _patients(table, images), labels, values, columns)
    return _splits(path, table, needed[0], whole)


def _splits(path: Path, table: Mapping[str, Sequence[str]], name: str, whole: Sample) -> dict[str, Sample]:
    splits = {}
    for split in dict.fromkeys(table["split"]):
        own = whole.rows([row for row, each in enumerate(table["split"]) if each == split])
        twice = [each for each, times in Counter(own.names).items() if times > 1]
        if twice:
            raise MedtlError(f"{path} has {name} {twice[0]} twice in split {split}")
        splits[split] = own
    return splits


def common_split(files: Sequence[Collection[str]]) -> str | None:
    """Return the split on which files of predictions are held against each other: test, val, or the first other one
    that all have; None where they share none."""
    others = dict.fromkeys(name for splits in files for name in splits)
    return next((name for name in (*PREFERRED, *others) if all(name in splits for splits in files)), None)


def as_entries(
    images: Sequence[str], splits: Sequence[str], labels: Sequence[int], classes: Sequence[str]
) -> list[str]:
    """Return the names of images; of one that a split lists under several classes, as CPMID does with several findings,
    each entry with its class.

    Args:
        images, splits, labels: of each row the image, the split, and the index of its class.
        classes: names in index order.
    """
    listed: dict[tuple[str, str], set[int]] = defaultdict(set)
    rows = list(zip(splits, images, labels, strict=True))
    for split, image, label in rows:
        listed[split, image].add(label)
    return [f"{image} as {classes[label]}" if len(listed[split, image]) > 1 else image for split, image, label in rows]


def _patients(table: Mapping[str, Sequence[str]], images: Sequence[str]) -> NDArray[np.str_]:
    return np.array([who or image for who, image in zip(table["patient"], images, strict=True)], dtype=np.str_)


def _organ_columns(header: Sequence[str]) -> list[str]:
    measured = kinds()
    return [name for name in header if "_" in name and name.partition("_")[0] in measured]


def _numbers(
    path: Path, table: Mapping[str, Sequence[str]], columns: Sequence[str], blank: bool
) -> NDArray[np.float64]:
    values = np.empty((len(table["patient"]), len(columns)))
    for place, name in enumerate(columns):
        least, most = bounds(name)
        ends = f"from {least:g}" + (f" to {most:g}" if math.isfinite(most) else " on")
        wanted = f"a number {ends}" if math.isfinite(least) else "a finite number"
        for row, text in enumerate(table[name]):
            try:
                values[row, place] = float(text) if text or not blank else math.nan
            except ValueError:
                raise MedtlError(f"{path} line {row + 2} has {name} {text!r}; expected a number") from None
            bad = math.isinf(values[row, place]) if blank else not math.isfinite(values[row, place])
            if bad or not (
                least - ROUNDING <= values[row, place] <= most + ROUNDING or (blank and math.isnan(values[row, place]))
            ):
                raise MedtlError(f"{path} line {row + 2} has {name} {text}; expected {wanted}")
    return values


def _check_sums(path: Path, values: NDArray[np.float64]) -> None:
    off = np.flatnonzero(np.abs(values.sum(axis=1) - 1) > 10 * ROUNDING)
    if len(off):
        total = values[off[0]].sum()
        raise MedtlError(f"{path} line {off[0] + 2} has probabilities that add up to {total:.3f}; expected 1")


def _labels(path: Path, texts: Sequence[str], n_classes: int, multilabel: bool) -> NDArray[np.int64]:
    labels = np.zeros((len(texts), n_classes if multilabel else 1), np.int64)
    for row, text in enumerate(texts):
        parts = [part for part in text.split(";") if part] if multilabel else [text]
        for part in parts:
            if not part.isdecimal() or int(part) >= n_classes:
                raise MedtlError(f"{path} line {row + 2} has label {text!r}; expected a class index below {n_classes}")
            labels[row, int(part) if multilabel else 0] = 1 if multilabel else int(part)
    return labels if multilabel else labels[:, 0]


def read_numbers(path: Path, table: Mapping[str, Sequence[str]], names: Sequence[str]) -> Sample:
    """Read labels and predictions of a regression, ``image,patient,split,label,pred``.

    Args:
        path: for messages.
        table: column to texts.
        names: of the number.

    Raises:
        MedtlError: a column is missing, or a cell is no number.
    """
    needed = ("image", "patient", "split", "label", "pred")
    missing = [name for name in needed if name not in table]
    if missing:
        raise MedtlError(f"{path} has no column {missing[0]!r}; expected {','.join(needed)}")
    numbers = np.empty((2, len(table["image"])))
    for place, name in enumerate(("label", "pred")):
        for row, text in enumerate(table[name]):
            try:
                numbers[place, row] = float(text)
            except ValueError:
                numbers[place, row] = math.nan
            if not math.isfinite(numbers[place, row]):
                raise MedtlError(f"{path} line {row + 2} has {name} {text!r}; expected a number")
    images = tuple(table["image"])
    return Sample(images, images, _patients(table, images), numbers[0], numbers[1][:, np.newaxis], tuple(names))


def read_risks(path: Path, table: Mapping[str, Sequence[str]]) -> Sample:
    """Read times, events and risks of a survival, ``patient,split,time,event,risk``.

    Args:
        path: for messages.
        table: column to texts.

    Raises:
        MedtlError: a column is missing, or a cell is no number, time or event.
    """
    needed = ("patient", "split", "time", "event", "risk")
    missing = [name for name in needed if name not in table]
    if missing:
        raise MedtlError(f"{path} has no column {missing[0]!r}; expected {','.join(needed)}")
    numbers = np.empty((3, len(table["patient"])))
    for place, name in enumerate(needed[2:]):
        for row, text in enumerate(table[name]):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            fits = {"time": value > 0, "event": value in (0, 1)}.get(name, True)
            if not (math.isfinite(value) and fits):
                expected = {"time": "a number above 0", "event": "0 or 1"}.get(name, "a number")
                raise MedtlError(f"{path} line {row + 2} has {name} {text!r}; expected {expected}")
            numbers[place, row] = value
    patients = np.array(table["patient"], dtype=np.str_)
    who = tuple(table["patient"])
    return Sample(who, who, patients, numbers[:2].T, numbers[2][:, np.newaxis], ("risk",))
