"""The process that cells are forked from: it has one thread, has asked for no GPU, and its children are runs."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medtl.compare.warm import PRELOADED, Warm

pytestmark = pytest.mark.slow

LOOK = """
import importlib, os, sys, threading
import torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device"):
    def noted(*a, _name=name, _real=getattr(torch.cuda, name), **k):
        asked.append(_name)
        return _real(*a, **k)
    setattr(torch.cuda, name, noted)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(asked, threading.active_count(), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="cells are forked on Linux only")
def test_what_is_imported_first_begins_no_thread_and_asks_for_no_gpu() -> None:
    """A CUDA driver that was begun before a fork cannot be used behind it."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *PRELOADED],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[] 1 1"


def test_children_are_apart_and_end_as_commands_do(tmp_path: Path) -> None:
    """A run that its overrides forbid ends in one line and status 2, as from a shell; an unreadable config in 1."""
    logs = [tmp_path / name for name in ("first.txt", "second.txt")]
    bundle = Path(__file__).resolve().parents[2] / "bundles" / "folder" / "configs" / "train.json"
    start = [sys.executable, "-m", "monai.bundle", "run", "--config_file"]
    commands = [[*start, str(bundle), "--epoch", "3"], [*start, str(tmp_path / "none.json")]]
    with contextlib.closing(Warm({**os.environ, "PYTHONUNBUFFERED": "1"})) as warm:
        ends = []
        for log, command in zip(logs, commands, strict=True):
            with open(log, "ab") as file:
                ends.append(warm.start(command, file))
        assert [ended.result(timeout=300) for _, ended in ends] == [2, 1]
    assert len({pid for pid, _ in ends}) == 2
    printed = [log.read_text() for log in logs]
    assert [text.splitlines()[0].split(":")[0] for text in printed] == [f"process {pid}" for pid, _ in ends]
    assert printed[0].splitlines()[-1].startswith("error: --epoch 3: train.json has no id of that name; did you mean")
    assert "none.json" in printed[1]
