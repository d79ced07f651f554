"""MoNuSeg, CHAOS's CT, ACDC, LUNA16 and NIH Pancreas-CT: what is drawn comes back, and what cannot be used is named."""

import gzip
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.io import savemat

from data_prep.luna16 import write_meta
from data_prep.york_cardiac import filled
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow

Prep = Callable[..., Any]
SPLITS = ("training", "validation", "test")
# classes, and cases a part of the drawn samples
SETS = {
    "monuseg": (["nucleus"], 14),
    "acdc": (["right_ventricle", "myocardium", "left_ventricle"], 20),
    "luna16": (["lung"], 10),
    "nih_pancreas": (["pancreas"], 10),
    "york_cardiac": (["myocardium", "left_ventricle"], 32),
}


def draw(name: str, folder: Path) -> Path:
    folder.mkdir()
    importlib.import_module(f"data_prep.{name}").make_sample(folder)
    return folder


def entries(ended: Any, case: str = "") -> list[dict[str, Any]]:
    return [entry for split in SPLITS for entry in ended.listed[split] if not case or entry["case"].endswith(case)]


def array(ended: Any, entry: dict[str, Any], key: str = "label") -> np.ndarray:
    with Image.open(ended.folder / entry[key]) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", SETS)
def test_layouts_become_lists_of_cases(name: str, prep: Prep, tmp_path: Path) -> None:
    ended = prep(name, "--raw", draw(name, tmp_path / "raw"))
    assert ended.status == 0
    assert "never tried on real files" in ended.err
    classes, count = SETS[name]
    assert ended.listed["classes"] == classes
    assert len({entry["case"] for entry in entries(ended)}) == count
    whose = [{entry["patient"] for entry in ended.listed[split]} for split in SPLITS]
    assert all(whose)
    assert len(set.union(*whose)) == sum(map(len, whose))
    assert {int(v) for entry in entries(ended) for v in np.unique(array(ended, entry))} == set(range(len(classes) + 1))
    assert problems_of_data(ended.folder)[1] == []


def test_outlines_are_filled_and_the_test_part_is_the_test_split(prep: Prep, tmp_path: Path) -> None:
    raw = draw("monuseg", tmp_path / "raw")
    training = raw / "MoNuSeg 2018 Training Data" / "Annotations"
    first, second, third, fourth = sorted(training.iterdir())[:4]
    square = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((10, 20), (50, 20), (50, 30), (10, 30)))
    line = '<Vertex X="1" Y="1"/><Vertex X="90" Y="90"/>'
    text = "<Annotations><Annotation><Regions>{}</Regions></Annotation></Annotations>"
    first.write_text(text.format(f"<Region><Vertices>{square}</Vertices></Region><Region>{line}</Region>"))
    second.write_text(text.format(f'<Region>{line}<Vertex X="a" Y="2"/></Region>'))
    third.write_text(text.format(""))
    fourth.unlink()
    ended = prep("monuseg", "--raw", raw)
    assert ended.status == 3
    expected = np.zeros((144, 144), np.uint8)
    expected[20:31, 10:51] = 1
    (entry,) = entries(ended, first.stem)
    assert np.array_equal(array(ended, entry), expected)
    reasons = dict(ended.rejected)
    told = {
        path.stem: next(reason for file, reason in reasons.items() if path.stem in file) for path in (second, third)
    }
    assert "without numbers" in told[second.stem]
    assert "mark nothing" in told[third.stem]
    assert sum("has no outlines" in reason for reason in reasons.values()) == 1
    assert len(ended.listed["test"]) == 4
    assert {entry["patient"].count("-") for entry in entries(ended)} == {2}  # TCGA-XX-0000, not the slide


def test_slices_and_masks_of_a_heart_lie_on_each_other(prep: Prep, tmp_path: Path) -> None:
    """The muscle is dark and both chambers are bright in the drawing, and so they must be in what is written; the file
    is turned before, which reading undoes."""
    raw = draw("acdc", tmp_path / "raw")
    place = raw / "training" / "patient003" / "patient003_frame01"
    for path in (place.with_name(f"{place.name}.nii.gz"), place.with_name(f"{place.name}_gt.nii.gz")):
        image = nib.load(path)
        turned = nib.Nifti1Image(
            np.asarray(image.dataobj)[:, ::-1],
            image.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 63], [0, 0, 1, 0], [0, 0, 0, 1]]),
        )
        nib.save(turned, path)
    (raw / "training" / "patient004" / "patient004_frame12_gt.nii.gz").unlink()
    (raw / "training" / "patient005" / "patient005_4d.nii.gz").write_bytes(gzip.compress(b"the whole cycle"))
    ended = prep("acdc", "--raw", raw)
    assert ended.status == 3
    assert [reason for _, reason in ended.rejected] == ["has no mask"]
    assert "whole cycles" in ended.err
    assert len({entry["case"] for entry in ended.listed["test"]}) == 4
    own = entries(ended, "patient003_01")
    assert [entry["slice"] for entry in own] == list(range(5))
    assert {tuple(entry["spacing"]) for entry in own} == {(1.5, 1.5, 8.0)}
    for entry in own:
        grey, labels = array(ended, entry, "image"), array(ended, entry)
        means = [grey[labels == label].mean() for label in range(4)]
        assert means[2] + 50 < min(means[1], means[3])


