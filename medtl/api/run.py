"""``medtl.Run``: what a run's folder says. Reading it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medtl.datalist import SHORT_NAMES
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object, read_rows
from medtl.runs import record as records
from medtl.runs.record import RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from torch import nn

ENDS = ("_lo", "_hi")
TARGET = "medtl.networks.classifier.build_classifier"


class Run:
    """A run: what a bundle, ``medtl.fit``, ``medtl.evaluate`` or ``medtl compare`` (a cell) has written.

    Args:
        folder: that holds run.json.

    Attributes:
        folder: the same.

    Raises:
        UsageError: it holds none.
        MedtlError: that cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        records.read(self.folder)

    @property
    def record(self) -> RunRecord:
        """Return what run.json says now."""
        return records.read(self.folder)

    def metrics(self, split: str = "test", *, intervals: bool = False) -> dict[str, float | None]:
        """Return the metrics of a split by name, without the split's; None for one that is not defined.

        Args:
            split: train, val or test (or training, validation).
            intervals: the ends of the 95 % intervals too, as ``<metric>_lo`` and ``<metric>_hi``.

        Raises:
            UsageError: the run has not measured that split.
        """
        file = self._file("metrics.json")
        prefix = f"{_short(split)}_"
        all_ = read_object(file)
        found = {name.removeprefix(prefix): value for name, value in all_.items() if name.startswith(prefix)}
        if not found:
            raise UsageError(f"{file} has no metrics of the {split} split")
        return {name: value for name, value in found.items() if intervals or not name.endswith(ENDS)}

    def predictions(self, split: str | None = None) -> DataFrame:
        """Return predictions.csv, a row an image: image, patient, split, label, and a probability a class.

        Args:
            split: train, val or test; None for all that there are.

        Raises:
            UsageError: the run has predicted nothing.
        """
        import pandas as pd

        table = pd.DataFrame(read_rows(self._file("predictions.csv")))
        for name in table.columns.difference(["image", "case", "patient", "split"]):
            table[name] = _numbers(table[name])
        return table if split is None else table[table["split"] == _short(split)].reset_index(drop=True)

    def network(self) -> nn.Module:
        """Return the trained classifier, on the CPU, ready to predict: images (n, channels, image_size, image_size),
        normalised as ``record.preprocessing`` says, to logits (n, classes).

        Raises:
            UsageError: the run kept no weights.
            MedtlError: its network is none of medtl's classifiers, or the weights are not of it.
        """
        from medtl.networks.classifier import build_classifier
        from medtl.weights.load import load_exactly

        made = dict(self.record.network or {})
        if made.pop("_target_", None) != TARGET:
            raise MedtlError(f"{self.folder / records.FILE_NAME} names another network than {TARGET}")
        network = build_classifier(**made)
        load_exactly(network, str(self._file("model.pt")))
        return network.eval()

    def __repr__(self) -> str:
        record = self.record
        start = f" from {record.start.init}" if record.start else ""
        return f"<Run {self.folder}: {record.backbone or record.bundle.name}{start}, {record.status}>"

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise UsageError(f"{self.folder} holds no {name}: the run is {self.record.status or 'not finished'}")
        return path


def _short(split: str) -> str:
    """The split's name in a run's tables."""
    name = SHORT_NAMES.get(split, split)
    if name not in SHORT_NAMES.values():
        raise UsageError(f"split {split!r} is not one of {', '.join(SHORT_NAMES.values())}")
    return name


def _numbers(column: Series) -> Series:
    """A column as numbers, where all of it are (several labels stand as ``0;3``)."""
    import pandas as pd

    try:
        return pd.to_numeric(column)
    except ValueError:
        return column
