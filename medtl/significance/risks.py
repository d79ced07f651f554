"""Prediction files of a survival against the first, on the same patients: differences of C-indices by their
bootstrap."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError
from medtl.files import read_csv
from medtl.metrics import bootstrap, paired, survival
from medtl.registry import did_you_mean
from medtl.runs.predictions import Sample, read_predictions
from medtl.significance.comparing import RESAMPLED, Compared, Pair
from medtl.significance.files import same_split

COLUMNS = ("time", "event", "risk")
TASK = "survival"


def hold_risks(files: Sequence[Path]) -> bool:
    """Return whether all files are prediction files of a survival."""
    return all(path.is_file() and set(COLUMNS) <= set((read_csv(path) or [[]])[0]) for path in files)


def compare_risks(files: Sequence[Path], metric: str | None, split: str | None) -> Compared:
    """Return the first file's C-index less that of each other one, on the patients that all have.

    Args:
        files: two or more.
        metric: "c_index" (None), "c_index_harrell" or "c_index_ipcw".
        split: that is compared; None for that of ``same_split``.

    Raises:
        UsageError: there is no such metric or split, or the files share no patient or disagree about one.
        MedtlError: a file holds what it cannot.
    """
    name = metric or "c_index"
    if name not in survival.TITLES:
        known = tuple(survival.TITLES)
        raise UsageError(f"--metric {name} is not one of {', '.join(known)}{did_you_mean(name, known)}")
    wanted = same_split(files, split)[0] or ""
    samples = [read_predictions(path, (), TASK)[wanted] for path in files]
    common = sorted(set.intersection(*(set(sample.names) for sample in samples)))
    if not common:
        raise UsageError(f"{files[0]} and {files[1]} share no patient")
    each = [_of(sample, common) for sample in samples]
    for path, (label, _) in zip(files[1:], each[1:], strict=True):
        off = np.flatnonzero((label != each[0][0]).any(axis=1))
        if len(off):
            raise UsageError(f"{files[0]} and {path} disagree about time or event of patient {common[off[0]]}")
    who = survival.followed(*each[0][0].T)
    scorers = [survival.scorer(who, risk) for _, risk in each]
    ones = np.ones((1, len(common)))
    values = [float(scorer(ones)[name][0]) for scorer in scorers]
    found = [bootstrap.paired(scorers[0], scorer, len(common))[name] for scorer in scorers[1:]]
    adjusted = paired.holm([each.p for each in found])
    pairs = tuple(
        Pair(
            str(files[0]), str(path), (values[0], value), one.value, one.low, one.high, one.p, RESAMPLED,
            one.low, one.high, one.p, adjusted=float(p),
        )
        for path, value, one, p in zip(files[1:], values[1:], found, adjusted, strict=True)
    )  # fmt: skip
    left_out = len({patient for sample in samples for patient in sample.names}) - len(common)
    return Compared(name, "", "patient", len(common), len(common), left_out, pairs, wanted)


def _of(sample: Sample, names: Sequence[str]) -> tuple[NDArray, NDArray[np.float64]]:
    place = {name: row for row, name in enumerate(sample.names)}
    rows = [place[name] for name in names]
    return sample.labels[rows], sample.values[rows, 0]
