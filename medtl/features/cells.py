"""One cell of a probe: a head on some rows of features, judged as a training is, and its run folder."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.compare.plan import short_init
from medtl.datalist import SPLITS, DataList, Entry, class_counts
from medtl.features import heads
from medtl.files import remove_leftovers
from medtl.handlers.scored import Scored, with_intervals
from medtl.metrics import registry
from medtl.metrics.ignite import Predictions
from medtl.runs.record import FINISHED, PROBE, Bundle, Data, Preprocessing, RunRecord, Start
from medtl.version import __version__
from medtl.writers.tables import Table, write_metrics, write_predictions

OPENED_ONCE = "opened once, after the penalty was chosen on validation"
TRAINING = "train"
PREDICTED = ("val", "test")


@dataclass(frozen=True, eq=False)
class Embedded:
    """All pictures of a data list as one start sees them.

    Attributes:
        backbone: of the network; "features" where another program computed them.
        init: the word or path as it was given.
        values: (n, width), rows in the order of the data list: training, validation, test.
        seconds: that the forward passes took.
        start: as run.json says it.
        network: as run.json says it.
        preprocessing: of the pictures; None where another program made them.
        parameters: of the trunk; 0 where nobody says.
    """

    backbone: str
    init: str
    values: NDArray[np.floating]
    seconds: float
    start: Start
    network: dict[str, Any]
    preprocessing: Preprocessing | None = None
    parameters: int = 0

    @property
    def word(self) -> str:
        """Return the start in a table."""
        return f"{self.backbone} {short_init(self.init)}"


@dataclass(frozen=True)
class Cell:
    """A place in the grid of a probe.

    Attributes:
        model: index of the start.
        head: its name.
        seed: of the draw.
        fold: that is validated on; None where no folds are asked for.
        fraction: share of the training patients; None where none is asked for.
    """

    model: int
    head: str
    seed: int
    fold: int | None = None
    fraction: float | None = None

    def name(self, model: Embedded) -> str:
        """Return ``<backbone>_<init>_seed<S>[_fold<K>][_frac<F>]_<head>``: its folder's."""
        found = f"{_safe(model.backbone)}_{_safe(short_init(model.init))}_seed{self.seed}"
        found += "" if self.fold is None else f"_fold{self.fold}"
        return f"{found}{'' if self.fraction is None else f'_frac{self.fraction}'}_{self.head}"


@dataclass(frozen=True, eq=False)
class Draw:
    """A data list as a cell sees it.

    Attributes:
        listed: with the cell's fold and fraction.
        rows: split to the places (n,) of its entries among the features.
    """

    listed: DataList
    rows: dict[str, NDArray[np.int64]]

    @property
    def key(self) -> tuple[bytes, ...]:
        """Return what tells draws apart."""
        return tuple(rows.tobytes() for rows in self.rows.values())


@dataclass(frozen=True, eq=False)
class Judged:
    """What a head has said.

    Attributes:
        tables: predictions of each split.
        metrics: ``<split>_<metric>`` with ``_lo`` and ``_hi``.
        facts: how the head was fitted.
        seconds: of fitting, choosing the penalty and predicting.
    """

    tables: tuple[Table, ...]
    metrics: dict[str, float]
    facts: dict[str, Any]
    seconds: float

    def values(self, split: str) -> NDArray[np.floating]:
        """Return the predictions of a split, as of ``Table``."""
        return next(table.probabilities for table in self.tables if table.split == split)


def labels_of(entries: Sequence[Entry], task: str) -> NDArray:
    """Return the labels of entries: class indices (n,), multi-hot (n, n_classes), or numbers (n,)."""
    kind = np.int64 if task == "classification" else np.float64
    return np.array([entry["label"] for entry in entries], dtype=kind)


