"""How far a grid is: grid.json, and what the cells' run folders hold. Nothing is remembered anywhere else."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medtl.compare.plan import Cell, as_row, from_row
from medtl.errors import MedtlError, UsageError
from medtl.files import TEMPORARY_SUFFIX, read_object, write_text
from medtl.runs.record import FILE_NAME as RECORD
from medtl.runs.record import FINISHED, STATUSES, find, read

FILE_NAME = "grid.json"
LOCK_NAME = ".compare.lock"
LOG_NAME = "log.txt"
CHECKPOINTS = "checkpoints"
RESULTS = ("metrics.json", "predictions.csv", "model.pt")
ABSOLUTE = re.compile(r"(?<![\w./…~-])~?/(?:[^\s/'\",;:()\[\]]+/)+")

BEGUN = "begun, not finished"

Status = Literal["waiting", "running", "finished", "failed"]
Found = Literal["nothing", "unfinished", "finished", "foreign"]


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        status: "waiting", "running", "finished" or "failed".
        error: why it failed, in one line; of one that waits ``BEGUN`` where it has begun; else empty.
        minutes: that it took or has been running.
        metric: name and value of its validation metric, once finished.
    """

    status: Status = "waiting"
    error: str = ""
    minutes: float | None = None
    metric: str = ""


def read_grid(out: Path) -> dict[str, Any] | None:
    """Return the content of a folder's grid.json; None for a folder that is empty or not there yet.

    Raises:
        UsageError: the folder holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    if not (out / FILE_NAME).exists():
        if out.exists() and any(path.name != LOCK_NAME and not _temporary(path) for path in out.iterdir()):
            raise UsageError(f"--out {out} holds files but no {FILE_NAME}; choose an empty folder")
        return None
    try:
        content = read_object(out / FILE_NAME)
        for row in content["cells"]:
            from_row(row)
        return {"bundle": content["bundle"], "dataset": content["dataset"], **content}
    except (MedtlError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"--out {out}: its {FILE_NAME} is not one that medtl compare wrote; choose another") from None


def write_grid(out: Path, head: Mapping[str, Any], states: Mapping[Cell, State]) -> None:
    """Write grid.json atomically; a cell that is running stands there as waiting."""
    rows = [
        {**as_row(cell), "status": "waiting" if state.status == "running" else state.status, "error": state.error}
        for cell, state in states.items()
    ]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    top = "".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n" for key, value in head.items())
    write_text(out / FILE_NAME, "{\n" + top + ' "cells": [\n' + lines + "\n ]\n}\n")


def look(folder: Path) -> Found:
    """Return what a cell's folder holds: "nothing" (no run has begun), an "unfinished" or a "finished" run, or what is
    "foreign": files that no run of a cell leaves without a readable run.json."""
    record = find(folder)
    if record is not None and record.status == FINISHED:
        return "finished"
    if record is not None and record.status in STATUSES:
        return "unfinished"
    left = [path for path in folder.iterdir() if path.name != LOG_NAME] if folder.is_dir() else []
    return "foreign" if any(not _temporary(path) for path in left) else "nothing"


def state_of(folder: Path) -> State:
    """Return how far the cell of a folder is, whatever it was begun with."""
    found = look(folder)
    if found == "foreign":
        return State("failed", f"{folder} holds files but no run.json of a run; move them away")
    if found == "finished":
        missing = next((name for name in RESULTS if not (folder / name).is_file()), "")
        if missing:
            return State("failed", f"{folder} says finished but has no {missing}; move it away to run it again")
        return _finished(folder)
    return State("waiting", BEGUN if found == "unfinished" else "")


def _finished(folder: Path) -> State:
    """A finished cell's minutes and the metric that its best epoch was chosen by."""
    record = read(folder)
    metrics = record.metrics
    names = [f"val_{record.recipe.get('key_metric')}", "val_auc", "val_accuracy", *metrics]
    name = next((name for name in names if isinstance(metrics.get(name), int | float)), None)
    minutes = None if record.duration_s is None else record.duration_s / 60
    return State("finished", "", minutes, f"{name} {metrics[name]:.4f}" if name else "")


def clear(folder: Path) -> None:
    """Remove an unfinished run but for its log. run.json goes last: killed half-way, the folder still says what it
    is."""
    for path in folder.iterdir():
        if path.name in (LOG_NAME, RECORD):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / RECORD).unlink(missing_ok=True)


def drop_checkpoints(folder: Path) -> None:
    """Remove what a finished run has no more use for: it never goes on, and a checkpoint takes three times its weights.
    What cannot be removed stays."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _temporary(path: Path) -> bool:
    """Whether this is what a run leaves that died before it wrote its run.json."""
    if path.name == CHECKPOINTS and path.is_dir():
        return all(inner.name == ".lock" for inner in path.iterdir())
    return path.name.endswith(TEMPORARY_SUFFIX) or path.name == ".writable"


def without_paths(text: str, known: Sequence[Path] = ()) -> str:
    """Return text whose absolute paths are cut to their last name."""
    for folder in sorted((str(path) for path in known), key=len, reverse=True):
        if folder.startswith("/") and folder != "/":
            text = text.replace(f"{folder}/", "…/").replace(folder, f"…/{Path(folder).name}")
    return ABSOLUTE.sub("…/", text)
