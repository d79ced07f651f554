"""Features are computed once, whatever happens to the process that computes them."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medtl.errors import MedtlError
from medtl.features.cache import Block, kept, key_of, read

ROWS, WIDTH, BLOCK = 50, 7, 8


def blocks(begun: int) -> Iterator[Block]:
    values = np.arange(ROWS * WIDTH, dtype=np.float16).reshape(ROWS, WIDTH)
    for start in range(begun, ROWS, BLOCK):
        yield values[start : start + BLOCK], 0.25


def test_what_is_there_is_mapped_and_not_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "features" / "key.npy"
    first = kept(path, ROWS, blocks, lambda: {"coverage": 0.5})
    assert np.array_equal(first.values, np.concatenate([values for values, _ in blocks(0)]))
    assert (first.seconds, first.facts) == (1.75, {"coverage": 0.5})

    def never(begun: int) -> Iterator[Block]:
        raise AssertionError("computed again")

    again = kept(path, ROWS, never, dict)
    assert isinstance(again.values, np.memmap)
    assert np.array_equal(again.values, first.values)
    assert again.facts == first.facts
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {file.name for file in path.parent.iterdir()} == {"key.npy", "key.json", "key.lock"}


@pytest.mark.parametrize("cut", [0, 1, 19, 21, 100])
def test_a_block_that_is_not_whole_is_computed_again(tmp_path: Path, cut: int) -> None:
    whole = kept(tmp_path / "whole.npy", ROWS, blocks, dict)

    def dies(begun: int) -> Iterator[Block]:
        for number, block in enumerate(blocks(begun)):
            if number == 3:
                raise KeyboardInterrupt
            yield block

    path = tmp_path / "key.npy"
    with pytest.raises(KeyboardInterrupt):
        kept(path, ROWS, dies, dict)
    content = path.with_suffix(".blocks").read_bytes()
    path.with_suffix(".blocks").write_bytes(content[: len(content) - cut])
    begun_at = []

    def goes_on(begun: int) -> Iterator[Block]:
        begun_at.append(begun)
        yield from blocks(begun)

    found = kept(path, ROWS, goes_on, dict)
    assert begun_at == [BLOCK * (3 - (cut > 0))]
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert found.seconds == whole.seconds


def test_a_flipped_bit_is_found_in_a_block_and_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "key.npy"
    kept(path, ROWS, blocks, dict)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(MedtlError, match=r"key\.npy is damaged; delete it"):
        read(path)


def test_names_depend_on_each_fact() -> None:
    facts = {"weights": "a", "pixels": "b", "image_size": 224, "mean": [0.5], "std": [0.5]}
    names = {key_of(facts), *(key_of({**facts, name: "other"}) for name in facts)}
    assert len(names) == 1 + len(facts)
    assert key_of(dict(reversed(facts.items()))) == key_of(facts)


@pytest.mark.slow
def test_two_processes_compute_once_and_kill_9_loses_a_block_at_most(tmp_path: Path) -> None:
    script = """
        import sys, time
        import numpy as np
        from pathlib import Path
        from medtl.features.cache import kept
        def blocks(begun):
            values = np.arange(400, dtype=np.float16).reshape(100, 4)
            for start in range(begun, 100, 10):
                time.sleep(float(sys.argv[2]))
                with open(sys.argv[1] + "/computed", "a") as file: file.write("x" * 10)
                yield values[start : start + 10], 0.1
        kept(Path(sys.argv[1], "key.npy"), 100, blocks, dict)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    first = subprocess.Popen([*command, "0.2"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "computed").exists() or len((tmp_path / "computed").read_text()) < 30:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "key.npy").exists()
    both = [subprocess.Popen([*command, "0.01"], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len((tmp_path / "computed").read_text()) <= 110
    assert np.array_equal(np.load(tmp_path / "key.npy"), np.arange(400, dtype=np.float16).reshape(100, 4))
