"""The fine-tune bundles: one run each, looked at from all sides, and what their options do."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config, last_line, rows
from fine_tune_lists import CLASSES, POSITIVE, some_list
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from PIL import Image
from resume_runs import together
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    roc_auc_score,
)
from sklearn.utils.class_weight import compute_class_weight

from medtl import datalist
from medtl.files import file_hash
from medtl.runs import record as records

pytestmark = pytest.mark.slow

TINY = ("--epochs", "1", "--image_size", "32", *CPU)
BACKBONES = {"chestxray2017": "resnet18", "tb": "densenet121", "breastmnist": "resnet18", "folder": "resnet18"}
Row = dict[str, str]


@dataclass(frozen=True)
class Finished:
    """A run of a bundle on its own little list."""

    bundle: Path
    data: Path
    run: Path
    printed: str

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def record(self) -> dict:
        return json.loads((self.run / "run.json").read_text())

    @property
    def metrics(self) -> dict[str, float]:
        return json.loads((self.run / "metrics.json").read_text())


def folder_of(name: str) -> Path:
    return ROOT / "bundles" / name


def words_for(name: str, *configs: str) -> tuple[str, str, str]:
    return "run", "--config_file", config(*configs, folder=folder_of(name))


@pytest.fixture(scope="module")
def runs(module_path: Path) -> dict[str, Finished]:
    """A run of two epochs of each bundle; ``folder`` has RGB pictures, ``tb`` another network and size."""
    found = {}
    for name, classes in CLASSES.items():
        base = module_path / name
        base.mkdir()
        data = some_list(base / "data", classes, channels=3 if name == "folder" else 1)
        words = ("--dataset_dir", str(data), "--output_dir", str(base / "run"), *TINY, "--epochs", "2")
        other = ("--backbone", BACKBONES[name], "--image_size", "40" if name == "tb" else "32")
        status, printed = bundle_here(*words_for(name, "train"), *words, *other, cwd=base)
        assert status == 0, printed
        found[name] = Finished(folder_of(name), data, base / "run", printed)
    return found


@pytest.fixture(params=list(CLASSES))
def finished(request: pytest.FixtureRequest, runs: dict[str, Finished]) -> Finished:
    return runs[request.param]


def of_split(table: list[Row], split: str, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n,) labels and (n, n_classes) probabilities of a split's rows."""
    own = [row for row in table if row["split"] == split]
    scores = [[float(row[f"prob_{name}"]) for name in classes] for row in own]
    return np.array([int(row["label"]) for row in own]), np.array(scores)


