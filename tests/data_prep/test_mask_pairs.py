"""DRIVE, STARE, HRF, Drishti-GS1, REFUGE, ADE20K and BUSI's lesions: pictures with masks whose names say what they
are."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import ade20k, busi
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow

Prep = Callable[..., Any]
SPLITS = ("training", "validation", "test")
# pictures a split of the drawn samples, and the classes
SETS = {
    "drive": ((16, 4, 20), ["vessel"]),
    "stare": ((12, 3, 5), ["vessel"]),
    "hrf": ((14, 4, 6), ["vessel"]),
    "drishti": ((14, 2, 8), ["disc", "cup"]),
    "refuge": ((16, 8, 8), ["disc", "cup"]),
}


def draw(name: str, folder: Path) -> Path:
    folder.mkdir()
    importlib.import_module(f"data_prep.{name}").make_sample(folder)
    return folder


def mask_of(ended: Any, case: str) -> np.ndarray:
    entries = [entry for split in SPLITS for entry in ended.listed[split]]
    (entry,) = (entry for entry in entries if Path(entry["case"]).name == case)
    with Image.open(ended.folder / entry["label"]) as mask:
        return np.asarray(mask)


@pytest.mark.parametrize("name", SETS)
def test_official_layouts(name: str, prep: Prep, tmp_path: Path) -> None:
    raw = draw(name, tmp_path / "raw")
    ended = prep(name, "--raw", raw)
    assert ended.status == 0
    assert "never tried on real files" in ended.err
    counts, classes = SETS[name]
    assert tuple(len(ended.listed[split]) for split in SPLITS) == counts
    assert ended.listed["classes"] == classes
    whose = [{entry["patient"] for entry in ended.listed[split]} for split in SPLITS]
    assert len(set.union(*whose)) == sum(map(len, whose)) == sum(counts)
    found = {
        int(value)
        for split in SPLITS
        for entry in ended.listed[split]
        for value in np.unique(mask_of(ended, Path(entry["case"]).name))
    }
    assert found == set(range(len(classes) + 1))
    assert problems_of_data(ended.folder)[1] == []


@pytest.mark.parametrize(
    ("name", "mask", "picture"),
    [
        ("drive", "23_manual1.gif", "24_training.tif"),
        ("stare", "im0003.ah.ppm", "im0004.ppm"),
        ("hrf", "manual1/03_dr.tif", "04_g.jpg"),
        ("drishti", "drishtiGS_010_cupsegSoftmap.png", "drishtiGS_011.png"),
        ("refuge", "Disc_Cup_Masks/n0003.bmp", "V0004.jpg"),
    ],
)
def test_what_has_no_partner_is_named(name: str, mask: str, picture: str, prep: Prep, tmp_path: Path) -> None:
    raw = draw(name, tmp_path / "raw")
    for word in (mask, picture):
        next(raw.rglob(word)).unlink()
    ended = prep(name, "--raw", raw)
    assert ended.status == 3
    assert sum(len(ended.listed[split]) for split in SPLITS) == sum(SETS[name][0]) - 2
    reasons = [reason for _, reason in ended.rejected]
    masks = 2 if name == "drishti" else 1
    assert sum("has no" in reason for reason in reasons) == 1
    assert sum("without its picture" in reason for reason in reasons) == masks == len(reasons) - 1


def test_vessels_are_the_first_observers(prep: Prep, tmp_path: Path) -> None:
    raw = draw("stare", tmp_path / "raw")
    truth = np.zeros((96, 96), np.uint8)
    truth[10:20, 30:50] = 255
    Image.fromarray(truth).save(raw / "labels-ah" / "im0002.ah.ppm")
    ended = prep("stare", "--raw", raw)
    assert np.array_equal(mask_of(ended, "im0002"), truth // 255)


def test_more_than_half_of_the_experts_make_a_disc(prep: Prep, tmp_path: Path) -> None:
    """Soft maps hold a quarter of 255 for each of four experts; the cup lies above the disc."""
    raw = draw("drishti", tmp_path / "raw")
    experts = np.arange(96 * 96).reshape(96, 96) % 5
    maps = raw / "Training" / "GT" / "drishtiGS_012" / "SoftMap"
    Image.fromarray((255 * experts // 4).astype(np.uint8)).save(maps / "drishtiGS_012_ODsegSoftmap.png")
    cup = np.zeros((96, 96), np.uint8)
    cup[:, :10] = 255
    Image.fromarray(cup).save(maps / "drishtiGS_012_cupsegSoftmap.png")
    expected = np.where(experts >= 3, 1, 0)
    expected[:, :10] = 2
    assert np.array_equal(mask_of(prep("drishti", "--raw", raw), "drishtiGS_012"), expected)


def test_the_darkest_value_is_the_cup(prep: Prep, tmp_path: Path) -> None:
    raw = draw("refuge", tmp_path / "raw")
    masks = raw / "Annotation-Training400" / "Disc_Cup_Masks"
    indices = np.random.default_rng(0).integers(0, 3, (96, 96))
    Image.fromarray(np.array([255, 128, 0], np.uint8)[indices]).save(masks / "g0002.bmp")
    Image.fromarray(np.array([255, 127, 0], np.uint8)[indices]).save(masks / "g0003.bmp")
    ended = prep("refuge", "--raw", raw)
    assert ended.status == 3
    assert np.array_equal(mask_of(ended, "g0002"), indices)
    ((file, reason),) = ended.rejected
    assert file.endswith("g0003.jpg")
    assert "value 127" in reason


def test_scene_parsing_keeps_the_released_classes_and_validation(prep: Prep, tmp_path: Path) -> None:
    raw = draw("ade20k", tmp_path / "raw")
    top = raw / "ADEChallengeData2016"
    truth = np.random.default_rng(0).integers(0, 151, (64, 96), dtype=np.uint8)  # 0 is what nobody named
    Image.fromarray(truth).save(top / "annotations" / "training" / "ADE_train_00000002.png")
    Image.fromarray(truth + 1).save(top / "annotations" / "training" / "ADE_train_00000003.png")
    (top / "annotations" / "training" / "ADE_train_00000004.png").unlink()
    ended = prep("ade20k", "--raw", top)
    assert ended.status == 3
    assert "never tried on real files" in ended.err
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert set(reasons) == {"ADE_train_00000003.jpg", "ADE_train_00000004.jpg"}
    assert "value 151" in reasons["ADE_train_00000003.jpg"]
    assert reasons["ADE_train_00000004.jpg"] == "has no mask"
    assert len(ended.listed["classes"]) == len(set(ade20k.CARD.classes)) == 150
    assert np.array_equal(mask_of(ended, "ADE_train_00000002"), truth)
    assert {Path(entry["case"]).name for entry in ended.listed["test"]} == {f"ADE_val_{k:08d}" for k in range(1, 7)}
    assert len(ended.listed["training"]) + len(ended.listed["validation"]) == 22
    flag = ended.listed["classes"].index("flag") + 1
    assert (mask_of(ended, "ADE_val_00000001") == flag).sum() == 10 * 18
    assert problems_of_data(ended.folder)[1] == []


def test_lesions_are_joined_and_equal_pictures_stay_together(prep: Prep, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    busi.make_sample(raw)
    folder = raw / "Dataset_BUSI_with_GT"
    for number in (3, 4):  # benign (3) and (4) are the same file
        (folder / "benign" / f"benign ({number}).png").write_bytes((folder / "benign" / "benign (3).png").read_bytes())
    ended = prep("busi", "--task", "segmentation", "--raw", raw)
    assert ended.status == 0
    assert ended.listed["task"] == "segmentation"
    assert ended.listed["classes"] == ["lesion"]
    assert sum(len(ended.listed[split]) for split in SPLITS) == 96
    one, other = (np.asarray(Image.open(folder / "benign" / f"benign (1)_{word}.png")) for word in ("mask", "mask_1"))
    assert np.array_equal(mask_of(ended, "benign (1)"), (one > 0) | (other > 0))
    assert not mask_of(ended, "normal (5)").any()
    cases = [{Path(entry["case"]).name for entry in ended.listed[split]} for split in SPLITS]
    assert sum({"benign (3)", "benign (4)"} <= split for split in cases) == 1
    without = prep("busi", "--task", "segmentation", "--normals", "left-out", "--raw", raw, "--out", tmp_path / "b")
    assert sum(len(without.listed[split]) for split in SPLITS) == 80


def test_real_lesions(prep: Prep, shared_data: Path) -> None:
    ended = prep("busi", "--task", "segmentation", "--raw", shared_data / "busi")
    assert ended.status == 0
    for split in SPLITS:
        assert ended.listed[split]
        for entry in ended.listed[split]:
            assert mask_of(ended, Path(entry["case"]).name).any() == ("normal" not in entry["case"])
