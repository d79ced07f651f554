"""The phantom downloads have the layout, the formats and the peculiarities of the official ones, and never vary."""

import csv
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes
from skimage.draw import polygon2mask

from data_prep.sample.chexpert import COLUMNS, FINDINGS
from data_prep.sample.lidc_marks import outline
from data_prep.sample.msd import TASKS, placement

XML = {"x": "http://www.nih.gov"}
MAKERS = ("chexpert", "msd", "lidc", "chaos")


def _make(name: str, folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    importlib.import_module(f"data_prep.sample.{name}").make(folder, seed)
    return folder


def _tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a phantom download, which is made once."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = _make(name, tmp_path_factory.mktemp("sample") / name)
        return folders[name]

    return folder


@pytest.mark.parametrize("name", MAKERS)
def test_two_makes_give_the_same_bytes(name: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    assert _tree_hash(_make(name, tmp_path / name)) == _tree_hash(made(name))


# CheXpert


def _rows(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / f"CheXpert-v1.0-small/{split}.csv").open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    return rows


@pytest.mark.parametrize(("split", "least"), [("train", 28), ("valid", 3)])
def test_chexpert_tables_and_files_agree(made: Callable[[str], Path], split: str, least: int) -> None:
    folder = made("chexpert")
    rows = _rows(folder, split)
    paths = {str(path.relative_to(folder)) for path in folder.glob(f"CheXpert-v1.0-small/{split}/**/*.jpg")}
    assert {row["Path"] for row in rows} == paths
    assert len(rows) == len(paths)
    positives = Counter(name for row in rows for name in FINDINGS if row[name] == "1.0")
    assert min(positives[name] for name in FINDINGS) >= least
    for row in rows:
        view = row["Frontal/Lateral"]
        assert row["Path"].endswith(f"_{view.lower()}.jpg")
        assert (row["AP/PA"] in ("AP", "PA")) == (view == "Frontal")
        assert {row[name] for name in FINDINGS} <= {"1.0", "0.0", "-1.0", ""}
        if row["No Finding"] == "1.0":
            assert all(row[name] != "1.0" for name in FINDINGS[1:-1])


def test_chexpert_mixes_values_views_and_visits_as_the_real_set(made: Callable[[str], Path]) -> None:
    rows = _rows(made("chexpert"), "train")
    values = Counter(row[name] for row in rows for name in FINDINGS)
    assert all(values[value] for value in ("1.0", "0.0", "-1.0", ""))
    number = [sum(row[name] == "1.0" for name in FINDINGS) for row in rows]
    assert number.count(0) >= 10
    assert 0.05 < np.mean(np.array(number) == 2) < 0.25
    assert 0.1 < np.mean([row["Frontal/Lateral"] == "Lateral" for row in rows]) < 0.4
    studies: dict[str, set[str]] = {}
    for row in rows:
        _, _, patient, study, _ = row["Path"].split("/")
        studies.setdefault(patient, set()).add(study)
    assert {len(visits) for visits in studies.values()} == {1, 2, 3}
    assert {row[name] for row in _rows(made("chexpert"), "valid") for name in FINDINGS} == {"0.0", "1.0"}
    assert not studies.keys() & {row["Path"].split("/")[2] for row in _rows(made("chexpert"), "valid")}


def test_chexpert_images_are_grey_jpegs_with_contrast(made: Callable[[str], Path]) -> None:
    for row in _rows(made("chexpert"), "train")[::10]:
        with Image.open(made("chexpert") / row["Path"]) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            assert 256 <= min(image.size) <= max(image.size) <= 320
            assert np.asarray(image).std() > 30


# Medical Segmentation Decathlon


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.folder)
def test_msd_description_names_exactly_the_files(made: Callable[[str], Path], task) -> None:
    root = made("msd") / task.folder
    about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    assert set(about) == {
        "name",
        "description",
        "reference",
        "licence",
        "release",
        "tensorImageSize",
        "modality",
        "labels",
        "numTraining",
        "numTest",
        "training",
        "test",
    }
    assert about["numTraining"] == len(about["training"]) >= 6
    assert about["tensorImageSize"] == ("4D" if len(about["modality"]) > 1 else "3D")
    named = {name for pair in about["training"] for name in pair.values()} | set(about["test"])
    assert all(name.startswith("./") for name in named)
    found = {f"./{path.relative_to(root)}" for path in root.rglob("*.nii.gz") if not path.name.startswith(".")}
    assert found == named
    assert list(root.glob("imagesTr/._*.nii.gz"))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.folder)
