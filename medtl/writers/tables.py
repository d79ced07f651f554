"""predictions.csv and metrics.json, whole or absent."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.datalist import Entry
from medtl.files import csv_text, write_csv, write_json, write_text

PREDICTED = "pred"  # column of the predicted numbers of a regression


@dataclass(frozen=True, eq=False)
class Table:
    """Predictions of one split.

    Attributes:
        split: short name.
        entries: of the split, in the order of the rows; without ``label`` the table has no such column.
        probabilities: (n_entries, n_classes); of a regression (n_entries, 1), the predicted numbers.
    """

    split: str
    entries: Sequence[Entry]
    probabilities: NDArray[np.floating]


def write_predictions(
    path: Path, tables: Sequence[Table], classes: Sequence[str], task: str = "classification"
) -> None:
    """Write one row a data-list entry: ``image,patient,split,label,prob_<class>…``; of a regression
    ``image,patient,split,label,pred``.

    A multi-hot label is written as class indices joined by ``;``.

    Args:
        path: the CSV.
        tables: the splits, one below the other.
        classes: class names, used as they are.
        task: "classification", "multilabel" or "regression".
    """
    labelled = all("label" in entry for table in tables for entry in table.entries)
    names = [PREDICTED] if task == "regression" else [f"prob_{name}" for name in classes]
    rows: list[list[str]] = [["image", "patient", "split", *(["label"] if labelled else []), *names]]
    for table in tables:
        for entry, row in zip(table.entries, table.probabilities, strict=True):
            label = [_label(entry["label"])] if labelled else []
            numbers = (f"{value:.7g}" for value in row)
            rows.append([entry["image"], entry["patient"], table.split, *label, *numbers])
    write_csv(path, rows)


def _label(label: int | float | list[int]) -> str:
    return ";".join(str(c) for c, positive in enumerate(label) if positive) if isinstance(label, list) else str(label)


def write_rejected(path: Path, rows: Iterable[tuple[str, str]], private: bool = False) -> None:
    """Write ``rejected.csv``: one row a file, by its name below the input, with the reason; ``private``: readable by
    its owner alone, from the first byte on."""
    write_text(path, csv_text([("file", "reason"), *rows]), private=private)


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """Write flat JSON of numbers; what is not defined (NaN, such as the AUC of one class) is left out."""
    write_json(path, {name: value for name, value in metrics.items() if math.isfinite(value)})
