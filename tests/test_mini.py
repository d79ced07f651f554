"""The bundle medtl_mini_resnet18: pretraining by labels and views, whose trunk others start from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config, last_line, rows
from fine_tune_lists import CLASSES, SIZES, some_list
from monai.bundle import ConfigParser, verify_net_in_out
from resume_runs import together
from safetensors.torch import load_file

from medtl.bundle.inspect import problems_of_bundle
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.weights.card import WeightsCard
from medtl.weights.starts import apply, resolve

MINI = ROOT / "bundles" / "medtl_mini_resnet18"
MIXED = ("chexpert/Edema", "chaos/CT", "lidc/Nodule")
SMALL = ("--epochs", "2", "--image_size", "32", "--batch_size", "8", "--num_workers", "0")


@pytest.fixture(scope="module")
def trained(module_path: Path) -> tuple[Path, Path, str]:
    """A data list as ``data_prep mix`` names its classes, a run on it in two processes, and what was printed."""
    data = some_list(module_path / "data", MIXED, sizes={**SIZES, "training": 16, "test": 0})
    words = ("--dataset_dir", str(data), "--output_dir", str(module_path / "run"), *SMALL, "--learning_rate", "0.001")
    names = config("train", "multi_gpu_train", folder=MINI)
    status, printed = together("run", "--config_file", names, *words, log=module_path / "log")
    assert status == 0, printed
    return data, module_path / "run", printed


def columns(table: list[dict[str, str]]) -> np.ndarray:
    """(rows, 3) probabilities."""
    return np.array([[float(row[f"prob_{name}"]) for name in MIXED] for row in table])


def test_run_leaves_a_plain_classifier_and_its_record(trained: tuple[Path, Path, str]) -> None:
    _, run, printed = trained
    state = torch.load(run / "model.pt", weights_only=True)
    assert not any("projection" in name or name.startswith(("module.", "network.")) for name in state)
    assert state["fc.weight"].shape == (3, 512)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["classes"] == list(MIXED)
    assert {name: record["recipe"][name] for name in ("contrast", "supervision", "temperature")} == {
        **{"contrast": 1.0, "supervision": 1.0, "temperature": 0.2}
    }
    assert [row["epoch"] for row in rows(run / "history.csv")] == ["1", "2"]
    assert printed.count("best epoch") == 1


def test_evaluation_and_inference_take_the_classes_from_the_run(
    trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    data, run, _ = trained
    weights = ("--weights", str(run / "model.pt"), *CPU)
    words = ("run", "--config_file", config("train", "evaluate", folder=MINI), *weights)
    status, printed = bundle_here(*words, "--dataset_dir", str(data), "--output_dir", str(tmp_path / "evaluated"))
    assert status == 0, printed
    validated = rows(run / "predictions.csv")
    assert columns(rows(tmp_path / "evaluated" / "predictions.csv")) == pytest.approx(columns(validated), abs=1e-5)
    words = ("run", "--config_file", config("inference", folder=MINI), *weights, "--input", str(data / "images"))
    status, printed = bundle_here(*words, "--output_dir", str(tmp_path / "out"))
    assert status == 0, printed
    predicted = [r for r in rows(tmp_path / "out" / "predictions.csv") if r["image"].startswith("validation")]
    assert columns(predicted) == pytest.approx(columns(validated), abs=1e-4)
    other = some_list(tmp_path / "other", ("a", "b", "c"), sizes={"training": 1, "validation": 1, "test": 0})
    words = ("run", "--config_file", config("train", "evaluate", folder=MINI), *weights)
    status, printed = bundle_here(*words, "--dataset_dir", str(other), cwd=tmp_path)
    assert (status, "has 3 classes (a, b, c)" in last_line(printed)) == (2, True), printed


def test_without_labels_the_last_epoch_is_kept(tmp_path: Path) -> None:
    """No metric is asked: the head is what it was at the start."""
    data = some_list(tmp_path / "data", MIXED, sizes={**SIZES, "training": 16, "test": 0})
    words = ("run", "--config_file", config("train", folder=MINI), "--dataset_dir", str(data), *SMALL, *CPU)
    status, printed = bundle_here(*words, "--supervision", "0", "--epochs", "3", "--output_dir", str(tmp_path / "run"))
    assert status == 0, printed
    assert last_line(printed).startswith("last epoch 3 of 3: val_accuracy 0.")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 3
    checkpoint = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))[-1]
    last = torch.load(checkpoint, weights_only=True)["network"]
    kept = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(torch.equal(kept[name], last[f"network.{name}"]) for name in kept)


def test_a_fine_tune_bundle_starts_from_its_whole_trunk(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    tb = some_list(tmp_path / "data", CLASSES["tb"])
    words = ("--dataset_dir", str(tb), "--output_dir", str(tmp_path / "run"), *SMALL, "--device", "cpu")
    names = config("train", folder=ROOT / "bundles" / "tb")
    status, printed = bundle_here("run", "--config_file", names, *words, "--init", str(trained[1]), "--epochs", "1")
    assert status == 0, printed
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"]["coverage"] == 1.0


def test_a_batch_holds_two_views_of_each_image(trained: tuple[Path, Path, str]) -> None:
    parser = ConfigParser()
    parser.read_config(config("train", folder=MINI))
    parser.read_meta(str(MINI / "configs" / "metadata.json"))
    parser.update(
        {"dataset_dir": str(trained[0]), "image_size": 32, "batch_size": 8, "num_workers": 0, "device": "cpu"}
    )
    loader = parser.get_parsed_content("train#dataloader")
    batch = next(iter(loader))
    assert batch["image"].shape == (16, 3, 32, 32)
    assert batch["label"].shape == batch["index"].shape == (8,)
    one = parser.get_parsed_content("train#view")
    images = torch.from_numpy(loader.dataset.images)[batch["index"]]
    torch.testing.assert_close(batch["image"][:8], one(images, batch["index"], 0))


def test_the_weights_in_the_repository_are_those_of_their_card() -> None:
    card = WeightsCard.from_json((MINI / "card.json").read_text(encoding="utf-8"))
    file = MINI / "models" / "model.safetensors"
    assert card.sha256 == {"models/model.safetensors": file_hash(file)}
    assert file.stat().st_size < 50e6
    assert card.data["sample"] is False
    assert sum(card.data["training_images"].values()) == card.data["entries"]["training"]
    parts = {name.partition("/")[0] for name in card.classes}
    assert parts == {"chestxray2017", "nih", "msd", "lidc"}
    assert all(f"{part}: " in card.licence for part in parts)
    assert "NC" not in card.licence
    assert card.start == {"init": "random"}
    assert card.metrics["val_accuracy_lo"] < card.metrics["val_accuracy"] < card.metrics["val_accuracy_hi"]
    assert problems_of_bundle(MINI)[1] == []


def test_init_mini_is_those_weights_and_fills_the_whole_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDTL_WEIGHTS", raising=False)
    start = resolve("mini", "resnet18")
    assert start.path == MINI
    assert start.trained_on == ("chestxray2017", "lidc", "medtl-mini", "msd", "nih")
    network = build_classifier("resnet18", 2, image_size=64)
    report = apply(network, start, "resnet18")
    assert report is not None
    assert report.coverage == 1
    stored = load_file(MINI / "models" / "model.safetensors")
    assert torch.equal(network.layer4[1].conv2.weight, stored["layer4.1.conv2.weight"].float())


def test_monai_finds_network_and_metadata_in_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MINI)  # where its weights are looked for when no command line names its configs
    meta = str(MINI / "configs" / "metadata.json")
    verify_net_in_out("network_def", device="cpu", meta_file=meta, config_file=config("inference", folder=MINI))


def test_they_know_a_chest_x_ray_from_a_brain(shared_data: Path, tmp_path: Path) -> None:
    """Real pictures, some of which they were trained on: this shows that card, weights and classes belong together."""
    chests = sorted((shared_data / "chestxray2017").rglob("NORMAL/*.jpeg"))[:6]
    volume = next((shared_data / "msd").rglob("Task04_Hippocampus/imagesTr/hippocampus*.nii.gz"))
    right = {}
    for name, paths in (("chestxray2017", chests), ("msd", [volume])):
        folder = tmp_path / name
        folder.mkdir()
        for path in paths:
            shutil.copy(path, folder)
        words = ("run", "--config_file", config("inference", folder=MINI), "--input", str(folder), *CPU)
        status, printed = bundle_here(*words, "--image_size", "64", "--output_dir", str(tmp_path / f"out_{name}"))
        assert status == 0, printed
        table = rows(tmp_path / f"out_{name}" / "predictions.csv")
        best = [max((float(v), k) for k, v in row.items() if k.startswith("prob_"))[1] for row in table]
        right[name] = sum(each.startswith(f"prob_{name}/") for each in best) / len(best)
    assert right["chestxray2017"] > 0.8
    assert right["msd"] > 0.5
