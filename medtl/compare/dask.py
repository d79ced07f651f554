"""Cells on the workers of a Dask cluster, which share the file system and see the same folders under the same paths.

A worker runs a cell as this machine would, in a process of its own. When the comparison stops, or is killed, the
scheduler cancels what the worker does, which tells the cell to stop; when the worker dies, the process that its cell
was forked from does. What a cell left is read from its folder, whichever worker ran it.
"""

import functools
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING

from medtl import datalist
from medtl.cluster import connected
from medtl.compare.cell import (
    POLL_SECONDS,
    STOP_SECONDS,
    Command,
    Stop,
    await_ends,
    environment,
    run_cell,
    still_runs,
)
from medtl.compare.plan import Request
from medtl.compare.state import FILE_NAME, State, state_of
from medtl.compare.task import Task, command_of
from medtl.compare.warm import Warm
from medtl.errors import MedtlError, debugging, tell
from medtl.files import file_hash
from medtl.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

# of the command, where they are set: they hold on a worker, too
NUMBERS, FOLDERS = ("OMP_NUM_THREADS", "MEDTL_DEBUG"), ("MEDTL_WEIGHTS", "MEDTL_PLUGINS")
LOST = "--dask: the scheduler has gone, or has cancelled the work; repeat the command to resume"
SAME_PATHS = "data, bundle and --out must have the same paths on every worker (a shared file system)"

_one_at_a_time = threading.Lock()  # whatever its number of threads, a worker has one cell


@contextmanager
def workers(request: Request, stop: Stop, command: Command) -> Iterator["Cluster"]:
    """Yield the workers of the scheduler that a request names; cells that still run there afterwards are cancelled.

    Raises:
        MedtlError: the scheduler does not answer.
    """
    with connected(str(request.dask)) as client:
        if not client.nthreads():
            tell("the Dask cluster has no worker yet: cells wait for the first")
        yield Cluster(client, stop, command)


class Cluster:
    """Workers, one cell each; they may come and go.

    Args:
        client: of their scheduler.
        stop: whether cells are to stop.
        command: of a cell.
    """

    def __init__(self, client: "Client", stop: Stop, command: Command) -> None:
        self._client, self._stop, self._command = client, stop, command
        folders = {name: os.path.abspath(os.environ[name]) for name in FOLDERS if os.environ.get(name)}
        self._environment = {name: os.environ[name] for name in NUMBERS if name in os.environ} | folders

    def places(self) -> int:
        """Return how many workers there are, or 1."""
        try:
            return max(1, len(self._client.nthreads()))
        except OSError:
            raise MedtlError(LOST) from None

    def submit(self, task: Task) -> "Future[State]":
        """Send a cell to a worker."""
        return self._client.submit(on_worker, task, self._environment, __version__, self._command, pure=False)

    def state(self, doing: "Future[State]", task: Task) -> State:
        """Return how far a cell is that has ended.

        Raises:
            MedtlError: no cell can go on: the scheduler has gone, or a worker cannot do what it should.
        """
        from distributed import KilledWorker

        try:
            found: State = doing.result()
            return found
        except KilledWorker as error:
            died = error.allowed_failures + 1
            return State("failed", f"{died} workers died of it (out of memory?)")
        except CancelledError:
            if self._stop.signal is None:
                raise MedtlError(LOST) from None
            return state_of(task.folder)
        except MedtlError:
            raise
        except Exception as error:  # the worker has another Python, no medtl …
            line = (str(error).strip().splitlines() or [""])[0]
            raise MedtlError(f"--dask: a worker cannot run {task.cell.name}: {type(error).__name__}: {line}") from error

    def stop(self, doing: Sequence["Future[State]"], tasks: Sequence[Task]) -> None:
        """Cancel cells, which tells them to stop, and wait until they have saved themselves."""
        self._client.cancel(list(doing))
        deadline = time.monotonic() + STOP_SECONDS
        while any(still_runs(task.folder) for task in tasks):
            if self._stop.hurried or time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)


class _Cancelled(Stop):
    """Told to stop when the scheduler does not want a worker's present work any more."""

    def __init__(self) -> None:
        from distributed import get_worker

        self.hurried = False
        worker = get_worker()
        self._tasks, self._key = worker.state.tasks, worker.get_current_task()

    @property
    def signal(self) -> Signals | None:  # type: ignore[override]
        """SIGTERM, once it is told."""
        task = self._tasks.get(self._key)
        return None if task is not None and task.state == "executing" else SIGTERM


def on_worker(task: Task, variables: Mapping[str, str], version: str, command: Command) -> State:
    """Run a cell in a worker, if the worker sees what the comparison sees.

    Args:
        task: the cell.
        variables: of the environment, that the comparison was given.
        version: of medtl there.
        command: of the cell.

    Raises:
        MedtlError: it does not.
    """
    with _one_at_a_time:
        stop = _Cancelled()
        if __version__ != version:
            raise MedtlError(f"--dask: a worker has medtl {__version__}, this command is of {version}")
        data = Path(task.overrides["dataset_dir"])
        data = data if data.is_file() else data / datalist.FILE_NAME
        if not data.is_file() or file_hash(data) != task.sha256 or not (task.folder.parents[1] / FILE_NAME).is_file():
            raise MedtlError(f"--dask: a worker does not see the data list and --out as they are here: {SAME_PATHS}")
        await_ends([task.folder])  # of a worker that died of it
        found = state_of(task.folder)
        if found.status == "finished":
            return found
        return run_cell(task, _warm(tuple(variables.items()), command is command_of), stop, command)


@functools.cache
def _warm(variables: tuple[tuple[str, str], ...], preload: bool) -> Warm:
    """The process that this worker's cells are forked from."""
    return Warm(environment({**os.environ, **dict(variables)}, 1, debugging()), preload)
