"""``medtl compare``: what a request asks for and is not done yet, done.

The grid can be stopped at any time, by whatever means, and goes on with the same command: what a cell is, is read from
its own run folder, a finished one is never run again, and one that was cut off goes on from its last checkpoint. A
cell's result depends on its command alone, not on the order or on what was interrupted.
"""

import contextlib
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from rich.console import Console

from medtl.compare.cell import POLL_SECONDS, SAVED, STOP_SECONDS, Command, Stop, environment, run_cell
from medtl.compare.checks import check_backbones, check_ids, read_bundle, read_data
from medtl.compare.plan import Cell, Request, folder_of
from medtl.compare.progress import Board
from medtl.compare.standing import Plan, Preflight, Resolve, held, planned
from medtl.compare.state import LOG_NAME, State, read_grid, without_paths, write_grid
from medtl.compare.task import Task, command_of
from medtl.compare.warm import Warm
from medtl.errors import INTERRUPTED, ToldToStop, debugging, tell

TAKEN_UP = 3  # times that a cell which somebody else told to stop is begun again by one command
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # what a comparison is told to stop by, beside Ctrl-C


class Workers(Protocol):
    """Who runs cells: threads here, or a cluster."""

    def places(self) -> int:
        """Return how many cells run at a time."""

    def submit(self, task: Task) -> Any:
        """Begin a cell, and return what is done when it has ended."""

    def state(self, doing: Any, task: Task) -> State:
        """Return how far a cell is that has ended; raise MedtlError where no cell can go on."""

    def stop(self, doing: Sequence[Any], tasks: Sequence[Task]) -> None:
        """Wait until cells that were told to stop have ended."""


def compare(
    request: Request,
    command: Command = command_of,
    resolve: Resolve | None = None,
    preflight: Preflight | None = None,
) -> int:
    """Run the cells of a request that are not finished yet.

    Args:
        request: what to compare.
        command: of one cell, and whether it goes on with what is in its folder.
        resolve: finds the weights of (init, backbone) and returns their SHA-256; by default ``weights_hash``.
        preflight: says what is wrong with a config and its overrides; by default ``bundles.preflight.mistake``.

    Returns:
        Exit status: 0 when all cells are finished, 1 when some failed, 130 after Ctrl-C, 75 after another signal or
        when cells that somebody else told to stop still wait.

    Raises:
        UsageError: nothing can be run, or the folder holds another comparison.
        ToldToStop: a signal came before a cell was begun.
        MedtlError: the data list is not valid, or processes of an earlier comparison still run.
    """
    bundle = read_bundle(request.bundle)
    check_ids(bundle, request)
    listed = read_data(bundle, request)
    check_backbones(request.backbones)
    read_grid(request.out)
    stop = Stop()
    with held(request.out), _listening(stop, STOPPING):
        plan = planned(request, bundle, listed, resolve, preflight)
        if stop.signal is not None:
            raise ToldToStop(f"stopped by {stop.signal.name} before a cell was begun; the same command goes on")
        with _listening(stop, (signal.SIGINT,)):
            _run(plan, stop, command)
        return _conclude(request, {cell: plan.states[cell] for cell in plan.cells}, stop)


@contextlib.contextmanager
def _listening(stop: Stop, names: Sequence[signal.Signals]) -> Iterator[None]:
    """Take signals, but for those that this process was told to ignore (nohup); afterwards they mean what they meant
    before."""
    taken = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]
    before = {name: signal.signal(name, stop.set) for name in taken}
    try:
        yield
    finally:
        for name, former in before.items():
            signal.signal(name, former)


