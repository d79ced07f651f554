"""Inference accounts for every file of its input: a mask, a row of rejected.csv, or a count; and status 3 follows."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from bright_masks import predict_bright
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import BasicTextSRStorage, MediaStorageDirectoryStorage

from medtl.data import pictures, volumes
from medtl.errors import MedtlError, UsageError
from medtl.readers.dicom import read_volume, scan
from medtl.readers.picture import find_pictures, read_picture

pytestmark = pytest.mark.slow

MR = {"Modality": "MR", "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.77"}


@pytest.fixture
def grey() -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(1, 900, (6, 12, 14)).astype(np.uint16)


def uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.{number}"


def rejected(out: Path) -> dict[str, str]:
    with open(out / "rejected.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row["reason"] for row in rows}


def predicted(out: Path) -> list[str]:
    with open(out / "predictions.csv", encoding="utf-8", newline="") as file:
        return [row["case"] for row in csv.DictReader(file)]


def infer(source: Path, out: Path, formats: tuple[str, ...] = ("nifti",)) -> tuple[int, volumes.Volumes]:
    """Status and what was found, as the bundle's inference does it."""
    found = volumes.found(str(source), 32)
    out.mkdir(parents=True, exist_ok=True)
    try:
        volumes.announce(found)
        volumes.stop_without(found, str(out))
        predict_bright(source, out, formats)
    except MedtlError as end:
        return end.exit_status, found
    return 0, found


def test_every_file_is_used_named_or_counted(
    tmp_path: Path, save_series: Callable[..., list[Path]], save: Callable[..., Path], grey: Any
) -> None:
    root = tmp_path / "in"
    save_series(root / "good", grey, SeriesInstanceUID=uid(1), **MR)
    save_series(root / "localizer", grey, SeriesInstanceUID=uid(2), **MR)
    save(root / "localizer/scout", grey[0], SeriesInstanceUID=uid(2), ImageOrientationPatient=[0, 1, 0, 0, 0, -1], **MR)
    for path in save_series(root / "cut", grey, SeriesInstanceUID=uid(3), **MR):
        path.write_bytes(path.read_bytes()[:-100])
    save_series(root / "burned", grey, SeriesInstanceUID=uid(4), BurnedInAnnotation="YES", **MR)
    save_series(root / "pet", grey, SeriesInstanceUID=uid(5), **{**MR, "Modality": "PT"})
    save_series(
        root / "gap", np.delete(np.concatenate([grey, grey]), 3, axis=0)[[0, 1, 2, 4]], SeriesInstanceUID=uid(6), **MR
    )
    (root / "gap/slice001.dcm").unlink()
    save_series(root / "nameless", grey, SeriesInstanceUID=None, **MR)
    save(root / "report.dcm", grey[0], SOPClassUID=BasicTextSRStorage, PixelData=None, SeriesInstanceUID=uid(7))
    directory = {"SOPClassUID": MediaStorageDirectoryStorage, "PixelData": None, "SeriesInstanceUID": None}
    save(root / "DICOMDIR", grey[0], **directory)  # of a CD, as are these
    (root / "VIEWER.EXE").write_bytes(b"MZ")
    (root / "autorun.inf").write_text("[autorun]")
    save_series(tmp_path / "elsewhere", grey, SeriesInstanceUID=uid(8), **MR)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    save_series(root / ".Trash-1000/old", grey, SeriesInstanceUID=uid(9), **MR)
    nib.save(nib.Nifti1Image(grey, np.eye(4)), root / "volume.NII.gz")
    (root / "broken.nii").write_bytes(b"no volume")
    Image.fromarray(grey[0].astype(np.uint8)).save(root / "overview.png")
    status, found = infer(root, tmp_path / "out")
    assert status == 3
    assert predicted(tmp_path / "out") == ["good", "linked", "volume"]
    good = {name for source in found.sources for name in source.inputs}
    named = rejected(tmp_path / "out")
    everything = {
        Path(folder, name).relative_to(root).as_posix()
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
    }
    counted = {one.name for one in found.passed}
    assert good | set(named) | counted == everything
    assert len(good) + len(named) + len(counted) == len(everything)
    of_the_cd = ("DICOMDIR", "VIEWER.EXE", "autorun.inf", "report.dcm")
    assert counted == {*of_the_cd, "overview.png", *(f".Trash-1000/old/slice{k:03}.dcm" for k in range(6))}
    for folder, words in {
        "localizer": "several orientations",
        "cut": "truncated",
        "burned": "burned into",
        "pet": "modality PT",
        "gap": "at least 3|gap",
        "nameless": "names no series",
        "broken": "not a readable NIfTI",
    }.items():
        reasons = {reason for name, reason in named.items() if name.startswith(folder)}
        assert len(reasons) == 1, folder
        assert any(word in reasons.copy().pop() for word in words.split("|")), reasons


