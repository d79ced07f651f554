"""The study's script names what it would run; its figures are not looked at."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "transfer_study.py"


def printed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=120)


def listed(tmp_path: Path, *words: str) -> list[list[str]]:
    """The commands that it would run."""
    (tmp_path / "data").mkdir()
    found = printed("--shared", str(tmp_path), "--out", str(tmp_path / "study"), "--list", *words)
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "study").exists()
    return [shlex.split(line[2:]) for line in found.stdout.splitlines() if line.startswith("$ ")]


def test_each_target_is_checked_against_what_its_weights_have_seen(tmp_path: Path) -> None:
    commands = listed(tmp_path)
    mixed = {words[words.index("--out") + 1]: words for words in commands if "mix" in words}
    checked = {words[2]: words[4] for words in commands if words[:2] == ["medtl", "check"]}
    for words in (words for words in commands if words[:2] == ["medtl", "compare"]):
        mix = mixed[checked[words[words.index("--dataset_dir") + 1]]]
        assert words[words.index("--dataset_dir") + 1] in mix[mix.index("--exclude") + 1].split(",")
        own = words[words.index("--inits") + 1].split(",")[-1]
        assert Path(mix[mix.index("--out") + 1]).name == Path(own).name
        assert (Path(words[2]) / "configs" / "train.json").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--steps", "dta"), "--steps dta: expected some of mini,data"),
        ((), "holds no folder data"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    found = printed("--shared", str(tmp_path), "--out", str(tmp_path / "study"), *words)
    assert (found.returncode, expected in found.stderr) == (2, True), found.stderr
