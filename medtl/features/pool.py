"""Heads on several cores: processes that share the features of their parent, where the system can fork."""

import multiprocessing
import sys
from collections.abc import Iterator, Sequence

from numpy.typing import NDArray

from medtl import threads
from medtl.features.cells import Draw, Embedded, Judged, judge

FEWEST = 8  # pieces of work, below which starting processes takes longer than the work
Work = tuple[int, str, Draw]  # index of the start, name of the head, draw

_shared: tuple[Sequence[Embedded], NDArray] | None = None  # of this process or, in a worker, of its parent


def judged(models: Sequence[Embedded], labels: NDArray, work: Sequence[Work]) -> Iterator[Judged]:
    """Yield what each piece of work comes to, in order, behind a progress bar where there is a terminal.

    Args:
        models: the starts' features.
        labels: of all entries.
        work: the pieces.

    Raises:
        MedtlError: of the first head that cannot be fitted.
    """
    global _shared
    _shared = models, labels
    processes = min(threads.cores(), len(work))
    try:
        if processes < 2 or len(work) < FEWEST or "fork" not in multiprocessing.get_all_start_methods():
            yield from _shown(map(_one, work), len(work))
            return
        import sklearn.linear_model  # noqa: F401  once for all: it takes seconds

        with multiprocessing.get_context("fork").Pool(processes, _alone) as pool:
            yield from _shown(pool.imap(_one, work), len(work))
    finally:
        _shared = None


def _one(piece: Work) -> Judged:
    if _shared is None:
        raise AssertionError("the features are shared before heads are fitted")
    models, labels = _shared
    model, head, draw = piece
    return judge(head, models[model].values, labels, draw)


def _alone() -> None:
    """Compute with one thread: there is a process for each core."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def _shown(found: Iterator[Judged], count: int) -> Iterator[Judged]:
    if not sys.stderr.isatty():
        yield from found
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(found, f"fitting {count:,} heads", total=count, console=Console(stderr=True), transient=True)
