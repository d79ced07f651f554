"""A run that is told to stop (SIGTERM, SIGUSR1) saves itself between two batches and ends, as a command with status
75."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ignite.distributed as idist

from medtl.errors import ToldToStop

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stop:
    """Whether this process was told to stop.

    Attributes:
        signal: the first that came; None so far.
        saved: the checkpoint that was saved because of it; empty so far.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.saved = ""

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals instead of dying of them; afterwards they mean what they meant before. Outside the main
        thread, where Python gives nobody signals, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.signal(name, self._set) for name in SIGNALS}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def run(trainer: Any) -> None:
    """Run a trainer; ``KeepCheckpoints`` among its handlers obeys the signals.

    A run that is told to stop once training is over finishes what little is left.

    Raises:
        ToldToStop: the run was told to stop, and is saved.
    """
    stop = trainer.state.stop = Stop()
    with stop.listening():
        trainer.run()
        if not stop.saved:
            return
        idist.barrier()  # torchrun ends all processes with the first that leaves
    name = stop.signal.name if stop.signal else "another process"
    raise ToldToStop(f"told to stop ({name}): saved {stop.saved}; go on with the same command and --resume auto")
