"""BreastMNIST: pixels, labels and splits as the .npz has them, whatever form it comes in; masks only as masks."""

import hashlib
import io
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medtl.files import file_hash
from medtl.integrity import problems_of_data

SPLITS = {"train": "training", "val": "validation", "test": "test"}
NPZ = "breastmnist_64.npz"


def _assert_as_in(npz: Path, ended: Any, masks: Path | None = None) -> None:
    """Every picture, label and mask equals the archive's row of the same number."""
    with np.load(npz) as archive:
        arrays = dict(archive)
    lesions = dict(np.load(masks)) if masks else {}
    for short, split in SPLITS.items():
        entries = ended.listed[split]
        assert [entry["label"] for entry in entries] == arrays[f"{short}_labels"].ravel().tolist()
        for index, entry in enumerate(entries):
            assert entry["patient"] == f"breastmnist/{short}-{index:04d}"
            assert np.array_equal(ended.picture(entry), arrays[f"{short}_images"][index])
            assert entry["sha256"] == hashlib.sha256((ended.folder / entry["image"]).read_bytes()).hexdigest()
            if masks:
                with Image.open(ended.folder / entry["mask"]) as mask:
                    assert np.array_equal(np.asarray(mask), lesions[f"{short}_masks"][index])
            else:
                assert "mask" not in entry


def _change(path: Path, **arrays: np.ndarray | None) -> None:
    """Write an archive again with other arrays; None leaves one out."""
    with np.load(path, allow_pickle=False) as archive:
        content = {**archive, **arrays}
    np.savez_compressed(path, **{name: array for name, array in content.items() if array is not None})


