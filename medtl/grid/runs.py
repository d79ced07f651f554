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
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from medtl.errors import MedtlError, ToldToStop, debugging, tell
from medtl.grid.cells import Cell
from medtl.grid.records import BEGUN, LOG_NAME, State, clear, drop_checkpoints, finished_state, look, missing_result

POLL_SECONDS = 0.1
LINGERING_SECONDS = 10.0  # that helpers of a cell may outlive it, its log still open
STOP_SECONDS = 100.0  # that a cell has for saving itself: schedulers that warn do so two minutes before they kill
TAKEN_UP = 3  # times that a cell which somebody else told to stop is begun again by one command
SAVED = 75  # exit status of a run that saved itself because it was told to stop, and of a comparison that did
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # what a comparison is told to stop by, beside Ctrl-C
TOLD_TO_STOP = (SAVED, -signal.SIGTERM, -signal.SIGUSR1)  # by a signal where nothing could be saved yet
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


def start(cell: Cell, folder: Path, command: Sequence[str], jobs: int, goes_on: bool = False) -> Running:
    """Start a cell's process in a folder that holds no finished run; its log is kept and appended to.

    Args:
        cell: which cell.
        folder: its run folder.
        command: of the process.
        jobs: processes that run at a time.
        goes_on: whether the command goes on with the run that was cut off there; else what that left is removed.

    Raises:
        MedtlError: a process still runs in the folder, and not only for the moment that helpers outlive their parent.
    """
    deadline = time.monotonic() + LINGERING_SECONDS
    while (log := locked_log(folder)) is None:
        if time.monotonic() > deadline:
            raise MedtlError(f"a process still runs in {folder}: end it, or wait for it, and repeat the command")
        time.sleep(POLL_SECONDS)
    with log:
        if not goes_on and look(folder) == "unfinished":
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
    """Return the environment of a cell: nothing printed is lost when it is killed, threads that wait for each other
    sleep, and several cells share the cores."""
    found = {"OMP_WAIT_POLICY": "PASSIVE", **own, "PYTHONUNBUFFERED": "1"}
    if jobs > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    if debug:
        found["MEDTL_DEBUG"] = "1"
    return found


def outcome(run: Running) -> State:
    """What a process that has ended left: whether it has finished, its record says, not its exit status."""
    found = look(run.folder)
    if found == "finished" and not missing_result(run.folder):
        state = finished_state(run.folder)
        return state if state.minutes is not None else State("finished", "", run.minutes, state.metric)
    if run.process.returncode in TOLD_TO_STOP:
        return State("waiting", BEGUN, run.minutes)
    return State("failed", last_error(run.folder / LOG_NAME, run.log_start, run.process.returncode), run.minutes)


def settled(run: Running) -> State:
    """``outcome``; a cell that has finished keeps its results and no checkpoints, of which a grid would fill a disk."""
    state = outcome(run)
    if state.status == "finished":
        drop_checkpoints(run.folder)
    return state


