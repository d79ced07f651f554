"""Pieces of work on a Dask cluster: the same functions on the same files, which every worker must reach under the
same paths.

A cluster may do a piece twice (it takes a slow worker for dead) or end it after its run is over (a running piece cannot
be stopped). So each attempt works in a folder of its own, and keeps what it made only while the file is there that its
run has written.
"""

import asyncio
import hashlib
import importlib.util
import logging
import re
import secrets
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import medtl
from data_prep.piece import PROGRESS, DoAll, Piece, do
from data_prep.work import Done, Source
from medtl.errors import MedtlError, UsageError, debugging, tell
from medtl.files import TEMPORARY_SUFFIX, parse_json

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):\d{1,5}")
EXPECTED = "tcp://HOST:PORT, tls://HOST:PORT or the .json file that dask scheduler --scheduler-file writes"
REACH_SECONDS = 8.0  # for the scheduler to answer
LOOK_SECONDS = 2.0  # until workers that have joined meanwhile are given work
HEAD_BYTES = 1024
SAME_PATHS = "the output folder and the raw ones must have the same paths on every worker (a shared file system)"
LOST = "--dask: the scheduler has gone, or has cancelled the work; repeat the command to resume"

_one_at_a_time = threading.Lock()  # reading DICOM is not thread-safe, so a worker's process does one piece at a time


@dataclass(frozen=True)
class Ground:
    """What every worker must find.

    Attributes:
        version: of medtl.
        lease: file of the run, there as long as it lasts.
        token: the lease's content.
        witnesses: name of a source, one of its raw files, and the hash of how that begins.
    """

    version: str
    lease: Path
    token: str
    witnesses: tuple[tuple[str, Path, str], ...]

    def fault(self) -> str | None:
        """What is wrong where this is called, without a path: workers log it."""
        if medtl.__version__ != self.version:
            return f"has medtl {medtl.__version__}, this command is of {self.version}: install the same version there"
        if not self.lasts():
            return f"does not see the output folder: {SAME_PATHS}"
        for name, path, head in self.witnesses:
            if _head(path) != head:
                return f"does not see the raw files of {name}: {SAME_PATHS}"
        try:
            own = self.lease.with_name(f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
            own.write_bytes(b"")
            own.unlink()
        except OSError as error:
            return f"cannot write into the output folder: {error.strerror}"
        return None

    def lasts(self) -> bool:
        """Whether the run is not over; opening the file, unlike asking for it, makes NFS look at the server."""
        try:
            return self.lease.read_text(encoding="ascii") == self.token
        except OSError:
            return False


@dataclass(frozen=True, repr=False)  # a worker logs what it failed at, and a source may hold a secret
class Errand:
    """One piece, with all paths absolute, on its way to a worker."""

    ground: Ground
    source: Source
    piece: Piece
    out: Path


def address(word: str | None) -> str | None:
    """The scheduler's address that ``--dask`` names, itself or by a scheduler file; None for None.

    Raises:
        UsageError: it names none, or Dask is not installed.
    """
    if word is None:
        return None
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("--dask needs distributed: pip install 'medtl[dask]' -c constraints.txt")
    named = word
    if word.endswith(".json"):
        try:
            named = parse_json(Path(word).read_text(encoding="utf-8"))["address"]
        except FileNotFoundError:
            raise UsageError(f"--dask {word}: no such file; expected {EXPECTED}") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"--dask {word} names no scheduler; expected {EXPECTED}") from None
    if not isinstance(named, str) or not ADDRESS.fullmatch(named):
        raise UsageError(f"--dask {word} is no address of a scheduler; expected {EXPECTED}")
    return named


@contextmanager
def connected(scheduler: str) -> Iterator["Client"]:
    """Yield a client of the scheduler at an address.

    Raises:
        MedtlError: it does not answer within seconds, or is no scheduler.
    """
    from distributed import Client

    if not debugging():
        for name in ("distributed", "distributed.client"):  # what goes wrong is told in a line
            logging.getLogger(name).setLevel(logging.CRITICAL)
    role = asyncio.run(_role(scheduler))
    if role != "Scheduler":
        raise MedtlError(
            f"--dask {scheduler}: {f'a {role}, not a scheduler,' if role else 'no Dask scheduler'} answers there"
        )
    client = Client(scheduler, timeout=REACH_SECONDS)
    try:
        yield client
    finally:
        client.close()


