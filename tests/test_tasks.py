"""One recipe, three tasks: several findings and a number, from the table to the report and the released weights."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, bundle_here, config, last_line, rows
from fine_tune_lists import some_list
from oracle_scores import multi_label, regression
from PIL import Image

import medtl
from data_prep.folder import find as find_pictures
from data_prep.folder import look, own_card
from data_prep.folder_deal import Shares, dealer
from data_prep.folder_labels import Wanted
from data_prep.run import prepare
from medtl import datalist
from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.explain.build import explain_run
from medtl.external.evaluate import evaluate_run
from medtl.report.build import write_report
from medtl.runs import record as records

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "bundles" / "folder"
EPOCHS = {"regression": "5", "multilabel": "2"}
SMALL = ("--image_size", "32", "--batch_size", "12", "--learning_rate", "0.002", *CPU)

pytestmark = pytest.mark.slow


def drawn(folder: Path, task: str, count: int = 60) -> Path:
    """Pictures whose disc's size is the number, and whose bright edges are the findings; with a table."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    table = [("path", "label", "patient")]
    (folder / "imgs").mkdir(parents=True)
    for number in range(count):
        radius = random.uniform(3, 13)
        pixels = 40 + random.normal(0, 6, (32, 32)) + 90 * (np.hypot(x - 16, y - 16) < radius)
        findings = [name for name in ("top", "side") if random.random() < 0.5]
        pixels[:4] += 100 * ("top" in findings)
        pixels[:, 28:] += 100 * ("side" in findings)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"imgs/{number:03d}.png")
        label = f"{1000 + 20 * radius:.1f}" if task == "regression" else "|".join(findings)
        table.append((f"imgs/{number:03d}.png", label, f"p{number // 2}"))
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    return folder


def prepared(folder: Path, task: str) -> DataList:
    raw = drawn(folder / "raw", task)
    found = look(raw, raw / "t.csv", Wanted("regression" if task == "regression" else None), "")
    source = find_pictures(raw, found, "drawn", 0, b"0123456789abcdef")
    made, rejected = prepare(
        own_card(found, (), "drawn", "none"),
        [source],
        folder / "data",
        created_by="test",
        sample=False,
        workers=1,
        seed=0,
        validation_fraction=0.25,
        deal=dealer(Shares(0.25, 0.25, 0, 0), found.task, lambda entry: entry["image"]),
    )
    assert not rejected
    return made


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_a_task_from_its_table_to_its_report(task: str, tmp_path: Path) -> None:
    made = prepared(tmp_path, task)
    assert made.task == task
    data, run = str(made.folder), tmp_path / "run"
    words = ("--dataset_dir", data, "--output_dir", str(run), "--epochs", EPOCHS[task], "--explain", "2", *SMALL)
    status, told = bundle_here("run", "--config_file", config("train", folder=FOLDER), *words)
    assert status == 0, told
    record, metrics = records.read(run), json.loads((run / "metrics.json").read_text())
    assert len(rows(run / "explain" / "explain.csv")) == 2
    assert (record.task, record.status) == (task, "finished")
    assert record.recipe["key_metric"] == ("mae" if task == "regression" else "auc")
    predicted = [row for row in rows(run / "predictions.csv") if row["split"] == "test"]
    if task == "regression":
        assert list(predicted[0]) == ["image", "patient", "split", "label", "pred"]
        labels, said = (np.array([float(row[name]) for row in predicted]) for name in ("label", "pred"))
        expected = regression(labels, said)
        assert metrics["val_mae"] < 40  # the mean alone is 50 off: the unit and the offset of 1,000 are learnt at once
        lowest = min(float(row["val_mae"]) for row in rows(run / "history.csv"))
        assert metrics["val_mae"] == pytest.approx(lowest, rel=1e-5)
    else:
        names = list(made.classes)
        labels = np.array([[str(c) in row["label"].split(";") for c in range(2)] for row in predicted], float)
        said = np.array([[float(row[f"prob_{name}"]) for name in names] for row in predicted])
        assert not labels.any(axis=1).all()  # pictures without a finding are there
        expected = multi_label(labels, said)
        for c, name in enumerate(names):
            assert metrics[f"test_auc_{name}"] == pytest.approx(multi_label(labels[:, [c]], said[:, [c]])["auc"])
    found = {name: metrics.get(f"test_{name}", math.nan) for name in expected}
    assert found == pytest.approx(expected, rel=1e-4, nan_ok=True)

    evaluated = tmp_path / "evaluated"
    both = config("train", "evaluate", folder=FOLDER)
    words = (
        "--dataset_dir",
        data,
        "--weights",
        str(run / "model.pt"),
        "--split",
        "test",
        "--output_dir",
        str(evaluated),
    )
    status, told = bundle_here("run", "--config_file", both, *words, *CPU)
    assert status == 0, told
    again = json.loads((evaluated / "metrics.json").read_text())
    assert again == pytest.approx({name: value for name, value in metrics.items() if name in again}, rel=1e-4)

    inferred = tmp_path / "inferred"
    words = ("--input", data, "--weights", str(run / "model.pt"), "--output_dir", str(inferred), "--device", "cpu")
    status, told = bundle_here("run", "--config_file", config("inference", folder=FOLDER), *words)
    assert status == 0, told
    columns = ["pred"] if task == "regression" else [f"prob_{name}" for name in made.classes]
    table = {row["image"]: row for row in rows(inferred / "predictions.csv")}
    assert list(next(iter(table.values()))) == ["image", "patient", "split", *columns]
    for row in predicted:
        assert float(table[row["image"]][columns[0]]) == pytest.approx(float(row[columns[0]]), rel=1e-3, abs=1e-3)

    if task == "regression":
        network = medtl.build("resnet18", medtl.load_data(made.folder), image_size=32)
        with torch.no_grad():
            first = network.eval()(torch.rand(4, 3, 32, 32))
        assert first.shape == (4, 1)
        assert float(first.mean()) == pytest.approx(1160, abs=150)  # around the labels, before any training
        assert medtl.Run(run).predictions("test")["pred"].dtype.kind == "f"
        check_regression_elsewhere(run, made, metrics, predicted)

    page, text, _ = (path.read_text(encoding="utf-8") for path in write_report(run))
    assert "Grad-CAM overlay" in page
    wanted = (
        ("Agreement", "lower limit", "R²", "External validation")
        if task == "regression"
        else ("## Findings", "macro", "micro")
    )
    assert all(word in text for word in wanted)

    done = release(run, tmp_path / "released")
    assert done.card.task == task
    assert problems_of_bundle(done.folder)[1] == []
    released = json.loads((tmp_path / "released" / "configs" / "inference.json").read_text())
    assert released["header"].split(",")[3:] == columns


