"""The bundle medtl_mini_resnet18: pretraining by any method, whose trunk others start from."""

import itertools
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config, last_line, rows
from fine_tune_lists import CLASSES, SIZES, some_list
from monai.bundle import ConfigParser, verify_net_in_out
from resume_runs import differences, iteration, together

from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.pretraining import batches
from medtl.transforms.batch import BatchTransform
from medtl.weights.card import WeightsCard
from medtl.weights.starts import apply, resolve

pytestmark = pytest.mark.slow

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
    assert not any(name.startswith(("module.", "network.", "heads.")) for name in state)
    assert state["fc.weight"].shape == (3, 512)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["classes"] == list(MIXED)
    assert (record["recipe"]["method"], record["recipe"]["init"]) == ("supervised+simclr", "random")
    assert record["start"]["init"] == "random"
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


def run_of(data: Path, out: Path, method: str, *words: str) -> tuple[int, str]:
    """Exit status of a run by some method, and what it printed."""
    told = ("--dataset_dir", str(data), "--output_dir", str(out), "--method", method, *SMALL, *CPU, *words)
    return bundle_here("run", "--config_file", config("train", folder=MINI), *told)


def pretrained(data: Path, out: Path, method: str, *words: str) -> str:
    """What a run that ended well printed."""
    status, printed = run_of(data, out, method, *words)
    assert status == 0, printed
    return printed


def initial() -> dict[str, torch.Tensor]:
    """The classifier with which a run of seed 0 begins."""
    torch.manual_seed(0)
    return build_classifier("resnet18", 3, image_size=32).state_dict()


@pytest.mark.parametrize("method", ["simclr", "jigsaw(permutations=20)", "context", "masked"])
def test_without_labels_the_last_epoch_is_kept_with_a_head_as_it_was(
    method: str, trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    """No metric is asked, and the run says so; the rest of the trunk has learnt."""
    printed = pretrained(trained[0], tmp_path / "run", method, "--epochs", "3", "--learning_rate", "0.01")
    assert last_line(printed).startswith("last epoch 3 of 3, kept whatever its val_accuracy (0.")
    assert "the classifier's head stays random" in printed
    assert ("chance 1/20 = 0.05, loss of guessing 2.996" in printed) == method.startswith("jigsaw")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 3
    checkpoint = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))[-1]
    last = torch.load(checkpoint, weights_only=True)["network"]
    kept = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(torch.equal(kept[name], last[f"network.{name}"]) for name in kept)
    first = initial()
    same = {name for name in kept if torch.equal(kept[name], first[name])}
    assert same == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("method", ["supervised+simclr", "jigsaw(permutations=20)", "supervised+0.1*context+masked"])
def test_a_run_that_is_told_to_stop_goes_on_to_the_same_bits(
    method: str, trained: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of the second of three epochs."""
    whole, cut, longer = tmp_path / "whole", tmp_path / "cut", ("--epochs", "3", "--learning_rate", "0.01")
    pretrained(trained[0], whole, method, *longer)
    turns = itertools.count(1)
    prepare = batches.prepare

    def stopping(*args: Any, **options: Any) -> Any:
        if next(turns) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return prepare(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "prepare", stopping)
        assert run_of(trained[0], cut, method, *longer)[0] == 75
    (cut / "checkpoints" / ".lock").unlink()  # this process, which has not ended, still holds it
    assert iteration(cut) == 3
    assert "going on from" in pretrained(trained[0], cut, method, *longer, "--resume", "auto")
    for name in ("predictions.csv", "history.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("model.pt", "checkpoints/epoch_0003.pt"):
        one, other = (torch.load(folder / name, weights_only=True) for folder in (whole, cut))
        assert set(differences(one, other)) <= {".record.seconds"}


@pytest.mark.parametrize("method", ["jigsaw(permutations=20)", "context"])
def test_two_processes_train_one_network_where_parameters_have_no_part(
    method: str, trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    words = ("--dataset_dir", str(trained[0]), "--output_dir", str(tmp_path / "run"), *SMALL, *CPU, "--method", method)
    names = config("train", "multi_gpu_train", folder=MINI)
    status, printed = together("run", "--config_file", names, *words, log=tmp_path / "log")
    assert status == 0, printed
    assert printed.count("last epoch 2 of 2") == printed.count("the classifier's head stays random") == 1


def test_it_starts_from_a_run_which_is_recorded(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Learning at a rate of nearly nothing shows where it began."""
    data, run, _ = trained
    printed = pretrained(
        data, tmp_path / "run", "context", "--init", str(run), "--epochs", "1", "--learning_rate", "1e-12"
    )
    assert "100.0 % of the trunk's parameters loaded" in printed
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"]["init"] == str(run)
    assert record["start"]["coverage"] == 1.0
    assert record["start"]["sha256"] == file_hash(run / "model.pt")
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (run, tmp_path / "run"))
    torch.testing.assert_close(after["layer1.0.conv1.weight"], before["layer1.0.conv1.weight"], rtol=0, atol=1e-6)
    assert not torch.equal(after["fc.weight"], before["fc.weight"])  # a start is a trunk


