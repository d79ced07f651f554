"""The script of pretraining without labels names what it would run; its figures are not looked at."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "selfsupervised.py"


def test_what_it_would_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = (sys.executable, SCRIPT, "--shared", tmp_path, "--out", tmp_path / "study", "--list")
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "study").exists()
    commands = [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")][2:]
    trained = [words for words in commands if "monai.bundle" in words]
    assert [words[words.index("--method") + 1].partition("(")[0] for words in trained] == [
        "jigsaw", "context", "masked", "masked", "masked",
    ]  # fmt: skip
    assert all(words[words.index("--resume") + 1] == "auto" for words in trained)
    seen = {words[words.index("--dataset_dir") + 1] for words in trained}
    checked = {words[words.index("--against") + 1] for words in commands if "check" in words}
    excluded = {words[words.index("--out") + 1] for words in commands if "--exclude" in words}
    assert seen == checked == excluded
    (probed,) = (words for words in commands if "probe" in words)
    starts = probed[probed.index("--starts") + 1].split(",")
    assert starts[:2] == ["random", "imagenet"]
    assert {str(tmp_path / "study" / "jigsaw"), str(tmp_path / "study" / "masked500")} <= set(starts)


def test_without_real_images_it_says_so(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "--shared", str(tmp_path), "--out", str(tmp_path / "study")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "skipped: no real images" in done.stdout) == (0, True)