def test_msd_volumes(made: Callable[[str], Path], task) -> None:
    root = made("msd") / task.folder
    for stem in task.stems:
        image, labels = (nib.load(root / f"{part}/{stem}.nii.gz") for part in ("imagesTr", "labelsTr"))
        assert image.shape[:3] == labels.shape
        assert image.shape[3:] == ((len(task.modality),) if len(task.modality) > 1 else ())
        np.testing.assert_array_equal(image.affine, labels.affine)
        assert image.get_data_dtype() == task.dtype
        assert labels.get_data_dtype() == np.uint8
        voxels = np.asarray(image.dataobj)
        assert voxels.min() < -900 if task.modality == ("CT",) else voxels.min() >= 0
        mask = np.asarray(nib.as_closest_canonical(labels).dataobj)
        assert set(np.unique(mask)) == set(range(len(task.labels)))
        areas = (mask > 0).sum(axis=(0, 1))
        assert 4 <= (areas >= 0.9 * areas.max()).sum() <= 10
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()


def test_msd_has_several_orientations_and_an_oblique_case(made: Callable[[str], Path]) -> None:
    def codes(name: str) -> str:
        return "".join(nib.aff2axcodes(nib.load(made("msd") / name).affine))

    assert codes("Task01_BrainTumour/imagesTr/BRATS_001.nii.gz") == "LPS"
    assert codes("Task02_Heart/imagesTr/la_005.nii.gz") == "ASR"
    oblique = nib.load(made("msd") / "Task05_Prostate/imagesTr/prostate_01.nii.gz").affine
    assert np.count_nonzero(np.abs(oblique[:3, :3]) > 1e-6) > 3


def test_msd_same_anatomy_in_any_storage_order(made: Callable[[str], Path]) -> None:
    """The left atrium lies on the same side of the body in the case that is stored as sagittal slices."""
    centres = []
    for stem in ("la_003", "la_005", "la_010"):
        labels = nib.load(made("msd") / f"Task02_Heart/labelsTr/{stem}.nii.gz")
        middle = np.append((np.array(labels.shape) - 1) / 2, 1)
        voxel = np.append(np.argwhere(np.asarray(labels.dataobj)).mean(axis=0), 1)
        centres.append((labels.affine @ (voxel - middle))[:3])
    assert np.ptp(centres, axis=0).max() < 20
    assert all(centre[1] < -5 for centre in centres)  # behind the middle of the body