def judge(head: str, values: NDArray[np.floating], labels: NDArray, draw: Draw) -> Judged:
    """Fit a head on the training rows, choose its penalty on validation, and only then predict the test split.

    Args:
        head: one of ``heads.HEADS``.
        values: (n, width) features of all entries.
        labels: of all entries, in the same order.
        draw: which rows are of which split.

    Raises:
        MedtlError: the training pictures are all of one class.
    """
    since, listed = time.perf_counter(), draw.listed
    train, validation = ((values[draw.rows[split]], labels[draw.rows[split]]) for split in (TRAINING, "val"))
    fitted = heads.fit(head, listed.task, train, validation, len(listed.classes))
    predicted = {split: fitted.predict(values[draw.rows[split]]) for split in PREDICTED if len(draw.rows[split])}
    seconds = time.perf_counter() - since
    tables: list[Table] = []
    metrics: dict[str, float] = {}
    for split, found in predicted.items():
        table = found.reshape(len(found), -1).astype(np.float32)  # a number an image is a table of one column
        scored = _scored(split, listed, table, labels[draw.rows[split]])
        tables.append(Table(split, scored.entries, scored.predictions.probabilities))
        metrics |= with_intervals(scored, listed.classes, _positive(listed))
    return Judged(tuple(tables), metrics, {"name": fitted.name, **fitted.facts}, seconds)


def _scored(split: str, listed: DataList, found: NDArray[np.float32], labels: NDArray) -> Scored:
    """A split with the metrics that a training run scores after each epoch."""
    values = registry.of_epoch(registry.split_of(labels, found), _positive(listed))
    metrics = {f"{split}_{name}": value for name, value in values.items()}
    return Scored(split, listed.split(split), Predictions(np.arange(len(found)), labels, found), metrics)


def _positive(listed: DataList) -> int | None:
    """Index of the class that a data list names positive."""
    return list(listed.classes).index(listed.positive) if listed.positive else None


def write(folder: Path, cell: Cell, model: Embedded, draw: Draw, judged: Judged, common: RunRecord) -> None:
    """Write a cell's run folder: predictions.csv, metrics.json and, when these are there, run.json.

    Args:
        folder: of the cell.
        cell: which one.
        model: whose features.
        draw: the data list as the cell saw it.
        judged: what the head said.
        common: what the run.json of all cells say: command, data, versions, device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    write_predictions(folder / "predictions.csv", judged.tables, draw.listed.classes, draw.listed.task)
    write_metrics(folder / "metrics.json", judged.metrics)
    recipe = {
        **common.recipe,
        "backbone": model.backbone,
        "init": _last_two(model.init),
        "seed": cell.seed,
        "fold": cell.fold,
        "train_fraction": 1.0 if cell.fraction is None else cell.fraction,
        "head": cell.head,
        "freeze": "all",
    }
    replace(
        common,
        status=FINISHED,
        bundle=Bundle(PROBE, __version__),
        task=draw.listed.task,
        network=model.network,
        preprocessing=model.preprocessing,
        start=model.start,
        data=_data(common.data or Data(), draw.listed),
        recipe=recipe,
        seed=cell.seed,
        head={**judged.facts, "features": int(model.values.shape[1])},
        times={"embed_s": round(model.seconds, 3), "head_s": round(judged.seconds, 3)},
        duration_s=round(judged.seconds, 1),
        metrics={name: value if math.isfinite(value) else None for name, value in judged.metrics.items()},
        test=OPENED_ONCE if draw.listed.test else "",
    ).write(folder)


def _data(whole: Data, listed: DataList) -> Data:
    entries = {split: len(getattr(listed, split)) for split in SPLITS}
    return replace(whole, entries=entries, training_images=class_counts(listed, "training"))


def _safe(text: str) -> str:
    """Text as a part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", text).lstrip(".-") or "x"


def _last_two(init: str) -> str:
    """A word as it is, of a path the file and its folder: enough to tell it by, and nothing of this machine."""
    return "/".join(Path(init).parts[-2:]).lstrip("/")
