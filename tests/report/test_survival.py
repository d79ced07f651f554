"""The report of risks: C-indices within folds, paired differences of methods, curves with the log-rank test."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from report_grids import record, write_rows

from medtl.errors import MedtlError
from medtl.files import read_rows
from medtl.metrics import survival
from medtl.report.build import write_report
from medtl.runs.predictions import read_predictions

HEADER = ["patient", "split", "time", "event", "risk"]
NOISE = {"attention": 0.4, "kmeans_cox": 6.0}


def truth(n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    hazard = rng.normal(size=n)
    time = np.ceil(30 * rng.exponential(np.exp(-hazard)))
    return hazard, time, (rng.random(n) < 0.7).astype(int)


def write(folder: Path, method: str, fold: int | None, seed: int = 0) -> list[list[str]]:
    hazard, time, event = truth()
    own = [place for place in range(len(time)) if fold is None or place % 3 == fold]
    rng = np.random.default_rng((seed, *method.encode()))
    noise = rng.normal(size=len(time)) * NOISE[method]
    shift = 0 if fold is None else 100 * fold  # the level of another network's risks means nothing
    lines = [[f"p{i:03d}", "val", f"{time[i]:g}", event[i], f"{hazard[i] + noise[i] + shift:.7g}"] for i in own]
    epochs = {"epochs": 1} if method == "kmeans_cox" else {}
    made = record(
        "survival", ("censored", "event"), {"train": 60, "val": len(own)}, task="survival", start=None, fold=fold,
        seed=seed, **epochs,
    )  # fmt: skip
    for key in ("init", "backbone"):
        del made["recipe"][key]
    made["recipe"]["method"] = method
    folder.mkdir(parents=True)
    write_rows(folder / "predictions.csv", HEADER, lines)
    (folder / "metrics.json").write_text(json.dumps({"val_c_index": 0.5}))
    (folder / "run.json").write_text(json.dumps(made))
    return lines


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    for method in NOISE:
        for fold in range(3):
            write(folder / f"{method}_{fold}", method, fold)
    write_report(folder, baseline="kmeans_cox")
    return folder


def test_the_c_index_is_that_of_pairs_of_one_fold(grid: Path) -> None:
    found = {(row["init"], row["metric"]): row for row in read_rows(grid / "report.csv")}
    _, time, event = truth()
    order = [place for fold in range(3) for place in range(len(time)) if place % 3 == fold]
    for method in NOISE:
        risk = []
        for fold in range(3):
            risk += [float(row["risk"]) for row in read_rows(grid / f"{method}_{fold}" / "predictions.csv")]
        folds = [place % 3 for place in order]
        value, _, _ = survival.c_index_within(survival.followed(time[order], event[order]), risk, folds)
        row = found[method, "c_index"]
        assert float(row["value"]) == pytest.approx(value, abs=1e-6)
        assert float(row["lo"]) < value < float(row["hi"])
        assert (row["fold"], row["n"]) == ("all", "90")
    assert float(found["attention", "c_index"]["value"]) > 0.7


def test_methods_are_compared_and_curves_drawn(grid: Path) -> None:
    text = (grid / "report.md").read_text(encoding="utf-8")
    assert "C-index" in text
    assert "each start less that of kmeans" in text.replace("\\", "")
    assert "log-rank" in text
    assert "Survival by risk" in text
    page = (grid / "report.html").read_text(encoding="utf-8")
    assert page.count("log-rank p &lt; 0.001") + page.count("log-rank p < 0.001") >= 1
    assert "nan" not in text.split()


def test_one_training_without_folds(tmp_path: Path) -> None:
    lines = write(tmp_path / "run", "attention", None)
    write_report(tmp_path / "run")
    found = {row["metric"]: row for row in read_rows(tmp_path / "run" / "report.csv")}
    _, time, event = truth()
    who = survival.followed(time, event)
    risk = [float(line[-1]) for line in lines]
    assert float(found["c_index_harrell"]["value"]) == pytest.approx(survival.c_index_harrell(who, risk), abs=1e-6)
    assert not math.isnan(float(found["c_index_ipcw"]["value"]))


@pytest.mark.parametrize(("column", "value"), [("time", "0"), ("event", "2"), ("risk", "nan"), ("risk", "high")])
def test_a_cell_that_cannot_be_is_named(column: str, value: str, tmp_path: Path) -> None:
    row = {"patient": "a", "split": "val", "time": "3", "event": "1", "risk": "0.5", column: value}
    write_rows(tmp_path / "predictions.csv", HEADER, [[row[name] for name in HEADER]])
    with pytest.raises(MedtlError, match=f"line 2 has {column}"):
        read_predictions(tmp_path / "predictions.csv", ("censored", "event"), "survival")
