"""The comparison of a paper's input with the weights' own: its sums, on drawn grids."""

import sys
from pathlib import Path

import numpy as np
import pytest
from report_grids import TWO, truth, write_run
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import input_normalisation

pytestmark = pytest.mark.slow
SPLITS = {"val": truth(TWO, 40, "val"), "test": truth(TWO, 80, "test")}


def test_the_difference_is_paired_by_seed_and_has_an_interval(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    labels = np.array([label for *_, label in SPLITS["test"]])
    areas: dict[str, list[float]] = {"own": [], "paper": []}
    for side, strength in (("own", 2.0), ("paper", 0.5)):
        for seed in (0, 1, 2):
            place = tmp_path / side / f"imagenet_{seed}"
            found = write_run(place, TWO, SPLITS, strength, init="imagenet", seed=seed)
            areas[side].append(roc_auc_score(labels, found["test"][:, 1]))
    assert input_normalisation.main([str(tmp_path / "own"), str(tmp_path / "paper")]) == 0
    said = capsys.readouterr().out
    gap = np.mean(areas["own"]) - np.mean(areas["paper"])
    assert f"AUC {np.mean(areas['own']):.3f} with its own input, {np.mean(areas['paper']):.3f}" in said
    assert f"difference {gap:+.3f}" in said
    low, high = (float(word) for word in said.split("(")[1].split(")")[0].split(" to "))
    assert 0 < low < gap < high
    assert "3 seeds" in said


def test_grids_with_nothing_in_common(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for side, init in (("own", "imagenet"), ("paper", "random")):
        write_run(tmp_path / side / init, TWO, SPLITS, 1.0, init=init)
    assert input_normalisation.main([str(tmp_path / "own"), str(tmp_path / "paper")]) == 2
    assert "no setting in common" in capsys.readouterr().err
