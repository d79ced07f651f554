"""A mistake ends in one clear last line and the right exit status, whatever found it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle_runs import BUNDLE, ROOT, SMALL, bundle, bundle_here, config, draw, last_line

from data_prep.cpmid import CARD as CPMID
from medtl import datalist
from medtl.bundles.inspect import problems_of_bundle
from medtl.datalist import DataList
from medtl.errors import MedtlError
from medtl.files import file_hash

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Command:
    """``python -m monai.bundle WORDS`` inside this process: exit status, and the last line of what was printed."""

    def command(*words: str) -> tuple[int, str]:
        status, printed = bundle_here(*words, cwd=tmp_path)
        assert "Traceback" not in printed
        return status, last_line(printed)

    return command


def some_list(folder: Path, classes: tuple[str, ...] = CPMID.classes, label: object = 0) -> Path:
    pictures = {split: [{**draw(folder, f"{split}.png", 1, 0), "label": label}] for split in ("training", "validation")}
    datalist.write(DataList("set", classes, 1, "none", "", False, **pictures, test=[]), folder)
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--lrr", "0.5"), "--lrr 0.5: train.json has no id of that name; did you mean --learning_rate?"),
        (("--epoch", "3"), "--epoch 3: train.json has no id of that name; did you mean --epochs?"),
        (("--batch-sise=3",), "--batch_sise 3: train.json has no id of that name; did you mean --batch_size?"),
        (("--train#trainer#max_epoch", "3"), "did you mean --train#trainer#max_epochs?"),
        (("--qqq", "3"), "its ids stand at the top of the file"),
        (("--compile", "false"), "--compile false: expected True or False, spelt so"),
        (("--debug=no",), "--debug no: expected True or False, spelt so"),
        (("--train#trainer#decollate", "false"), "--train#trainer#decollate false: expected True or False"),
    ],
)
def test_misspelt_override_is_refused(run: Command, words: tuple[str, ...], expected: str) -> None:
    status, line = run("run", "--config_file", config("train"), *words)
    assert status == 2
    assert expected in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--epochs", "0"), "--epochs 0: expected a whole number of at least 1"),
        (("--epochs", "2.5"), "--epochs 2.5: expected a whole number"),
        (("--batch_size", "many"), "--batch_size many: expected a whole number"),
        (("--image_size", "8"), "--image_size 8: expected a whole number of at least 32"),
        (("--learning_rate", "-1"), "--learning_rate -1: expected a number above 0"),
        (("--momentum", "abc"), "--momentum abc: expected a number from 0"),
        (("--accumulate", "0"), "--accumulate 0: expected a whole number of at least 1"),
        (("--ema", "2"), "--ema 2: expected a number from 0 to below 1"),
        (("--ema", "True"), "--ema True: expected a number from 0 to below 1"),
        (("--mixup", "-1"), "--mixup -1: expected 0 or a number above it"),
        (("--mixup", "some"), "--mixup some: expected 0 or a number above it"),
        (("--key_metric", "acc"), "--key_metric acc is not one of auc"),
        (("--output_dir", "7"), "--output_dir 7: expected the name of a folder"),
        (("--device", "cuda:7"), "--device cuda:7 cannot be used"),
        (("--device", "abacus"), "--device abacus cannot be used"),
    ],
)
def test_number_that_cannot_be_is_refused(run: Command, words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    folder = some_list(tmp_path / "data")
    status, line = run("run", "--config_file", config("train"), "--dataset_dir", str(folder), *words)
    assert status == 2
    assert expected in line
    assert not (tmp_path / "runs").exists()


def test_wrong_data_is_refused_before_anything_is_written(run: Command, tmp_path: Path) -> None:
    other = some_list(tmp_path / "other", classes=("normal", "bacterial", "viral"))
    masks = some_list(tmp_path / "masks", label="mask.png")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "datalist.json").write_text("{")
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, status, words in (
        (Path("/nowhere"), 2, "--dataset_dir /nowhere: no such folder"),
        (empty, 2, "holds no datalist.json; make one with: python -m data_prep"),
        (other, 2, "has 3 classes (normal, bacterial, viral); this bundle has 20"),
        (masks, 2, "is for segmentation; this bundle does classification"),
        (broken, 1, "is not valid JSON"),
    ):
        found, line = run("run", "--config_file", config("train"), "--dataset_dir", str(folder))
        assert (found, words in line) == (status, True), line
    assert not (tmp_path / "runs").exists()


def test_folder_that_holds_a_run_is_refused(run: Command, tmp_path: Path) -> None:
    folder = some_list(tmp_path / "data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    words = ("--dataset_dir", str(folder), "--output_dir", str(tmp_path / "run"), *SMALL, "--image_size", "64")
    status, line = run("run", "--config_file", config("train"), *words)
    assert status == 2
    assert "holds another run" in line
    assert (tmp_path / "run" / "run.json").read_text() == "{}"


def test_wrong_weights_and_splits_are_told(run: Command, tmp_path: Path) -> None:
    folder = some_list(tmp_path / "data")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    evaluate = ("run", "--config_file", config("train", "evaluate"), "--dataset_dir", str(folder), *SMALL)
    for words, status, expected in (
        ((), 2, "--weights is missing"),
        (("--weights", "/nowhere.pt"), 2, "--weights /nowhere.pt: no such file"),
        (("--weights", str(tmp_path / "junk.pt")), 1, "is not a readable file of tensors"),
        (("--weights", str(tmp_path / "other.pt")), 1, "are not of this network"),
        (("--weights", "x.pt", "--split", "test"), 2, "has no entries in its test split"),
        (("--weights", "x.pt", "--split", "exam"), 2, "is not one of train, val, test"),
    ):
        found, line = run(*evaluate, *words)
        assert (found, expected in line) == (status, True), line


def test_inference_says_what_it_needs(run: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, expected in (
        ((), "--input is missing"),
        (("--input", "/nowhere"), "--weights is missing"),
        (("--inputs", "/nowhere"), "did you mean --input?"),
    ):
        status, line = run("run", "--config_file", config("inference"), *words)
        assert (status, expected in line) == (2, True), line


def few(folder: Path) -> Path:
    """Folder of a data list with four training and four validation pictures."""
    pictures = {
        split: [draw(folder, f"{split}{n}.png", n, len(split)) for n in range(4)]
        for split in ("training", "validation")
    }
    datalist.write(DataList("cpmid", CPMID.classes, 1, "none", "", False, **pictures, test=[]), folder)
    return folder


@pytest.mark.parametrize("overlay", [(), ("per_image",)])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_damaged_picture_is_named(run: Command, overlay: tuple[str, ...], workers: str, tmp_path: Path) -> None:
    folder = few(tmp_path / "data")
    damaged = folder / "images" / "training2.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    listed = datalist.read(folder)
    listed.training[2]["sha256"] = file_hash(damaged)  # the data list was made when it was damaged already
    datalist.write(listed, folder)
    words = ("--dataset_dir", str(folder), "--output_dir", str(tmp_path / "run"), *SMALL, "--num_workers", workers)
    status, line = run("run", "--config_file", config("train", *overlay), *words)
    assert (status, line) == (1, f"error: {damaged} is not a readable image, or is cut short")


@pytest.mark.parametrize("name", ["training2.png", "validation0.png"])
def test_picture_that_is_missing_or_another_is_named(run: Command, name: str, tmp_path: Path) -> None:
    folder = few(tmp_path / "data")
    picture = folder / "images" / name
    words = ("run", "--config_file", config("train"), "--dataset_dir", str(folder), *SMALL, "--output_dir")
    picture.write_bytes((folder / "images" / "training1.png").read_bytes())
    status, line = run(*words, str(tmp_path / "one"))
    assert (status, line.split(" (")[0]) == (1, f"error: {picture} is not the file that the data list names")
    picture.unlink()
    assert run(*words, str(tmp_path / "two")) == (1, f"error: {picture} is missing")


def test_network_that_refuses_its_size_is_one_line_before_a_folder_is_made(tmp_path: Path) -> None:
    folder = some_list(tmp_path / "data")
    vit = config("train", folder=ROOT / "bundles" / "cpmid_vit_b16")
    words = ("--dataset_dir", str(folder), "--output_dir", str(tmp_path / "run"), *SMALL, "--image_size", "50")
    status, printed = bundle("run", "--config_file", vit, *words)
    assert status == 2
    last = printed.strip().splitlines()[-1]
    assert last == "error: image_size 50: vit_b16 needs a multiple of 16, at least 32; nearest: 48 or 64"
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_overrides_in_an_args_file_are_checked_too(run: Command, tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text(json.dumps({"config_file": config("train"), "lrr": 3}))
    status, line = run("run", "--args_file", str(tmp_path / "args.json"))
    assert status == 2
    assert "did you mean --learning_rate?" in line


def test_training_that_diverges_is_told(run: Command, tmp_path: Path) -> None:
    folder = few(tmp_path / "data")
    words = ("--dataset_dir", str(folder), "--output_dir", str(tmp_path / "run"), *SMALL, "--batch_size", "2")
    status, line = run("run", "--config_file", config("train"), *words, "--learning_rate", "1e30")
    assert status == 1
    assert re.fullmatch(
        r"error: the loss is (nan|inf) at iteration \d, training images images/training\d\.png, "
        r"images/training\d\.png: take a smaller --learning_rate, .*",
        line,
    )


def test_traceback_is_shown_when_asked_for(tmp_path: Path) -> None:
    words = ("--dataset_dir", "/nowhere", "--debug", "true")
    status, printed = bundle_here("run", "--config_file", config("train"), *words, cwd=tmp_path)
    assert status == 2
    assert "Traceback" in printed
    assert "UsageError: --dataset_dir /nowhere" in printed


def test_check_explains_configs_that_monai_cannot_read(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    train = copy / "configs" / "train.json"
    content = json.loads(train.read_text())
    content["unread"] = 1
    content["optimizer"]["lr"] = "@learning_rat"
    train.write_text(json.dumps(content))
    metadata = json.loads((copy / "configs" / "metadata.json").read_text())
    metadata["version"] = "one"
    del metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
    (copy / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (copy / "LICENSE").unlink()
    text = "\n".join(problems_of_bundle(copy)[1])
    assert "LICENSE is missing" in text
    assert "nothing reads the id 'unread'" in text
    assert "@learning_rat names no id" in text
    assert "metadata.json version" in text
    assert "'num_channels' is a required property" in text
    (copy / "configs" / "evaluate.json").write_text('{"weights": "",}')
    text = "\n".join(problems_of_bundle(copy)[1])
    assert "configs/evaluate.json line 1" in text
    assert "nothing reads" not in text


def test_every_bundle_of_the_repository_is_sound() -> None:
    for folder in sorted((ROOT / "bundles").glob("[!_]*")):
        assert problems_of_bundle(folder)[1] == [], folder.name


def test_weights_must_agree_in_every_name_and_shape(tmp_path: Path) -> None:
    from medtl.weights.load import load_exactly
    from medtl.weights.read import read_state_dict

    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = network.state_dict()
    torch.save(state, tmp_path / "good.pt")
    load_exactly(network, str(tmp_path / "good.pt"))
    torch.save({**state, "0.weight": torch.zeros(2, 4)}, tmp_path / "shape.pt")
    with pytest.raises(MedtlError, match=r"shape\.pt are not of this network"):
        load_exactly(network, str(tmp_path / "shape.pt"))
    torch.save({"state": print}, tmp_path / "code.pt")
    with pytest.raises(MedtlError, match=r"holds code that names .*print, .*nothing of it was run"):
        read_state_dict(tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(MedtlError, match="no plain state dict"):
        read_state_dict(tmp_path / "list.pt")
