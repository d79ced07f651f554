"""history.csv: one row an epoch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError
from medtl.files import read_rows


@dataclass(frozen=True, eq=False)
class History:
    """How a training went.

    Attributes:
        epochs: (n,) from 1 on.
        columns: name to (n,) values, NaN where a field is blank.
    """

    epochs: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]


def read_history(path: Path) -> History | None:
    """Return the epochs of a history.csv; None where there is none or no epoch in it.

    Raises:
        MedtlError: it has no column ``epoch``, or a field that is no number.
    """
    if not path.is_file():
        return None
    rows = read_rows(path)
    if not rows:
        return None
    if "epoch" not in rows[0]:
        raise MedtlError(f"{path} has no column 'epoch'")
    try:
        table = {name: np.array([float(row[name] or math.nan) for row in rows]) for name in rows[0]}
    except (TypeError, ValueError):
        raise MedtlError(f"{path} holds a field that is no number") from None
    return History(table.pop("epoch"), table)