async def _role(scheduler: str) -> str | None:
    """What listens at an address: "Scheduler", "Worker" …; None for a stranger.

    Raises:
        MedtlError: nothing does.
        UsageError: encryption is asked for, but Dask has no certificates.
    """
    from distributed import Security, rpc

    security = Security().get_connection_args("client")
    if scheduler.startswith("tls://") and not security["ssl_context"]:
        raise UsageError(
            f"--dask {scheduler} needs certificates: name them in Dask's configuration (distributed.comm.tls)"
        )
    try:
        async with rpc(scheduler, timeout=REACH_SECONDS, connection_args=security) as there:
            identity = await asyncio.wait_for(there.identity(), REACH_SECONDS)
    except OSError:
        raise MedtlError(
            f"--dask {scheduler}: no scheduler answers within {REACH_SECONDS:g} s; is dask scheduler running there?"
        ) from None
    except Exception:  # a stranger's bytes can stand for anything
        return None
    return identity.get("type") if isinstance(identity, dict) else None


@contextmanager
def shared(client: "Client", sources: Sequence[Source], out: Path) -> Iterator[DoAll]:
    """Make sure that the workers see what this process sees, and yield what does pieces on them.

    Args:
        client: of their scheduler.
        sources: the raw downloads.
        out: output folder, there already.

    Raises:
        MedtlError: a worker has another version of medtl, or does not see one of the folders.
    """
    token = secrets.token_hex(8)
    lease = out.absolute() / PROGRESS / f".{token}{TEMPORARY_SUFFIX}"
    ground = Ground(medtl.__version__, lease, token, tuple(filter(None, map(_witness, sources))))
    try:
        lease.write_text(token, encoding="ascii")
        if not client.nthreads():
            tell("data_prep: the Dask cluster has no worker yet; waiting for the first")
            client.wait_for_workers(1)
        for worker, fault in sorted(client.run(ground.fault, on_error="return").items()):
            if isinstance(fault, Exception):
                fault = f"has no medtl {medtl.__version__} that it can use ({fault}): install it there"
            if fault:
                raise MedtlError(f"--dask: worker {worker} {fault}")
        yield partial(_do_all, client, ground)
    finally:
        lease.unlink(missing_ok=True)


def _witness(source: Source) -> tuple[str, Path, str] | None:
    """The first raw file that can be read; None where there is none."""
    for path in (path.absolute() for work in source.works for path in work.files):
        head = _head(path)
        if head is not None:
            return source.name, path, head
    return None


def _head(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
    except (OSError, ValueError):  # absent, closed to us, or a name that no file can have
        return None


def _do_all(
    client: "Client", ground: Ground, source: Source, todo: Sequence[Piece], out: Path
) -> Generator[tuple[Piece, Done], None, None]:
    """Results as they finish. Each worker has one piece at a time: Dask blames a worker's death on all it had."""
    from distributed import wait

    alone = replace(source, raw=source.raw.absolute(), works=(), rejected=())  # what a worker needs of it
    waiting = iter(todo)
    running: dict[Future[Done], Piece] = {}
    try:
        while True:
            for piece in islice(waiting, max(0, max(1, _workers(client)) - len(running))):
                errand = Errand(ground, alone, _absolute(piece), out.absolute())
                future = client.submit(_do, errand, key=(f"{source.name}-{ground.token}", piece.work.id))
                running[future] = piece
            if not running:
                return
            try:
                finished = wait(list(running), LOOK_SECONDS, "FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in finished:
                piece = running.pop(future)
                yield piece, _result(future, source, piece)
    except CancelledError:
        raise MedtlError(LOST) from None
    finally:
        client.cancel(list(running))


def _workers(client: "Client") -> int:
    """How many there are; they may come and go."""
    try:
        return len(client.nthreads())
    except OSError:
        raise MedtlError(LOST) from None


def _absolute(piece: Piece) -> Piece:
    files = tuple(path.absolute() for path in piece.work.files)
    return replace(piece, work=replace(piece.work, files=files), record=piece.record.absolute())


def _result(future: "Future[Done]", source: Source, piece: Piece) -> Done:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise MedtlError(
            f"{source.name}: {error.allowed_failures + 1} workers died of {piece.work.id} (out of memory?); repeat the"
            " command with more memory a worker to resume"
        ) from None


def _do(errand: Errand) -> Done:
    """In a worker: one piece, if the worker sees what the run sees."""
    from distributed import get_worker

    with _one_at_a_time:
        fault = errand.ground.fault()
        if fault:
            raise MedtlError(f"--dask: worker {get_worker().address} {fault}")
        return do(errand.source, errand.piece, errand.out, errand.ground.lasts)
