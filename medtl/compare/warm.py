"""A process that has imported MONAI, torch and medtl and does nothing but fork: its children are runs that need not.

Imports take longer than a small cell's training. A fork of a process that has only imported is what a fresh process is
after its imports, so cells stay independent of each other: each has its own memory, random numbers that its seed
determines, and its own log, and it leaves through the interpreter's ordinary end. The process has one thread and never
looks at a GPU (a driver that was begun before a fork cannot be used behind it); where a library did so while it was
imported, and on systems other than Linux, whose own libraries may not survive a fork, children are started anew.

(multiprocessing's fork server would do most of this, but not within Dask's workers, which are daemons and may have no
children of that kind, and its children skip the interpreter's exit, by which a run records that it failed.)

It also outlives a comparison that is killed in a way which that cannot answer to: when the socket ends, it tells its
children to stop and waits until they have.
"""

import contextlib
import importlib.util
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, BinaryIO

from medtl.errors import MedtlError, debugging

PRELOADED = ("monai.bundle", "fire", "medtl.bundles.facade")
RUN = ["-m", "monai.bundle"]  # the command that is run within a fork
LOOK_SECONDS = 0.05
MOST_BYTES = 1 << 20  # of a command
LOST = "the process that starts cells has ended; repeat the command"


class Warm:
    """The process, seen from the one that started it.

    Args:
        environment: of it and its children.
        preload: import what a run of a bundle needs; without it every child is started anew.
    """

    def __init__(self, environment: Mapping[str, str], preload: bool = True) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "medtl.compare.warm", str(other.fileno()), "preload" if preload else ""],
                stdin=subprocess.DEVNULL,
                stdout=None if debugging() else subprocess.DEVNULL,
                stderr=None if debugging() else subprocess.DEVNULL,
                env=environment,
                pass_fds=[other.fileno()],
                start_new_session=True,  # no signal of a terminal or a group reaches it
            )
        self._lock = threading.Lock()
        self._begun: Future[tuple[int, Future[int]]] = Future()
        self._gone = False
        self._children: dict[int, Future[int]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, command: Sequence[str], log: BinaryIO) -> tuple[int, "Future[int]"]:
        """Start a command in a session of its own.

        Args:
            command: its words, the first the interpreter.
            log: takes what it prints; the lock on it goes over to the child.

        Returns:
            Its process, and what will be its exit status (below 0 the signal that ended it).

        Raises:
            MedtlError: the process has gone.
        """
        with self._lock:
            self._begun = Future()
            try:
                if not self._gone:
                    socket.send_fds(self._socket, [json.dumps(list(command)).encode() + b"\n"], [log.fileno()])
                    return self._begun.result()
            except OSError:
                pass
            raise MedtlError(LOST)

    def close(self) -> None:
        """Tell the process to end; children that still run are told to stop."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        """Hear of children that begin and end, until the process has gone."""
        with self._socket.makefile("rb") as lines, contextlib.suppress(OSError, ValueError):
            for pid, status in map(json.loads, lines):
                if status is None:
                    self._children[pid] = Future()
                    self._begun.set_result((pid, self._children[pid]))
                else:
                    self._children.pop(pid).set_result(status)
        self._gone = True
        waiting: list[Future[Any]] = [self._begun, *self._children.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(MedtlError(LOST))
        self._process.wait()


def serve(connection: socket.socket, preload: bool) -> None:
    """Start a child for each command that comes, and tell of those that end; return in a child.

    Args:
        connection: to who asks.
        preload: import first what a run needs.
    """
    if preload:
        for name in PRELOADED:
            importlib.import_module(name)
    forks = preload and sys.platform == "linux" and is_clean()
    children: set[int] = set()
    descriptors: list[int] = []
    heard, asks = b"", True
    connection.settimeout(LOOK_SECONDS)
    while asks or children:
        try:
            if asks:
                part, fds, _, _ = socket.recv_fds(connection, MOST_BYTES, 1)
                asks, heard, descriptors = bool(part), heard + part, [*descriptors, *fds]
                for pid in [] if asks else children:
                    os.kill(pid, signal.SIGTERM)
            else:
                time.sleep(LOOK_SECONDS)
        except TimeoutError:
            pass
        if heard.endswith(b"\n"):
            command, heard = json.loads(heard), b""
            pid = os.fork()
            if not pid:
                connection.close()
                return _become(command, descriptors[0], forks)
            os.close(descriptors.pop())
            children.add(pid)
            _tell(connection, pid, None)
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.discard(pid)
                _tell(connection, pid, os.waitstatus_to_exitcode(status))
    raise SystemExit(0)


def is_clean() -> bool:
    """Return whether a fork of this process is as good as a new one: it has one thread, and no driver was begun."""
    torch = sys.modules.get("torch")
    return threading.active_count() == 1 and not (torch is not None and torch.cuda.is_initialized())


def _tell(connection: socket.socket, pid: int, status: int | None) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        connection.sendall(json.dumps([pid, status]).encode() + b"\n")


def _become(command: list[str], log: int, forks: bool) -> None:
    """In a child: run a command of MONAI's bundles here, or become any other."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    print(f"process {os.getpid()}: {shlex.join(command)}", flush=True)
    if not forks or command[1:3] != RUN:
        os.execv(command[0], command)
    from medtl.bundles import mistakes

    spec = importlib.util.find_spec(f"{RUN[1]}.__main__")
    sys.argv = [str(spec.origin if spec else ""), *command[3:]]
    sys.modules["__main__"].__spec__ = spec  # what tells a command from a call
    mistakes.listen()
    runpy.run_module(RUN[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2] == "preload")
