"""Every command refuses files that stand for gigabytes: in one line, in little memory and time (issue 16, point 9)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bomb_files import MOST_MEMORY, MOST_SECONDS, PICTURES

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory"),
]
# the last line of some, by the entrance
WORDS = {
    "inference of chestxray2017": "cannot be used",
    "data_prep folder": "refused",
}


def bombs(one: dict[str, Any]) -> int:
    """How many of them an entrance is given at once."""
    return {
        "data_prep folder": 2 * len(PICTURES),
        "inference": len(PICTURES),
        "explain such pictures": len(PICTURES),
    }.get(one["entrance"].partition(" of ")[0], 1)


@pytest.fixture(scope="module")
def found(module_path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "bomb_entrances.py"), str(module_path)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_no_entrance_takes_memory_or_time_for_them(found: list[dict[str, Any]]) -> None:
    assert len(found) > 20
    assert {one["entrance"]: one["peak"] for one in found if one["peak"] > MOST_MEMORY} == {}
    assert {one["entrance"]: one["seconds"] for one in found if one["seconds"] > MOST_SECONDS * bombs(one)} == {}


def test_every_entrance_refuses_them_in_one_line(found: list[dict[str, Any]]) -> None:
    assert {one["entrance"]: one["last"] for one in found if one["traced"] or one["status"] not in (1, 2, 3)} == {}
    last = {one["entrance"]: one["last"] for one in found}
    assert {entrance: last[entrance] for entrance, words in WORDS.items() if words not in last[entrance]} == {}