def last_error(log: Path, begin: int, status: int) -> str:
    """Why a process ended, in one line.

    Args:
        log: the file.
        begin: where this attempt's part begins.
        status: of the process; below 0 the signal that ended it.
    """
    with open(log, "rb") as file:
        file.seek(max(begin, log.stat().st_size - LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    if status < 0:
        return f"ended by signal {-status} ({signal.strsignal(-status)}); its last line: {_lines(text)[-1].strip()}"
    return reason(text)


def reason(printed: str) -> str:
    """What a process that failed gives as its reason: the last line that tells an error; else the first exception, the
    later ones being what it was wrapped in; else the last line that is not empty."""
    lines = _lines(printed)
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return (errors[-1:] or exceptions[:1] or [lines[-1].strip()])[0]


def _lines(printed: str) -> list[str]:
    lines = [line.rstrip() for line in printed.replace("\r", "\n").splitlines() if line.strip()]
    return [line for line in lines if not FIRST_LINE.match(line)] or ["nothing was printed"]


class Stop:
    """Set by SIGINT, SIGTERM, SIGUSR1 or SIGHUP while ``listening``.

    Attributes:
        signal: the first that came; None so far.
        hurried: whether Ctrl-C came a second or more after it. Other signals mean nothing then, and two at a time are
            one: what stops a job often sends its signal to a process and to the group that it is in.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.hurried = False
        self._came = 0.0

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._came = signal.Signals(number), time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._came >= 1:
            self.hurried = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals, but for those that this process was told to ignore (nohup); afterwards they mean what they
        meant before."""
        with _taking((signal.SIGINT, *STOPPING), self._set):
            yield


@contextlib.contextmanager
def leaving_when_told() -> Iterator[None]:
    """As long as no cell has been begun, end with the error that asks for the same command again.

    Raises:
        ToldToStop: a signal came.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise _Told(number)

    try:
        with _taking(STOPPING, leave):
            yield
    except _Told as told:
        name = signal.Signals(told.args[0]).name
        raise ToldToStop(f"stopped by {name} before a cell was begun; the same command goes on") from None


class _Told(BaseException):
    """A signal, which nobody on the way takes for a mistake of the request."""


@contextlib.contextmanager
def _taking(names: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    taken = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]
    before = {name: signal.signal(name, handler) for name in taken}
    try:
        yield
    finally:
        for name, former in before.items():
            signal.signal(name, former)


def run_all(
    cells: Sequence[Cell],
    begin: Callable[[Cell], Running],
    jobs: int,
    stop: Stop,
    report: Callable[[Cell, State], None],
) -> None:
    """Run cells, ``jobs`` at a time, until all have ended or ``stop`` is set; whatever happens, none is left running.

    A cell that somebody else told to stop is begun again after all others, at most ``TAKEN_UP`` times.

    Args:
        cells: in the order in which they begin.
        begin: starts one.
        jobs: at a time, from 1.
        stop: looked at ten times a second.
        report: told of each change, and about once a second of each cell that runs.
    """
    queue = deque(cells)
    running: list[Running] = []
    again: Counter[Cell] = Counter()
    told = 0.0
    try:
        while (queue or running) and stop.signal is None:
            while queue and len(running) < jobs and stop.signal is None:
                running.append(begin(queue.popleft()))
                report(running[-1].cell, State("running", "", 0.0))
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                state = settled(run)
                if state.status == "waiting" and again[run.cell] < TAKEN_UP:
                    again[run.cell] += 1
                    queue.append(run.cell)
                report(run.cell, state)
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                for run in running:
                    report(run.cell, State("running", "", run.minutes))
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        end(running, stop)
        for run in running:
            state = settled(run)
            if state.status == "failed" and run.process.returncode == -signal.SIGKILL:  # by ``end``
                state = State("waiting", BEGUN, run.minutes)
            report(run.cell, state)


def end(running: Sequence[Running], stop: Stop) -> None:
    """Tell the processes to stop, by the signal that came, wait until they have saved themselves, and kill what has not
    ended after ``STOP_SECONDS`` or at Ctrl-C."""
    number = stop.signal if stop.signal == signal.SIGUSR1 else signal.SIGTERM
    for run in running:
        run.process.send_signal(number)  # to it alone: it needs the processes that load its data until it has saved
    deadline, told = time.monotonic() + STOP_SECONDS, time.monotonic() + POLL_SECONDS
    while any(run.process.poll() is None for run in running):
        if told < time.monotonic():
            tell(
                f"the cells that run have up to {STOP_SECONDS:g} seconds to save themselves; Ctrl-C kills them at once"
            )
            told = float("inf")
        if time.monotonic() > deadline or stop.hurried:
            _kill(running)
        time.sleep(POLL_SECONDS)
    _kill(running)  # what a process that has ended left of its group


def _kill(running: Sequence[Running]) -> None:
    for run in running:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.process.pid, signal.SIGKILL)