def test_both_lungs_are_one_class_and_a_mask_on_another_grid_is_refused(prep: Prep, tmp_path: Path) -> None:
    raw = draw("luna16", tmp_path / "raw")
    masks = sorted((raw / "seg-lungs-LUNA16").glob("*.mhd"))
    write_meta(masks[0], np.full((6, 64, 72), 3, np.uint8), (0.9, 0.8, 2.5))
    write_meta(masks[1], np.full((6, 64, 71), 3, np.uint8), (0.8, 0.8, 2.5))
    write_meta(masks[2], np.full((6, 64, 72), 9, np.uint8), (0.8, 0.8, 2.5))
    masks[3].unlink()
    ended = prep("luna16", "--raw", raw)
    assert ended.status == 3
    reasons = sorted(reason for _, reason in ended.rejected)
    assert len(reasons) == 4
    for words in ("another grid", "voxels, its mask", "value 9", "has no mask"):
        assert sum(words in reason for reason in reasons) == 1, words
    text = (ended.folder / "datalist.json").read_text()
    assert "1.3.6.1" not in text
    for entry in entries(ended):
        grey, labels = array(ended, entry, "image"), array(ended, entry)
        if labels.any():
            assert grey[labels == 1].mean() < 130 < grey[(labels == 0) & (grey > 150)].mean()


def test_a_pancreas_lies_where_its_mask_does_by_dicom_and_by_nifti(prep: Prep, tmp_path: Path) -> None:
    """The organ alone has about 100 HU in the drawing, 255 · (100 + 160) / 400 = 166 in its window. The case that
    becomes NIfTI is stored the other way round than its mask."""
    raw = draw("nih_pancreas", tmp_path / "raw")
    series = raw / "Pancreas-CT" / "PANCREAS_0003"
    headers = sorted((pydicom.dcmread(path) for path in series.rglob("*.dcm")), key=lambda one: one.SliceLocation)
    assert [one.InstanceNumber for one in headers] == list(range(9, 0, -1))
    stored = np.stack([one.pixel_array for one in headers]).transpose(2, 1, 0).astype(np.int16) - 1024
    shutil.rmtree(series)
    to_right_and_back = np.diag([5.0, -5.0, 8.0, 1.0])
    to_right_and_back[:3, 3] = (-160, 160, 0)
    nib.save(nib.Nifti1Image(stored[::-1], to_right_and_back), raw / "PANCREAS_0003.nii.gz")
    ended = prep("nih_pancreas", "--raw", raw)
    assert ended.status == 0
    assert "1 masks of withdrawn cases" in ended.err
    assert [entry["slice"] for entry in entries(ended, "0003")] == list(range(9))
    for case in ("0002", "0003"):
        whole = nib.load(raw / "TCIA_pancreas_labels-02-05-2017" / f"label{case}.nii.gz")
        for entry in entries(ended, case):
            grey, labels = array(ended, entry, "image"), array(ended, entry)
            assert np.array_equal(
                labels, np.asarray(whole.dataobj)[:, :, entry["slice"]].T
            )  # in the order of the pixels
            assert entry["spacing"] == [5.0, 5.0, 8.0]
            if labels.any():
                assert abs(grey[labels == 1].mean() - 166) < 5
                assert abs(grey[labels == 0].mean() - 166) > 40
    ruled = prep("nih_pancreas", "--raw", raw, "--key-slices", "largest:2", "--out", tmp_path / "ruled")
    assert len(entries(ruled)) == 20
    areas = {entry["case"] + str(entry["slice"]): array(ended, entry).sum() for entry in entries(ended)}
    for entry in entries(ruled, "0004"):
        own = sorted(area for key, area in areas.items() if key.startswith("0004"))
        assert array(ruled, entry).sum() >= own[-2]


