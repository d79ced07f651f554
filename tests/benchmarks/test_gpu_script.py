"""benchmarks/gpu.sh runs its steps on a CPU, too: a session with a GPU has no time to find a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def script(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        "bash",
        ROOT / "benchmarks" / "gpu.sh",
        "--device",
        "cpu",
        "--python",
        sys.executable,
        "--out",
        out,
        *words,
    ]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)


def test_steps_leave_json_and_one_table(tmp_path: Path) -> None:
    done = script(tmp_path / "out", "--seconds", "0.1", "--steps", "embedding,resnet50_compiled_nothing")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "embedding.json").read_text())
    assert set(found["networks"]) == {"resnet18", "resnet50", "vit_b16"}
    assert all(each["medtl/bare"] > 0 for each in found["networks"].values())
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("| embedding |") == 3
    assert "status 0" in (tmp_path / "out" / "steps.txt").read_text()


def test_a_step_that_has_no_time_is_named(tmp_path: Path) -> None:
    done = script(tmp_path / "out", "--minutes", "0", "--steps", "resnet18")
    assert done.returncode == 1
    assert "no time left" in (tmp_path / "out" / "steps.txt").read_text()


def test_an_unknown_option_is_told(tmp_path: Path) -> None:
    done = script(tmp_path / "out", "--secnds", "1")
    assert done.returncode == 2
    assert "unknown option --secnds" in done.stderr


@pytest.mark.full
def test_every_step_runs_on_a_cpu(tmp_path: Path) -> None:
    done = script(tmp_path / "out", "--seconds", "2", "--minutes", "9")
    assert done.returncode == 0, done.stdout + done.stderr