def test_predictions_hold_validation_then_test_and_every_entry_once(finished: Finished) -> None:
    classes = CLASSES[finished.name]
    table = rows(finished.run / "predictions.csv")
    listed = datalist.read(finished.data)
    assert list(table[0]) == ["image", "patient", "split", "label", *(f"prob_{name}" for name in classes)]
    assert [(row["split"], row["image"], row["patient"], int(row["label"])) for row in table] == [
        (split, entry["image"], entry["patient"], entry["label"])
        for split, entries in (("val", listed.validation), ("test", listed.test))
        for entry in entries
    ]
    for split in ("val", "test"):
        assert np.allclose(of_split(table, split, classes)[1].sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_the_predictions(finished: Finished, split: str) -> None:
    classes, positive = CLASSES[finished.name], POSITIVE[finished.name]
    truth, scores = of_split(rows(finished.run / "predictions.csv"), split, classes)
    metrics, guess = finished.metrics, scores.argmax(1)
    one_hot = np.eye(len(classes))[truth]
    expected = {
        "accuracy": accuracy_score(truth, guess),
        "class_weighted_accuracy": balanced_accuracy_score(truth, guess),
        "f1_macro": f1_score(truth, guess, average="macro"),
        "f1_weighted": f1_score(truth, guess, average="weighted"),
        "auc": roc_auc_score(one_hot, scores, average="macro"),
        "average_precision": average_precision_score(one_hot, scores, average="macro"),
        "auc_micro": roc_auc_score(one_hot, scores, average="micro"),
    }
    if positive is None:
        assert f"{split}_sensitivity" not in metrics
    else:
        of_positive = scores[:, classes.index(positive)]
        is_positive = truth == classes.index(positive)
        called = of_positive >= 0.5
        expected |= {
            "sensitivity": recall_score(is_positive, called),
            "specificity": recall_score(~is_positive, ~called),
            "f1": f1_score(is_positive, called),
            "average_precision": average_precision_score(is_positive, of_positive),
        }
    for name, value in expected.items():
        assert metrics[f"{split}_{name}"] == pytest.approx(value, abs=1e-6), name
        if f"{split}_{name}_lo" in metrics:
            assert metrics[f"{split}_{name}_lo"] <= value + 1e-6
            assert metrics[f"{split}_{name}_hi"] >= value - 1e-6
    assert f"{split}_accuracy_lo" in metrics
    rare = np.bincount(truth).min() < 4  # more than 5 % of the replicates lack such a class
    assert f"{split}_auc_lo" in metrics or metrics[f"{split}_auc"] in (0, 1) or rare


@pytest.mark.parametrize("name", ["tb", "breastmnist"])
def test_threshold_is_the_best_on_validation_and_used_on_test(runs: dict[str, Finished], name: str) -> None:
    done, positive = runs[name], CLASSES[name].index(str(POSITIVE[name]))
    table = rows(done.run / "predictions.csv")

    def sensitivity_and_specificity(split: str, threshold: float) -> tuple[float, float]:
        truth, scores = of_split(table, split, CLASSES[name])
        called, sick = scores[:, positive] >= threshold, truth == positive
        return float(called[sick].mean()), float((~called[~sick]).mean())

    chosen = done.metrics["val_threshold"]
    assert done.record["threshold"] == {
        "positive": positive,
        "positive_class": POSITIVE[name],
        "rule": "youden",
        "value": pytest.approx(chosen),
    }
    of_positive = of_split(table, "val", CLASSES[name])[1][:, positive]
    every = [sensitivity_and_specificity("val", t) for t in (*of_positive, 2.0)]
    best = max(sum(pair) for pair in every)
    most_sensitive = max(pair[0] for pair in every if sum(pair) > best - 1e-9)
    assert sensitivity_and_specificity("val", chosen) == pytest.approx((most_sensitive, best - most_sensitive))
    for split in ("val", "test"):
        found = tuple(done.metrics[f"{split}_{score}_at_threshold"] for score in ("sensitivity", "specificity"))
        assert found == pytest.approx(sensitivity_and_specificity(split, chosen))


def test_run_record_says_where_it_started_and_that_test_was_opened_once(finished: Finished) -> None:
    record = finished.record
    assert record["status"] == "finished"
    assert record["bundle"]["name"] == finished.name
    assert record["test"] == "opened once, after the best epoch was chosen on validation"
    started = {name: record["start"][name] for name in ("init", "file", "sha256", "coverage")}
    assert started == {"init": "random", "file": None, "sha256": "", "coverage": 0.0}
    expected = {"init": "random", "fold": None, "freeze": "none", "train_fraction": 1.0}
    assert {name: record["recipe"][name] for name in expected} == expected
    assert record["recipe"]["backbone"] == BACKBONES[finished.name]
    assert record["recipe"]["positive_class"] == POSITIVE[finished.name]
    assert record["data"]["classes"] == list(CLASSES[finished.name])
    assert record["data"]["entries"] == {"training": 12, "validation": 14, "test": 9}
    defined = {name: value for name, value in record["metrics"].items() if value is not None}
    assert defined == pytest.approx(finished.metrics)
    assert record["epochs"] == 2
    assert re.search(r"best epoch \d+ of \d+: val_auc [01]\.\d{3} \(chance 0\.500\)", last_line(finished.printed))
    assert record["data"]["overlaps"] == []
    assert "test_auc" in last_line(finished.printed)


def test_history_has_a_row_an_epoch_and_the_best_was_kept(finished: Finished) -> None:
    history = rows(finished.run / "history.csv")
    assert list(history[0])[:3] == ["epoch", "train_loss", "learning_rate"]
    assert [row["epoch"] for row in history] == ["1", "2"]
    best = finished.record["best_epoch"]
    scores = [float(row["val_auc"]) for row in history]
    assert best == scores.index(max(scores)) + 1
    assert finished.metrics["val_auc"] == pytest.approx(max(scores), abs=1e-6)
    assert all(0 < float(row["train_loss"]) < 10 for row in history)


def test_weights_are_a_plain_state_dict_and_the_bundle_is_untouched(finished: Finished) -> None:
    state = torch.load(finished.run / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert {path.name for path in finished.bundle.iterdir()} == {"LICENSE", "configs", "docs"}


def test_evaluation_needs_only_the_weights_to_find_the_same(finished: Finished, tmp_path: Path) -> None:
    words = ("--dataset_dir", str(finished.data), "--weights", str(finished.run / "model.pt"), "--split", "test")
    status, printed = bundle_here(
        *words_for(finished.name, "train", "evaluate"), *words, *CPU, "--output_dir", str(tmp_path / "out")
    )
    assert status == 0, printed
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    expected = {name: value for name, value in finished.metrics.items() if name.startswith("test_")}
    found = {name: value for name, value in metrics.items() if name.startswith("test_")}
    assert found == pytest.approx(expected, abs=1e-6)
    assert [row for row in rows(finished.run / "predictions.csv") if row["split"] == "test"] == rows(
        tmp_path / "out" / "predictions.csv"
    )


def test_inference_gives_the_validated_probabilities(finished: Finished, tmp_path: Path) -> None:
    words = ("--input", str(finished.data / "images"), "--weights", str(finished.run / "model.pt"), *CPU)
    status, printed = bundle_here(
        *words_for(finished.name, "inference"), *words, "--output_dir", str(tmp_path / "out"), cwd=tmp_path
    )
    assert status == 0, printed
    predicted = {f"images/{row['image']}": row for row in rows(tmp_path / "out" / "predictions.csv")}
    columns = [f"prob_{name}" for name in CLASSES[finished.name]]
    for row in rows(finished.run / "predictions.csv"):
        for column in columns:
            assert float(predicted[row["image"]][column]) == pytest.approx(float(row[column]), abs=1e-4)


def test_another_runs_weights_fill_the_whole_trunk_which_stays_when_frozen(
    runs: dict[str, Finished], tmp_path: Path
) -> None:
    source, data = runs["chestxray2017"].run / "model.pt", runs["breastmnist"].data
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), *TINY)
    status, printed = bundle_here(
        *words_for("breastmnist", "train"), *words, "--init", str(source), "--freeze", "trunk", cwd=tmp_path
    )
    assert status == 0, printed
    (line,) = (line for line in printed.splitlines() if line.startswith("start: "))
    assert "100" in line
    start = json.loads((tmp_path / "run" / "run.json").read_text())["start"]
    assert (start["init"], start["file"], start["coverage"]) == ("model.pt", "model.pt", 1.0)
    assert start["sha256"] == file_hash(source)
    assert start["trained_on"] == ["made"]
    assert printed.count("WARNING: these weights were trained on made, too: test images may be among") == 1
    before, after = (torch.load(path, weights_only=True) for path in (source, tmp_path / "run" / "model.pt"))
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]) or name.startswith("fc."), name
    assert after["fc.weight"].shape == (2, 512)


