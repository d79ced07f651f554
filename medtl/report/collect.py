"""What lies in a folder: finished runs read whole, and every run that is not one with its reason."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medtl.datalist import SHORT_NAMES, SURVIVAL
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash, read_object
from medtl.report.history import History, read_history
from medtl.report.words import NONE, is_path, last_part, without_paths
from medtl.runs import record as records
from medtl.runs.predictions import Sample, read_predictions
from medtl.runs.record import Data, RunRecord, Start

RECORD = records.FILE_NAME
GRID = "grid.json"
WEIGHTS = "model.pt"
EXTERNAL = "external"  # folder of medtl evaluate in a run's


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        name: its folder below the report's, with ``/``.
        folder: where it lies.
        init: what the network started from, a file or folder by its name alone; of a survival on features of one start
            its method; a dash where the record names none.
        record: run.json, which names a seed and a data list.
        splits: short name of a split to its predictions.
        metrics: metrics.json.
        history: history.csv, None where there is none.
        predictions: SHA-256 of predictions.csv.
    """

    name: str
    folder: Path
    init: str
    record: RunRecord
    splits: Mapping[str, Sample]
    metrics: Mapping[str, float]
    history: History | None
    predictions: str

    @property
    def backbone(self) -> str:
        """Return the network's; where the record names none the method's, or the bundle's name."""
        method = "" if self.init == self.method else self.method
        return self.record.backbone or method or self.record.bundle.name or NONE

    @property
    def method(self) -> str:
        """Return the method of a survival; empty for another task."""
        return str(self.record.recipe.get("method") or "") if self.record.task == SURVIVAL else ""

    @property
    def seed(self) -> int:
        """Return the run's."""
        return int(self.record.seed or 0)

    @property
    def fold(self) -> int | None:
        """Return the one that was validated on, if any."""
        return self.record.recipe.get("fold")

    @property
    def data(self) -> Data:
        """Return what the record says of the data list."""
        return self.record.data or Data()


@dataclass(frozen=True)
class Absent:
    """A run that does not count: ``reason`` says why, without a path."""

    name: str
    backbone: str
    init: str
    seed: str
    fold: str
    reason: str


@dataclass(frozen=True, eq=False)
class Found:
    """All that a folder holds.

    Attributes:
        folder: that was searched.
        runs: finished ones, in the order of their names.
        external: validations of these runs on other data sets.
        absent: runs that do not count.
        grids: grid.json of each grid.
    """

    folder: Path
    runs: tuple[Run, ...]
    external: tuple[Run, ...]
    absent: tuple[Absent, ...]
    grids: tuple[Mapping[str, Any], ...]


def collect(folder: Path) -> Found:
    """Read every run in or below ``folder``.

    Raises:
        UsageError: there is no such folder, or no run in it.
        MedtlError: a finished run contradicts itself, or the runs are of different data.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected a run, a grid of medtl compare, or a folder above runs")
    grids = list(_grids(folder))
    cells = {_name(folder, place / "cells" / str(c.get("name"))): c for place, grid in grids for c in grid["cells"]}
    places = {_name(folder, place): place for place in _run_folders(folder)}
    absent = {name: _absent_cell(name, cell) for name, cell in cells.items() if cell.get("status") != "finished"}
    runs: list[Run] = []
    for name, place in places.items():
        outcome = _read(place, name)
        if isinstance(outcome, Absent):
            absent.setdefault(name, outcome)
        elif name not in absent:
            runs.append(outcome)
    for name in cells.keys() - places.keys() - absent.keys():
        absent[name] = replace(_absent_cell(name, cells[name]), reason="its folder is not there")
    if not runs and not absent:
        raise UsageError(f"{folder} holds no run: expected folders with {RECORD}, as the fine-tune bundles write them")
    if not runs:
        first = next(iter(absent.values()))
        raise UsageError(
            f"{folder} holds no finished run: {len(absent)} not counted, the first ({first.name}): {first.reason}"
        )
    runs, outside, lone = _apart(runs)
    absent |= {run.name: _absent(run.name, "validates a run that is not here", run.record) for run in lone}
    _check_same_data(runs)
    unfinished = tuple(sorted(absent.values(), key=lambda each: each.name))
    return Found(folder, tuple(told_apart(runs)), outside, unfinished, tuple(grid for _, grid in grids))


def _apart(runs: list[Run]) -> tuple[list[Run], tuple[Run, ...], list[Run]]:
    """Runs, the external validations of them, and those of runs that are not there. Where there is nothing else,
    external validations are reported like runs."""
    own = [run for run in runs if not run.record.external]
    if not own:
        return runs, (), []
    hashes = {run.predictions for run in own}
    external = [(run, run.record.external.get("run_predictions_sha256")) for run in runs if run.record.external]
    outside = tuple(run for run, whose in external if whose in hashes)
    return own, outside, [run for run, whose in external if whose not in hashes]


def _grids(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for place in sorted({folder, *(path.parent for path in folder.rglob(GRID))}):
        if (place / GRID).is_file():
            grid = read_object(place / GRID)
            cells = grid.get("cells")
            if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
                raise MedtlError(f"{place / GRID} has no list of cells; expected the file that medtl compare writes")
            yield place, grid


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a run.json, in which only external validations are looked for any deeper."""
    for place, below, files in os.walk(folder):
        below.sort()
        if RECORD in files:
            below[:] = [name for name in below if name == EXTERNAL]
            yield Path(place)


def _name(folder: Path, place: Path) -> str:
    relative = place.relative_to(folder).as_posix()
    return folder.resolve().name if relative == "." else relative


