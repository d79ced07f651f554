"""The script of pretraining without labels names what it would run, and its table is that of the predictions."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_grids import write_run
from sklearn.metrics import roc_auc_score

from medtl.files import read_rows

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
    probes = [words for words in commands if "probe" in words]
    assert [Path(words[2]).name for words in probes] == ["breastmnist", "breastmnist_redealt"]
    for probed in probes:
        starts = probed[probed.index("--starts") + 1].split(",")
        assert starts[:2] == ["random", "imagenet"]
        assert {str(tmp_path / "study" / "jigsaw"), str(tmp_path / "study" / "masked500")} <= set(starts)


def test_the_table_has_the_gains_over_both_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import selfsupervised_sizes

    areas: dict[str, list[float]] = {}
    for init, strength in {"random": 0.2, "imagenet": 0.9, "masked": 0.7, "masked500": 0.4}.items():
        for seed in (0, 1):
            place = tmp_path / "probe" / "cells" / f"{init}_{seed}"
            write_run(place, ("plain", "pattern"), None, strength, init=init, seed=seed)
            record = json.loads((place / "run.json").read_text())
            record["bundle"]["name"] = "probe"
            (place / "run.json").write_text(json.dumps(record))
            test = [row for row in read_rows(place / "predictions.csv") if row["split"] == "test"]
            labels = [int(row["label"]) for row in test]
            areas.setdefault(init, []).append(roc_auc_score(labels, [float(row["prob_pattern"]) for row in test]))
    table = selfsupervised_sizes.lines({"breasts": tmp_path / "probe"})[2:]
    cells = {line.split(" | ")[1]: line.strip(" |").split(" | ")[2:] for line in table}
    assert set(cells) == set(areas)
    for init, (auc, *gains) in cells.items():
        assert float(auc.split(" ")[0]) == pytest.approx(np.mean(areas[init]), abs=6e-4)
        for reference, gain in zip(("random", "imagenet"), gains, strict=True):
            if init == reference:
                assert gain == "–"
                continue
            apart = float(gain.strip("*").split(" ")[0].replace("−", "-"))
            assert apart == pytest.approx(np.mean(areas[init]) - np.mean(areas[reference]), abs=6e-4)
    targets, pictures = {"breasts": tmp_path / "probe"}, {"masked": 4303, "masked500": 515}
    assert selfsupervised_sizes.draw(targets, pictures, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 1000
    assert not selfsupervised_sizes.draw(targets, {"masked": 4303}, tmp_path / "one.png")
    assert not (tmp_path / "one.png").exists()


def test_without_real_images_it_says_so(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "--shared", str(tmp_path), "--out", str(tmp_path / "study")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "skipped: no real images" in done.stdout) == (0, True)