def test_an_input_without_any_volume_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="holds no volume; expected DICOM, NIfTI"):
        volumes.found(str(tmp_path), 32)


def test_all_used_is_status_0_and_leaves_no_rejected_csv(
    tmp_path: Path, save_series: Callable[..., list[Path]], grey: Any
) -> None:
    save_series(tmp_path / "in/one", grey, **MR)
    (tmp_path / "in/notes.txt").write_text("counted")
    assert infer(tmp_path / "in", tmp_path / "out")[0] == 0
    assert not (tmp_path / "out/rejected.csv").exists()


@pytest.mark.parametrize("length", [238, 252])
def test_a_long_name_costs_that_patient_alone(
    length: int, tmp_path: Path, save_series: Callable[..., list[Path]], grey: Any
) -> None:
    """A mask's suffix does not fit behind 252 bytes: that patient is named, the others are written."""
    name = "p" * length
    save_series(tmp_path / "in" / name, grey, SeriesInstanceUID=uid(1), **MR)
    save_series(tmp_path / "in/q", grey, SeriesInstanceUID=uid(2), **MR)
    status, _ = infer(tmp_path / "in", tmp_path / "out")
    assert predicted(tmp_path / "out") == [name, "q"]
    assert (tmp_path / "out/masks/q.nii.gz").is_file()
    assert status == (0 if length < 248 else 3)
    if status:
        assert "cannot be written under its name" in rejected(tmp_path / "out")[name]


def segmented(path: Path, series: Any) -> NDArray[np.bool_]:
    """A DICOM segmentation's first organ on the voxels of a series, by highdicom's own reader."""
    highdicom = pytest.importorskip("highdicom")
    volume = read_volume(series)
    there = highdicom.seg.segread(path).get_volume(combine_segments=True)
    marked = np.argwhere(there.array)
    lps = nib.affines.apply_affine(there.affine, marked)
    place = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), lps * (-1, -1, 1))).astype(int)
    back = np.zeros(volume.array.shape, bool)
    back[tuple(place.T)] = there.array[tuple(marked.T)] > 0
    return back


def test_one_bad_case_of_dicom_seg_never_ends_the_rest(
    tmp_path: Path, save_series: Callable[..., list[Path]], enhanced: Callable[..., Path], grey: Any
) -> None:
    pytest.importorskip("highdicom")
    root = tmp_path / "in"
    multi = enhanced(grey, [3, 0, 5, 1, 4, 2])
    dataset = pydicom.dcmread(multi)
    dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.FrameOfReferenceUID, dataset.SeriesInstanceUID = uid(70), uid(7)
    (root / "A").mkdir(parents=True)
    dataset.save_as(root / "A/enhanced")
    multi.unlink()
    save_series(root / "B", grey, SeriesInstanceUID=uid(2), **MR)
    nib.save(nib.Nifti1Image(grey, np.eye(4)), root / "C.nii.gz")
    save_series(root / "D", grey, SeriesInstanceUID=uid(3), Modality="MR")
    save_series(root / "E", grey, SeriesInstanceUID=uid(4), **MR)
    status, _ = infer(root, tmp_path / "out", ("nifti", "dicom_seg"))
    assert status == 3
    assert predicted(tmp_path / "out") == ["A", "B", "C", "D", "E"]
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == [f"{name}.nii.gz" for name in "ABCDE"]
    assert rejected(tmp_path / "out") == {
        "C": "cannot have a mask as dicom_seg: it is no DICOM",
        "D": "cannot have a DICOM segmentation: its headers have no FrameOfReferenceUID",
    }
    for name in "ABE":
        (series,) = scan(root / name).series
        mask = np.asarray(nib.load(tmp_path / f"out/masks/{name}.nii.gz").dataobj) > 0
        assert mask.any()
        assert np.array_equal(segmented(tmp_path / f"out/seg/{name}.dcm", series), mask), name


def test_metaimage_and_nrrd_are_predicted_on_where_they_lie(tmp_path: Path, grey: Any) -> None:
    itk = pytest.importorskip("itk")
    image = itk.image_from_array(grey)
    image.SetSpacing((1.5, 2, 4))
    image.SetOrigin((-30, 12, 7))
    (tmp_path / "in").mkdir()
    for name in ("a.mha", "b.nrrd", "c.mhd"):
        itk.imwrite(image, str(tmp_path / "in" / name))
    status, found = infer(tmp_path / "in", tmp_path / "out")
    assert status == 0
    assert not found.passed
    assert predicted(tmp_path / "out") == ["a", "b", "c"]
    for name in "abc":
        mask = itk.imread(str(tmp_path / f"out/masks/{name}.nii.gz"))
        assert np.allclose(mask.GetSpacing(), image.GetSpacing())
        assert np.allclose(mask.GetOrigin(), image.GetOrigin())
        labels = itk.array_from_image(mask)
        assert labels[grey > 600].all()
        assert not labels[grey < 300].any()