def test_a_fold_is_validated_on_and_without_one_the_hint_comes(tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", CLASSES["tb"], folds=3)
    words = (*words_for("tb", "train"), "--dataset_dir", str(data), *TINY, "--output_dir", str(tmp_path / "run"))
    status, printed = bundle_here(*words, cwd=tmp_path)
    assert status == 2
    assert last_line(printed) == (
        f"error: {data / 'datalist.json'} has no entries in its val split; it is dealt into folds: name one, --fold K"
    )
    assert not (tmp_path / "run").exists()
    status, printed = bundle_here(*words, "--fold", "7", cwd=tmp_path)
    assert status == 2
    assert last_line(printed).endswith("has the folds 0, 1, 2")
    status, printed = bundle_here(*words, "--fold", "1", cwd=tmp_path)
    assert status == 0, printed
    validated = [row["image"] for row in rows(tmp_path / "run" / "predictions.csv") if row["split"] == "val"]
    assert validated == [entry["image"] for entry in datalist.read(data).training if entry["fold"] == 1]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"]["fold"] == 1
    assert record["data"]["entries"] == {"training": 8, "validation": 4, "test": 9}


@pytest.mark.parametrize("overlay", [(), ("per_image",)])
@pytest.mark.parametrize("balance", ["loss", "sampling"])
def test_balanced_training_on_half_of_the_patients(overlay: tuple[str, ...], balance: str, tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", CLASSES["breastmnist"])
    listed = datalist.read(data)
    for entry in listed.training[:4]:
        entry["label"] = 0  # eight of twelve are of the first class
    datalist.write(listed, data)
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), *TINY)
    options = ("--train_fraction", "0.5", "--balance", balance)
    status, printed = bundle_here(*words_for("breastmnist", "train", *overlay), *words, *options, cwd=tmp_path)
    assert status == 0, printed
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["entries"] == {"training": 6, "validation": 14, "test": 9}
    assert record["recipe"]["balance"] == balance
    assert len(rows(tmp_path / "run" / "predictions.csv")) == 23


