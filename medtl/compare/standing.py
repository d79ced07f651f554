"""Where a grid stands when a command begins: what is there, what is missing, and all that can be wrong with it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medtl import datalist
from medtl.compare.cell import await_ends
from medtl.compare.checks import Bundle
from medtl.compare.plan import (
    Cell,
    Request,
    as_named_before,
    cells_of,
    folder_of,
    from_row,
    overrides_of,
    short_init,
)
from medtl.compare.protocol import substitutes
from medtl.compare.state import FILE_NAME, LOCK_NAME, State, Status, read_grid, state_of, without_paths
from medtl.compare.task import Task, task_of
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.runs.changes import literal

DIFFERS = ("backbone", "init", "seed", "fold", "train_fraction", "setting")

Starts = Mapping[tuple[str, str], str | None]  # SHA-256 of the weights by (short init, backbone)
Resolve = Callable[[str, str], str | None]
Preflight = Callable[[Path, Mapping[str, str]], str]


@dataclass(frozen=True)
class Plan:
    """What is to be run: the command's cells, the states of these and of those that the folder held before, and the
    tasks of all."""

    request: Request
    head: Mapping[str, Any]
    cells: Sequence[Cell]
    states: dict[Cell, State]
    tasks: Mapping[Cell, Task]

    def of(self, status: Status) -> list[Cell]:
        """Return the command's cells that are so, those that have begun first."""
        found = [cell for cell in self.cells if self.states[cell].status == status]
        return sorted(found, key=lambda cell: not (status == "waiting" and self.states[cell].error))


def weights_hash(init: str, backbone: str) -> str | None:
    """Return the SHA-256 of the weights that a backbone starts from; None for a random start, and for none.

    Raises:
        UsageError: they are not found; the message says where they were looked for.
    """
    if init in ("", "random"):
        return None
    from medtl.weights.starts import resolve  # imports MONAI

    return resolve(init, backbone, option="--inits").sha256 or None


def _preflight(config: Path, overrides: Mapping[str, str]) -> str:
    """``bundles.preflight.mistake``, with a torch for CUDA in a fork: a process that has looked at a GPU keeps a part
    of it until it ends, and a GPU that takes one process at a time would take no cell."""
    import torch

    from medtl.bundles import preflight  # imports MONAI

    if torch.version.cuda is None:
        return preflight.mistake(config, overrides)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as processes:
        try:
            return processes.submit(preflight.mistake, config, overrides).result()
        except BrokenProcessPool:  # the cells are left to find out
            return ""


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
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


def _find_starts(request: Request, resolve: Resolve) -> tuple[Starts, dict[tuple[str, str], str]]:
    """Hashes of the weights by (short init, backbone), and why others were not found."""
    starts: dict[tuple[str, str], str | None] = {}
    unfound: dict[tuple[str, str], str] = {}
    for init in request.inits:
        for backbone in filter(None, request.backbones):  # stored features need no weights
            try:
                starts[short_init(init), backbone] = resolve(init, backbone)
            except MedtlError as error:
                unfound[short_init(init), backbone] = str(error)
    return starts, unfound


def planned(
    request: Request,
    bundle: Bundle,
    listed: DataList,
    resolve: Resolve | None = None,
    preflight: Preflight | None = None,
) -> Plan:
    """Return what a request is to run; everything that can be wrong is found here, before anything is written.

    Args:
        request: the command.
        bundle: its bundle.
        listed: its data list.
        resolve: finds the weights of (init, backbone) and returns their SHA-256; by default ``weights_hash``.
        preflight: says what is wrong with a config and its overrides; by default ``bundles.preflight.mistake``.

    Raises:
        UsageError: no cell can run, or the folder holds another comparison.
        MedtlError: processes of an earlier comparison still run.
    """
    sha256 = file_hash(datalist.locate(request.dataset_dir))
    ids = {id_: literal(without_paths(value)) for id_, value in request.ids.items()}
    head = {"bundle": bundle.name, "dataset": listed.name, "dataset_sha256": sha256, "ids": ids}
    head |= {"protocol": request.protocol} if request.protocol else {}
    cells, former = cells_of(request), _former(request.out, head)
    if "train_fraction" not in request.ids:
        cells = as_named_before(cells, former)
    every = list(dict.fromkeys([*former, *cells]))
    if request.protocol:
        head |= {"substitutes": substitutes(request.protocol, [cell.backbone for cell in every])}
    await_ends([folder_of(request.out, cell) for cell in every])
    starts, unfound = _find_starts(request, resolve or weights_hash)
    tasks = {
        cell: task_of(request, bundle, cell, listed.name, sha256, starts.get((cell.init, cell.backbone)))
        for cell in every
    }
    for task in tasks.values():
        task.refuse_other()
    states = {cell: state_of(folder_of(request.out, cell)) for cell in every}
    for cell in cells:
        unknown = unfound.get((cell.init, cell.backbone))
        if unknown is not None and states[cell].status == "waiting":
            states[cell] = State("failed", unknown)
    plan = Plan(request, head, cells, states, tasks)
    waiting = plan.of("waiting")
    if not waiting and not plan.of("finished"):
        raise UsageError(f"no cell can run; {cells[0].name}: {states[cells[0]].error}")
    has_run = any(states[cell].status == "finished" or tasks[cell].is_worth_keeping() for cell in every)
    mistake = "" if has_run or not waiting else common_mistake(request, waiting, preflight or _preflight)
    if mistake:
        raise UsageError(mistake if mistake.startswith("--") else f"no cell can run; {waiting[0].name}: {mistake}")
    return plan


def _former(out: Path, head: Mapping[str, Any]) -> list[Cell]:
    """The cells that the folder's grid.json names, if it is of the same bundle and data set."""
    grid = read_grid(out)
    if grid is None:
        return []
    for what in ("bundle", "dataset"):
        if grid[what] != head[what]:
            raise UsageError(
                f"--out {out} is of {what} {grid[what]}, this command of {head[what]}; choose another --out"
            )
    return [from_row(row) for row in grid["cells"]]


def common_mistake(request: Request, cells: Sequence[Cell], preflight: Preflight) -> str:
    """Return what is wrong with a request whatever the cell; empty where one of those that are tried would begin, or
    where they would end in different lines.

    One cell is tried; if it would fail, others that differ from it in each dimension are. What is bad for some cells
    only is theirs to say.
    """
    config, said = (request.bundle / "configs" / "train.json").resolve(), set()
    for cell in tried(cells):
        said.add(preflight(config, overrides_of(request, cell)))
        if "" in said or len(said) > 1:
            return ""
    return str(said.pop())


def tried(cells: Sequence[Cell]) -> list[Cell]:
    """Return some cells, in their order, among which each value of each dimension occurs; the first is one of them."""
    seen: set[tuple[str, Any]] = set()
    kept = []
    for cell in cells:
        values = {(name, getattr(cell, name)) for name in DIFFERS}
        if not values <= seen:
            kept.append(cell)
        seen |= values
    return kept
