"""Where the cells of a grid stand, by what their folders hold, and what a command may do with them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError, tell
from medtl.files import file_hash
from medtl.grid.cells import Cell, Request, folder_of, from_row, overrides_of
from medtl.grid.records import (
    BEGUN,
    LOG_NAME,
    Expected,
    State,
    difference,
    finished_state,
    look,
    missing_result,
    read_grid,
    start_difference,
)
from medtl.grid.request import RESUME, Bundle
from medtl.grid.runs import STOP_SECONDS, still_runs
from medtl.runs.record import INTERRUPTED, RUNNING, RunRecord, find

ORPHAN_SECONDS = STOP_SECONDS  # cells of a comparison that was killed, and their loading workers, end within this


@dataclass(frozen=True)
class Basis:
    """What a command says of each cell.

    Attributes:
        request: the command.
        bundle: its bundle.
        listed: its data list.
        sha256: of the data list's file.
    """

    request: Request
    bundle: Bundle
    listed: DataList
    sha256: str

    def folder(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return folder_of(self.request.out, cell)

    def difference(self, cell: Cell) -> str:
        """How the run in a cell's folder was begun otherwise than this command says; empty when it was not."""
        overrides = overrides_of(self.request, cell)
        expected = Expected(
            self.bundle.name,
            self.bundle.version,
            self.listed.name,
            self.sha256,
            {**self.bundle.config, **overrides},
            frozenset(overrides),
            cell.seed,
        )
        return difference(_record(self.folder(cell)), expected)


def basis_of(request: Request, bundle: Bundle, listed: DataList) -> Basis:
    """What a command says of each cell."""
    return Basis(request, bundle, listed, file_hash(datalist.locate(request.dataset_dir)))


def former_cells(basis: Basis) -> list[Cell]:
    """The cells that the folder's grid.json names.

    Raises:
        UsageError: it is of another bundle or data set.
    """
    out = basis.request.out
    grid = read_grid(out)
    if grid is None:
        return []
    for what, own in (("bundle", basis.bundle.name), ("dataset", basis.listed.name)):
        if grid[what] != own:
            raise UsageError(f"--out {out} is of {what} {grid[what]}, this command of {own}; choose another --out")
    return [from_row(row) for row in grid["cells"]]


def await_orphans(out: Path, cells: Sequence[Cell]) -> None:
    """Wait for the processes of a comparison that was killed, which end by themselves where they are told of it.

    Raises:
        MedtlError: one has not ended after ``ORPHAN_SECONDS``.
    """
    deadline, told = time.monotonic() + ORPHAN_SECONDS, False
    for cell in cells:
        folder = folder_of(out, cell)
        while still_runs(folder):
            if not told:
                tell(f"cells of an earlier comparison still run: they have up to {ORPHAN_SECONDS:g} seconds to end")
                told = True
            if time.monotonic() > deadline:
                raise MedtlError(
                    f"{folder} is still being run by a process of an earlier comparison: wait for it, or end it "
                    f"(its number stands in the last line of {LOG_NAME} that begins with 'process')"
                )
            time.sleep(0.2)


def states_of(basis: Basis, cells: Sequence[Cell]) -> dict[Cell, State]:
    """How far each cell is.

    Raises:
        UsageError: one that is finished, or that can go on, was begun with something else than the command says.
    """
    states = {}
    for cell in cells:
        folder = basis.folder(cell)
        found = look(folder)
        if found == "foreign":
            states[cell] = State("failed", f"{folder} holds files but no run.json of a run; move them away")
        elif found == "nothing":
            states[cell] = State()
        elif found == "finished" and missing_result(folder):
            reason = f"{folder} says finished but has no {missing_result(folder)}; move it away to run it again"
            states[cell] = State("failed", reason)
        else:
            if found == "finished" or _is_worth_keeping(basis, cell):
                _refuse(basis, cell, basis.difference(cell))
            states[cell] = finished_state(folder) if found == "finished" else State("waiting", BEGUN)
    return states


def refuse_other_starts(
    basis: Basis, states: Mapping[Cell, State], starts: Mapping[tuple[str, str], str | None]
) -> None:
    """Refuse to mix runs that started from different weights under one name.

    Args:
        basis: what the command says.
        states: of the cells.
        starts: SHA-256 of the weights by (short init, backbone); None for a random start.

    Raises:
        UsageError: one that is finished, or that can go on, started from others.
    """
    for cell, state in states.items():
        if state.status == "finished" or _is_worth_keeping(basis, cell):
            _refuse(basis, cell, _start_difference(basis, cell, starts))


def any_has_run(basis: Basis, states: Mapping[Cell, State]) -> bool:
    """Whether a cell has been trained by this command or one like it, at least for a while, and so shown that what is
    common to all can be."""
    return any(state.status == "finished" or _is_worth_keeping(basis, cell) for cell, state in states.items())


def goes_on(basis: Basis, cell: Cell, starts: Mapping[tuple[str, str], str | None]) -> bool:
    """Whether what a cell's folder holds is the beginning of just the run that the command asks for, with a checkpoint
    to go on from. Anything else that is unfinished begins anew."""
    if RESUME not in basis.bundle.config or not _has_checkpoints(basis.folder(cell)):
        return False
    if look(basis.folder(cell)) != "unfinished" or basis.difference(cell) or _start_difference(basis, cell, starts):
        return False
    from medtl.writers import checkpoint  # imports torch

    return any(not checkpoint.problem_of(path) for path in checkpoint.found(basis.folder(cell) / "checkpoints"))


def _is_worth_keeping(basis: Basis, cell: Cell) -> bool:
    """Whether a cell was cut off with work that could go on; what failed may be what the command now puts right."""
    folder = basis.folder(cell)
    cut_off = _record(folder).status in (RUNNING, INTERRUPTED)
    return cut_off and RESUME in basis.bundle.config and _has_checkpoints(folder)


def _record(folder: Path) -> RunRecord:
    """What a cell's folder says; of one without a record nothing."""
    return find(folder) or RunRecord("")


def _has_checkpoints(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("epoch_*.json"))  # written when a checkpoint is whole


def _start_difference(basis: Basis, cell: Cell, starts: Mapping[tuple[str, str], str | None]) -> str:
    return start_difference(_record(basis.folder(cell)), starts.get((cell.init, cell.backbone)))


def _refuse(basis: Basis, cell: Cell, differs: str) -> None:
    if not differs:
        return
    folder = basis.folder(cell)
    finished = look(folder) == "finished"
    which, more = ("", "") if finished else (f", {BEGUN},", f", or remove {folder} to begin it anew")
    raise UsageError(f"cell {cell.name}{which} {differs}; choose another --out{more}")
