"""Masks land where their source lies, by pydicom's headers, nibabel and ITK; CHAOS's pictures keep its order."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from bright_masks import ORGANS, predict_bright
from numpy.typing import NDArray
from PIL import Image

from data_prep import sample
from medtl.data import volumes
from medtl.errors import BadFileError
from medtl.handlers.masks import results_folder
from medtl.readers.chaos import pair, read_mask
from medtl.readers.dicom import read_volume, scan
from medtl.writers.masks import CHAOS_GREY, painted, side_by_side, write_chaos_pngs, write_nifti


def grey(values: NDArray) -> NDArray[np.bool_]:
    """Brighter than half of the range between the percentiles of the non-zero voxels, rounded to 8 bits."""
    low, high = np.percentile(values[values != 0], (0.5, 99.5))
    return (
        np.rint(np.clip((values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)) > 127
    )


def check_against_headers(folder: Path, mask: Path) -> None:
    """Every voxel of every file, at its place in the patient by its own header, has the value of the mask there."""
    image = nib.load(mask)
    labels, to_voxel = np.asarray(image.dataobj), np.linalg.inv(image.affine)
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    bright = grey(np.stack([file.pixel_array for file in files]))
    for file, expected in zip(files, bright, strict=True):
        rows, columns = np.mgrid[: file.Rows, : file.Columns]
        along, down = (np.array(file.ImageOrientationPatient[part], float) for part in (slice(0, 3), slice(3, 6)))
        row_step, column_step = map(float, file.PixelSpacing)
        lps = (
            np.array(file.ImagePositionPatient, float)
            + columns[..., None] * column_step * along
            + rows[..., None] * row_step * down
        )
        place = nib.affines.apply_affine(to_voxel, lps * (-1, -1, 1))
        nearest = np.rint(place).astype(int)
        assert np.abs(place - nearest).max() < 0.01
        assert np.array_equal(labels[tuple(np.moveaxis(nearest, -1, 0))], expected)


def check_against_itk(folder: Path, mask: Path) -> None:
    """ITK puts both on one grid."""
    itk = pytest.importorskip("itk")
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(folder))
    source = itk.imread(list(names.GetInputFileNames()))
    masked = itk.imread(str(mask))
    assert list(source.GetLargestPossibleRegion().GetSize()) == list(masked.GetLargestPossibleRegion().GetSize())
    last = [size - 1 for size in source.GetLargestPossibleRegion().GetSize()]
    for corner in ((0, 0, 0), (last[0], 0, 0), (0, last[1], 0), (0, 0, last[2]), tuple(last)):
        there = source.TransformIndexToPhysicalPoint(corner)
        assert list(masked.TransformPhysicalPointToIndex(there)) == list(corner)
        assert np.allclose(list(there), list(masked.TransformIndexToPhysicalPoint(corner)), atol=0.01)
    assert np.array_equal(itk.array_from_image(masked) > 0, grey(itk.array_from_image(source)))


@pytest.mark.parametrize("sequence", ["T2SPIR/DICOM_anon", "T1DUAL/DICOM_anon/InPhase"])
def test_mask_of_a_dicom_series_lies_on_it(sequence: str, tmp_path: Path) -> None:
    folder = sample.download("chaos") / "Train_Sets/MR/1" / sequence
    found = predict_bright(folder, tmp_path)
    (source,) = found.sources
    check_against_headers(folder, tmp_path / "masks" / f"{source.name}.nii.gz")
    check_against_itk(folder, tmp_path / "masks" / f"{source.name}.nii.gz")


def test_mask_of_a_real_series_lies_on_it(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "chaos/Train_Sets/MR/8/T2SPIR/DICOM_anon"
    predict_bright(folder, tmp_path)
    check_against_headers(folder, tmp_path / "masks/DICOM_anon.nii.gz")
    check_against_itk(folder, tmp_path / "masks/DICOM_anon.nii.gz")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_mask_of_a_nifti_volume_keeps_its_axes_and_affine(axes: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stored = random.integers(1, 900, (11, 12, 13)).astype(np.int16)
    orientation = nib.orientations.axcodes2ornt(axes)
    turned = nib.orientations.inv_ornt_aff(orientation, stored.shape)
    affine = np.linalg.inv(turned) @ np.diag([1.0, 1, 1, 1])
    affine[:3, :3] *= 1.7
    affine[:3, 3] = (-31, 42.5, 7)
    assert "".join(nib.aff2axcodes(affine)) == axes
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "volume.nii.gz")
    predict_bright(tmp_path / "volume.nii.gz", tmp_path / "out")
    mask = nib.load(tmp_path / "out/masks/volume.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj) > 0, grey(stored))
    assert np.array_equal(mask.affine, nib.load(tmp_path / "volume.nii.gz").affine)
    assert mask.get_data_dtype() == np.uint8


def test_nifti_bytes_repeat_and_carry_the_affine_twice(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 4
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", labels, affine)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    image = nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert np.allclose(image.get_sform(), affine)
    assert np.allclose(image.get_qform(), affine, atol=1e-5)


def ground_truth_comes_back(case: Path, out: Path, greys: dict[str, tuple[int, int]] | None) -> None:
    """The ground truth, read by position and written in CHAOS's layout, is the ground truth file by file."""
    (series,) = scan(case / "DICOM_anon").series
    masks = sorted((case / "Ground").iterdir())
    planes = np.stack([read_mask(path, greys) for path in pair(series, masks)])
    files = [header.path for header in series.headers]
    written = write_chaos_pngs(out, planes.transpose(2, 1, 0), files)
    assert [path.name for path in written] == [f"img{number:03d}.png" for number in range(len(masks))]
    for path, original in zip(written, masks, strict=True):
        expected = read_mask(original, greys)
        assert np.array_equal(np.asarray(Image.open(path)), CHAOS_GREY[expected]), path.name