def test_placement_puts_the_middle_at_the_origin() -> None:
    shape, affine = placement((10, 20, 30), (1.0, 2.0, 3.0), "ASR", tilt=10)
    assert shape == (20, 30, 10)
    np.testing.assert_allclose(affine @ [9.5, 14.5, 4.5, 1], [0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [2, 3, 1])


# LIDC-IDRI


def _patients(folder: Path) -> Iterator[tuple[str, dict[str, pydicom.Dataset], ET.Element]]:
    for patient in sorted((folder / "LIDC-IDRI").iterdir()):
        slices = [pydicom.dcmread(path) for path in patient.glob("*/*/*.dcm")]
        (xml,) = patient.glob("*/*/*.xml")
        yield patient.name, {s.SOPInstanceUID: s for s in slices}, ET.parse(xml).getroot()


def _points(roi: ET.Element) -> np.ndarray:
    return np.array([[int(edge[0].text), int(edge[1].text)] for edge in roi.iterfind("x:edgeMap", XML)])


def test_lidc_series_are_sound(made: Callable[[str], Path]) -> None:
    names = []
    for name, slices, root in _patients(made("lidc")):
        names.append(name)
        assert 16 <= len(slices) <= 24
        ordered = sorted(slices.values(), key=lambda s: s.ImagePositionPatient[2])
        gaps = np.diff([float(s.ImagePositionPatient[2]) for s in ordered])
        np.testing.assert_allclose(gaps, float(ordered[0].SliceThickness), atol=1e-3)
        assert [s.InstanceNumber for s in ordered] == list(range(len(slices), 0, -1))
        for one in ordered:
            assert one.PatientID == name
            assert one.StudyDate == "20000101"
            assert not one.PatientName
            assert one.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert one.pixel_array.shape == (256, 256)
            assert root.findtext(".//x:SeriesInstanceUid", namespaces=XML) == one.SeriesInstanceUID
            assert root.findtext(".//x:StudyInstanceUID", namespaces=XML) == one.StudyInstanceUID
    assert names == [f"LIDC-IDRI-{n:04d}" for n in range(1, 11)]


def test_lidc_marks_have_the_real_files_shape(made: Callable[[str], Path]) -> None:
    large = small = none = excluded = padded = 0
    for _, slices, root in _patients(made("lidc")):
        assert root.tag == "{http://www.nih.gov}LidcReadMessage"
        assert len(root.findall("x:readingSession", XML)) == 4
        none += len(root.findall(".//x:nonNodule", XML))
        for nodule in root.iterfind(".//x:unblindedReadNodule", XML):
            rois = nodule.findall("x:roi", XML)
            rated = nodule.find("x:characteristics", XML) is not None
            large, small = large + rated, small + (not rated)
            assert len(rois) >= 3 if rated else len(rois) == 1
            for roi in rois:
                one = slices[roi.findtext("x:imageSOP_UID", namespaces=XML)]
                assert float(roi.findtext("x:imageZposition", namespaces=XML)) == float(one.ImagePositionPatient[2])
                points = _points(roi)
                assert (len(points) > 8) == rated
                assert points.min() >= 0
                assert points.max() < 256
                assert (np.abs(np.diff(points, axis=0)).max(axis=1) == 1).all() if rated else True
                assert (points[0] == points[-1]).all()
            excluded += any(roi.findtext("x:inclusion", namespaces=XML) == "FALSE" for roi in rois)
            padded += rated and min(_points(rois[0]).mean(axis=0)) < 60
    assert large >= 60  # about thirty nodules, each marked by one to four readers
    assert min(small, none) >= 10
    assert excluded >= 2
    assert padded


def test_lidc_outlines_surround_something_brighter_than_the_lung(made: Callable[[str], Path]) -> None:
    brighter = []
    for _, slices, root in _patients(made("lidc")):
        for nodule in root.iterfind(".//x:unblindedReadNodule", XML):
            rois = [r for r in nodule.iterfind("x:roi", XML) if r.findtext("x:inclusion", namespaces=XML) == "TRUE"]
            if len(rois) < 3:
                continue
            roi = rois[len(rois) // 2]
            pixels = slices[roi.findtext("x:imageSOP_UID", namespaces=XML)].pixel_array
            region = polygon2mask(pixels.shape, _points(roi)[:, ::-1])
            around = binary_dilation(region, iterations=5) & ~binary_dilation(region, iterations=2)
            brighter.append(np.median(pixels[region]) > np.median(pixels[around]) + 200)
    assert np.mean(brighter) > 0.8  # a few touch the wall or the mediastinum


@pytest.mark.parametrize("seed", range(5))
def test_outline_runs_just_outside_and_closes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :60] - 30
    angle = np.arctan2(y, x)
    mask = np.hypot(x, y) < rng.uniform(4, 18) * (1 + 0.15 * np.cos(3 * angle + rng.uniform(0, 6)))
    points = outline(mask)
    steps = np.abs(np.diff(points, axis=0)).max(axis=1)
    assert points[0] == points[-1]
    assert (steps == 1).all()
    ring = np.zeros_like(mask)
    ring[tuple(np.array(points).T[::-1])] = True
    np.testing.assert_array_equal(ring, binary_dilation(mask) & ~mask)
    np.testing.assert_array_equal(binary_fill_holes(ring) & ~ring, mask)
    inner = np.zeros_like(mask)
    inner[tuple(np.array(outline(mask, outer=False)).T[::-1])] = True
    assert not (inner & ~mask).any()


# CHAOS

CHAOS_SEQUENCES = (
    ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground"),
    ("T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground"),
    ("T2SPIR/DICOM_anon", "T2SPIR/Ground"),
)


def _chaos_slices(folder: Path) -> list[pydicom.Dataset]:
    """In the order of the file names."""
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def _chaos_masks(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("L")) for path in sorted(folder.iterdir())])


