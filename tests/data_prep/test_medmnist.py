"""Every two-dimensional MedMNIST set by one command, from files in the official layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import medmnist
from data_prep.medmnist_sets import SETS, SIZES
from data_prep.sample.medmnist import COUNTS, make
from medtl.errors import UsageError

# images of the paper's Table 2 and of MedMNIST 3.0, which agree but for the organ sets
TOTALS = {
    "pathmnist": 107_180,
    "chestmnist": 112_120,
    "dermamnist": 10_015,
    "octmnist": 109_309,
    "pneumoniamnist": 5_856,
}
TOTALS |= {"retinamnist": 1_600, "bloodmnist": 17_092, "tissuemnist": 236_386, "organamnist": 58_830}
TOTALS |= {"organcmnist": 23_583, "organsmnist": 25_211}


def write(folder: Path, name: str, size: int = 28, count: int = 6, **changes: Any) -> Path:
    what, random = SETS[name], np.random.default_rng(size)
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        shape = (count, size, size, *((3,) if what.channels == 3 else ()))
        arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
        places = np.arange(count) % len(what.classes)
        arrays[f"{split}_labels"] = (
            np.eye(len(what.classes), dtype=np.int64)[places] if what.multilabel else places[:, None]
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{'' if size == 28 else f'_{size}'}.npz"
    np.savez_compressed(path, **{**arrays, **changes})
    return path


def done(raw: Path, name: str, out: Path) -> list[Any]:
    source = medmnist.find(raw, name)
    return [source.process(work, source.raw, out) for work in source.works]


@pytest.mark.parametrize("name", SETS)
def test_what_is_known_of_a_set(name: str) -> None:
    what = SETS[name]
    assert sum(what.counts) == TOTALS[name]
    assert len(set(what.classes)) == len(what.classes) >= 2
    assert len({*what.md5}) == len(SIZES)
    assert all(len(md5) == 32 and int(md5, 16) for md5 in (*what.md5, *what.earlier.values()))
    assert medmnist.card_of(name).licence.startswith("CC BY")
    assert name in medmnist.CARD.how_to_get


@pytest.mark.parametrize("name", ["pathmnist", "chestmnist", "organsmnist"])
def test_pictures_and_labels_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "raw", name)
    arrays = np.load(path)
    for split, part in zip(("train", "val", "test"), done(tmp_path / "raw", name, tmp_path / "out"), strict=True):
        assert not part.rejected
        from PIL import Image

        for entry, pixels, label in zip(
            part.entries, arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True
        ):
            with Image.open(tmp_path / "out" / entry["image"]) as image:
                np.testing.assert_array_equal(np.asarray(image), pixels)
            names = [SETS[name].classes[c] for c in (np.flatnonzero(label) if SETS[name].multilabel else label)]
            assert entry["label"] == (names if SETS[name].multilabel else names[0])
            assert entry["split"] == {"train": "training", "val": "validation", "test": "test"}[split]


def test_the_largest_size_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size in (28, 64):
        write(tmp_path / "a" / "b", "octmnist", size)
    assert medmnist.find(tmp_path, "octmnist").options["size"] == 64
    assert "octmnist_64.npz" in capsys.readouterr().err
    assert medmnist.find(tmp_path, "octmnist", 28).options["size"] == 28
    with pytest.raises(UsageError, match="--size 224"):
        medmnist.find(tmp_path, "octmnist", 224)
    with pytest.raises(UsageError, match="holds no PathMNIST"):
        medmnist.find(tmp_path, "pathmnist")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"val_labels": np.zeros((6, 2), np.uint8)}, "val_labels is uint8"),
        ({"val_images": np.zeros((6, 28, 27), np.uint8)}, "val_images is uint8, shape"),
        ({"val_images": np.zeros((6, 28, 28, 3), np.uint8)}, "val_images is uint8, shape"),
    ],
)
def test_arrays_of_another_kind_are_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write(tmp_path, "pneumoniamnist", **changes)
    source = medmnist.find(tmp_path, "pneumoniamnist")
    assert [work.id for work in source.works] == ["train", "test"]
    assert reason in source.rejected[0].reason


def test_blank_pictures_and_unknown_labels_are_named(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    pictures[2] = 7
    write(tmp_path, "pneumoniamnist", test_images=pictures, test_labels=np.array([[0], [1], [0], [2], [1], [0]]))
    part = done(tmp_path, "pneumoniamnist", tmp_path / "out")[2]
    assert len(part.entries) == 4
    assert [row.reason.split()[0] for row in part.rejected] == ["test_images[2]", "test_images[3]"]


def test_another_number_of_images_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "organcmnist")
    parts = {split: {"": 6} for split in ("train", "val", "test")}
    assert "train 6 of 12,975" in medmnist.verified(path, "organcmnist", parts)
    whole = dict(zip(("train", "val", "test"), ({"": n} for n in SETS["organcmnist"].counts), strict=True))
    assert medmnist.verified(path, "organcmnist", whole) == "its MD5 is not the published one"
    monkeypatch.setattr(medmnist, "_md5", lambda path: SETS["organcmnist"].md5[0])
    assert medmnist.verified(path, "organcmnist", whole) == ""
    before = dict(zip(("train", "val", "test"), ({"": n} for n in (13_000, 2_392, 8_268)), strict=True))
    assert "earlier release" in medmnist.verified(path, "organcmnist", before)


def test_breastmnist_stays_its_own() -> None:
    with pytest.raises(UsageError, match="python -m data_prep breastmnist"):
        medmnist.known("BreastMNIST")
    with pytest.raises(UsageError, match="is not one of pathmnist"):
        medmnist.known("nodulemnist3d")
    assert medmnist.known("PathMNIST") == "pathmnist"


def test_a_damaged_file_gives_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path, "bloodmnist", count=40)
    content = bytearray(path.read_bytes())
    source = medmnist.find(tmp_path, "bloodmnist")
    start = content.index(b"val_images.npy") + 3_000
    content[start : start + 64] = bytes(64)
    path.write_bytes(content)
    part = source.process(source.works[1], source.raw, tmp_path / "out")
    assert not part.entries
    assert "damaged" in part.rejected[0].reason


def test_the_sample_has_every_label(tmp_path: Path) -> None:
    make(tmp_path)
    for name, what in SETS.items():
        arrays = np.load(tmp_path / f"{name}.npz")
        for split, count in COUNTS.items():
            assert len(arrays[f"{split}_images"]) == count
            labels = arrays[f"{split}_labels"]
            there = labels.any(axis=0).sum() if what.multilabel else len(np.unique(labels))
            assert there >= min(len(what.classes), 11)


@pytest.mark.slow
def test_the_command_says_what_the_grades_are(prep: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "raw", "retinamnist")
    ended = prep("medmnist", "--subset", "retinamnist", "--raw", tmp_path / "raw")
    assert ended.status == 0
    assert "grades in an order" in ended.err
    assert "train 6 of 1,080" in ended.err