@pytest.fixture
def copy(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """A phantom download that may be changed, without its masks."""
    (tmp_path / "raw").mkdir()
    shutil.copyfile(phantoms("breastmnist") / NPZ, tmp_path / "raw" / NPZ)
    return tmp_path / "raw"


@pytest.fixture
def export(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """What the medmnist package's ``save`` makes of the phantom."""
    folder = tmp_path / "exported/breastmnist_64"
    folder.mkdir(parents=True)
    with np.load(phantoms("breastmnist") / NPZ) as archive:
        for split in SPLITS:
            for index, (pixels, label) in enumerate(
                zip(archive[f"{split}_images"], archive[f"{split}_labels"], strict=True)
            ):
                Image.fromarray(pixels).save(folder / f"{split}{index}_{label[0]}.png")
    (folder.parent / "breastmnist_64.csv").write_text("TRAIN,train0_1.png,1\n")
    return folder


def test_real_pixels_labels_and_masks(prep: Callable[..., Any], shared_data: Path) -> None:
    raw = shared_data / "breastmnist"
    ended = prep("breastmnist", "--raw", raw)
    assert (ended.status, ended.rejected, ended.err) == (0, [], "")
    _assert_as_in(raw / "breastmnist_128.npz", ended, raw / "breastmnist_128_lesion_masks.npz")
    assert Counter(e["class"] for e in ended.entries) == {
        "malignant": 125 + 21 + 22,
        "normal_or_benign": 345 + 57 + 54,
    }
    assert "470 training, 78 validation, 76 test" in ended.out
    assert "partial download: train 470 of 546, test 76 of 156 images" in ended.out
    assert problems_of_data(ended.folder)[1] == []


def test_phantom_with_masks(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    raw = phantoms("breastmnist")
    ended = prep("breastmnist", "--raw", raw)
    _assert_as_in(raw / NPZ, ended, raw / "breastmnist_64_lesion_masks.npz")
    for entry in ended.entries:
        if entry["class"] == "malignant":
            with Image.open(ended.folder / entry["mask"]) as mask:
                assert 20 < np.asarray(mask).sum() < 1200


def test_the_file_itself_and_folders_above_it(prep: Callable[..., Any], copy: Path, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    shutil.copyfile(copy / NPZ, tmp_path / "a/b" / NPZ)
    lists = []
    for number, raw in enumerate((copy, copy / NPZ, tmp_path / "a")):
        ended = prep("breastmnist", "--raw", raw, "--out", tmp_path / str(number))
        assert ended.status == 0
        _assert_as_in(copy / NPZ, ended)
        lists.append((ended.folder / "datalist.json").read_bytes())
    assert lists[0] == lists[1] == lists[2]
    assert b"--size 64" in lists[0]


def test_an_export_gives_the_same_data_list(prep: Callable[..., Any], copy: Path, export: Path, tmp_path: Path) -> None:
    from_npz = (prep("breastmnist", "--raw", copy).folder / "datalist.json").read_bytes()
    for number, raw in enumerate((export, export.parent)):
        ended = prep("breastmnist", "--raw", raw, "--out", tmp_path / str(number))
        assert (ended.status, ended.rejected) == (0, [])
        assert (ended.folder / "datalist.json").read_bytes() == from_npz
    named = export.rename(export.with_name("my pictures"))
    ended = prep("breastmnist", "--raw", named, "--out", tmp_path / "named")
    assert (ended.folder / "datalist.json").read_bytes() == from_npz


def test_bad_files_of_an_export_are_named(prep: Callable[..., Any], export: Path) -> None:
    (export / "train0_0.png").unlink(missing_ok=True)
    (export / "train0_1.png").unlink(missing_ok=True)
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(export / "train0_7.png")
    (first,) = export.glob("val0_*.png")
    first.write_bytes(first.read_bytes()[:100])
    (second,) = export.glob("test1_*.png")
    shutil.copyfile(second, export / "test01_0.png")
    ended = prep("breastmnist", "--raw", export.parent)
    assert ended.status == 3
    reasons = {Path(file).name: reason for file, reason in ended.rejected}
    assert "label 7" in reasons.pop("train0_7.png")
    assert "cut short" in reasons.pop(first.name)
    ((twice, reason),) = reasons.items()
    assert twice in ("test01_0.png", second.name)
    assert "same number" in reason
    assert len(ended.entries) == 126 - 2


def test_of_several_sizes_the_largest_is_taken_unless_one_is_asked_for(prep: Callable[..., Any], copy: Path) -> None:
    with np.load(copy / NPZ) as archive:
        arrays = dict(archive)
    for name, side in (("breastmnist.npz", 28), ("breastmnist_128.npz", 128)):
        small = {key: np.stack([_resized(one, side) for one in arrays[key]]) for key in arrays if "images" in key}
        np.savez_compressed(copy / name, **{**arrays, **small})
    ended = prep("breastmnist", "--raw", copy)
    assert ended.picture(ended.entries[0]).shape == (128, 128)
    (line,) = ended.err.splitlines()
    assert "28, 64, 128 pixels" in line
    assert "breastmnist_128.npz" in line
    for size in (28, 64):
        ended = prep("breastmnist", "--raw", copy, "--size", size)
        assert (ended.picture(ended.entries[0]).shape, ended.err) == ((size, size), "")
    refused = prep("breastmnist", "--raw", copy, "--size", "224")
    assert refused.status == 2
    assert "--size 224" in refused.err
    assert "28, 64, 128" in refused.err


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((side, side)))


def test_masks_alone_are_no_data_set(prep: Callable[..., Any], phantoms: Callable[[str], Path], tmp_path: Path) -> None:
    masks = "breastmnist_64_lesion_masks.npz"
    (tmp_path / "raw").mkdir()
    shutil.copyfile(phantoms("breastmnist") / masks, tmp_path / "raw" / masks)
    for raw in (tmp_path / "raw", tmp_path / "raw" / masks):
        ended = prep("breastmnist", "--raw", raw)
        assert ended.status == 2
        assert "BreastMNIST" in ended.err


@pytest.mark.parametrize("damage", ["half", "no archive", "empty"])
def test_a_truncated_archive_is_told_in_one_line(damage: str, prep: Callable[..., Any], copy: Path) -> None:
    content = (copy / NPZ).read_bytes()
    (copy / NPZ).write_bytes({"half": content[: len(content) // 2], "no archive": b"<html>", "empty": b""}[damage])
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 3
    assert ended.rejected == [(NPZ, "is no .npz, or is cut short")]
    assert ended.entries == []
    assert f"nothing usable: {NPZ} is no .npz, or is cut short" in ended.out
    assert "Traceback" not in ended.err


def test_damage_inside_the_archive_costs_its_split(prep: Callable[..., Any], copy: Path) -> None:
    with zipfile.ZipFile(copy / NPZ) as archive:
        start = archive.getinfo("val_images.npy").header_offset
    content = bytearray((copy / NPZ).read_bytes())
    content[start + 3000] ^= 0xFF
    (copy / NPZ).write_bytes(content)
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 3
    assert ended.rejected == [(NPZ, "val_images cannot be read: the file is damaged")]
    assert {entry["split"] for entry in ended.entries} == {"training", "test"}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"test_labels": None}, "has no array test_labels"),
        ({"test_images": None}, "has no array test_images"),
        ({"test_labels": np.zeros((5, 1), np.uint8)}, "expected uint8, (5, pixels, pixels)"),
        ({"test_labels": np.zeros((28, 2), np.uint8)}, "expected a whole number an image"),
        ({"test_labels": np.zeros(28, np.float32)}, "expected a whole number an image"),
        ({"test_labels": np.array(0)}, "expected a whole number an image"),
        ({"test_images": np.zeros((28, 64, 64), np.float32)}, "expected uint8, (28, pixels, pixels)"),
        ({"test_images": np.zeros((28, 64, 64, 3), np.uint8)}, "expected uint8, (28, pixels, pixels)"),
        ({"test_labels": np.array(["x"] * 28, dtype=object)}, "no plain array"),
    ],
)
def test_arrays_of_another_kind_cost_their_split(
    arrays: dict[str, Any], words: str, prep: Callable[..., Any], copy: Path
) -> None:
    _change(copy / NPZ, **arrays)
    for more in ((), ("--dry-run",)):
        ended = prep("breastmnist", "--raw", copy, *more)
        if more:
            assert ended.status == 0
            assert f"would reject {NPZ}: " in ended.out
        else:
            assert ended.status == 3
            ((file, reason),) = ended.rejected
            assert (file, words in reason) == (NPZ, True), reason
            assert len(ended.entries) == 80 + 18


def test_a_header_that_promises_more_than_the_file_holds(prep: Callable[..., Any], copy: Path) -> None:
    """Its array is never allocated."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**4, 10**4)}
    )
    with np.load(copy / NPZ) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "test_labels"}
    np.savez_compressed(copy / NPZ, **arrays)
    with zipfile.ZipFile(copy / NPZ, "a") as archive:
        archive.writestr("test_labels.npy", header.getvalue())
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 3
    assert "test_labels cannot be read" in ended.rejected[0][1]


def test_an_odd_label_and_an_empty_picture_cost_their_row(prep: Callable[..., Any], copy: Path) -> None:
    with np.load(copy / NPZ) as archive:
        labels, images = archive["val_labels"].copy(), archive["val_images"].copy()
    labels[3], images[5] = 2, 9
    _change(copy / NPZ, val_labels=labels, val_images=images)
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 3
    assert ended.rejected == [
        (NPZ, "val_images[3] has label 2; expected 0 (malignant) or 1 (normal or benign)"),
        (NPZ, "val_images[5] shows nothing: all its pixels are alike"),
    ]
    kept = [entry["patient"] for entry in ended.listed["validation"]]
    assert kept == [f"breastmnist/val-{n:04d}" for n in range(18) if n not in (3, 5)]


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"val_masks": np.zeros((3, 64, 64), np.uint8)}, "val_masks has shape (3, 64, 64)"),
        ({"val_masks": np.full((18, 64, 64), 255, np.uint8)}, "other values than 0 and 1"),
        ({"val_masks": None}, "has no array val_masks"),
    ],
)
def test_masks_that_do_not_fit_are_left_out_and_the_pictures_stay(
    masks: dict[str, Any], words: str, prep: Callable[..., Any], phantoms: Callable[[str], Path], copy: Path
) -> None:
    beside = copy / "breastmnist_64_lesion_masks.npz"
    shutil.copyfile(phantoms("breastmnist") / beside.name, beside)
    _change(beside, **masks)
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert (file, words in reason, "val is without masks" in reason) == (beside.name, True, True), reason
    assert len(ended.entries) == 126
    assert {("mask" in entry, entry["split"]) for entry in ended.entries} == {
        (True, "training"),
        (False, "validation"),
        (True, "test"),
    }


def test_masks_that_are_taken_away_are_taken_out(
    prep: Callable[..., Any], phantoms: Callable[[str], Path], copy: Path, tmp_path: Path
) -> None:
    without = prep("breastmnist", "--raw", copy, "--out", tmp_path / "without")
    beside = copy / "breastmnist_64_lesion_masks.npz"
    shutil.copyfile(phantoms("breastmnist") / beside.name, beside)
    assert len(list((prep("breastmnist", "--raw", copy).folder / "masks").rglob("*.png"))) == 126
    beside.unlink()
    ended = prep("breastmnist", "--raw", copy)
    assert not list((ended.folder / "masks").rglob("*.png"))
    assert file_hash(ended.folder / "datalist.json") == file_hash(without.folder / "datalist.json")


def test_one_picture_in_two_official_splits_is_said(prep: Callable[..., Any], copy: Path) -> None:
    with np.load(copy / NPZ) as archive:
        images = archive["test_images"].copy()
        images[0] = archive["train_images"][7]
    _change(copy / NPZ, test_images=images)
    ended = prep("breastmnist", "--raw", copy)
    assert ended.status == 0
    (line,) = ended.err.splitlines()
    assert "1 identical image(s) in more than one split" in line
    assert len(ended.entries) == 126


def test_an_array_stored_column_by_column(prep: Callable[..., Any], copy: Path) -> None:
    with np.load(copy / NPZ) as archive:
        images = np.asfortranarray(archive["train_images"])
    before = copy.parent / "before.npz"
    shutil.copyfile(copy / NPZ, before)
    _change(copy / NPZ, train_images=images)
    _assert_as_in(before, prep("breastmnist", "--raw", copy))