def test_chaos_has_the_official_layout(made: Callable[[str], Path]) -> None:
    root = made("chaos") / "Train_Sets"
    assert [sorted(int(case.name) for case in (root / name).iterdir()) for name in ("CT", "MR")] == [
        [1, 2, 5],
        [1, 2, 3, 5, 8, 10],
    ]
    ct = {f"{case.relative_to(root)}/{name}" for case in root.glob("CT/*") for name in ("DICOM_anon", "Ground")}
    mr = {f"{case.relative_to(root)}/{name}" for case in root.glob("MR/*") for pair in CHAOS_SEQUENCES for name in pair}
    assert {path.parent.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == ct | mr


def test_chaos_names_run_against_the_positions_on_ct_and_with_them_on_mr(made: Callable[[str], Path]) -> None:
    root = made("chaos") / "Train_Sets"
    for folder in [path for path in root.rglob("*") if path.is_dir() and list(path.glob("*.dcm"))]:
        steps = np.diff([float(one.ImagePositionPatient[2]) for one in _chaos_slices(folder)])
        assert (steps < 0).all() if "CT" in folder.parts else (steps > 0).all()
        assert 14 <= len(steps) + 1 <= 20
    for case in root.glob("MR/*"):
        inward, outward, spir = (_chaos_slices(case / images) for images, _ in CHAOS_SEQUENCES)
        assert len({one.SeriesInstanceUID for one in (*inward, *outward)}) == 1
        assert {float(one.EchoTime) for one in inward} == {4.6}
        assert {float(one.EchoTime) for one in outward} == {2.3}
        assert len({one.SOPInstanceUID for one in (*inward, *outward, *spir)}) == len([*inward, *outward, *spir])


def test_chaos_masks_have_the_official_grey_values_on_the_right_sides(made: Callable[[str], Path]) -> None:
    root = made("chaos") / "Train_Sets"
    for case in root.glob("CT/*"):
        masks = _chaos_masks(case / "Ground")
        assert np.unique(masks).tolist() == [0, 255]
        slices = _chaos_slices(case / "DICOM_anon")
        hounsfield = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices])
        inside = hounsfield[masks > 0]
        assert 90 < inside.mean() < 130
        assert inside.std() < 40
    for case in root.glob("MR/*"):
        for images, ground in CHAOS_SEQUENCES:
            masks = _chaos_masks(case / ground)
            assert np.unique(masks).tolist() == [0, 63, 126, 189, 252]
            assert masks.shape == np.stack([one.pixel_array for one in _chaos_slices(case / images)]).shape
            places = {grey: np.argwhere(masks == grey) for grey in (63, 126, 189, 252)}
            assert all(len(place) > 300 for place in places.values())
            column = {grey: place[:, 2].mean() for grey, place in places.items()}
            assert max(column[63], column[126]) < 64 < min(column[189], column[252])
            assert places[126][:, 0].mean() < places[189][:, 0].mean()  # the right kidney lies lower


def test_chaos_phases_cancel_where_fat_and_water_meet(made: Callable[[str], Path]) -> None:
    case = made("chaos") / "Train_Sets/MR/1"
    inward, outward, spir = (
        np.stack([one.pixel_array.astype(float) for one in _chaos_slices(case / images)])
        for images, _ in CHAOS_SEQUENCES
    )
    liver = _chaos_masks(case / "T2SPIR/Ground") == 63
    assert 0.8 < outward[liver].mean() / inward[liver].mean() < 0.95
    assert np.mean(outward < 0.5 * inward) > 0.02
    kidney = _chaos_masks(case / "T2SPIR/Ground") == 126
    assert spir[kidney].mean() > 1.8 * spir[liver].mean()
