"""``medtl compare``: one bundle over backbones × inits × seeds × folds, each cell a process of its own.

The grid can be stopped at any time, by whatever means, and goes on with the same command: what a cell is, is read from
its own run folder, and a finished one is never run again. A cell's result depends on its command alone, not on the
order or on what was interrupted.
"""

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from medtl import datalist
from medtl.console import INTERRUPTED, tell
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.grid.cells import Cell, Request, cells_of, folder_of, from_row, overrides_of, short_init
from medtl.grid.progress import Board
from medtl.grid.records import (
    LOCK_NAME,
    LOG_NAME,
    Expected,
    State,
    difference,
    finished_state,
    literal,
    look,
    missing_result,
    read_grid,
    read_record,
    start_difference,
    without_paths,
    write_grid,
)
from medtl.grid.request import Bundle, check_backbones, check_ids, read_bundle, read_data
from medtl.grid.runs import Running, Stop, run_all, start, still_runs

SAVED = 75  # told to stop by something else than the keyboard: the same command goes on
ORPHAN_SECONDS = 15.0  # cells of a comparison that was killed, and their loading workers, end within this

Command = Callable[[Request, Cell], list[str]]
Resolve = Callable[[str, str], str | None]


def run_command(request: Request, cell: Cell) -> list[str]:
    """The command of one cell: ``python -m monai.bundle run`` with the ids that it sets."""
    config = (request.bundle / "configs" / "train.json").resolve()
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
    for id_, value in overrides_of(request, cell).items():
        words += [f"--{id_}={value}"] if value.startswith("-") else [f"--{id_}", value]
    return words


def weights_hash(init: str, backbone: str) -> str | None:
    """SHA-256 of the weights that a backbone starts from; None for a random start.

    Raises:
        UsageError: they are not found; the message says where they were looked for.
    """
    if init == "random":
        return None
    from medtl.networks.starts import resolve  # imports MONAI

    # as called from a config it would end this process
    return inspect.unwrap(resolve)(init, backbone, option="--inits").sha256 or None


def compare(request: Request, command: Command | None = None, resolve: Resolve | None = None) -> int:
    """Run the cells of a request that are not finished yet.

    Args:
        request: what to compare.
        command: of one cell; ``run_command`` unless given.
        resolve: finds the weights of (init, backbone) and returns their SHA-256; ``weights_hash`` unless given.

    Returns:
        Exit status: 0 when all cells are finished, 1 when some failed, 130 after Ctrl-C, 75 after another signal.

    Raises:
        UsageError: nothing can be run, or the folder holds another comparison.
        MedtlError: the data list is not valid, or processes of an earlier comparison still run.
    """
    bundle = read_bundle(request.bundle)
    check_ids(bundle, request)
    listed = read_data(bundle, request)
    check_backbones(request.backbones)
    read_grid(request.out)
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(request.out / LOCK_NAME)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"--out {request.out}: another medtl compare works there; wait until it has ended or choose another"
        ) from None
    try:
        return _compare(request, bundle, listed, command or run_command, resolve or weights_hash)
    finally:
        lock.release()


def _compare(request: Request, bundle: Bundle, listed: DataList, command: Command, resolve: Resolve) -> int:
    cells = cells_of(request)
    former = _former_cells(request, bundle, listed)
    _await_orphans(request.out, [*cells, *(cell for cell in former if cell not in cells)])
    states = _states(request, bundle, listed, [*former, *(cell for cell in cells if cell not in former)])
    starts, unfound = _find_starts(request, resolve)
    _check_starts(request, [cell for cell in states if states[cell].status == "finished"], starts)
    for cell in cells:
        reason = unfound.get((cell.init, cell.backbone))
        if reason is not None and states[cell].status == "waiting":
            states[cell] = State("failed", reason)
    waiting = [cell for cell in cells if states[cell].status == "waiting"]
    done = [cell for cell in cells if states[cell].status == "finished"]
    if not waiting and not done:
        raise UsageError(f"no cell can run; {cells[0].name}: {states[cells[0]].error}")

    head = _head(request, bundle, listed)
    hidden = [
        path for folder in (request.out, request.bundle, request.dataset_dir) for path in (folder, folder.resolve())
    ]

    def save() -> None:
        cleaned = {c: replace(s, error=without_paths(s.error, hidden)) for c, s in states.items()}
        write_grid(request.out, head, cleaned)

    save()
    console = Console()
    if done:
        tell(f"{len(done)} of {len(cells)} cells were finished before")
    _tell_failed(cells, states)
    stop = Stop()

    def begin(cell: Cell) -> Running:
        return start(cell, folder_of(request.out, cell), command(request, cell), request.jobs)

    with stop.listening(), Board({cell: states[cell] for cell in cells}, console) as board:

        def report(cell: Cell, state: State) -> None:
            changed = states[cell].status != state.status
            states[cell] = state
            if changed:
                save()
            board.tell(cell, state)

        run_all(waiting, begin, request.jobs, stop, report)
    return _conclude(request, {cell: states[cell] for cell in cells}, stop)