def parsed(name: str, data: Path, **overrides: object) -> ConfigParser:
    """train.json with metadata, as MONAI reads it."""
    parser = ConfigParser()
    parser.read_config(config("train", folder=folder_of(name)))
    parser.read_meta(str(folder_of(name) / "configs" / "metadata.json"))
    parser.update({"dataset_dir": str(data), "image_size": 32, "num_workers": 0, "device": "cpu", **overrides})
    return parser


def test_balance_makes_up_for_rare_classes(runs: dict[str, Finished], tmp_path: Path) -> None:
    shutil.copytree(runs["breastmnist"].data, tmp_path / "data")
    listed = datalist.read(tmp_path / "data")
    for entry in listed.training[:4]:
        entry["label"] = 0
    datalist.write(listed, tmp_path / "data")
    labels = np.array([entry["label"] for entry in listed.training])
    weight = parsed("breastmnist", tmp_path / "data", balance="loss").get_parsed_content("loss").weight
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert weight.tolist() == pytest.approx(expected.tolist())
    loader = parsed("breastmnist", tmp_path / "data", balance="sampling").get_parsed_content("train#dataloader")
    drawn = labels[torch.cat([loader.order(epoch) for epoch in range(300)]).numpy()]
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    plain = parsed("breastmnist", tmp_path / "data")
    assert plain.get_parsed_content("loss").weight is None
    assert sorted(plain.get_parsed_content("train#dataloader").order(3).tolist()) == list(range(12))


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (("--init", "/nowhere.pt"), 2, r"--init /nowhere.pt: no such file or folder, and none of random, imagenet"),
        (("--init", "imagnet"), 2, r"--init imagnet: no such file .*imagenet"),
        (("--init", "junk.pt"), 1, r"junk.pt.* is not a readable file of tensors"),
        (("--init", "other.pt"), 1, r"other.pt"),
        (("--freeze", "half"), 2, r"--freeze half: expected none, trunk"),
        (("--freeze", "all_but_last:9"), 2, r"resnet18 has 4 stages, so N is 0 to 4"),
        (("--balance", "both"), 2, r"--balance both is not one of none, loss, sampling"),
        (("--threshold_rule", "yuden"), 2, r"--threshold_rule yuden is not youden, sensitivity:0\.95 or"),
        (("--threshold_rule", "5"), 2, r"--threshold_rule 5 is not youden"),
        (("--positive_class", "benign"), 2, r"--positive_class benign is not one of normal, tuberculosis"),
        (("--train_fraction", "1.5"), 2, r"--train_fraction 1\.5: expected a number above 0 and up to 1"),
        (("--backbone", "resnet9"), 2, r"resnet9"),
        (("--key_metric", "dice"), 2, r"--key_metric dice is not one of auc"),
        (("--trunk_multiplier", "3"), 2, r"--trunk_multiplier 3: expected at most 1"),
        (("--fold", "1"), 2, r"--fold 1: .*datalist.json is not dealt into folds"),
        (("--backbon", "resnet18"), 2, r"did you mean --backbone\?"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, str], status: int, expected: str, runs: dict[str, Finished], tmp_path: Path
) -> None:
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    started = (*words_for("tb", "train"), "--dataset_dir", str(runs["tb"].data), *TINY)
    found, printed = bundle_here(*started, "--output_dir", str(tmp_path / "run"), *words, cwd=tmp_path)
    assert found == status, printed
    assert re.search(expected, last_line(printed)), printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run" / "model.pt").exists()


