"""Every command refuses files that stand for gigabytes: in one line, in little memory and time (issue 16, point 9)."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bomb_files import MOST_MEMORY, MOST_SECONDS, PICTURES

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists() or platform.libc_ver()[0] != "glibc",
        reason="needs Linux's account of memory, and glibc",
    ),
]
TENSOR = "a repeated tensor"
# status and words of the last line, by what an entrance begins with
ENDS = {
    "data_prep folder --masks": (3, "1 rejected"),
    "data_prep folder": (3, f"{len(PICTURES)} rejected"),
    "data_prep msd": (3, "2 rejected"),
    "inference of chestxray2017": (3, "pictures cannot be used"),
    "inference of": (3, "rejected, each named in rejected.csv"),
    "weights look expanded": (1, TENSOR),
    "weights look deflated.pt": (1, "compressed parts"),
    "weights look endless.pt": (1, "mappings within mappings"),
    "weights look": (1, "not a readable safetensors file"),
    "--features of a probe": (1, "made to fill the memory"),
    "--inits of a comparison": (2, TENSOR),
    "--": (1, TENSOR),
    "a survival's training": (1, "made to fill the memory"),
    "check of a data list": (1, "nested too deeply"),
    "check of a bundle": (1, "2 unreviewed"),
    "report of a deep run.json": (2, "its run.json cannot be read"),
    "report of deep metrics": (1, "nested too deeply"),
    "evaluate on such a data list": (1, "nested too deeply"),
    "explain such pictures": (3, "1 overlays"),
    "evaluate": (1, TENSOR),
    "explain": (1, TENSOR),
    "release": (1, TENSOR),
}
MANY = ("data_prep folder", "inference of chestxray2017")  # entrances that are given all pictures at once


def expected(entrance: str) -> tuple[int, str]:
    return next(end for name, end in ENDS.items() if entrance.startswith(name))


@pytest.fixture(scope="module")
def found(module_path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "bomb_entrances.py"), str(module_path)], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_no_entrance_takes_memory_or_time_for_them(found: list[dict[str, Any]]) -> None:
    assert len(found) > 25
    assert {one["entrance"]: one["peak"] for one in found if one["peak"] > MOST_MEMORY} == {}
    assert {one["entrance"]: one["with_imports"] for one in found if one["with_imports"] > 2 * MOST_MEMORY} == {}
    each = {one["entrance"]: one["seconds"] / (len(PICTURES) if one["entrance"] in MANY else 1) for one in found}
    assert {entrance: seconds for entrance, seconds in each.items() if seconds > MOST_SECONDS} == {}


def test_every_entrance_refuses_them_in_one_line(found: list[dict[str, Any]]) -> None:
    def is_as_expected(one: dict[str, Any]) -> bool:
        status, words = expected(one["entrance"])
        return (one["status"], one["traced"]) == (status, False) and words in one["last"]

    assert {one["entrance"]: (one["status"], one["last"]) for one in found if not is_as_expected(one)} == {}
