"""Pieces of work in processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from data_prep.piece import Piece, do
from data_prep.work import Done, Source
from medtl import plugins
from medtl.errors import MedtlError


def do_all(workers: int, source: Source, todo: Sequence[Piece], out: Path) -> Generator[tuple[Piece, Done], None, None]:
    """Yield results as they finish; at most two pieces a worker wait in memory.

    Args:
        workers: processes; 1 works in this one.
        source: what the pieces belong to.
        todo: what to do.
        out: output folder.

    Raises:
        MedtlError: a worker died.
    """
    if workers == 1 or len(todo) < 2:
        for piece in todo:
            yield piece, do(source, piece, out)
        return
    # not fork: the progress bar's thread may hold a lock at that moment
    context = multiprocessing.get_context("forkserver")
    alone = replace(source, works=(), rejected=())  # what a worker needs of it
    own = (os.environ.get(plugins.VARIABLE, ""),)
    with ProcessPoolExecutor(min(workers, len(todo)), context, _begin_worker, own) as pool:
        waiting = iter(todo)
        running: dict[Future[Done], Piece] = {}
        try:
            while True:
                for piece in waiting:
                    running[pool.submit(do, alone, piece, out)] = piece
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise MedtlError(
                f"{source.name}: a worker died (out of memory?); repeat the command with fewer --workers to resume"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker(own: str) -> None:
    """Leave Ctrl-C to the main process, and end when that one is killed instead of waiting for ever.

    Args:
        own: $MEDTL_PLUGINS of the main process; a fork server has that of the moment when it was started.
    """
    if own:
        os.environ[plugins.VARIABLE] = own
        plugins.modules("data_prep")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
