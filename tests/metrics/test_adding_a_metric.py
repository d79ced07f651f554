"""A metric is one file: the guide's example, in a folder of $MEDTL_PLUGINS, is trained by, written and reported."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import CPU, ROOT, bundle_here, config, last_line, rows
from fine_tune_lists import CLASSES, some_list
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from medtl.errors import UsageError
from medtl.metrics import bootstrap, classification, registry
from medtl.metrics.registry import split_of
from medtl.report.build import write_report

pytestmark = pytest.mark.slow

GUIDE = ROOT / "docs" / "adding_a_metric.md"


@pytest.fixture
def kappa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's one file, where the guide says that it may lie."""
    block, *_ = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "plugins" / "metrics" / "kappa.py"
    path.parent.mkdir(parents=True)
    path.write_text(block, encoding="utf-8")
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path / "plugins"))
    return path


def told(table: list[dict[str, str]], split: str, classes: tuple[str, ...]) -> tuple[NDArray, NDArray]:
    """Labels and answers of a split's rows."""
    own = [row for row in table if row["split"] == split]
    scores = np.array([[float(row[f"prob_{name}"]) for name in classes] for row in own])
    return np.array([int(row["label"]) for row in own]), scores.argmax(axis=1)


@pytest.mark.usefixtures("kappa")
@pytest.mark.parametrize("name", ["chestxray2017", pytest.param("breastmnist", marks=pytest.mark.full)])
def test_it_chooses_the_epoch_and_is_in_metrics_json_and_in_the_report(name: str, tmp_path: Path) -> None:
    classes = CLASSES[name]
    data = some_list(tmp_path / "data", classes)
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), "--epochs", "2", "--image_size", "32")
    asked = (*words, *CPU, "--backbone", "resnet18", "--key_metric", "kappa")
    status, printed = bundle_here(
        "run", "--config_file", config("train", folder=ROOT / "bundles" / name), *asked, cwd=tmp_path
    )
    assert status == 0, printed
    assert re.search(r"best epoch \d of 2: val_kappa -?0\.\d+ \(chance 0\.000\), test_kappa", last_line(printed))
    assert "val_kappa" in rows(tmp_path / "run" / "history.csv")[0]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for split in ("val", "test"):
        truth, answers = told(rows(tmp_path / "run" / "predictions.csv"), split, classes)
        assert metrics[f"{split}_kappa"] == pytest.approx(cohen_kappa_score(truth, answers), abs=1e-6)
        low, high = (metrics.get(f"{split}_kappa_{end}") for end in ("lo", "hi"))
        assert (low is None and high is None) or -1 <= low <= metrics[f"{split}_kappa"] <= high <= 1
    write_report(tmp_path / "run", None, "kappa", None)
    assert "**Cohen's kappa**" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    with open(tmp_path / "run" / "report.csv", newline="") as file:
        (row,) = [each for each in csv.DictReader(file) if each["metric"] == "kappa"]
    assert float(row["value"]) == pytest.approx(metrics["test_kappa"], abs=1e-6)


@pytest.mark.usefixtures("kappa")
def test_its_interval_is_that_of_resampled_patients() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 120)
    probabilities = random.dirichlet(np.ones(3), 120) + np.eye(3)[labels] * 0.6
    patients = np.arange(120) // 2
    drawn = []
    for _ in range(1000):
        picked = random.integers(0, 60, 60)
        images = np.concatenate([2 * picked, 2 * picked + 1])
        drawn.append(cohen_kappa_score(labels[images], probabilities[images].argmax(axis=1)))
    found = bootstrap.intervals(split_of(labels, probabilities, patients))["kappa"]
    assert found == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.02)
    assert classification.of_guessing(labels, 3)["kappa"] == pytest.approx(0)


def test_without_the_file_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDTL_PLUGINS", raising=False)
    data = some_list(tmp_path / "data", CLASSES["chestxray2017"])
    folder = ROOT / "bundles" / "chestxray2017"
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), *CPU, "--key_metric", "kappa")
    status, printed = bundle_here("run", "--config_file", config("train", folder=folder), *words, cwd=tmp_path)
    assert status == 2
    assert "--key_metric kappa is not one of auc, auc_micro, accuracy, class_weighted_accuracy" in last_line(printed)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="kappa"', 'name="auc"', r"kappa\.py: there is a metric auc already"),
        ('name="kappa"', 'name="kappa_lo"', r"kappa\.py: metric 'kappa_lo' .* ends in neither _lo nor _hi"),
        ('"positive"', '"two classes"', r"kinds of single_label, multi_label, positive"),
        ("METRICS", "METRIC", r"kappa\.py: expected METRICS = \(Metric"),
        ("of_answers\n", "of_nothing\n", r"kappa\.py cannot be imported: ImportError: cannot import name 'of_nothing'"),
    ],
)
def test_a_file_that_defines_none_is_one_line(kappa: Path, old: str, new: str, reason: str) -> None:
    text = kappa.read_text(encoding="utf-8")
    assert old in text
    kappa.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        registry.metrics()


def test_what_medtl_itself_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that metrics.json and the options have always had; told without torch."""
    monkeypatch.delenv("MEDTL_PLUGINS", raising=False)
    script = "import sys; from medtl.metrics import registry; print(*registry.metrics(), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.split() == [*registry.metrics(), "False"]
    assert set(registry.names("single_label")) == {
        "accuracy", "class_weighted_accuracy", "f1_macro", "f1_weighted", "auc", "average_precision",
        "log_likelihood", "auc_micro", "average_precision_micro",
    }  # fmt: skip
    assert set(registry.names("multi_label")) == {
        *("auc", "auc_micro", "accuracy", "average_precision", "average_precision_micro")
    }
    answers = {metric.name for metric in registry.of_kind("positive") if metric.needs == "answers"}
    assert answers == {"accuracy", "class_weighted_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1"}
    assert {metric.name for metric in registry.of_kind("single_label") if not metric.higher_is_better} == {
        "ece",
        "brier",
        "nll",
    }
