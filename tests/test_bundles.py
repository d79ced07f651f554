"""What a bundle's runs leave behind and agree on: training, evaluation, inference, one process and two."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from bundle_runs import BUNDLE, CPU, PROBABILITIES, SMALL, bundle, bundle_here, config, draw, probabilities, rows
from monai.bundle import ConfigParser
from PIL import Image
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from resume_runs import together
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from data_prep.cpmid import CARD as CPMID
from medtl import datalist
from medtl.datalist import DataList
from medtl.files import file_hash

pytestmark = pytest.mark.slow

TRAIN = config("train")


@pytest.fixture(scope="module")
def small_list(module_path: Path) -> Path:
    """Folder of a data list: 60 training, 27 validation and 5 test pictures of 20 classes."""
    folder = module_path / "small"
    folder.mkdir()
    sizes = {"training": 60, "validation": 27, "test": 5}
    splits = {
        split: [draw(folder, f"{split}{n:02d}.png", n % 20, len(split)) for n in range(size)]
        for split, size in sizes.items()
    }
    datalist.write(DataList("cpmid", CPMID.classes, 1, "none", "test", False, **splits), folder)
    return folder


@pytest.fixture(scope="module")
def trained(small_list: Path, module_path: Path) -> tuple[Path, str]:
    """The folder of a finished run of one epoch in the default place, and what it printed."""
    cwd = module_path / "elsewhere"
    cwd.mkdir()
    words = ("--dataset_dir", str(small_list), *SMALL, "--learning_rate", "0.01")  # 0.1 would make the logits explode
    status, printed = bundle_here("run", "--config_file", TRAIN, *words, cwd=cwd)
    assert status == 0, printed
    (run,) = (cwd / "runs" / "cpmid_resnet18").iterdir()
    return run, printed


def parsed(small_list: Path, **overrides: object) -> ConfigParser:
    """train.json with metadata, as MONAI reads it."""
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.read_meta(str(BUNDLE / "configs" / "metadata.json"))
    parser.update({"dataset_dir": str(small_list), **overrides})
    return parser


def test_run_folder_holds_what_the_contract_says(trained: tuple[Path, str], small_list: Path) -> None:
    run, printed = trained
    assert {path.name for path in run.iterdir()} == {
        *("model.pt", "checkpoints", "predictions.csv", "metrics.json", "history.csv", "run.json", "tensorboard")
    }
    table = rows(run / "predictions.csv")
    assert list(table[0]) == ["image", "patient", "split", "label", *PROBABILITIES]
    listed = datalist.read(small_list).validation
    assert [(row["image"], row["patient"], int(row["label"])) for row in table] == [
        (entry["image"], entry["patient"], entry["label"]) for entry in listed
    ]
    assert {row["split"] for row in table} == {"val"}
    assert np.allclose(probabilities(table).sum(axis=1), 1, atol=1e-5)
    assert list((run / "tensorboard").glob("events*"))
    assert "best epoch 1 of 1" in printed.strip().splitlines()[-1]


def test_metrics_equal_those_computed_from_the_predictions(trained: tuple[Path, str]) -> None:
    table = rows(trained[0] / "predictions.csv")
    truth = [int(row["label"]) for row in table]
    guess = probabilities(table).argmax(axis=1)
    metrics = json.loads((trained[0] / "metrics.json").read_text())
    assert metrics["val_accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert metrics["val_class_weighted_accuracy"] == pytest.approx(balanced_accuracy_score(truth, guess))
    assert metrics["val_accuracy_lo"] <= metrics["val_accuracy"] <= metrics["val_accuracy_hi"]
    assert metrics["val_f1_weighted"] == pytest.approx(f1_score(truth, guess, average="weighted"))


def test_run_record_says_what_was_run(trained: tuple[Path, str], small_list: Path) -> None:
    record = json.loads((trained[0] / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 0
    assert record["recipe"]["epochs"] == 1
    assert record["recipe"]["learning_rate"] == 0.01
    assert record["data"]["sha256"] == file_hash(small_list / "datalist.json")
    assert record["data"]["sample"] is False
    assert {"medtl", "torch", "monai", "python"} <= set(record["versions"])
    assert record["duration_s"] > 0
    assert record["config"]["image_size"] == record["overrides"]["image_size"] == 32


def test_real_data_gets_the_papers_recipe(small_list: Path) -> None:
    parser = parsed(small_list)
    values = [parser.get_parsed_content(name) for name in ("epochs", "batch_size", "image_size", "learning_rate")]
    assert values == [100, 256, 224, 0.1]
    (group,) = parser.get_parsed_content("optimizer").param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    network = parser.get_parsed_content("network_def")
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 20)
    # trunk parameters of the paper's table: 11.18 M
    assert sum(p.numel() for n, p in network.named_parameters() if not n.startswith("fc.")) == 11_176_512


def test_batches_are_dictionaries_of_image_label_index(small_list: Path) -> None:
    parser = parsed(small_list, image_size=32, batch_size=8, num_workers=0)
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert set(batch) == {"image", "label", "index"}
    assert batch["image"].shape == (8, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].tolist() == [index % 20 for index in batch["index"].tolist()]


def test_validation_pictures_are_resized_and_normalised_as_documented(small_list: Path) -> None:
    loader = parsed(small_list, image_size=20, num_workers=0).get_parsed_content("validate#dataloader")
    batch = next(iter(loader))
    assert batch["index"].tolist() == list(range(27))
    grey = np.asarray(Image.open(small_list / "images" / "validation03.png"), dtype=np.float64)
    # 40 rows to 20: plain means of two rows; 48 columns to 20: adaptive means; packed as whole grey values
    edges = [(int(np.floor(c * 48 / 20)), int(np.ceil((c + 1) * 48 / 20))) for c in range(20)]
    small = np.array([[grey[2 * r : 2 * r + 2, a:b].mean() for a, b in edges] for r in range(20)])
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        assert np.allclose(batch["image"][3, channel], (small.round() / 255 - mean) / deviation, atol=1e-5)


def test_weights_are_a_plain_state_dict(trained: tuple[Path, str]) -> None:
    state = torch.load(trained[0] / "model.pt", weights_only=True)
    assert state["fc.weight"].shape == (20, 512)


def test_the_run_writes_nothing_into_the_bundle(trained: tuple[Path, str]) -> None:
    assert {path.name for path in BUNDLE.iterdir()} == {"LICENSE", "configs", "docs"}


def test_evaluation_agrees_with_the_validation_of_training(
    trained: tuple[Path, str], small_list: Path, tmp_path: Path
) -> None:
    run, out = trained[0], tmp_path / "evaluated"
    words = ("--dataset_dir", str(small_list), "--weights", str(run / "model.pt"), "--output_dir", str(out))
    words = (*words, "--batch_size", "20", "--num_workers", "0")  # the size of the pictures is the run's
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate"), *words, "--split", "val")
    assert status == 0, printed
    for name in ("metrics.json", "predictions.csv"):
        assert (out / name).read_bytes() == (run / name).read_bytes()


def test_two_processes_and_one_give_the_same_numbers(
    trained: tuple[Path, str], small_list: Path, tmp_path: Path
) -> None:
    words = ("--dataset_dir", str(small_list), "--weights", str(trained[0] / "model.pt"), "--split", "test", *SMALL)
    out = ("--output_dir", str(tmp_path / "2"))
    names = config("train", "multi_gpu_train", "evaluate")
    status, printed = together("run", "--config_file", names, *words, *out, log=tmp_path / "log")
    assert status == 0, printed
    out = ("--output_dir", str(tmp_path / "1"))
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate"), *words, *out)
    assert status == 0, printed
    one, two = (probabilities(rows(tmp_path / count / "predictions.csv")) for count in "12")
    assert one.shape == (5, 20)  # two processes have three and two images
    assert np.allclose(one, two, atol=1e-6)
    of_one, of_two = (json.loads((tmp_path / count / "metrics.json").read_text()) for count in "12")
    assert of_one == pytest.approx(of_two, nan_ok=True)


def test_two_processes_train_with_gloo(small_list: Path, tmp_path: Path) -> None:
    words = ("--dataset_dir", str(small_list), "--output_dir", str(tmp_path / "run"), *SMALL)
    status, printed = bundle("run", "--config_file", config("train", "multi_gpu_train"), *words, processes=2)
    assert status == 0, printed
    assert len(rows(tmp_path / "run" / "predictions.csv")) == 27
    assert printed.count("best epoch 1 of 1") == 1
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)
    # the saved network is the validated one, batch norm's running statistics included
    words = ("--dataset_dir", str(small_list), "--weights", str(tmp_path / "run" / "model.pt"), *SMALL)
    evaluate = ("--split", "validation", "--output_dir", str(tmp_path / "alone"))
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate"), *words, *evaluate)
    assert status == 0, printed
    alone, together = (probabilities(rows(tmp_path / name / "predictions.csv")) for name in ("alone", "run"))
    assert np.allclose(alone, together, atol=1e-5)
    of_one, of_two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "run"))
    assert of_one == pytest.approx(of_two, abs=0.02)  # the last bits of two equal probabilities change their ranks
    assert "val_accuracy" in of_one


def save_dicom(pixels: np.ndarray, path: Path, photometric: str = "MONOCHROME2") -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "DX"
    dataset.PatientName = "Secret^Person"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_inference_reads_every_format_and_agrees_with_evaluation(
    trained: tuple[Path, str], small_list: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in" / "deeper"
    source.mkdir(parents=True)
    shutil.copy(small_list / "images" / "validation00.png", source / "a.png")
    pixels = np.asarray(Image.open(source / "a.png"))
    Image.fromarray(pixels).save(source / "b.jpg", quality=95)
    save_dicom(pixels, source / "c.dcm")
    save_dicom(255 - pixels, source / "no_extension", "MONOCHROME1")
    hu = np.random.default_rng(0).normal(0, 300, (20, 24, 3)).astype(np.int16)
    hu[0] = -1000
    nib.save(nib.Nifti1Image(hu, np.diag([1, 1, 3, 1])), source / "volume.nii.gz")
    (source / "notes.txt").write_text("not a picture")
    (source / "cut.png").write_bytes((source / "a.png").read_bytes()[:60])
    out = tmp_path / "out"
    words = ("--input", str(tmp_path / "in"), "--weights", str(trained[0] / "model.pt"), "--output_dir", str(out))
    status, printed = bundle_here("run", "--config_file", config("inference"), *words, "--image_size", "32", *CPU)
    assert status == 3, printed
    assert printed.strip().splitlines()[-1].startswith("1 of 8 pictures cannot be used")
    assert [row["file"] for row in rows(out / "rejected.csv")] == ["deeper/cut.png"]
    assert str(tmp_path) not in (out / "rejected.csv").read_text()
    table = rows(out / "predictions.csv")
    assert list(table[0]) == ["image", "patient", "split", *PROBABILITIES]
    assert [row["image"] for row in table] == [
        *("deeper/a.png", "deeper/b.jpg", "deeper/c.dcm", "deeper/no_extension"),
        *(f"deeper/volume.nii.gz#{index}" for index in range(3)),
    ]
    found = probabilities(table)
    evaluated = probabilities(rows(trained[0] / "predictions.csv"))[0]
    assert found[0] == pytest.approx(evaluated, abs=1e-5)
    assert found[3] == pytest.approx(found[2], abs=1e-5)
    assert "Secret" not in printed + (out / "predictions.csv").read_text()


def test_multi_hot_lists_train_with_binary_cross_entropy(small_list: Path, tmp_path: Path) -> None:
    folder = tmp_path / "multi"
    shutil.copytree(small_list, folder)
    listed = datalist.read(folder)
    for _, entry in listed:
        entry["label"] = [int(c in (entry["label"], (entry["label"] + 1) % 20)) for c in range(20)]
    datalist.write(listed, folder)
    words = ("--dataset_dir", str(folder), "--output_dir", str(tmp_path / "run"), "--key_metric", "auc", *SMALL)
    status, printed = bundle_here("run", "--config_file", TRAIN, *words)
    assert status == 0, printed
    assert rows(tmp_path / "run" / "predictions.csv")[0]["label"] == "0;1"
    metrics = set(json.loads((tmp_path / "run" / "metrics.json").read_text()))
    means = ("val_auc", "val_auc_micro", "val_accuracy", "val_average_precision", "val_average_precision_micro")
    findings = {f"val_{kind}_{name}" for kind in ("auc", "average_precision") for name in listed.classes}
    there = {name for name in metrics if not name.endswith(("_lo", "_hi"))}
    assert there >= set(means)
    assert there - set(means) <= findings  # a finding that no image of the split shows has no figure


def test_pictures_one_by_one_through_monais_transforms_train_too(small_list: Path, tmp_path: Path) -> None:
    words = ("--dataset_dir", str(small_list), "--output_dir", str(tmp_path / "run"), *SMALL)
    names = config("train", "per_image")
    status, printed = bundle_here("run", "--config_file", names, *words, "--learning_rate", "0.001")
    assert status == 0, printed
    words = ("--dataset_dir", str(small_list), "--weights", str(tmp_path / "run" / "model.pt"), *SMALL)
    out = ("--output_dir", str(tmp_path / "packed"))
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate"), *words, *out)
    assert status == 0, printed
    found = [probabilities(rows(tmp_path / name / "predictions.csv")) for name in ("run", "packed")]
    assert np.allclose(*found, atol=0.02)  # packing rounds the resized pixels to whole grey values
