"""CHASE_DB1 and TNBC: pictures with masks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import chase_db1, tnbc
from medtl.integrity import problems_of_data
from medtl.writers.images import write_png

Prep = Callable[..., Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    chase_db1.make_sample(folder / "chase_db1")
    tnbc.make_sample(folder / "tnbc")
    return folder


def test_children_stay_in_one_split_and_the_first_observer_is_taken(drawn: Path, prep: Prep, tmp_path: Path) -> None:
    shutil.copytree(drawn / "chase_db1", tmp_path / "raw")
    second = next((tmp_path / "raw").rglob("Image_03L_2ndHO.png"))
    write_png(second, np.zeros((96, 96), np.uint8))
    ended = prep("chase_db1", "--raw", tmp_path / "raw")
    assert ended.status == 0
    listed = ended.listed
    assert [len(listed[split]) for split in ("training", "validation", "test")] == [16, 4, 8]
    assert listed["classes"] == ["vessel"]
    children = [{entry["patient"] for entry in listed[split]} for split in ("training", "validation", "test")]
    assert not children[0] & children[1]
    assert not children[0] & children[2]
    entry = next(entry for entry in listed["training"] if entry["case"].endswith("03L"))
    with Image.open(second.with_name("Image_03L_1stHO.png")) as first, Image.open(ended.folder / entry["label"]) as own:
        assert (np.asarray(own) == np.asarray(first).astype(np.uint8)).all()
    assert problems_of_data(ended.folder)[1] == []


def test_slides_are_dealt_whole_and_instances_are_one_class(drawn: Path, prep: Prep) -> None:
    ended = prep("tnbc", "--raw", drawn / "tnbc")
    assert ended.status == 0
    slides = [{entry["patient"] for entry in ended.listed[split]} for split in ("training", "validation", "test")]
    assert len(set.union(*slides)) == sum(map(len, slides)) == 11
    entry = ended.listed["test"][0]
    with Image.open(ended.folder / entry["label"]) as mask:
        assert set(np.unique(np.asarray(mask))) == {0, 1}


@pytest.mark.parametrize("name", ["chase_db1", "tnbc"])
def test_what_has_no_partner_or_another_size_is_named(name: str, drawn: Path, prep: Prep, tmp_path: Path) -> None:
    shutil.copytree(drawn / name, tmp_path / "raw")
    words = {"chase_db1": ("Image_01L_1stHO.png", "Image_02R.jpg", "Image_04R_1stHO.png")}
    words["tnbc"] = ("labels_instance/01_1_label.png", "images/02_1.png", "labels_instance/03_1_label.png")
    masks, picture, other = (next((tmp_path / "raw").rglob(word)) for word in words[name])
    masks.unlink()
    picture.unlink()
    write_png(other, np.ones((40, 40), np.uint8))
    ended = prep(name, "--raw", tmp_path / "raw")
    assert ended.status == 3
    reasons = sorted(reason for _, reason in ended.rejected)
    assert len(reasons) == 3
    assert sum("without its picture" in reason for reason in reasons) == 1
    assert sum("has no mask" in reason for reason in reasons) == 1
    assert sum("(40, 40)" in reason for reason in reasons) == 1


@pytest.mark.parametrize(("name", "pictures"), [("chase_db1", 28), ("tnbc", 50)])
def test_real_pictures(name: str, pictures: int, prep: Prep, shared_data: Path) -> None:
    ended = prep(name, "--raw", shared_data / name)
    assert ended.status == 0
    assert sum(len(ended.listed[split]) for split in ("training", "validation", "test")) == pictures