def check_regression_elsewhere(run: Path, made: DataList, metrics: dict, predicted: list[dict[str, str]]) -> None:
    """``medtl evaluate`` and ``medtl explain`` of a regression say what the training said of the same pictures."""
    told = evaluate_run(run, made.folder, "test", workers=0)
    outside = run / "external" / f"{made.name}_test"
    assert "; mae " in told
    again = json.loads((outside / "metrics.json").read_text())
    for name in ("mae", "rmse", "r2", "mae_lo", "mae_hi"):
        assert again[f"test_{name}"] == pytest.approx(metrics[f"test_{name}"], rel=1e-3)
    renamed = replace(made, classes=("weight",))
    datalist.write(renamed, made.folder.parent / "renamed")
    with pytest.raises(UsageError, match="has numbers of weight; the run predicts label"):
        evaluate_run(run, made.folder.parent / "renamed", workers=0)

    explained = explain_run(run, dataset_dir=made.folder, split="test", number=4)
    assert (explained.rejected, "for a larger label" in explained.line) == ((), True)
    known = {row["image"]: row for row in predicted}
    found = rows(run / "explain" / "explain.csv")
    assert len(found) == 4
    for row in found:
        assert (row["class"], row["prob"], row["prob_class"]) == ("label", "", "")
        assert float(row["label"]) == pytest.approx(float(known[row["image"]]["label"]))
        assert float(row["predicted"]) == pytest.approx(float(known[row["image"]]["pred"]), rel=1e-3)
        assert (run / "explain" / row["panel"]).is_file()
    with pytest.raises(UsageError, match="a regression has one number, label, and no classes"):
        explain_run(run, dataset_dir=made.folder, split="test", asked="label")


def test_weights_of_one_task_are_not_evaluated_on_another(tmp_path: Path) -> None:
    data = some_list(tmp_path / "classes", ("a", "b"))
    numbers = json.loads((data / "datalist.json").read_text())
    numbers |= {"task": "regression", "classes": ["size"]}
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "datalist.json").write_text(json.dumps(numbers))
    for name, listed in (("tb", "numbers"), ("breastmnist", "numbers")):
        words = ("--dataset_dir", str(tmp_path / listed), "--output_dir", str(tmp_path / "run"), *SMALL)
        status, told = bundle_here("run", "--config_file", config("train", folder=ROOT / "bundles" / name), *words)
        assert status == 2
        assert "is for regression; this bundle does classification" in last_line(told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--key_metric", "auc"), "is not one of mae, rmse, r2"),
        (("--mixup", "0.2"), "this data list is for regression"),
        (("--balance", "loss"), "this data list is for regression"),
        (("--precision", "bf16"), "trained in fp32"),
    ],
)
def test_options_of_classes_are_refused_for_numbers(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", ("size",))
    content = json.loads((data / "datalist.json").read_text())
    for number, entry in enumerate(entry for split in ("training", "validation", "test") for entry in content[split]):
        entry["label"] = number
    (data / "datalist.json").write_text(json.dumps({**content, "task": "regression"}))
    given = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), *SMALL, *words)
    status, printed = bundle_here("run", "--config_file", config("train", folder=FOLDER), *given)
    assert status == 2, printed
    assert told in last_line(printed)
