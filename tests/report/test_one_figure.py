"""One predictions.csv gives one figure of each metric, whoever prints it; the source is scikit-learn."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from report_grids import TWO, truth, write_run
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    roc_auc_score,
)
from typer.testing import CliRunner

from medtl.cli import app
from medtl.handlers.scored import Scored, with_intervals
from medtl.metrics.ignite import Scores
from medtl.report.arms import study
from medtl.report.collect import collect
from medtl.report.reference import of_majority
from medtl.report.scores import score
from medtl.runs.predictions import Sample, read_predictions

SPLITS = {"test": truth(TWO, 60, "test")}
TIED = 9  # images of either class with a probability of one half


def lean_run(folder: Path, **changes: object) -> Path:
    """A run on many images of the first class and few of the second, some of them tied."""
    write_run(folder, TWO, SPLITS, strength=0.7, **changes)
    with (folder / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    keep = [row for number, row in enumerate(rows) if row[3] == "0" or number % 3 == 0]
    assert 5 < sum(row[3] == "1" for row in keep) < len(keep) / 3
    for row in keep[:TIED]:
        row[4:] = ["0.5", "0.5"]
    with (folder / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *keep])
    record = json.loads((folder / "run.json").read_text())
    record["data"]["entries"] = {"test": len(keep)}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text("{}")
    return folder / "predictions.csv"


def expected(sample: Sample, positive: int) -> dict[str, float]:
    """By scikit-learn; all classes alike are told by the largest probability, the first of equals."""
    guess, is_positive = sample.values.argmax(axis=1), sample.labels == positive
    called = sample.values[:, positive] >= 0.5
    return {
        "auc": roc_auc_score(is_positive, sample.values[:, positive]),
        "average_precision": average_precision_score(is_positive, sample.values[:, positive]),
        "accuracy": accuracy_score(sample.labels, guess),
        "class_weighted_accuracy": balanced_accuracy_score(sample.labels, guess),
        "f1_macro": f1_score(sample.labels, guess, average="macro"),
        "sensitivity": recall_score(is_positive, called),
        "specificity": recall_score(~is_positive, ~called),
        "f1": f1_score(is_positive, called),
    }


def of_report(folder: Path, sample: Sample, positive: int) -> dict[str, float]:
    made = study(collect(folder))
    assert made.positive == positive
    (scored,) = score(made.arms["resnet18", "random"], made.patients, made.positive).members
    return dict(scored.values)


def of_epoch(folder: Path, sample: Sample, positive: int) -> dict[str, float]:
    batch = {"index": torch.arange(len(sample.labels))}
    output = {"label": torch.tensor(sample.labels), "pred": torch.tensor(sample.values).log()}
    engine = Engine(lambda engine, batch: output)
    Scores("test", positive=positive).attach(engine)
    engine.run([batch])
    return {name.removeprefix("test_"): value for name, value in engine.state.metrics.items()}


def of_metrics_json(folder: Path, sample: Sample, positive: int) -> dict[str, float]:
    entries = [{"patient": patient} for patient in sample.patients]
    predictions = type("Predictions", (), {"labels": sample.labels, "probabilities": sample.values})
    found = with_intervals(Scored("test", entries, predictions, {}), TWO, positive)  # type: ignore[arg-type]
    for name in ("average_precision", "accuracy", "sensitivity"):
        assert found[f"test_{name}_lo"] < found[f"test_{name}"] < found[f"test_{name}_hi"]
    return {name.removeprefix("test_"): value for name, value in found.items()}


def of_medtl_test(folder: Path, sample: Sample, positive: int) -> dict[str, float]:
    file, found = str(folder / "run" / "predictions.csv"), {}
    for name in expected(sample, positive):
        words = ["test", file, file, "--metric", name, "--json"]
        told = json.loads(CliRunner().invoke(app, words).output)
        assert told["positive"] == TWO[positive]
        found[name] = told["pairs"][0]["values"][0]
    return found


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("found_by", [of_report, of_epoch, of_metrics_json, of_medtl_test])
def test_two_classes_are_told_alike_everywhere(
    tmp_path: Path, positive: int, found_by: Callable[[Path, Sample, int], dict[str, float]]
) -> None:
    file = lean_run(tmp_path / "run", data={"positive": TWO[positive]})
    sample = read_predictions(file, TWO, "classification")["test"]
    wanted, other = expected(sample, positive), expected(sample, 1 - positive)
    assert abs(wanted["average_precision"] - other["average_precision"]) > 0.1
    assert wanted["accuracy"] != accuracy_score(sample.labels == 1, sample.values[:, 1] >= 0.5)
    found = found_by(tmp_path, sample, positive)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_where_no_class_is_named_rankings_are_of_the_second(tmp_path: Path) -> None:
    file = lean_run(tmp_path / "run")
    sample = read_predictions(file, TWO, "classification")["test"]
    wanted = expected(sample, 1)["average_precision"]
    for found_by in (of_report, of_medtl_test):
        assert found_by(tmp_path, sample, 1)["average_precision"] == pytest.approx(wanted)
    found = of_epoch(tmp_path, sample, None)  # type: ignore[arg-type]
    assert found["average_precision"] == pytest.approx(wanted, abs=1e-6)
    assert "sensitivity" not in found


def test_guessing_has_the_average_precision_of_the_positive_class(tmp_path: Path) -> None:
    file = lean_run(tmp_path / "run", data={"positive": TWO[0]})
    sample = read_predictions(file, TWO, "classification")["test"]
    _, found = of_majority(study(collect(tmp_path)))
    assert found["average_precision"] == pytest.approx((sample.labels == 0).mean())
