"""One cell from its beginning to its end: cleared or gone on with, run, told to stop, and judged by what it left.

A cell's process holds its log file open under an exclusive ``flock``, which ends with the last process that inherited
it (its loading workers too): a process that gets the lock knows that nothing runs in that folder any more.
"""

import contextlib
import fcntl
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from medtl.compare.state import BEGUN, LOG_NAME, State, clear, drop_checkpoints, look, state_of
from medtl.compare.task import Task, command_of
from medtl.compare.warm import Warm
from medtl.errors import MedtlError, tell

POLL_SECONDS = 0.1
LINGERING_SECONDS = 10.0  # that helpers of a cell may outlive it, its log still open
STOP_SECONDS = 100.0  # that a cell has for saving itself: schedulers that warn do so two minutes before they kill
SAVED = 75  # exit status of a run that saved itself because it was told to stop, and of a comparison that did
TOLD_TO_STOP = (SAVED, -signal.SIGTERM, -signal.SIGUSR1)  # by a signal where nothing could be saved yet
LOG_TAIL_BYTES = 1 << 20
FIRST_LINE = re.compile(r"process \d+: ")
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception)\b")

Command = Callable[[Task, bool], list[str]]


class Stop:
    """Whether cells are to stop; the process that runs them looks at it.

    Attributes:
        signal: the first that came; None so far.
        hurried: whether Ctrl-C came a second or more after it. Other signals mean nothing then, and two at a time are
            one: what stops a job often sends its signal to a process and to the group that it is in.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.hurried = False
        self._came = 0.0

    def set(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal."""
        if self.signal is None:
            self.signal, self._came = signal.Signals(number), time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._came >= 1:
            self.hurried = True


def environment(own: Mapping[str, str], jobs: int, debug: bool) -> dict[str, str]:
    """Return the environment of cells: nothing printed is lost when one is killed, threads that wait for each other
    sleep, and several cells share the cores."""
    found = {"OMP_WAIT_POLICY": "PASSIVE", **own, "PYTHONUNBUFFERED": "1"}
    if jobs > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    if debug:
        found["MEDTL_DEBUG"] = "1"
    return found


def run_cell(task: Task, warm: Warm, stop: Stop, command: Command = command_of) -> State:
    """Run a cell, in a folder that holds no finished run, and return how far it is then; its log is appended to.

    Args:
        task: the cell.
        warm: starts its process.
        stop: looked at while it runs; a cell that is told to stop saves itself.
        command: of a task, and whether it goes on with what is in its folder.

    Raises:
        MedtlError: a process still runs in the folder, and not only for the moment that helpers outlive their parent.
    """
    deadline = time.monotonic() + LINGERING_SECONDS
    while (log := locked_log(task.folder)) is None:
        if time.monotonic() > deadline:
            raise MedtlError(f"a process still runs in {task.folder}: end it, or wait for it, and repeat the command")
        time.sleep(POLL_SECONDS)
    with log:
        resumes = task.goes_on()
        if not resumes and look(task.folder) == "unfinished":
            clear(task.folder)
        log_start = log.seek(0, os.SEEK_END)
        began = time.monotonic()
        pid, ended = warm.start(command(task, resumes), log)
    killed = _wait(pid, ended, stop)
    state, minutes = state_of(task.folder), (time.monotonic() - began) / 60
    if state.status == "finished":
        drop_checkpoints(task.folder)
        return state if state.minutes is not None else State("finished", "", minutes, state.metric)
    status = ended.result()
    if status in TOLD_TO_STOP or (killed and status == -signal.SIGKILL):
        return State("waiting", BEGUN, minutes)
    return State("failed", last_error(task.folder / LOG_NAME, log_start, status), minutes)


def _wait(pid: int, ended: "Future[int]", stop: Stop) -> bool:
    """Wait until a process has ended; once told to stop, pass it on, and kill what has not ended after
    ``STOP_SECONDS`` or at Ctrl-C. Return whether it was killed."""
    deadline, killed = None, False
    while not ended.done():
        if stop.signal is not None and deadline is None:
            number = signal.SIGUSR1 if stop.signal == signal.SIGUSR1 else signal.SIGTERM
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)  # to it alone: it needs the processes that load its data until it has saved
            deadline = time.monotonic() + STOP_SECONDS
        if deadline is not None and (stop.hurried or time.monotonic() > deadline):
            killed = True
            _kill(pid)
        time.sleep(POLL_SECONDS)
    if deadline is not None or ended.exception() is not None:
        _kill(pid)  # what a process that has ended left of its group
    return killed


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def locked_log(folder: Path) -> BinaryIO | None:
    """Return a cell's log, open for appending and locked; None while a process still runs in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / LOG_NAME, "ab")  # noqa: SIM115  the child keeps it open
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    return log


def still_runs(folder: Path) -> bool:
    """Return whether a process, of whichever comparison, runs in a cell's folder."""
    if not (folder / LOG_NAME).exists():
        return False
    log = locked_log(folder)
    if log is None:
        return True
    log.close()
    return False


def await_ends(folders: list[Path]) -> None:
    """Wait for the processes of cells that nobody here has started: those of a comparison that was killed, or of
    workers, which end by themselves where they are told of it.

    Raises:
        MedtlError: one has not ended after ``STOP_SECONDS``.
    """
    deadline, told = time.monotonic() + STOP_SECONDS, False
    for folder in folders:
        while still_runs(folder):
            if not told:
                tell(f"cells of an earlier comparison still run: they have up to {STOP_SECONDS:g} seconds to end")
                told = True
            if time.monotonic() > deadline:
                raise MedtlError(
                    f"{folder} is still being run by a process of an earlier comparison: wait for it, or end it "
                    f"(its number stands in the last line of {LOG_NAME} that begins with 'process')"
                )
            time.sleep(POLL_SECONDS)


def last_error(log: Path, begin: int, status: int) -> str:
    """Return why a process ended, in one line: the last line that tells an error; else the first exception, the later
    ones being what it was wrapped in; else the last line that is not empty.

    Args:
        log: the file.
        begin: where this attempt's part begins.
        status: of the process; below 0 the signal that ended it.
    """
    with open(log, "rb") as file:
        file.seek(max(begin, log.stat().st_size - LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    printed = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in printed if not FIRST_LINE.match(line)] or ["nothing was printed"]
    if status < 0:
        return f"ended by signal {-status} ({signal.strsignal(-status)}); its last line: {lines[-1].strip()}"
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return (errors[-1:] or exceptions[:1] or [lines[-1].strip()])[0]
