"""What a run says before it begins."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medtl.bundles import begin, handlers
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.data.packed import Packed
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.weights.starts import Start


def entry(name: str, patient: str) -> dict:
    return {"image": name, "label": 0, "patient": patient, "source": "set", "sha256": name}


@pytest.mark.parametrize(
    ("test", "warned"),
    [([entry("3.png", "c")], []), ([entry("3.png", "a")], ["patient"]), ([entry("1.png", "a")], ["patient", "image"])],
)
def test_a_leak_of_the_data_list_is_told_and_not_refused(
    test: list, warned: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"training": [entry("1.png", "a")], "validation": [entry("2.png", "b")], "test": test}
    about = {"name": "set", "classes": ("x", "y"), "channels": 1, "licence": "", "created_by": "", "sample": False}
    begin.announce_data(DataList(**about, **parts, folder=tmp_path))
    first, *others = capsys.readouterr().err.splitlines()
    assert first == f"data: set in {tmp_path}; 1 training, 1 validation, 1 test"
    assert len(others) == len(warned)
    for line, what in zip(others, warned, strict=True):
        assert line.startswith(f"warning: {tmp_path / 'datalist.json'}: 1 ")
        assert f"{what}(s) in more than one split" in line


def listed_of(count: int, folder: Path) -> DataList:
    about = {"name": "set", "classes": ("x", "y"), "channels": 1, "licence": "", "created_by": "", "sample": False}
    entries = [entry(f"{k}.png", str(k)) for k in range(count)]
    return DataList(**about, training=entries, validation=entries, test=[], folder=folder)


@pytest.mark.parametrize(
    ("images", "batch_size", "image_size", "backbone", "refused"),
    [
        (9, 1, 32, "resnet18", True),
        (1, 8, 32, "densenet121", True),
        (9, 1, 33, "resnet18", False),
        (9, 2, 32, "resnet18", False),
        (9, 1, 32, "vit_b16", False),
    ],
)
def test_what_batch_norm_cannot_train_is_told_before(
    images: int, batch_size: int, image_size: int, backbone: str, refused: bool, tmp_path: Path
) -> None:
    recipe = {"batch_size": batch_size, "image_size": image_size, "backbone": backbone, "device": "cpu"}
    if refused:
        with pytest.raises(UsageError, match="--image_size 32: of one image in a batch"):
            begin.check(listed_of(images, tmp_path), recipe, ["train", "val"])
    else:
        begin.check(listed_of(images, tmp_path), recipe, ["train", "val"])
    begin.check(listed_of(images, tmp_path), recipe, ["val"])


@pytest.mark.parametrize("number", ["x", -1, True, 2.5])
def test_a_number_of_explained_images_is_checked_before_training(number: object) -> None:
    with pytest.raises(UsageError, match=f"^--explain {number}: expected"):
        begin.check_explain(number)  # type: ignore[arg-type]


def test_a_class_may_be_called_by_a_number() -> None:
    assert begin.positive_index(1, ["0", "1"]) == 1  # type: ignore[arg-type]


def test_a_folder_named_like_a_number_is_asked_for_by_its_path() -> None:
    with pytest.raises(UsageError, match=r"--dataset_dir 202401: expected the name of a folder; write a number as \./"):
        begin.data(202401, None, ["classification"])  # type: ignore[arg-type]


def test_the_positive_class_is_the_configs_or_else_the_data_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"positive_class": None, "classes": ["a", "b"], "data": SimpleNamespace(positive="b")}
    monkeypatch.setattr(handlers.ids, "value", lambda id_, *usual: given.get(id_, *usual))
    monkeypatch.setattr(handlers.ids, "has", lambda id_: id_ in given)
    assert handlers.positive() == 1
    given["positive_class"] = "a"
    assert handlers.positive() == 0
    del given["positive_class"]  # a recipe that knows none
    assert handlers.positive() is None


@torch.no_grad()
def test_weights_that_contradict_what_is_stated_of_them_are_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    """A first batch norm that has seen these images as 0..255 does not fit a start that says ImageNet's mean and SD."""
    random = np.random.default_rng(2)
    images = (random.uniform(0, 255, (8, 1, 12, 12)) // 9 * 9).astype(np.uint8).repeat(8, 2).repeat(8, 3)
    data = Packed(images, torch.zeros(8))
    network = torch.nn.Sequential()
    network.conv1 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    network.bn1 = torch.nn.BatchNorm2d(16, momentum=None)
    seen = torch.nn.functional.interpolate(torch.from_numpy(images).float(), 64, mode="area").expand(-1, 3, -1, -1)
    network.train()(seen)
    start = Start("mine.pt", "resnet18", Path("mine.pt"), IMAGENET_MEAN, IMAGENET_STD, "", "0")
    begin.doubt_normalisation(network, start, data)
    line = capsys.readouterr().err
    assert line.startswith("warning: the weights' first batch norm does not know images of mean 0.485")
    assert "such as 0..255 gives" in line
    right = replace(start, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    begin.doubt_normalisation(network, right, data)
    begin.doubt_normalisation(network, start, object())
    assert capsys.readouterr().err == ""
