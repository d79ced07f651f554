"""medtl evaluate: another data set with a run's network, and with nothing chosen there."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from released_bundles import change_record, made_run
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from medtl import datalist
from medtl.__main__ import main
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.metrics.operating_point import Threshold
from medtl.metrics.temperature import fit_temperature
from medtl.runs.classifier import Classifier

pytestmark = pytest.mark.slow

TWO = ("healthy", "ill")


def made_list(folder: Path, name: str, classes: tuple[str, ...], seed: int, sizes: tuple[int, int, int]) -> DataList:
    """Noisy pictures, brighter for a class that is called ill; every second patient has two."""
    random = np.random.default_rng(seed)
    splits: dict[str, list] = {}
    for split, size in zip(datalist.SPLITS, sizes, strict=True):
        rows = splits.setdefault(split, [])
        for number in range(size):
            label = (number // 2) % len(classes)
            bright = 60 * (classes[label] == "ill")
            pixels = np.clip(random.normal(90 + bright, 40, (56, 56)), 0, 255).astype(np.uint8)
            path = folder / "images" / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append(
                {
                    "image": f"images/{split}{number}.png",
                    "label": label,
                    "patient": f"{name}/{split}{number // 2}",
                    "source": name,
                    "sha256": file_hash(path),
                }
            )
    datalist.write(DataList(name, classes, 1, "CC0", "test", False, **splits), folder)
    return datalist.read(folder)


def write_validation(run: Path, listed: DataList) -> tuple[np.ndarray, np.ndarray]:
    """The validation rows of a run's predictions.csv, by its network; labels and probabilities."""
    network = Classifier.of_run(run)
    rows = []
    for entry in listed.validation:
        pixels = np.asarray(Image.open(listed.folder / entry["image"]))
        with torch.inference_mode():
            answer = torch.softmax(network.network(network.prepared(pixels)), dim=1)[0].numpy()
        rows.append([entry["image"], entry["patient"], "val", entry["label"], *(f"{v:.7g}" for v in answer)])
    with open(run / "predictions.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "patient", "split", "label", *(f"prob_{c}" for c in TWO)], *rows])
    return np.array([row[3] for row in rows]), np.array([row[4:] for row in rows], float)


@pytest.fixture(scope="module")
def places(module_path: Path) -> Path:
    """A run on one list, and lists from elsewhere."""
    own = made_list(module_path / "own", "own", TWO, 0, (16, 12, 12))
    made_list(module_path / "there", "there", TWO[::-1], 1, (6, 4, 24))
    made_run(module_path / "run", own)
    threshold = Threshold(1, "ill", "youden", 0.43).as_record()
    change_record(module_path / "run", overrides={"dataset_dir": str(own.folder)}, threshold=threshold)
    write_validation(module_path / "run", own)
    return module_path


def evaluate(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str, str]:
    before = sys.argv
    sys.argv = ["medtl", "evaluate", *map(str, words), "--workers", "0"]
    try:
        main()
        status = 0
    except SystemExit as left:
        status = int(left.code or 0)
    finally:
        sys.argv = before
    return status, *capsys.readouterr()


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_labels_in_another_order_are_mapped_and_nothing_is_chosen_there(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    status, printed, told = evaluate(capsys, places / "run", "--dataset_dir", places / "there", "--out", tmp_path / "e")
    assert status == 0, told
    assert "the list's order is ill, healthy; labels are read in the run's, healthy, ill" in told
    listed, rows = datalist.read(places / "there"), rows_of(tmp_path / "e")
    assert [row["image"] for row in rows] == [entry["image"] for entry in listed.test]
    assert {row["split"] for row in rows} == {"test"}
    labels = np.array([int(row["label"]) for row in rows])
    assert [TWO[label] for label in labels] == [listed.classes[entry["label"]] for entry in listed.test]
    network = Classifier.of_run(places / "run")
    chances = np.array([[float(row[f"prob_{name}"]) for name in TWO] for row in rows])
    for entry, chance in zip(listed.test, chances, strict=True):
        pixels = np.asarray(Image.open(listed.folder / entry["image"]))
        answer = torch.softmax(network.network(network.prepared(pixels)), dim=1).detach().numpy()[0]
        np.testing.assert_allclose(chance, answer, atol=1e-5)
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["test_auc"] == pytest.approx(roc_auc_score(labels, chances[:, 1]))
    called = chances[:, 1] >= 0.43
    assert metrics["test_sensitivity_at_threshold"] == pytest.approx(recall_score(labels, called))
    assert metrics["test_specificity_at_threshold"] == pytest.approx(recall_score(1 - labels, ~called))
    assert {"test_auc_lo", "test_auc_hi"} <= set(metrics)
    assert str(places) not in (tmp_path / "e" / "run.json").read_text()
    assert "12 patients" in printed


def test_a_run_without_a_threshold_has_a_positive_class(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(places / "run", tmp_path / "run")
    change_record(tmp_path / "run", threshold=None, recipe={"positive_class": "healthy"})
    status, _, told = evaluate(capsys, tmp_path / "run", "--dataset_dir", places / "there", "--out", tmp_path / "e")
    assert status == 0, told
    rows = rows_of(tmp_path / "e")
    healthy = np.array([row["label"] == "0" for row in rows])
    chance = np.array([float(row["prob_healthy"]) for row in rows])
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["test_average_precision"] == pytest.approx(average_precision_score(healthy, chance), abs=1e-6)
    assert metrics["test_sensitivity"] == pytest.approx(recall_score(healthy, chance >= 0.5))
    assert "test_sensitivity_at_threshold" not in metrics


def test_calibration_is_fixed_on_the_runs_validation(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    evaluate(capsys, places / "run", "--dataset_dir", places / "there", "--split", "all", "--out", tmp_path / "e")
    validated = rows_of(places / "run")
    labels = np.array([int(row["label"]) for row in validated])
    chances = np.array([[float(row[f"prob_{name}"]) for name in TWO] for row in validated])
    external = json.loads((tmp_path / "e" / "run.json").read_text())["external"]
    assert external["temperature"] == pytest.approx(fit_temperature(labels, chances))
    assert external["validation_images"] == 12
    assert external["leaks"]["compared_with"] == 28
    assert len(rows_of(tmp_path / "e")) == 34
    assert {row["split"] for row in rows_of(tmp_path / "e")} == {"all"}


def test_several_classes_an_image(places: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    there = datalist.read(places / "there")
    hot = [{**entry, "label": [int(n % 3 == 0), int(n % 2 == 0)]} for n, entry in enumerate(there.test)]
    several = replace(there, training=[], validation=[], test=hot)
    (tmp_path / "hot").mkdir()
    (tmp_path / "hot" / "images").symlink_to(there.folder / "images")
    datalist.write(several, tmp_path / "hot")
    status, _, error = evaluate(capsys, places / "run", "--dataset_dir", tmp_path / "hot", "--out", tmp_path / "e")
    assert (status, "is for multilabel; the run is of classification" in error) == (2, True)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.pt", "run.json"):
        (run / name).write_bytes((places / "run" / name).read_bytes())
    change_record(run, task="multilabel", threshold=None)
    status, _, told = evaluate(capsys, run, "--dataset_dir", tmp_path / "hot", "--out", tmp_path / "e")
    assert status == 0, told
    rows = rows_of(tmp_path / "e")
    truths = np.array([entry["label"][::-1] for entry in hot])  # in the run's order
    assert [row["label"] for row in rows] == [";".join(map(str, np.flatnonzero(row))) for row in truths]
    chances = np.array([[float(row[f"prob_{name}"]) for name in TWO] for row in rows])
    wanted = roc_auc_score(truths, chances, average="macro")
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["test_auc"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("healthy", "dead"), "lacks the class ill"),
        (("healthy", "ill", "dead"), "has the unknown class dead"),
    ],
)
def test_other_classes_are_refused_by_name(
    classes: tuple[str, ...], told: str, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    made_list(tmp_path / "other", "other", classes, 3, (0, 0, 6))
    status, _, error = evaluate(capsys, places / "run", "--dataset_dir", tmp_path / "other", "--out", tmp_path / "e")
    assert (status, error.count("\n")) == (2, 1)
    assert told in error
    assert not (tmp_path / "e").exists()


def test_pictures_that_the_run_was_trained_on_are_refused(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own, there = datalist.read(places / "own"), made_list(tmp_path / "there", "there", TWO, 4, (0, 0, 6))
    seen = own.training[3]
    (tmp_path / "there" / "images" / "copy.png").write_bytes((own.folder / seen["image"]).read_bytes())
    copied = {**seen, "image": "images/copy.png", "patient": "there/new"}
    datalist.write(replace(there, test=[*there.test, copied]), tmp_path / "there")
    status, _, error = evaluate(capsys, places / "run", "--dataset_dir", tmp_path / "there", "--out", tmp_path / "e")
    assert status == 1
    assert "the run has seen what it is to be validated on" in error
    assert "images/copy.png" in error
    assert not (tmp_path / "e" / "run.json").exists()


def test_without_the_runs_list_it_says_that_nothing_was_compared(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    moved = tmp_path / "run"
    moved.mkdir()
    for name in ("model.pt", "run.json", "predictions.csv"):
        (moved / name).write_bytes((places / "run" / name).read_bytes())
    change_record(moved, overrides={"dataset_dir": "/nowhere"})
    status, _, told = evaluate(capsys, moved, "--dataset_dir", places / "there")
    assert status == 0
    assert "no leak check" in told
    there = moved / "external" / "there_test"
    assert "not_compared" in json.loads((there / "run.json").read_text())["external"]["leaks"]
    status, _, error = evaluate(capsys, moved, "--dataset_dir", places / "there")
    assert (status, "holds another run" in error) == (2, True)
    wrong = evaluate(capsys, moved, "--dataset_dir", places / "there", "--trained_on", places / "there", "--out", "x")
    assert (wrong[0], "--trained_on" in wrong[2]) == (2, True)
