"""``medtl compare``: one bundle over backbones × inits × seeds × folds, each cell a process of its own.

The grid can be stopped at any time, by whatever means, and goes on with the same command: what a cell is, is read from
its own run folder, a finished one is never run again, and one that was cut off goes on from its last checkpoint. A
cell's result depends on its command alone, not on the order or on what was interrupted.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from medtl.errors import INTERRUPTED, MedtlError, UsageError, tell
from medtl.grid.cells import Cell, Request, cells_of, folder_of, overrides_of, run_words, short_init
from medtl.grid.progress import Board
from medtl.grid.records import (
    FILE_NAME,
    LOCK_NAME,
    LOG_NAME,
    State,
    Status,
    literal,
    read_grid,
    without_paths,
    write_grid,
)
from medtl.grid.rehearsal import common_mistake
from medtl.grid.request import RESUME, check_backbones, check_ids, read_bundle, read_data
from medtl.grid.runs import SAVED, TAKEN_UP, Running, Stop, leaving_when_told, run_all, start
from medtl.grid.standing import (
    Basis,
    any_has_run,
    await_orphans,
    basis_of,
    former_cells,
    goes_on,
    refuse_other_starts,
    states_of,
)

Command = Callable[[Request, Cell, bool], list[str]]
Resolve = Callable[[str, str], str | None]
Rehearse = Callable[[Request, Sequence[Cell]], str]


def run_command(request: Request, cell: Cell, resumes: bool) -> list[str]:
    """The command of one cell: ``python -m monai.bundle run`` with the ids that it sets."""
    ids = overrides_of(request, cell)
    return [sys.executable, "-m", "monai.bundle", *run_words(request, {**ids, RESUME: "auto"} if resumes else ids)]


def weights_hash(init: str, backbone: str) -> str | None:
    """SHA-256 of the weights that a backbone starts from; None for a random start.

    Raises:
        UsageError: they are not found; the message says where they were looked for.
    """
    if init == "random":
        return None
    from medtl.weights.starts import resolve  # imports MONAI

    return resolve(init, backbone, option="--inits").sha256 or None


def compare(
    request: Request,
    command: Command | None = None,
    resolve: Resolve | None = None,
    rehearse: Rehearse | None = None,
) -> int:
    """Run the cells of a request that are not finished yet.

    Args:
        request: what to compare.
        command: of one cell, and whether it goes on with what is in its folder; ``run_command`` unless given.
        resolve: finds the weights of (init, backbone) and returns their SHA-256; ``weights_hash`` unless given.
        rehearse: says what is wrong with a request whatever the cell; ``common_mistake`` unless given.

    Returns:
        Exit status: 0 when all cells are finished, 1 when some failed, 130 after Ctrl-C, 75 after another signal or
        when cells that somebody else told to stop still wait.

    Raises:
        UsageError: nothing can be run, or the folder holds another comparison.
        MedtlError: the data list is not valid, or processes of an earlier comparison still run.
    """
    bundle = read_bundle(request.bundle)
    check_ids(bundle, request)
    listed = read_data(bundle, request)
    check_backbones(request.backbones)
    read_grid(request.out)
    with _held(request.out):
        basis = basis_of(request, bundle, listed)
        with leaving_when_told():
            plan = _plan(basis, resolve or weights_hash, rehearse or common_mistake)
        return _run(basis, plan, command or run_command)


@contextlib.contextmanager
def _held(out: Path) -> Iterator[None]:
    """Make a grid's folder and keep other comparisons out of it; where nothing came to be written, it is removed again.

    Raises:
        UsageError: another one works there.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"--out {out}: another medtl compare works there; wait until it has ended or choose another"
        ) from None
    try:
        yield
    finally:
        if not (out / FILE_NAME).exists():
            (out / LOCK_NAME).unlink(missing_ok=True)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        lock.release()


@dataclass(frozen=True)
class _Plan:
    """What is to be run: the command's cells, the states of these and of those that the folder held before, and the
    SHA-256 of the weights by (short init, backbone)."""

    cells: Sequence[Cell]
    states: dict[Cell, State]
    starts: Mapping[tuple[str, str], str | None]

    def of(self, status: Status) -> list[Cell]:
        """The command's cells that are so."""
        return [cell for cell in self.cells if self.states[cell].status == status]


