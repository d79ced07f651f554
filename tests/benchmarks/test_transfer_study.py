"""The study's script names what it would run; its figures are not looked at."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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
    commands = [shlex.split(line[2:]) for line in found.stdout.splitlines() if line.startswith("$ ")]
    assert commands[0] == ["export", f"MEDTL_WEIGHTS={tmp_path / 'weights'}"]
    return commands[2:]


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_each_target_is_checked_against_what_its_weights_have_seen(tmp_path: Path) -> None:
    commands = listed(tmp_path)
    study = tmp_path / "study"
    excluded = {after(words, "--out"): after(words, "--exclude").split(",") for words in commands if "mix" in words}
    seen = {
        after(words, "--output_dir"): after(words, "--dataset_dir")
        for words in commands
        if words[2:4] == ["monai.bundle", "run"]
    }
    assert set(seen.values()) == {str(study / "data" / "mini_without_chestxray2017"), str(study / "data" / "mini")}
    seen["mini"] = str(study / "data" / "mini")
    checked = {(words[2], words[4]) for words in commands if words[:2] == ["medtl", "check"]}
    compared = [words for words in commands if words[:2] == ["medtl", "compare"]]
    assert {Path(after(words, "--dataset_dir")).name for words in compared} >= {"breastmnist", "chaos", "chestxray2017"}
    for words in compared:
        target = after(words, "--dataset_dir")
        starts = set(after(words, "--inits").split(",")) - {"random", "imagenet"}
        assert starts
        for start in starts:
            assert (target, seen[start]) in checked
            # dealt otherwise, they are the same images
            assert target.removesuffix("_redealt") in excluded[seen[start]]
        assert (Path(words[2]) / "configs" / "train.json").is_file()


def test_a_mistyped_step_is_told_and_without_images_it_is_skipped(tmp_path: Path) -> None:
    words = ("--shared", str(tmp_path), "--out", str(tmp_path / "study"))
    found = printed(*words, "--steps", "dta")
    assert found.returncode == 2
    assert "--steps dta: expected some of mini,data" in found.stderr
    found = printed(*words)
    assert found.returncode == 0
    assert found.stdout.startswith(f"skipped: no real images, {tmp_path} holds no folder data")
