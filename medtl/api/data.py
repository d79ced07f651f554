"""``medtl.load_data``."""

from pathlib import Path

from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import UsageError


def load_data(folder: str | Path, *, fold: int | None = None, train_fraction: float = 1.0, seed: int = 0) -> DataList:
    """Return the data list that ``python -m data_prep`` wrote.

    Args:
        folder: that holds datalist.json, or the file.
        fold: of the training entries, taken as validation.
        train_fraction: share of the training patients that is kept, above 0, up to 1.
        seed: of the draw of that share; a run that trains on it must have the same one.

    Raises:
        UsageError: there is no data list, or it has no such fold.
        MedtlError: it is not valid; names the file, the entry and what was expected.
    """
    return datalist.with_fraction(datalist.with_fold(datalist.read(Path(folder)), fold), train_fraction, seed)


def refuse_changed(data: DataList, verb: str) -> None:
    """Raise UsageError for a data list that a run could not name: it records the file, the fold and the fraction
    alone."""
    there = datalist.with_fold(datalist.read(data.folder), data.fold)
    if datalist.with_fraction(there, data.train_fraction, data.drawn_with) != data:
        raise UsageError(
            f"{verb}: the data list is not what {data.folder / datalist.FILE_NAME} holds; write it to a folder of its"
            " own, and load that"
        )