def _plan(basis: Basis, resolve: Resolve, rehearse: Rehearse) -> _Plan:
    """Everything that can be wrong is found here, before anything is written."""
    request = basis.request
    cells = cells_of(request)
    former = former_cells(basis)
    await_orphans(request.out, [*cells, *(cell for cell in former if cell not in cells)])
    states = states_of(basis, [*former, *(cell for cell in cells if cell not in former)])
    starts, unfound = _find_starts(request, resolve)
    refuse_other_starts(basis, states, starts)
    for cell in cells:
        unknown = unfound.get((cell.init, cell.backbone))
        if unknown is not None and states[cell].status == "waiting":
            states[cell] = State("failed", unknown)
    plan = _Plan(cells, states, starts)
    waiting = plan.of("waiting")
    if not waiting and not plan.of("finished"):
        raise UsageError(f"no cell can run; {cells[0].name}: {states[cells[0]].error}")
    mistake = "" if any_has_run(basis, states) else rehearse(request, waiting)
    if mistake:
        raise UsageError(mistake if mistake.startswith("--") else f"no cell can run; {waiting[0].name}: {mistake}")
    return plan


def _run(basis: Basis, plan: _Plan, command: Command) -> int:
    """Run the cells that wait; the exit status."""
    request, cells, states = basis.request, plan.cells, plan.states
    head = _head(basis)
    folders = (request.out, request.bundle, request.dataset_dir)
    hidden = [path for folder in folders for path in (folder, folder.resolve())]

    def save() -> None:
        cleaned = {c: replace(s, error=without_paths(s.error, hidden)) for c, s in states.items()}
        write_grid(request.out, head, cleaned)

    save()
    console = Console()
    if plan.of("finished"):
        tell(f"{len(plan.of('finished'))} of {len(cells)} cells were finished before")
    _tell_failed(cells, states)
    stop = Stop()

    def begin(cell: Cell) -> Running:
        resumes = goes_on(basis, cell, plan.starts)
        return start(cell, basis.folder(cell), command(request, cell, resumes), request.jobs, resumes)

    with stop.listening(), Board({cell: states[cell] for cell in cells}, console) as board:

        def report(cell: Cell, state: State) -> None:
            changed = states[cell].status != state.status
            states[cell] = state
            if changed:
                save()
            board.tell(cell, state)

        run_all(plan.of("waiting"), begin, request.jobs, stop, report)
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


def _head(basis: Basis) -> dict[str, Any]:
    """What grid.json says of all cells."""
    ids = {id_: literal(without_paths(value)) for id_, value in (basis.request.ids or {}).items()}
    return {"bundle": basis.bundle.name, "dataset": basis.listed.name, "dataset_sha256": basis.sha256, "ids": ids}


def _conclude(request: Request, states: Mapping[Cell, State], stop: Stop) -> int:
    """Say in the last line how it ended and what to do next; the exit status."""
    failed = [cell for cell, state in states.items() if state.status == "failed"]
    waiting = [cell for cell, state in states.items() if state.status == "waiting"]
    finished = sum(state.status == "finished" for state in states.values())
    if stop.signal is not None and waiting:
        tell(f"stopped by {stop.signal.name}: {finished} of {len(states)} cells are finished; the same command goes on")
        return INTERRUPTED if stop.signal.name == "SIGINT" else SAVED
    if waiting:
        also = f", {len(failed)} failed" if failed else ""
        tell(
            f"{len(waiting)} of {len(states)} cells wait, told to stop {TAKEN_UP + 1} times (the first is "
            f"{waiting[0].name}){also}; the same command goes on"
        )
        return SAVED
    if not failed:
        tell(f"all {finished} cells are finished: medtl report {request.out}")
        return 0
    logs = [(cell, folder_of(request.out, cell) / LOG_NAME) for cell in failed]
    ran = next(((cell, log) for cell, log in logs if log.is_file()), None)
    read = f"; the first that ran is {ran[0].name}: read {ran[1]}" if ran else f", the first is {failed[0].name}"
    tell(f"{len(failed)} of {len(states)} cells failed{read}")
    return 1