def test_masks_that_do_not_lie_on_the_pancreas_are_named(prep: Prep, tmp_path: Path) -> None:
    raw = draw("nih_pancreas", tmp_path / "raw")
    folder = raw / "TCIA_pancreas_labels-02-05-2017"
    mask = nib.load(folder / "label0001.nii.gz")
    voxels, affine = np.asarray(mask.dataobj), mask.affine

    def change(case: int, array: np.ndarray, place: np.ndarray | None = affine) -> None:
        nib.save(nib.Nifti1Image(array, place), folder / f"label{case:04d}.nii.gz")

    change(1, voxels[:, ::-1])
    change(2, voxels[:, :, :-1])
    change(3, voxels, affine * np.array([1.1, 1, 1, 1]))
    change(4, 0 * voxels)
    change(5, 2 * voxels)
    change(6, voxels, None)
    change(10, np.roll(voxels, -12, axis=1))  # into the gas
    (folder / "label0007.nii.gz").unlink()
    next((raw / "Pancreas-CT" / "PANCREAS_0008").rglob("*-004.dcm")).unlink()
    shutil.copytree(raw / "Pancreas-CT" / "PANCREAS_0009", raw / "Pancreas-CT" / "PANCREAS_0025")
    shutil.rmtree(raw / "Pancreas-CT" / "PANCREAS_0009")
    change(25, np.asarray(nib.load(folder / "label0009.nii.gz").dataobj))
    ended = prep("nih_pancreas", "--raw", raw, "--test-fraction", 0, "--validation-fraction", 0)
    assert ended.status == 3
    reasons = [reason for _, reason in ended.rejected]
    assert len(reasons) == 10
    told = (
        "turned front to back",
        "of the mask is soft tissue",
        "voxels, its mask",
        "another grid",
        "marks nothing",
        "value 2",
        "how its axes lie",
    )
    for words in (*told, "has no mask", "is a mask without its volume", "slice"):
        assert any(words in reason for reason in reasons), words
    assert {entry["patient"] for entry in entries(ended)} == {"nih_pancreas/0002"}


def test_contours_are_filled_where_matlab_counts_them(prep: Prep, tmp_path: Path) -> None:
    """A square of points from (11, 21) to (18, 28), counted from 1, inside of one that is 4 wider on each side."""
    side = np.arange(8)
    square = np.concatenate(
        [
            np.stack(each, 1)
            for each in (
                (side, 0 * side),
                (0 * side + 7, side),
                (7 - side, 0 * side + 7),
                (0 * side, 7 - side),
            )
        ]
    ).astype(float)
    points = np.concatenate((np.add(square, (11, 21)), np.zeros((1, 2)), np.add(square * 15 / 7, (7, 17))))
    expected = np.zeros((64, 64), np.uint8)
    expected[16:32, 6:22] = 1
    expected[20:28, 10:18] = 2
    assert np.array_equal(filled(points, (64, 64)), expected)
    raw = draw("york_cardiac", tmp_path / "raw")
    (raw / "sol_yxzt_pat1.mat").write_bytes(b"no MATLAB")
    (raw / "manual_seg_32points_pat2.mat").unlink()
    other = np.empty((2, 4), object)
    for place in np.ndindex(other.shape):
        other[place] = np.array([[-99999]])
    savemat(raw / "manual_seg_32points_pat3.mat", {"manual_seg_32points": other})
    ended = prep("york_cardiac", "--raw", raw)
    assert ended.status == 3
    reasons = sorted(reason for _, reason in ended.rejected)
    assert len(reasons) == 3
    for words in ("no readable MATLAB", "has no contours", "slices and frames"):
        assert sum(words in reason for reason in reasons) == 1, words
    assert {entry["slice"] for entry in entries(ended)} == {0, 1}
    for entry in entries(ended):
        grey, labels = array(ended, entry, "image"), array(ended, entry)
        assert grey[labels == 1].mean() + 50 < grey[labels == 2].mean()


def test_the_liver_alone_is_taken_of_chaos(prep: Prep) -> None:
    ended = prep("chaos_ct", "--raw", "sample")
    assert ended.status == 0
    assert ended.listed["classes"] == ["liver"]
    assert {entry["case"] for entry in entries(ended)} == {"CT/1", "CT/2", "CT/5"}
    assert not any("sequence" in entry for entry in entries(ended))
    assert {int(value) for entry in entries(ended) for value in np.unique(array(ended, entry))} == {0, 1}
    assert "of the MR cases" in ended.err
