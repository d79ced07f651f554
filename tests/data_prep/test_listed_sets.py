"""Sets that are rows of pictures: BUSI, the COVID-19 database, RadImageNet and the tables of its authors."""

import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import busi, covid_radiography, radimagenet, thyroid
from medtl.integrity import problems_of_data
from medtl.writers.images import write_png

Prep = Callable[..., Any]


def noise(path: Path, seed: int, shape: tuple[int, int] = (40, 48)) -> None:
    """A picture like no other: coarse random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize(shape[::-1], Image.Resampling.BICUBIC)
    write_png(path, np.asarray(picture))


def half(path: Path, top: bool, shape: tuple[int, int] = (40, 48)) -> None:
    """A mask of the upper or the lower half."""
    mask = np.zeros(shape, np.uint8)
    mask[slice(None, 20) if top else slice(20, None)] = 255
    write_png(path, mask)


# BUSI


@pytest.fixture
def some_busi(tmp_path: Path) -> Path:
    root = tmp_path / "raw" / "Dataset_BUSI_with_GT"
    for number, kind in enumerate(("benign", "malignant", "normal") * 8):
        stem = root / kind / f"{kind} ({number})"
        noise(Path(f"{stem}.png"), number)
        half(Path(f"{stem}_mask.png"), top=True)
    return root.parent


def test_busi_joins_masks_and_files_normals_as_asked(some_busi: Path, prep: Prep, tmp_path: Path) -> None:
    half(some_busi / "Dataset_BUSI_with_GT" / "benign" / "benign (0)_mask_1.png", top=False)
    ended = prep("busi", "--raw", some_busi)
    assert ended.status == 0
    masks = {Path(entry["image"]).stem: np.asarray(Image.open(ended.folder / entry["mask"])) for entry in ended.entries}
    assert masks["benign (0)"].tolist() == np.ones((40, 48)).tolist()
    assert masks["benign (3)"].sum() == 20 * 48
    assert {entry["class"] for entry in ended.entries if "normal (" in entry["image"]} == {"normal_or_benign"}
    classes = {}
    for choice in ("class", "left-out"):
        other = prep("busi", "--raw", some_busi, "--normals", choice, "--out", tmp_path / choice)
        classes[choice] = {entry["class"] for entry in other.entries}
    assert classes == {"class": {"benign", "malignant", "normal"}, "left-out": {"benign", "malignant"}}


def test_busi_names_what_it_cannot_use(some_busi: Path, prep: Prep) -> None:
    place = some_busi / "Dataset_BUSI_with_GT"
    (place / "malignant" / "malignant (1)_mask.png").unlink()
    (place / "benign" / "benign (0).png").unlink()
    half(place / "benign" / "benign (3)_mask_1.png", top=True, shape=(30, 30))
    ended = prep("busi", "--raw", some_busi)
    assert ended.status == 3
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert "no mask" in reasons["malignant (1).png"]
    assert "without its picture" in reasons["benign (0)_mask.png"]
    assert "differ in size" in reasons["benign (3).png"]
    assert len(ended.entries) == 24 - 3


def test_a_copy_is_never_in_another_split(some_busi: Path, prep: Prep) -> None:
    place = some_busi / "Dataset_BUSI_with_GT" / "benign"
    with Image.open(place / "benign (0).png") as image:  # brighter and smaller, as near-duplicates are
        copy = image.resize((40, 34)).point(lambda grey: min(255, int(grey * 0.8 + 20)))
    copy.save(place / "benign (400).png")
    half(place / "benign (400)_mask.png", top=True, shape=(34, 40))
    for seed in range(6):
        ended = prep("busi", "--raw", some_busi, "--seed", seed, "--test-fraction", 0.4)
        where = {Path(entry["image"]).stem: (entry["split"], entry["patient"]) for entry in ended.entries}
        assert where["benign (0)"] == where["benign (400)"]


def test_real_busi(prep: Prep, shared_data: Path) -> None:
    ended = prep("busi", "--raw", shared_data / "busi")
    assert ended.status == 0
    assert len(ended.entries) == 75
    assert problems_of_data(ended.folder)[1] == []


# COVID-19 database


@pytest.fixture(scope="module")
def covid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("covid")
    covid_radiography.make_sample(folder)
    return folder


def test_lungs_are_blacked_out_or_kept_alone(covid: Path, prep: Prep, tmp_path: Path) -> None:
    shown = {}
    for choice in ("keep", "out", "only"):
        ended = prep("covid_radiography", "--raw", covid, "--mask-lungs", choice, "--out", tmp_path / choice)
        assert ended.status == 0
        shown[choice] = {entry["image"]: ended.picture(entry) for entry in ended.entries}
    name = "images/covid_radiography/COVID-19_Radiography_Dataset/COVID/images/COVID-1.png"
    lungs = np.asarray(Image.open(covid / "COVID-19_Radiography_Dataset" / "COVID" / "masks" / "COVID-1.png")) > 0
    assert (shown["out"][name] == np.where(lungs, 0, shown["keep"][name])).all()
    assert (shown["only"][name] == np.where(lungs, shown["keep"][name], 0)).all()
    assert len(shown["keep"]) == 112  # lung opacity is a fourth class, which was not asked for


def test_versions_are_recognised_and_classes_drawn(covid: Path, prep: Prep, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"covid": 40, "normal": 40, "viral_pneumonia": 32, "lung_opacity": 24}
    assert "no released version" in prep("covid_radiography", "--raw", covid).err
    monkeypatch.setitem(covid_radiography.VERSIONS, "version 3", counts)
    ended = prep("covid_radiography", "--raw", covid, "--classes", 4, "--balance", 20)
    assert "version 3" in ended.err
    assert [sum(entry["class"] == name for entry in ended.entries) for name in counts] == [20] * 4


def test_a_picture_without_its_mask_is_no_control(covid: Path, prep: Prep, tmp_path: Path) -> None:
    shutil.copytree(covid, tmp_path / "raw")
    (tmp_path / "raw" / "COVID-19_Radiography_Dataset" / "COVID" / "masks" / "COVID-7.png").unlink()
    ended = prep("covid_radiography", "--raw", tmp_path / "raw", "--mask-lungs", "out")
    assert ended.status == 3
    assert [(Path(file).name, "has no mask" in reason) for file, reason in ended.rejected] == [("COVID-7.png", True)]


def test_known_children_are_found_again(prep: Prep, tmp_path: Path) -> None:
    """The same pictures at another size, in another set whose patients are known: two of one child share a group."""
    for number in range(6):
        noise(tmp_path / "known" / "case" / f"p{number // 2}_{number}.png", number, (96, 96))
        noise(tmp_path / "known" / "other" / f"q{number}_{number}.png", 50 + number, (96, 96))
        with Image.open(tmp_path / "known" / "case" / f"p{number // 2}_{number}.png") as image:
            smaller = np.asarray(image.resize((80, 80), Image.Resampling.BILINEAR))
        write_png(tmp_path / "raw" / "Viral Pneumonia" / f"Viral Pneumonia-{number + 1}.png", smaller)
        noise(tmp_path / "raw" / "COVID" / f"COVID-{number + 1}.png", 100 + number)
        noise(tmp_path / "raw" / "Normal" / f"Normal-{number + 1}.png", 200 + number)
    known = prep("folder", "--raw", tmp_path / "known", "--patient-pattern", r"([pq]\d+)_", "--out", tmp_path / "list")
    patients = {Path(entry["image"]).stem: entry["patient"] for entry in known.entries}
    ended = prep("covid_radiography", "--raw", tmp_path / "raw", "--chestxray2017", known.folder)
    assert "6 viral_pneumonia" in ended.err
    groups = defaultdict(set)
    for entry in ended.entries:
        groups[entry["patient"]].add(Path(entry["image"]).stem)
    assert sorted(len(own) for own in groups.values()) == [1] * 12 + [2] * 3
    assert {patient for patient, own in groups.items() if len(own) == 2} <= set(patients.values())
    sources = {(entry["class"], entry["source"]) for entry in ended.entries}
    theirs = {entry["source"] for entry in known.entries}
    assert sources == {(name, "covid_radiography") for name in ("covid", "normal")} | {
        ("viral_pneumonia", source) for source in theirs
    }


# RadImageNet and its authors' tables


@pytest.mark.parametrize(
    ("name", "people"),
    [(name, 48) for name in ("thyroid", "mrnet_slices", "cc_ccii", "covid19_ct")]
    + [(name, 96) for name in ("rsna_pneumonia", "rsna_haemorrhage")],
)
def test_the_authors_tables(name: str, people: int, prep: Prep) -> None:
    ended = prep(name, "--raw", "sample")
    assert ended.status == 0
    assert len({entry["patient"] for entry in ended.entries}) == people
    assert problems_of_data(ended.folder)[1] == []
    assert [len(ended.listed[split]) for split in ("training", "validation", "test")] == [58, 20, 18]


def test_what_a_table_promises_and_does_not_hold_is_named(prep: Prep, tmp_path: Path) -> None:
    thyroid.make_sample(tmp_path / "raw")
    (tmp_path / "raw" / "images" / "3_1.png").unlink()
    table = tmp_path / "raw" / "dataframe" / "thyroid_train_fold1.csv"
    table.write_text(table.read_text().replace("images/5_1.png,benign", "images/5_1.png,unsure"))
    ended = prep("thyroid", "--raw", tmp_path / "raw", "--fold", 1)
    assert ended.status == 3
    assert "never tried on real files" in ended.err  # no real file of it was at hand
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert "is missing" in reasons["3_1.png"]
    assert "'unsure'" in reasons["5_1.png"]
    absent = prep("thyroid", "--raw", tmp_path / "raw", "--fold", 5, "--out", tmp_path / "five")
    assert absent.status == 2
    assert "folds 1, 2" in absent.err
    table.write_text(table.read_text().replace("label", "finding"))
    assert "no column label" in prep("thyroid", "--raw", tmp_path / "raw", "--out", tmp_path / "six").err


def test_outlines_of_nodules_become_masks_and_a_damaged_file_is_named(prep: Prep, tmp_path: Path) -> None:
    thyroid.make_sample(tmp_path / "raw")
    points = [{"x": x, "y": y} for x, y in ((10, 20), (30, 20), (30, 27), (10, 27))]
    first = f"<case><mark><image>1</image><svg>{json.dumps([{'points': points}])}</svg></mark></case>"
    (tmp_path / "raw" / "images" / "3.xml").write_text(first)
    (tmp_path / "raw" / "images" / "5.xml").write_text(first.replace("}]</svg>", "</svg>"))
    (tmp_path / "raw" / "images" / "6.xml").unlink()
    beyond = [{"x": point["x"] + 500, "y": point["y"]} for point in points]
    (tmp_path / "raw" / "images" / "7.xml").write_text(first.replace(json.dumps(points), json.dumps(beyond)))
    ended = prep("thyroid", "--raw", tmp_path / "raw")
    assert ended.status == 3
    masks = {Path(entry["image"]).stem: entry.get("mask") for entry in ended.entries}
    assert len(masks) == 95
    assert {name for name, mask in masks.items() if mask is None} == {"3_2", "5_1", "5_2", "6_1", "6_2", "7_2"}
    mask = np.asarray(Image.open(ended.folder / masks["3_1"]))
    expected = np.zeros((48, 48), np.uint8)
    expected[20:28, 10:31] = 1  # outlines belong to what they enclose
    assert (mask == expected).all()
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert "outlines of image 1 cannot be read" in reasons["5.xml"]
    assert "enclose nothing of its 48 rows" in reasons["7_1.png"]
    again = prep("thyroid", "--raw", tmp_path / "raw")
    assert [entry.get("mask") for entry in again.entries] == [entry.get("mask") for entry in ended.entries]


def test_the_outlines_of_the_sample_are_around_its_bright_spots(prep: Prep) -> None:
    ended = prep("thyroid", "--raw", "sample")
    ill = [entry for entry in ended.entries if entry["label"] == 0]
    pictures, masks = ([np.asarray(Image.open(ended.folder / e[key])) for e in ill] for key in ("image", "mask"))
    inside = [
        picture[mask > 0].mean() - picture[mask == 0].mean() for picture, mask in zip(pictures, masks, strict=True)
    ]
    assert min(inside) > 0
    assert np.median(inside) > 40


def test_radimagenet_names_its_classes_by_folder() -> None:
    assert radimagenet.class_of("radiology_ai/MR/af/achilles_pathology_/x.png", "achilles_pathology_") in set(
        radimagenet.CARD.classes
    )
    assert radimagenet.class_of("radiology_ai/MR/knee/normal/x.png", "normal") == "MR_knee_normal"
    assert radimagenet.class_of("radiology_ai/CT/lung/normal/x.png", "normal") == "CT_lung_normal"
    assert radimagenet.class_of("radiology_ai/US/liver/usn309850.png", "liver") == "US_usabd_liver"
    assert radimagenet.class_of("radiology_ai/US/thyroid/usn1.png", "thyroid") == "US_usthyroid_thyroid"
    assert radimagenet.class_of("radiology_ai/MR/knee/normal/x.png", "healthy") is None
    # the publication's numbers of classes a modality and part
    parts = defaultdict(int)
    for name in radimagenet.CARD.classes:
        parts["_".join(name.split("_")[:2])] += 1
    assert parts == {
        **{"CT_abd": 28, "CT_lung": 6, "MR_af": 25, "MR_brain": 10, "MR_hip": 14, "MR_knee": 18, "MR_mriabd": 26},
        **{"MR_shoulder": 14, "MR_spine": 9, "US_usabd": 13, "US_usthyroid": 2},
    }


def test_radimagenet_names_blank_pictures_and_contradictions(prep: Prep, tmp_path: Path) -> None:
    rows = defaultdict(list)
    for number, split in enumerate(("train", "train", "train", "val", "test", "train")):
        part = ("CT/lung/Nodule", "CT/lung/normal")[number % 2]
        file = f"radiology_ai/{part}/lung{number:06d}.png"
        noise(tmp_path / "raw" / file, number if number != 5 else 0)  # the last shows the first again, as normal
        rows[split].append((file, part.rsplit("/", 1)[1]))
    write_png(tmp_path / "raw" / rows["train"][1][0], np.zeros((8, 8), np.uint8))
    for split, own in rows.items():
        with (tmp_path / "raw" / f"RadiologyAI_{split}.csv").open("w", newline="") as table:
            csv.writer(table).writerows([("filename", "label"), *own])
    ended = prep("radimagenet", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert [len(ended.listed[split]) for split in ("training", "validation", "test")] == [1, 1, 1]
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert "all its pixels are alike" in reasons["lung000001.png"]
    assert "the same picture is" in reasons["lung000000.png"]
    assert "labelled CT_lung_Nodule" in reasons["lung000005.png"]


def test_busi_card_counts() -> None:
    assert sum(busi.CARD.published.values()) == sum(busi.PUBLISHED.values()) == 780
