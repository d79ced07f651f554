"""``medtl.load_data``."""

from pathlib import Path

from medtl import datalist
from medtl.datalist import DataList


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
