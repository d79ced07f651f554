"""A grid's folder: grid.json, and what the cells' run folders say of themselves."""

import ast
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medtl.errors import MedtlError, UsageError
from medtl.files import TEMPORARY_SUFFIX, read_object, write_text
from medtl.grid.cells import Cell, as_row, from_row, is_path
from medtl.runs.earlier import nested
from medtl.runs.record import FILE_NAME as RECORD
from medtl.runs.record import FINISHED, STATUSES, Data, RunRecord, find, read

FILE_NAME = "grid.json"
LOCK_NAME = ".compare.lock"
LOG_NAME = "log.txt"
CHECKPOINTS = "checkpoints"
RESULTS = ("metrics.json", "predictions.csv", "model.pt")
# where things lie (what they hold is compared by hash), and how often a run is saved
NOT_COMPARED = ("dataset_dir", "output_dir", "resume", "save_interval")
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


@dataclass(frozen=True)
class Expected:
    """What the record of a cell that is finished or goes on must say.

    Attributes:
        bundle, version: of the bundle.
        dataset, sha256: name and hash of the data list.
        config: ids of the merged config, unevaluated, with the overrides as text.
        overridden: which of these the command sets.
        seed: of the cell.
    """

    bundle: str
    version: str
    dataset: str
    sha256: str
    config: Mapping[str, Any]
    overridden: frozenset[str]
    seed: int


def read_grid(out: Path) -> dict[str, Any] | None:
    """The content of a folder's grid.json; None for a folder that is empty or not there yet.

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
    except (MedtlError, ValueError, KeyError, TypeError):
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
    """What a cell's folder holds: "nothing" (no run has begun), an "unfinished" or a "finished" run, or what is
    "foreign": files that no run of a cell leaves without a readable run.json."""
    record = find(folder)
    if record is not None and record.status == FINISHED:
        return "finished"
    if record is not None and record.status in STATUSES:
        return "unfinished"
    left = [path for path in folder.iterdir() if path.name != LOG_NAME] if folder.is_dir() else []
    return "foreign" if any(not _temporary(path) for path in left) else "nothing"


def missing_result(folder: Path) -> str:
    """The first of the files of a finished run that is not there; empty when none is missing."""
    return next((name for name in RESULTS if not (folder / name).is_file()), "")


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


def finished_state(folder: Path) -> State:
    """A finished cell's minutes and the metric that its best epoch was chosen by."""
    record = read(folder)
    metrics = record.metrics
    names = [f"val_{record.recipe.get('key_metric')}", "val_auc", "val_accuracy", *metrics]
    name = next((name for name in names if isinstance(metrics.get(name), int | float)), None)
    minutes = None if record.duration_s is None else record.duration_s / 60
    return State("finished", "", minutes, f"{name} {metrics[name]:.4f}" if name else "")


def difference(record: RunRecord, expected: Expected) -> str:
    """How the record of a run differs from what a command asks, as "was made with X, this command says Y"; empty when
    they agree.

    Only what the record holds is compared.
    """
    data = record.data or Data()
    named: list[tuple[str, Any, Any]] = [
        ("bundle", record.bundle.name, expected.bundle),
        ("bundle version", record.bundle.version, expected.version),
        ("data set", data.name, expected.dataset),
        ("seed", record.seed, expected.seed),
    ]
    for what, old, new in named:
        if old not in (None, "", new):
            return _told(what, old, new)
    if data.sha256 not in ("", expected.sha256):
        return f"was made with another data list (sha256 {data.sha256[:12]}…, now {expected.sha256[:12]}…)"
    return _config_difference(record, expected)


def start_difference(record: RunRecord, sha256: str | None) -> str:
    """How the weights that a run started from differ from those that are there now; empty when they agree, or
    when either is not known."""
    start = record.start.sha256 if record.start else ""
    if not start or not sha256 or start == sha256:
        return ""
    return f"started from other weights (sha256 {start[:12]}…, now {sha256[:12]}…)"


def _config_difference(record: RunRecord, expected: Expected) -> str:
    config, recipe = nested(record.config), record.recipe
    if not config:
        config = {id_: value for id_, value in recipe.items() if id_ in expected.overridden}
    wanted = nested(expected.config)
    both = [id_ for id_ in (*wanted, *config) if id_ not in NOT_COMPARED]
    within = _within(record, expected)
    if within:
        return within
    for id_ in sorted(set(both), key=lambda id_: (id_ not in expected.overridden, both.index(id_))):
        if id_ not in expected.overridden and not record.config:
            continue
        old, new = config.get(id_), wanted.get(id_)
        if id_ == "init" and is_path(str(old)):
            continue  # the same file may lie elsewhere by now: its hash is compared
        if literal(old) != literal(new):
            if isinstance(old, dict | list) or isinstance(new, dict | list):
                return f"was made with another {id_!r} in configs/train.json"
            if id_ not in expected.overridden:
                return f"was made with {id_} {without_paths(str(old))}, this command leaves it to the bundle"
            return _told(id_, recipe.get(id_, old) if str(old).startswith(("$", "@")) else old, new)
    return ""


def _within(record: RunRecord, expected: Expected) -> str:
    """How the overrides within the config (``train#augmentation#flip``) differ."""
    new = {key.replace("::", "#"): expected.config[key] for key in expected.overridden if "#" in key or "::" in key}
    old = {key: value for key, value in record.overrides.items() if "#" in key}
    for id_ in sorted({*new, *old}):
        if id_ not in old and record.config:
            return f"was made with {id_} as the bundle has it, this command says {without_paths(str(new[id_]))}"
        if id_ not in new:
            return f"was made with {id_} {without_paths(str(old[id_]))}, this command leaves it to the bundle"
        if id_ in old and literal(old[id_]) != literal(new[id_]):
            return _told(id_, old[id_], new[id_])
    return ""


def _told(what: str, old: Any, new: Any) -> str:
    return f"was made with {what} {without_paths(str(old))}, this command says {without_paths(str(new))}"


def literal(value: Any) -> Any:
    """Text as the Python literal that it spells (``"3"`` and ``"3.0"`` are 3), other text and values as they are."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def without_paths(text: str, known: Sequence[Path] = ()) -> str:
    """Text whose absolute paths are cut to their last name."""
    for folder in sorted((str(path) for path in known), key=len, reverse=True):
        if folder.startswith("/") and folder != "/":
            text = text.replace(f"{folder}/", "…/").replace(folder, f"…/{Path(folder).name}")
    return ABSOLUTE.sub("…/", text)