GREYS = {"liver": (55, 70), "right_kidney": (110, 135), "left_kidney": (175, 200), "spleen": (240, 255)}


@pytest.mark.parametrize(("case", "greys"), [("MR/2/T2SPIR", GREYS), ("CT/1", None)])
def test_chaos_pictures_come_in_the_order_of_file_names(
    case: str, greys: dict[str, tuple[int, int]] | None, tmp_path: Path
) -> None:
    """On CT file names run against the positions, so a volume written in its own order would be upside down."""
    ground_truth_comes_back(sample.download("chaos") / "Train_Sets" / case, tmp_path, greys)


@pytest.mark.parametrize(("case", "greys"), [("MR/1/T2SPIR", GREYS), ("CT/3", None)])
def test_real_ground_truth_comes_back(
    case: str, greys: dict[str, tuple[int, int]] | None, shared_data: Path, tmp_path: Path
) -> None:
    ground_truth_comes_back(shared_data / "chaos/Train_Sets" / case, tmp_path, greys)


def test_results_lie_in_chaos_folders(tmp_path: Path) -> None:
    root = sample.download("chaos") / "Train_Sets" / "MR"
    found = volumes.found(str(root / "5"), 32)
    places = {source.name: results_folder(source) for source in found.sources}
    assert places == {
        "T1DUAL/DICOM_anon/InPhase": "Task5/MR/5/T1DUAL/Results",
        "T1DUAL/DICOM_anon/OutPhase": "png/T1DUAL/DICOM_anon/OutPhase",
        "T2SPIR/DICOM_anon": "Task5/MR/5/T2SPIR/Results",
    }


def test_ct_and_what_is_no_volume_are_refused_file_by_file(tmp_path: Path) -> None:
    folder = sample.download("chaos") / "Train_Sets/CT/1/DICOM_anon"
    ct = volumes.found(str(folder), 32)
    assert not ct.sources
    assert {name for name, _ in ct.refused} == {path.name for path in folder.iterdir()}
    assert {reason for _, reason in ct.refused} == {"modality CT, and the network knows MR alone"}
    with pytest.raises(BadFileError, match="nothing to predict on"):
        volumes.stop_without(ct, str(tmp_path))
    assert len((tmp_path / "rejected.csv").read_text().splitlines()) == 1 + len(ct.refused)
    hounsfield = np.full((6, 6, 6), -1000, np.int16)
    nib.save(nib.Nifti1Image(hounsfield, np.eye(4)), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(hounsfield + 1200, np.eye(4)), tmp_path / "mr.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "mr.nii.gz").read_bytes()[:40])
    found = volumes.found(str(tmp_path), 32)
    assert [source.name for source in found.sources] == ["mr"]
    assert [name for name, _ in found.refused] == ["ct.nii.gz", "cut.nii.gz"]
    assert [one.name for one in found.passed] == ["rejected.csv"]


def test_segmentation_object_lies_on_its_series(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    from medtl.writers.dicom_seg import write_seg

    folder = sample.download("chaos") / "Train_Sets/MR/1/T2SPIR/DICOM_anon"
    (series,) = scan(folder).series
    volume = read_volume(series)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[20:50, 30:60, 2:9] = 1
    labels[70:80, 40:52, 4:6] = 4
    files = [header.path for header in series.headers]
    for name in ("a", "b"):
        write_seg(tmp_path / f"{name}.dcm", labels, files, ORGANS, network=f"deeplabv3plus on {'x' * 80}")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    found = highdicom.seg.segread(tmp_path / "a.dcm")
    told = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
    assert told == f"medtl deeplabv3plus on {'x' * 80}"[:64]  # the most that DICOM's LO takes
    assert found.ManufacturerModelName == f"deeplabv3plus on {'x' * 80}"[:64]
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == [o.replace("_", " ") for o in ORGANS]
    there = found.get_volume(combine_segments=True)
    marked = np.argwhere(there.array)
    lps = nib.affines.apply_affine(there.affine, marked)
    place = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), lps * (-1, -1, 1))).astype(int)
    back = np.zeros_like(labels)
    back[tuple(place.T)] = there.array[tuple(marked.T)]
    assert np.array_equal(back, labels)


def test_volumes_are_told_in_millilitres(tmp_path: Path) -> None:
    stored = np.ones((10, 10, 10), np.int16)
    stored[2:6, 2:7, 3:9] = 800
    nib.save(nib.Nifti1Image(stored, np.diag([1.5, 2, 4, 1])), tmp_path / "volume.nii")
    predict_bright(tmp_path / "volume.nii", tmp_path / "out")
    header, row = (tmp_path / "out/predictions.csv").read_text().splitlines()
    assert header == "case,patient,split,ml_liver,ml_right_kidney,ml_left_kidney,ml_spleen"
    assert row.split(",")[:3] == ["volume", "", "inference"]
    assert float(row.split(",")[3]) == pytest.approx(4 * 5 * 6 * 1.5 * 2 * 4 / 1000)


def test_painting_colours_organs_alone() -> None:
    picture = np.full((4, 6), 100, np.uint8)
    labels = np.zeros((4, 6), np.uint8)
    labels[1, 2], labels[2, 3] = 1, 4
    rgb = painted(picture, labels)
    changed = (rgb != 100).any(axis=2)
    assert np.array_equal(changed, labels > 0)
    assert not np.array_equal(rgb[1, 2], rgb[2, 3])
    panels = side_by_side(picture, [labels, labels])
    assert panels.shape == (4 * math.ceil(256 / 4), 3 * 6 * 64, 3)