def _absent_cell(name: str, cell: Mapping[str, Any]) -> Absent:
    status = str(cell.get("status", "of unknown status"))
    error = without_paths(str(cell.get("error") or "").strip().split("\n")[0])
    reason = f"{status}: {error}" if error else "not run yet" if status == "waiting" else status
    words = [NONE if cell.get(key) in (None, "") else str(cell[key]) for key in ("backbone", "init", "seed")]
    fold = cell.get("fold")
    return Absent(name, words[0], short_init(words[1]), words[2], NONE if fold is None else str(fold), reason)


def _absent(name: str, reason: str, record: RunRecord) -> Absent:
    fold = record.recipe.get("fold")
    backbone = record.backbone or record.bundle.name or NONE
    return Absent(name, backbone, _init(record), str(record.seed), NONE if fold is None else str(fold), reason)


def _read(place: Path, name: str) -> Run | Absent:
    record = records.find(place)
    if record is None:
        return Absent(name, NONE, NONE, NONE, NONE, f"its {RECORD} cannot be read")
    reason = _reason(place, record)
    if reason or record.seed is None or record.data is None:
        return _absent(name, reason or f"its {RECORD} names no seed", record)
    table = place / "predictions.csv"
    splits = read_predictions(table, record.data.classes, record.task)
    metrics = {k: float(v) for k, v in read_object(place / "metrics.json").items() if isinstance(v, int | float)}
    history = read_history(place / "history.csv")
    run = Run(name, place, _init(record), record, splits, metrics, history, file_hash(table))
    _check_counts(run)
    return run


def _reason(place: Path, record: RunRecord) -> str:
    """Why a run does not count; empty for one that does."""
    if record.status != records.FINISHED:
        return "still running, or killed" if record.status == records.RUNNING else record.status or "of unknown status"
    for file in ("predictions.csv", "metrics.json"):
        if not (place / file).is_file():
            return f"finished, but {file} is missing"
    if record.data is None or not record.data.classes:
        return f"its {RECORD} does not say what it was trained on"
    return ""


def _init(record: RunRecord) -> str:
    start, asked = record.start or Start(), str(record.recipe.get("init") or "")
    if record.task == SURVIVAL and not start.file:  # on features of one start methods are what is compared
        return short_init(asked or str(record.recipe.get("method") or NONE))
    named = start.init or asked or NONE
    if named == WEIGHTS and asked and last_part(asked) != WEIGHTS:  # the folder of a run: its name tells more
        named = asked
    return short_init(named)


def short_init(init: str) -> str:
    """Return a start in a word: a file's path is its last part."""
    return last_part(init) if is_path(init) else init


def told_apart(runs: list[Run]) -> list[Run]:
    """Name runs of one backbone by their files' hashes too, where their starts have one name but different files."""
    hashes: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        hashes.setdefault((run.backbone, run.init), set()).add(_start_hash(run))
    return [
        replace(run, init=f"{run.init} ({_start_hash(run)[:8]})")
        if len(hashes[run.backbone, run.init] - {""}) > 1
        else run
        for run in runs
    ]


def _start_hash(run: Run) -> str:
    return (run.record.start or Start()).sha256


def _check_counts(run: Run) -> None:
    """predictions.csv, metrics.json and run.json must be of the same run."""
    path = run.folder / "predictions.csv"
    entries = run.data.entries
    for split, sample in run.splits.items():
        long = next((name for name, short in SHORT_NAMES.items() if short == split), split)
        if sample.kind != "segmentation" and entries.get(long, len(sample.names)) != len(sample.names):
            raise MedtlError(f"{path} has {len(sample.names)} rows of split {split}; {RECORD} says {entries[long]}")
        told = run.metrics.get(f"{split}_accuracy", math.nan)
        if sample.kind == "classification":
            found = float((sample.values.argmax(axis=1) == sample.labels).mean())
            if abs(found - told) > 1.5 / len(sample.names):  # one tie may fall otherwise in rounded figures
                raise MedtlError(f"{path} gives {split}_accuracy {found:.4f}; metrics.json says {told:.4f}")
    for split in SHORT_NAMES.values():
        if (run.metrics.keys() & {f"{split}_accuracy", f"{split}_mae"}) and split not in run.splits:
            raise MedtlError(f"{path} has no rows of split {split}, which metrics.json scores")


def _check_same_data(runs: list[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if [run.data.name, *run.data.classes] != [first.data.name, *first.data.classes]:
            raise MedtlError(
                f"{first.name} and {run.name} are of different data: {describe_data(first)} and {describe_data(run)}; "
                "name a folder with runs of one data set"
            )
        if run.data.sha256 != first.data.sha256:
            raise MedtlError(
                f"{first.name} and {run.name} are of two versions of the data list of {first.data.name} "
                f"(sha256 {first.data.sha256[:12]} and {run.data.sha256[:12]}); report them apart"
            )
        if {s.kind for s in run.splits.values()} != {s.kind for s in first.splits.values()}:
            raise MedtlError(f"{first.name} and {run.name} are of different tasks; report them apart")


def describe_data(run: Run) -> str:
    """Return a data set by name and classes."""
    classes = run.data.classes
    if run.record.task == "regression":
        return f"{run.data.name} (a number: {classes[0]})"
    shown = ", ".join(classes) if len(classes) <= 4 else f"{', '.join(classes[:3])}, …"
    return f"{run.data.name} ({len(classes)} class{'' if len(classes) == 1 else 'es'}: {shown})"