def _tell_failed(cells: Sequence[Cell], states: Mapping[Cell, State]) -> None:
    """One line for each reason for which cells cannot even begin."""
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if states[cell].status == "failed":
            reasons.setdefault(states[cell].error, []).append(cell.name)
    for reason, named in reasons.items():
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        tell(f"{named[0]}{more}: failed: {reason}")


def _former_cells(request: Request, bundle: Bundle, listed: DataList) -> list[Cell]:
    """The cells that the folder's grid.json names, if it is of the same bundle and data set."""
    grid = read_grid(request.out)
    if grid is None:
        return []
    for what, own in (("bundle", bundle.name), ("dataset", listed.name)):
        if grid[what] != own:
            raise UsageError(
                f"--out {request.out} is of {what} {grid[what]}, this command of {own}; choose another --out"
            )
    return [from_row(row) for row in grid["cells"]]


def _await_orphans(out: Path, cells: Sequence[Cell]) -> None:
    """Wait for the processes of a comparison that was killed, which end by themselves where they are told of it."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    for cell in cells:
        folder = folder_of(out, cell)
        while still_runs(folder):
            if time.monotonic() > deadline:
                raise MedtlError(
                    f"{folder} is still being run by a process of an earlier comparison: wait for it, or end it "
                    f"(its number stands in the last line of {LOG_NAME} that begins with 'process')"
                )
            time.sleep(0.2)


def _find_starts(
    request: Request, resolve: Resolve
) -> tuple[dict[tuple[str, str], str | None], dict[tuple[str, str], str]]:
    """Hashes of the weights by (short init, backbone), and why others were not found."""
    starts: dict[tuple[str, str], str | None] = {}
    unfound: dict[tuple[str, str], str] = {}
    for init in request.inits:
        for backbone in request.backbones:
            try:
                starts[short_init(init), backbone] = resolve(init, backbone)
            except MedtlError as error:
                unfound[short_init(init), backbone] = str(error)
    return starts, unfound


def _check_starts(request: Request, finished: Sequence[Cell], starts: Mapping[tuple[str, str], str | None]) -> None:
    """Refuse to mix runs that started from different weights under one name."""
    for cell in finished:
        record = read_record(folder_of(request.out, cell))
        _refuse(cell, start_difference(record, starts.get((cell.init, cell.backbone))))


def _refuse(cell: Cell, differs: str) -> None:
    if differs:
        raise UsageError(f"cell {cell.name} {differs}; choose another --out")


def _states(request: Request, bundle: Bundle, listed: DataList, cells: Sequence[Cell]) -> dict[Cell, State]:
    """How far each cell is by what its folder holds.

    Raises:
        UsageError: a finished one was made with something else than the request says.
    """
    sha256 = datalist.file_hash(datalist.locate(request.dataset_dir))
    states = {}
    for cell in cells:
        folder = folder_of(request.out, cell)
        found = look(folder)
        if found == "foreign":
            states[cell] = State("failed", f"{folder} holds files but no run.json of a run; move them away")
        elif found != "finished":
            states[cell] = State()
        elif missing_result(folder):
            reason = f"{folder} says finished but has no {missing_result(folder)}; move it away to run it again"
            states[cell] = State("failed", reason)
        else:
            overrides = overrides_of(request, cell)
            expected = Expected(
                bundle.name,
                bundle.version,
                listed.name,
                sha256,
                {**bundle.config, **overrides},
                frozenset(overrides),
                cell.seed,
            )
            _refuse(cell, difference(read_record(folder), expected))
            states[cell] = finished_state(folder)
    return states


def _head(request: Request, bundle: Bundle, listed: DataList) -> dict[str, Any]:
    """What grid.json says of all cells."""
    ids = {id_: literal(without_paths(value)) for id_, value in (request.ids or {}).items()}
    return {
        "bundle": bundle.name,
        "dataset": listed.name,
        "dataset_sha256": datalist.file_hash(datalist.locate(request.dataset_dir)),
        "ids": ids,
    }


def _conclude(request: Request, states: Mapping[Cell, State], stop: Stop) -> int:
    """Say in the last line how it ended and what to do next; the exit status."""
    failed = [cell for cell, state in states.items() if state.status == "failed"]
    finished = sum(state.status == "finished" for state in states.values())
    if stop.signal is not None and finished + len(failed) < len(states):
        tell(f"stopped by {stop.signal.name}: {finished} of {len(states)} cells are finished; the same command goes on")
        return INTERRUPTED if stop.signal.name == "SIGINT" else SAVED
    if not failed:
        tell(f"all {finished} cells are finished: medtl report {request.out}")
        return 0
    logs = [(cell, folder_of(request.out, cell) / LOG_NAME) for cell in failed]
    ran = next(((cell, log) for cell, log in logs if log.is_file()), None)
    read = f"; the first that ran is {ran[0].name}: read {ran[1]}" if ran else f", the first is {failed[0].name}"
    tell(f"{len(failed)} of {len(states)} cells failed{read}")
    return 1
