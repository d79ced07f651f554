"""How many threads a CPU run computes with, with what else the machine does in mind.

Torch's threads wait for each other busily, so that one thread more than there are free cores costs far more than it
gives: beside one busy process on two cores, two threads train at a third of their quiet speed and one thread at two
thirds.
"""

import os
import time
from pathlib import Path

STATISTICS = Path("/proc/stat")
LOOK = 0.25  # seconds
BUSY = 0.5  # of a core: what uses more of it than that is counted as using it


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(statistics: Path = STATISTICS, seconds: float = LOOK) -> float:
    """Return how many of the machine's cores are used while this process sleeps, looking for a moment.

    Args:
        statistics: the kernel's counters; where there is no such file (macOS), the load average of the last minute is
            taken.
        seconds: to look for.
    """
    before = _ticks(statistics)
    if before is None:
        return os.getloadavg()[0]
    time.sleep(seconds)
    after = _ticks(statistics) or before
    total, idle = (b - a for a, b in zip(before, after, strict=True))
    return (os.cpu_count() or 1) * (1 - idle / total) if total > 0 else 0.0


def chosen(available: int, busy: float, processes: int = 1) -> int:
    """Return how many threads each of several processes takes.

    Args:
        available: cores that they may use.
        busy: cores that others use.
        processes: that share them.
    """
    taken = int(busy + BUSY)
    return max(1, (available - taken) // processes)


def _ticks(statistics: Path) -> tuple[int, int] | None:
    """All and idle clock ticks of all cores since the start of the machine; None where nobody says."""
    try:
        first = statistics.read_text(encoding="ascii").splitlines()[0].split()
        numbers = [int(word) for word in first[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    return sum(numbers), numbers[3] + numbers[4]
