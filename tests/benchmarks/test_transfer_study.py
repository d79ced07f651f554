"""The study's script names what it would run; its figures are not looked at."""

import shlex
import subprocess
import sys
from pathlib import Path

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


def test_each_target_is_checked_against_what_its_weights_have_seen(tmp_path: Path) -> None:
    commands = listed(tmp_path)
    mixed = {words[words.index("--out") + 1]: words for words in commands if "mix" in words}
    checked = {words[2]: words[4] for words in commands if words[:2] == ["medtl", "check"]}
    for words in (words for words in commands if words[:2] == ["medtl", "compare"]):
        mix = mixed[checked[words[words.index("--dataset_dir") + 1]]]
        images = words[words.index("--dataset_dir") + 1].removesuffix("_redealt")  # the same images, dealt otherwise
        assert images in mix[mix.index("--exclude") + 1].split(",")
        own = words[words.index("--inits") + 1].split(",")[-1]
        assert Path(mix[mix.index("--out") + 1]).name == Path(own).name
        assert (Path(words[2]) / "configs" / "train.json").is_file()


def test_a_mistyped_step_is_told_and_without_images_it_is_skipped(tmp_path: Path) -> None:
    words = ("--shared", str(tmp_path), "--out", str(tmp_path / "study"))
    found = printed(*words, "--steps", "dta")
    assert found.returncode == 2
    assert "--steps dta: expected some of mini,data" in found.stderr
    found = printed(*words)
    assert found.returncode == 0
    assert found.stdout.startswith(f"skipped: no real images, {tmp_path} holds no folder data")