class Here:
    """Threads of this process, each of which waits for a cell's.

    Args:
        jobs: cells at a time.
        stop: whether they are to stop.
        command: of a cell; any but medtl's own is no run of a bundle, and nothing is imported for it.
    """

    def __init__(self, jobs: int, stop: Stop, command: Command) -> None:
        self._jobs, self._stop, self._command = jobs, stop, command
        self._warm = Warm(environment(os.environ, jobs, debugging()), preload=command is command_of)
        self._threads = ThreadPoolExecutor(jobs)

    def places(self) -> int:
        return self._jobs

    def submit(self, task: Task) -> Any:
        return self._threads.submit(run_cell, task, self._warm, self._stop, self._command)

    def state(self, doing: Any, task: Task) -> State:
        found: State = doing.result()
        return found

    def stop(self, doing: Sequence[Any], tasks: Sequence[Task]) -> None:
        while not all(each.done() for each in doing):  # the threads look at ``stop``
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """End the process that starts cells."""
        self._warm.close()
        self._threads.shutdown(wait=False)


@contextlib.contextmanager
def _workers(request: Request, stop: Stop, command: Command) -> Iterator[Workers]:
    if request.dask is None:
        with contextlib.closing(Here(request.jobs, stop, command)) as here:
            yield here
        return
    from medtl.compare.dask import workers  # imports Dask, which is an extra

    with workers(request, stop, command) as found:
        yield found


def _run(plan: Plan, stop: Stop, command: Command) -> None:
    """Run the cells that wait, and keep grid.json and the terminal up to date."""
    request, states = plan.request, plan.states
    folders = (request.out, request.bundle, request.dataset_dir)
    hidden = [path for folder in folders for path in (folder, folder.resolve())]

    def save() -> None:
        cleaned = {c: replace(s, error=without_paths(s.error, hidden)) for c, s in states.items()}
        write_grid(request.out, plan.head, cleaned)

    save()
    if plan.of("finished"):
        tell(f"{len(plan.of('finished'))} of {len(plan.cells)} cells were finished before")
    _tell_failed(plan)
    waiting = [plan.tasks[cell] for cell in plan.of("waiting")]
    if not waiting:
        return
    with (
        _workers(request, stop, command) as workers,
        Board({cell: states[cell] for cell in plan.cells}, Console()) as board,
    ):

        def report(cell: Cell, state: State) -> None:
            changed = states[cell].status != state.status
            states[cell] = state
            if changed:
                save()
            board.tell(cell, state)

        _work(waiting, workers, stop, report)


def _work(waiting: Sequence[Task], workers: Workers, stop: Stop, report: Callable[[Cell, State], None]) -> None:
    """Run cells until all have ended or ``stop`` is set; whatever happens, none is left running.

    A cell that somebody else told to stop is begun again after all others, at most ``TAKEN_UP`` times.
    """
    queue = deque(waiting)
    running: dict[Any, tuple[Task, float]] = {}
    again: Counter[str] = Counter()
    told = 0.0
    try:
        while (queue or running) and stop.signal is None:
            while queue and len(running) < workers.places():
                task = queue.popleft()
                running[workers.submit(task)] = (task, time.monotonic())
                report(task.cell, State("running", "", 0.0))
            for doing in [doing for doing in running if doing.done()]:
                task, _ = running.pop(doing)
                state = workers.state(doing, task)
                if state.status == "waiting" and again[task.cell.name] < TAKEN_UP and stop.signal is None:
                    again[task.cell.name] += 1
                    queue.append(task)
                report(task.cell, state)
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                for task, began in running.values():
                    report(task.cell, State("running", "", (told - began) / 60))
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        if running:
            stop.signal = stop.signal or signal.SIGTERM  # where an error ends the comparison
            time.sleep(2 * POLL_SECONDS)
            if not all(doing.done() for doing in running):
                tell(
                    f"the cells that run have up to {STOP_SECONDS:g} seconds to save themselves; Ctrl-C kills them at"
                    " once"
                )
            workers.stop(list(running), [task for task, _ in running.values()])
            for doing, (task, _) in running.items():
                report(task.cell, workers.state(doing, task))


def _tell_failed(plan: Plan) -> None:
    """One line for each reason for which cells cannot even begin."""
    reasons: dict[str, list[str]] = {}
    for cell in plan.of("failed"):
        reasons.setdefault(plan.states[cell].error, []).append(cell.name)
    for reason, named in reasons.items():
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        tell(f"{named[0]}{more}: failed: {reason}")


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