def test_slices_of_metaimage_and_nrrd_are_classified_and_their_raw_files_used(tmp_path: Path, grey: Any) -> None:
    itk = pytest.importorskip("itk")
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a.mha", "b.nrrd", "c.mhd", "d.nhdr"):
        itk.imwrite(itk.image_from_array(grey), str(root / name))
        (root / name).rename(root / name.upper())
    found = find_pictures(root)
    count = len(grey)
    assert [one.name for one in found.pictures] == [
        f"{name}#{index}" for name in ("A.MHA", "B.NRRD", "C.MHD", "D.NHDR") for index in range(count)
    ]
    assert (found.refused, found.passed) == ((), ())
    first = [read_picture(one.path, one.index) for one in found.pictures[:count]]
    for start in range(count, 4 * count, count):
        for one, other in zip(first, found.pictures[start : start + count], strict=True):
            np.testing.assert_array_equal(one, read_picture(other.path, other.index))


def test_classification_names_what_it_cannot_use(
    tmp_path: Path, save: Callable[..., Path], grey: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    square = grey[0].astype(np.uint8)
    for name, form in {"_DSC1.png": "PNG", "b.bmp": "BMP", "c": "JPEG", "d.webp": "WEBP", "e.JFIF": "JPEG"}.items():
        Image.fromarray(square).save(root / name, format=form)
    save(root / "x.png", grey[0], Modality="DX", ImagePositionPatient=None, ImageOrientationPatient=None)
    save(root / "report", grey[0], SOPClassUID=BasicTextSRStorage, PixelData=None)
    nib.save(nib.Nifti1Image(np.stack([grey] * 2, axis=3)[:, :, :2], np.eye(4)), root / "v.nii")
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    (root / "zero.png").write_bytes(b"")
    (root / "broken.nii.gz").write_bytes(b"no volume")
    (root / "notes.txt").write_text("counted")
    found = pictures.found(str(root))
    names = ["_DSC1.png", "b.bmp", "broken.nii.gz", "c", "d.webp", "e.JFIF", "gone.png", "v.nii#0", "v.nii#1", "x.png"]
    assert [item["name"] for item in found] == [*names, "zero.png"]
    assert [item["index"] for item in found] == list(range(11))
    said = capsys.readouterr().err
    assert "v.nii holds 2 volumes of one shape: the first is taken" in said
    assert "passed over: 1 of other kinds (.txt), 1 DICOM without an image" in said

    def read(item: dict[str, Any]) -> dict[str, Any]:
        from medtl.transforms import LoadPictured

        return {**item, "image": LoadPictured("image")(item)["image"].sum()[None, None, None]}

    whole = pictures.ReadablePictures(found, read, (1, 1, 1))
    reasons = {item["name"]: item["reason"] for item in (whole[k] for k in range(len(whole)))}
    assert {name for name, reason in reasons.items() if reason} == {"broken.nii.gz", "gone.png", "zero.png"}
    assert reasons["gone.png"] == "is a link to nothing"
    assert not any("refused" in whole[k] for k in range(len(whole)))
    assert isinstance(whole[2]["image"], torch.Tensor)


CASES: dict[str, tuple[int, list[str]]] = {  # status, and who is predicted on
    "localizer_beside_good": (3, ["patientB"]),
    "localizer_in_series": (3, []),
    "all_truncated": (3, ["B"]),
    "burned_in": (3, ["B"]),
    "no_series_uid": (3, []),
    "deflated": (0, ["in"]),
    "nii_names": (0, ["multi", "ok", "packed", "plain", "renamed", "trail", "UPPER", "UPPER2", "ä b"]),
    "same_uid_two_patients": (3, []),
    "no_preamble": (0, ["in"]),
    "pet_slopes": (3, []),
    "nii_vox_offset0": (3, []),
    "cd_export": (3, []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_shared_cases(case: str, shared_case: Callable[[str], Path], tmp_path: Path) -> None:
    root = shared_case(f"files/{case}")
    status, found = infer(root, tmp_path / "out")
    assert (status, [source.name for source in found.sources]) == CASES[case]
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    named = set(rejected(tmp_path / "out")) if status else set()
    used = {name for source in found.sources for name in source.inputs}
    assert used | named | {one.name for one in found.passed} == set(files)


@pytest.mark.parametrize(("case", "status", "refused"), [("seg_batch", 0, []), ("seg_no_for", 3, ["A"])])
def test_the_shared_cases_of_dicom_seg(
    case: str, status: int, refused: list[str], shared_case: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    assert infer(shared_case(f"files/{case}"), tmp_path / "out", ("nifti", "dicom_seg"))[0] == status
    assert predicted(tmp_path / "out") == ["A", "B"]
    assert (list(rejected(tmp_path / "out")) if status else []) == refused
    assert sorted(p.stem for p in (tmp_path / "out/seg").iterdir()) == [name for name in "AB" if name not in refused]