def test_weights_of_another_network_are_one_line(runs: dict[str, Finished], tmp_path: Path) -> None:
    words = ("--dataset_dir", str(runs["tb"].data), *TINY, "--output_dir", str(tmp_path / "run"))
    source = runs["tb"].run / "model.pt"  # a DenseNet
    status, printed = bundle_here(*words_for("tb", "train"), *words, "--init", str(source), cwd=tmp_path)
    assert status != 0
    assert str(source) in last_line(printed)
    assert "Traceback" not in printed


def test_other_classes_are_refused_by_all_but_folder(runs: dict[str, Finished], tmp_path: Path) -> None:
    data = str(runs["breastmnist"].data)
    status, printed = bundle_here(*words_for("tb", "train"), "--dataset_dir", data, cwd=tmp_path)
    assert status == 2
    assert last_line(printed).endswith(
        "has 2 classes (malignant, normal_or_benign); this bundle has 2 (normal, tuberculosis)"
    )
    # but weights know their classes: another list is refused at evaluation
    words = ("--dataset_dir", data, "--weights", str(runs["folder"].run / "model.pt"), *CPU)
    status, printed = bundle_here(*words_for("folder", "train", "evaluate"), *words, cwd=tmp_path)
    assert status == 2
    assert "has 2 classes (malignant, normal_or_benign); this bundle has 3 (crab, fish, bird)" in last_line(printed)
    assert not (tmp_path / "runs").exists()


def test_folder_takes_a_positive_class_and_needs_the_runs_record_to_predict(
    runs: dict[str, Finished], tmp_path: Path
) -> None:
    words = ("--dataset_dir", str(runs["tb"].data), "--output_dir", str(tmp_path / "run"), *TINY)
    status, printed = bundle_here(
        *words_for("folder", "train"), *words, "--positive_class", "normal", "--threshold_rule", "sensitivity:0.9"
    )
    assert status == 0, printed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    truth, scores = of_split(rows(tmp_path / "run" / "predictions.csv"), "val", CLASSES["tb"])
    assert (scores[truth == 0, 0] >= metrics["val_threshold"]).mean() >= 0.9
    words = ("--dataset_dir", str(runs["tb"].data), "--weights", str(tmp_path / "run" / "model.pt"), *CPU)
    for folder, more, positive in (("same", (), 0), ("other", ("--positive_class", "tuberculosis"), 1)):
        out = tmp_path / folder
        status, printed = bundle_here(
            *words_for("folder", "train", "evaluate"), *words, *more, "--output_dir", str(out), cwd=tmp_path
        )
        assert status == 0, printed
        found = json.loads((out / "metrics.json").read_text())
        assert found["val_sensitivity"] == pytest.approx(recall_score(truth == positive, scores[:, positive] >= 0.5))
        of_positive = average_precision_score(truth == positive, scores[:, positive])
        assert found["val_average_precision"] == pytest.approx(of_positive, abs=1e-6)
        assert records.read(out).positive_class == CLASSES["tb"][positive]
        assert ("val_sensitivity_at_threshold" in found) == (positive == 0)  # of the class that it was chosen for
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "run" / "model.pt", tmp_path / "alone" / "model.pt")
    words = ("--input", str(runs["tb"].data / "images"), "--weights", str(tmp_path / "alone" / "model.pt"), *CPU)
    status, printed = bundle_here(*words_for("folder", "inference"), *words, cwd=tmp_path)
    assert status == 2
    assert "neither a run.json beside it nor a card names its classes; pass --classes" in last_line(printed)


