"""The processes of a comparison: one a cell, none of which outlives it unnoticed.

A cell's process holds its log file open under an exclusive ``flock``, which ends with the last process that inherited
it (its loading workers too): whoever gets the lock knows that nothing runs in that folder any more.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from medtl.console import debugging
from medtl.grid.cells import Cell
from medtl.grid.records import LOG_NAME, State, clear, finished_state, look, missing_result

POLL_SECONDS = 0.1
STOP_SECONDS = 30.0  # a cell that saves itself when told to stop has this long
LOG_TAIL_BYTES = 1 << 20
FIRST_LINE = re.compile(r"process \d+: ")
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception)\b")


@dataclass
class Running:
    """A cell's process.

    Attributes:
        cell: which cell.
        folder: its run folder.
        process: leader of a process group of its own, so that Ctrl-C reaches it through the comparison alone.
        log_start: where in the log this attempt begins.
        began: time.monotonic() of its start.
    """

    cell: Cell
    folder: Path
    process: subprocess.Popen[bytes]
    log_start: int
    began: float

    @property
    def minutes(self) -> float:
        """Since its start."""
        return (time.monotonic() - self.began) / 60


def locked_log(folder: Path) -> BinaryIO | None:
    """A cell's log, open for appending and locked; None while a process still runs in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / LOG_NAME, "ab")  # noqa: SIM115  the child keeps it open
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    return log


def still_runs(folder: Path) -> bool:
    """Whether a process, of whichever comparison, runs in a cell's folder."""
    if not (folder / LOG_NAME).exists():
        return False
    log = locked_log(folder)
    if log is None:
        return True
    log.close()
    return False


def start(cell: Cell, folder: Path, command: Sequence[str], jobs: int) -> Running:
    """Start a cell's process in a folder that holds no finished run; what a dead run left there is removed, its log is
    kept and appended to.

    Raises:
        BlockingIOError: a process still runs in the folder.
    """
    log = locked_log(folder)
    if log is None:
        raise BlockingIOError(f"a process still runs in {folder}")
    with log:
        if look(folder) == "unfinished":
            clear(folder)
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "medtl.grid.child", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(os.environ, jobs, debugging()),
            start_new_session=True,
        )
    return Running(cell, folder, process, begin, time.monotonic())


def environment(own: Mapping[str, str], jobs: int, debug: bool) -> dict[str, str]:
    """The environment of a cell: nothing printed is lost when it is killed, and several cells share the cores."""
    found = {**own, "PYTHONUNBUFFERED": "1"}
    if jobs > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    if debug:
        found["MEDTL_DEBUG"] = "1"
    return found


def outcome(run: Running) -> State:
    """What a process that has ended left: its record decides, not its exit status."""
    found = look(run.folder)
    if found == "finished" and not missing_result(run.folder):
        state = finished_state(run.folder)
        return state if state.minutes is not None else State("finished", "", run.minutes, state.metric)
    return State("failed", last_error(run.folder / LOG_NAME, run.log_start, run.process.returncode), run.minutes)


def last_error(log: Path, begin: int, status: int) -> str:
    """Why a process ended, in one line: the last of its log that tells an error; else the first exception, the later
    ones being what it was wrapped in; else the last line that is not empty.

    Args:
        log: the file.
        begin: where this attempt's part begins.
        status: of the process; below 0 the signal that ended it.
    """
    with open(log, "rb") as file:
        file.seek(max(begin, log.stat().st_size - LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in lines if not FIRST_LINE.match(line)] or ["nothing was printed"]
    if status < 0:
        return f"ended by signal {-status} ({signal.strsignal(-status)}); its last line: {lines[-1].strip()}"
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return (errors[-1:] or exceptions[:1] or [lines[-1].strip()])[0]


class Stop:
    """Set by SIGINT, SIGTERM or SIGHUP while ``listening``.

    Attributes:
        signal: the first that came; None so far.
        count: how many came.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.count = 0

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        self.count += 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals, but for those that this process was told to ignore (nohup); afterwards they mean what they
        meant before."""
        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        taken = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]
        before = {name: signal.signal(name, self._set) for name in taken}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def run_all(
    cells: Sequence[Cell],
    begin: Callable[[Cell], Running],
    jobs: int,
    stop: Stop,
    report: Callable[[Cell, State], None],
) -> None:
    """Run cells, ``jobs`` at a time, until all have ended or ``stop`` is set; whatever happens, none is left running.

    Args:
        cells: in the order in which they begin.
        begin: starts one.
        jobs: at a time, from 1.
        stop: looked at ten times a second.
        report: told of each change, and about once a second of each cell that runs.
    """
    queue = deque(cells)
    running: list[Running] = []
    told = 0.0
    try:
        while (queue or running) and stop.signal is None:
            while queue and len(running) < jobs:
                running.append(begin(queue.popleft()))
                report(running[-1].cell, State("running", "", 0.0))
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                report(run.cell, outcome(run))
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                for run in running:
                    report(run.cell, State("running", "", run.minutes))
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        end(running, stop)
        for run in running:
            report(run.cell, outcome(run) if look(run.folder) == "finished" else State())


def end(running: Sequence[Running], stop: Stop) -> None:
    """Ask the processes and all they started to end, wait, and kill what has not ended after ``STOP_SECONDS`` or at a
    second signal."""
    _tell(running, signal.SIGTERM)
    deadline, count = time.monotonic() + STOP_SECONDS, stop.count
    while any(run.process.poll() is None for run in running):
        if time.monotonic() > deadline or stop.count > count:
            _tell(running, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    _tell(running, signal.SIGKILL)  # what a leader that has ended left of its group


def _tell(running: Sequence[Running], number: signal.Signals) -> None:
    for run in running:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.process.pid, number)
