"""How many threads a run takes beside what else the machine does."""

import multiprocessing
import time
from pathlib import Path

import pytest

from medtl import threads

STAT = "cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n"


@pytest.mark.parametrize(
    ("available", "busy", "processes", "expected"),
    [(2, 0.0, 1, 2), (2, 0.3, 1, 2), (2, 1.0, 1, 1), (2, 0.8, 1, 1), (2, 9.0, 1, 1), (16, 4.2, 1, 12), (16, 0.0, 4, 4)],
)
def test_others_keep_their_cores(available: int, busy: float, processes: int, expected: int) -> None:
    assert threads.chosen(available, busy, processes) == expected


def test_busy_cores_are_counted_from_the_kernels_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(user=100, idle=900))
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: stat.write_text(STAT.format(user=125, idle=975)))
    assert threads.busy_cores(stat) == pytest.approx(4 * 25 / 100)


def test_where_the_kernel_says_nothing_the_load_average_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (1.5, 0, 0))
    assert threads.busy_cores(tmp_path / "absent") == 1.5


def _burn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.mark.skipif(not threads.STATISTICS.is_file(), reason="no /proc/stat here")
def test_a_busy_process_is_seen() -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_burn, args=(20.0,))
    process.start()
    try:
        seen = 0.0
        until = time.monotonic() + 15
        while seen < 0.5 and time.monotonic() < until:
            seen = threads.busy_cores()
        assert seen >= 0.5
    finally:
        process.kill()
        process.join()