def test_validation_of_one_class_cannot_choose_by_auc(tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", CLASSES["tb"])
    listed = datalist.read(data)
    listed.validation[:] = [entry for entry in listed.validation if entry["label"] == 0]
    datalist.write(listed, data)
    words = (*words_for("tb", "train"), "--dataset_dir", str(data), *TINY, "--output_dir", str(tmp_path / "run"))
    for metric in ("auc", "average_precision"):
        status, printed = bundle_here(*words, "--key_metric", metric, cwd=tmp_path)
        assert status == 2
        assert last_line(printed).startswith(f"error: --key_metric {metric} needs more than one class")
        assert last_line(printed).endswith("are all normal")
    assert not (tmp_path / "run").exists()
    status, printed = bundle_here(*words, "--key_metric", "accuracy", cwd=tmp_path)
    assert status == 0, printed
    assert "val_threshold" not in json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_pictures_that_show_nothing_are_named_and_training_goes_on(tmp_path: Path) -> None:
    data = some_list(tmp_path / "data", CLASSES["tb"])
    listed = datalist.read(data)
    for number, grey in enumerate((0, 0, 255, 7, 9), start=2):
        path = data / listed.training[number]["image"]
        Image.new("L", (40, 48), grey).save(path)
        listed.training[number]["sha256"] = file_hash(path)
    datalist.write(listed, data)
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), *TINY)
    status, printed = bundle_here(*words_for("tb", "train"), *words, cwd=tmp_path)
    assert status == 0, printed
    (line,) = (line for line in printed.splitlines() if line.startswith("warning: "))
    assert line == (
        "warning: 5 of 12 training images show nothing (one value only): images/training02.png, "
        "images/training03.png, images/training04.png and 2 more"
    )


def test_two_processes_train_and_open_the_test_split_once(runs: dict[str, Finished], tmp_path: Path) -> None:
    words = ("--dataset_dir", str(runs["tb"].data), *TINY[:-2], "--batch_size", "4")
    names = ("train", "multi_gpu_train")
    status, printed = together(
        *words_for("tb", *names), *words, "--output_dir", str(tmp_path / "run"), log=tmp_path / "log"
    )
    assert status == 0, printed
    assert printed.count("best epoch 1 of 1") == 1
    table = rows(tmp_path / "run" / "predictions.csv")
    assert [row["split"] for row in table] == ["val"] * 14 + ["test"] * 9
    assert len({row["image"] for row in table}) == 23
    # one process finds the same in the same weights
    words = ("--dataset_dir", str(runs["tb"].data), "--weights", str(tmp_path / "run" / "model.pt"), *CPU)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for split in ("val", "test"):
        out = tmp_path / split
        status, printed = bundle_here(
            *words_for("tb", "train", "evaluate"), *words, "--split", split, "--output_dir", str(out), cwd=tmp_path
        )
        assert status == 0, printed
        alone = {k: v for k, v in json.loads((out / "metrics.json").read_text()).items() if k != "val_threshold"}
        assert alone == pytest.approx({name: metrics[name] for name in alone}, abs=1e-5)
