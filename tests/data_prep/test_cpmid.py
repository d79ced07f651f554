"""CPMID: three downloads in one data list of 20 classes, any subset of them, and its counts from the raw files."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.slow

DOWNLOADS = ("chexpert", "msd", "lidc")
CLASSES = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "Brain",
    "Heart",
    "Liver",
    "Lung",
    "Prostate",
    "Nodule",
]


def test_real_images(prep: Callable[..., Any], shared_data: Path) -> None:
    ended = prep("cpmid", *itertools.chain(*((f"--{name}", shared_data / name) for name in DOWNLOADS)))
    assert (ended.status, ended.rejected) == (0, [])
    expected: Counter[str] = Counter()
    for table in ("train.csv", "valid.csv"):
        with (shared_data / "chexpert/CheXpert-v1.0-small" / table).open(newline="") as file:
            for row in csv.DictReader(file):
                expected.update(name for name in CLASSES[:14] if row[name] in ("1.0", "1"))
    for label in (shared_data / "msd/Task01_BrainTumour/labelsTr").glob("*"):
        areas = (np.asarray(nib.load(label).dataobj) > 0).sum(axis=(0, 1))
        expected["Brain"] += int((areas >= 0.93 * areas.max()).sum())
    (xml,) = (shared_data / "lidc").rglob("*.xml")
    nodules = re.findall(r"<unblindedReadNodule>.*?</unblindedReadNodule>", xml.read_text(), re.DOTALL)
    large = [nodule for nodule in nodules if "<characteristics>" in nodule]
    heights = [{float(z) for z in re.findall(r"<imageZposition>(.*?)<", nodule)} for nodule in large]
    assert set.intersection(*heights)  # all of one nodule
    expected["Nodule"] = 1
    assert Counter(entry["class"] for entry in ended.entries) == expected
    assert len(expected) >= 12
    assert ended.listed["classes"] == CLASSES
    assert all(entry["label"] == CLASSES.index(entry["class"]) for entry in ended.entries)
    assert {(e["source"], e["patient"].split("/")[0]) for e in ended.entries} == {(name, name) for name in DOWNLOADS}
    splits: dict[str, set[str]] = {}
    for entry in ended.entries:
        splits.setdefault(entry["patient"], set()).add(entry["split"])
    assert all(len(where) == 1 for where in splits.values())


def test_monai_loads_it(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    from monai.data import load_decathlon_datalist

    ended = prep("cpmid", *itertools.chain(*((f"--{name}", small[name]) for name in DOWNLOADS)))
    assert ended.status == 0
    for split in ("training", "validation", "test"):
        entries = ended.listed[split]
        if not entries:
            continue
        loaded = load_decathlon_datalist(str(ended.folder / "datalist.json"), False, split)
        assert len(loaded) == len(entries)
        assert all(Path(entry["image"]).is_file() for entry in loaded)
        assert [entry["label"] for entry in loaded] == [entry["label"] for entry in entries]


@pytest.mark.parametrize("names", [s for n in (1, 2, 3) for s in itertools.combinations(DOWNLOADS, n)], ids="+".join)
def test_any_subset(names: tuple[str, ...], prep: Callable[..., Any], small: dict[str, Path]) -> None:
    ended = prep("cpmid", *itertools.chain(*((f"--{name}", small[name]) for name in names)))
    assert ended.status == 0
    assert {entry["source"] for entry in ended.entries} == set(names)
    found = {entry["class"] for entry in ended.entries}
    assert ("Nodule" in found) == ("lidc" in names)
    assert ({"Brain", "Heart"} <= found) == ("msd" in names)
    assert (set(CLASSES[:14]) <= found) == ("chexpert" in names)
    assert found <= set(CLASSES)  # the spleen's task is there, but not part of CPMID
    assert ended.listed["classes"] == CLASSES
    assert (ended.listed["name"], ended.listed["sample"]) == ("cpmid", False)


def test_none_is_one_line(prep: Callable[..., Any]) -> None:
    ended = prep("cpmid")
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert all(f"--{name}" in line for name in DOWNLOADS)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_folder_that_is_not_there_is_named(name: str, prep: Callable[..., Any], tmp_path: Path) -> None:
    ended = prep("cpmid", f"--{name}", tmp_path / "nowhere")
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert f"--{name}" in line
    assert "nowhere" in line


def test_multilabel_makes_every_label_multi_hot(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    given = tuple(itertools.chain(*((f"--{name}", small[name]) for name in DOWNLOADS)))
    ended = prep("cpmid", *given, "--rule", "multilabel")
    assert ended.status == 0
    for entry in ended.entries:
        assert isinstance(entry["label"], list)
        assert len(entry["label"]) == 20
        assert set(entry["label"]) <= {0, 1}
        assert sum(entry["label"]) == 1 if entry["source"] != "chexpert" else sum(entry["label"]) in (1, 2)
    images = [entry["image"] for entry in ended.entries]
    assert len(images) == len(set(images))


def test_the_options_of_the_parts_reach_them(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    given = tuple(itertools.chain(*((f"--{name}", small[name]) for name in DOWNLOADS)))
    others = ("--rule", "exactly-one", "--key-slices", "largest:1", "--nodule-slices", "all")
    counts = [Counter(e["source"] for e in prep("cpmid", *given, *options).entries) for options in ((), others)]
    assert counts[1]["chexpert"] < counts[0]["chexpert"]
    assert counts[1]["msd"] == 8 < counts[0]["msd"]
    assert counts[1]["lidc"] > counts[0]["lidc"]
    four = prep("cpmid", *given, "--min-readers", "4")
    assert all(entry["readers"] == 4 for entry in four.entries if entry["source"] == "lidc")


def test_dry_run(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    ended = prep("cpmid", *itertools.chain(*((f"--{name}", small[name]) for name in DOWNLOADS)), "--dry-run")
    assert ended.status == 0
    lines = {name: next(line for line in ended.out.splitlines() if f"│ {name} " in line) for name in CLASSES}
    assert [unit in lines[name] for name, unit in (("Edema", "images"), ("Heart", "cases"), ("Nodule", "crops"))] == [
        True
    ] * 3
    assert "4,708" in lines["Nodule"]
    assert "116,001" in lines["Support Devices"]
    assert not ended.folder.exists()