def test_a_run_without_labels_is_released_and_fine_tuned_from(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    pretrained(trained[0], tmp_path / "run", "jigsaw(permutations=20)", "--epochs", "1")
    released = release(tmp_path / "run", tmp_path / "released")
    assert released.card.recipe["method"] == "jigsaw(permutations=20)"
    assert released.card.start["init"] == "random"
    tb = some_list(tmp_path / "data", CLASSES["tb"])
    for start in (tmp_path / "run", tmp_path / "released"):
        out = tmp_path / f"from_{start.name}"
        words = ("--dataset_dir", str(tb), "--output_dir", str(out), *SMALL, "--device", "cpu", "--epochs", "1")
        names = config("train", folder=ROOT / "bundles" / "tb")
        status, printed = bundle_here("run", "--config_file", names, *words, "--init", str(start))
        assert status == 0, printed
        assert json.loads((out / "run.json").read_text())["start"]["coverage"] == 1.0


def test_a_method_of_ones_own_is_one_file(
    trained: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that the documents show."""
    document = (ROOT / "docs" / "adding_a_pretraining_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "rotation.py").write_text(code)
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path))
    printed = pretrained(trained[0], tmp_path / "run", "rotation(width=16)+0.5*supervised", "--epochs", "1")
    assert "method: rotation (labels are not looked at): by which quarter turns" in printed
    kept = torch.load(tmp_path / "run" / "checkpoints" / "epoch_0001.pt", weights_only=True)["network"]
    assert kept["heads.rotation.2.weight"].shape == (4, 16)
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert not any("rotation" in name for name in state)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("--method", "simclrr"),
            "error: --method simclrr: simclrr is not one of context, jigsaw, masked, simclr, supervised;",
        ),
        (
            ("--method", "jigsaw", "--backbone", "vit_b16"),
            "error: --method jigsaw: vit_b16 takes no tiles of 32 pixels",
        ),
        (("--init", "nothing"), "error: --init nothing: no such file or folder"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], reason: str, trained: tuple[Path, Path, str]) -> None:
    told = ("--dataset_dir", str(trained[0]), *SMALL, *CPU, "--image_size", "48", *words)
    status, printed = bundle_here("run", "--config_file", config("train", folder=MINI), *told)
    assert (status, last_line(printed).startswith(reason)) == (2, True), printed


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
    one = BatchTransform(
        rotate=0.26, scale=0, translate=0, crop=0.2, brightness=0.3, contrast=0.4, gamma=0.3, channels_last=True
    )
    images = torch.from_numpy(loader.dataset.images)[batch["index"]]
    torch.testing.assert_close(batch["image"][:8], one(images, batch["index"], 0))


def test_the_weights_in_the_repository_are_those_of_their_card() -> None:
    card = WeightsCard.from_json((MINI / "card.json").read_text(encoding="utf-8"))
    file = MINI / "models" / "model.pt"
    assert card.sha256 == {"models/model.pt": file_hash(file)}
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
    stored = torch.load(MINI / "models" / "model.pt", weights_only=True)
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
