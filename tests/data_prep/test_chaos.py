"""CHAOS against an own reading: pixels straight from pydicom, masks from Pillow, paired by the order of file names."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from monai.data import load_decathlon_datalist
from PIL import Image

from data_prep.chaos import MR_GREYS
from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import BadFileError
from medtl.integrity import problems_of_data
from medtl.readers.chaos import check_liver, natural, read_mask
from medtl.splits import assign_folds

pytestmark = pytest.mark.slow

ORGANS = ["liver", "right_kidney", "left_kidney", "spleen"]
FOLDERS = {
    "CT": ("DICOM_anon", "Ground"),
    "T1DUAL-in": ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground"),
    "T1DUAL-out": ("T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground"),
    "T2SPIR": ("T2SPIR/DICOM_anon", "T2SPIR/Ground"),
}
PLANTED = {
    "PatientName": "Zebedee^Quentin",
    "PatientBirthDate": "19470823",
    "StudyDate": "20190314",
    "AccessionNumber": "ACC55512",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Whodunnit^Xavier",
    "PatientID": "MRN-7731982",
}
UID = re.compile(rb"\d+(\.\d+){4,}")


def _oracle(case: Path, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """(slices, rows, columns) values in the modality's unit and grey values of the masks, both from the feet up."""
    images, ground = (case / folder for folder in FOLDERS[sequence])
    files = sorted(images.glob("*.dcm"), key=lambda path: path.name)
    masks = sorted(ground.glob("*.png"), key=lambda path: path.name)
    assert len(files) == len(masks)
    slices = []
    for file, mask in zip(files, masks, strict=True):
        one = pydicom.dcmread(file)
        assert [round(float(cosine)) for cosine in one.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        values = one.pixel_array * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        with Image.open(mask) as image:
            slices.append((float(one.ImagePositionPatient[2]), values, np.asarray(image.convert("L"))))
    slices.sort(key=lambda one: one[0])
    return np.stack([one[1] for one in slices]), np.stack([one[2] for one in slices])


def _of(ended: Any, case: str, sequence: str) -> list[dict[str, Any]]:
    return [e for e in ended.listed["training"] if (e["case"], e["sequence"]) == (case, sequence)]


def _label(ended: Any, entry: dict[str, Any]) -> np.ndarray:
    with Image.open(ended.folder / entry["label"]) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def _assert_written(ended: Any, folder: Path, case: str, sequence: str) -> None:
    """Every slice once, with or without an organ; its grey values, its mask and what the entry says about them."""
    values, greys = _oracle(folder / case, sequence)
    if sequence == "CT":
        indices, low, high = (greys > 0).astype(int), -160.0, 240.0
    else:
        indices = np.zeros(greys.shape, int)
        for grey, index in ((63, 1), (126, 2), (189, 3), (252, 4)):
            indices[greys == grey] = index
        low, high = np.percentile(values[values != 0], (0.5, 99.5))
    entries = _of(ended, case, sequence)
    assert [entry["slice"] for entry in entries] == list(range(len(indices)))
    first = pydicom.dcmread(next((folder / case / FOLDERS[sequence][0]).glob("*.dcm")))
    for entry in entries:
        label = indices[entry["slice"]]
        np.testing.assert_array_equal(_label(ended, entry), label)
        expected = np.clip((values[entry["slice"]] - low) / (high - low) * 255, 0, 255)
        assert np.abs(ended.picture(entry) - expected).max() <= 0.51
        organs = ORGANS[:1] if sequence == "CT" else ORGANS
        assert entry["areas"] == {organ: int((label == index).sum()) for index, organ in enumerate(organs, start=1)}
        assert entry["patient"] == f"chaos/{case}"
        assert entry["source"] == "chaos"
        assert entry["sha256"] == hashlib.sha256((ended.folder / entry["image"]).read_bytes()).hexdigest()
        assert entry["spacing"][:2] == pytest.approx([float(mm) for mm in first.PixelSpacing], abs=1e-3)
        name = f"chaos/{case}/{sequence}_z{entry['slice']:03d}.png"
        assert (entry["image"], entry["label"]) == (f"images/{name}", f"masks/{name}")
        assert "mask" not in entry


@pytest.fixture
def raw(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """One CT and two MR cases, free to be changed."""
    for case in ("CT/1", "MR/1", "MR/2"):
        shutil.copytree(phantoms("chaos") / "Train_Sets" / case, tmp_path / "Train_Sets" / case)
    return tmp_path / "Train_Sets"


@pytest.fixture
def real_ct(shared_data: Path, tmp_path: Path) -> Path:
    """The real CT case, free to be changed."""
    shutil.copytree(shared_data / "chaos/Train_Sets/CT/3", tmp_path / "Train_Sets/CT/3")
    return tmp_path / "Train_Sets"


# The real cases


def test_real_ct(prep: Callable[..., Any], shared_data: Path) -> None:
    ended = prep("chaos", "--raw", shared_data / "chaos/Train_Sets/CT")
    assert (ended.status, ended.rejected) == (0, [])
    values, _ = _oracle(shared_data / "chaos/Train_Sets/CT/3", "CT")
    inside = [values[e["slice"]][_label(ended, e) == 1] for e in _of(ended, "CT/3", "CT")]
    hounsfield = np.concatenate(inside)
    assert hounsfield.mean() == pytest.approx(141, abs=3)
    assert hounsfield.std() == pytest.approx(34, abs=3)
    _assert_written(ended, shared_data / "chaos/Train_Sets", "CT/3", "CT")
    assert {e["spacing"][2] for e in _of(ended, "CT/3", "CT")} == {2.0}


@pytest.mark.parametrize("flip", ["left-right", "up-down", "in slice order"])
def test_flipped_masks_of_the_real_ct_are_refused(flip: str, prep: Callable[..., Any], real_ct: Path) -> None:
    masks = sorted((real_ct / "CT/3/Ground").glob("*.png"))
    planes = []
    for path in masks:
        with Image.open(path) as image:
            planes.append(np.asarray(image.convert("L")))
    axis = ("in slice order", "up-down", "left-right").index(flip)
    for path, plane in zip(masks, np.flip(np.stack(planes), axis), strict=True):
        Image.fromarray(plane).save(path)
    ended = prep("chaos", "--raw", real_ct)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert file == "CT/3/DICOM_anon"
    assert f"flipped {flip} 141 ± 34 HU" in reason
    assert ended.listed["training"] == []


def test_real_ct_with_five_slices_removed_is_refused(prep: Callable[..., Any], real_ct: Path) -> None:
    files = sorted((real_ct / "CT/3/DICOM_anon").iterdir())
    z = [float(pydicom.dcmread(files[k]).ImagePositionPatient[2]) for k in (29, 35)]
    for path in files[30:35]:
        path.unlink()
    ended = prep("chaos", "--raw", real_ct)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert file == "CT/3/DICOM_anon"
    assert reason.startswith(f"gap: 5 slices missing between {min(z):.2f} mm and {max(z):.2f} mm")
    dry = prep("chaos", "--raw", real_ct, "--dry-run")
    assert "gap: 5 slices missing" in dry.out


def test_real_mr(prep: Callable[..., Any], shared_data: Path) -> None:
    folder = shared_data / "chaos/Train_Sets"
    ended = prep("chaos", "--raw", folder / "MR")
    assert (ended.status, ended.rejected) == (0, [])
    cases = {f"MR/{number}" for number in (1, 2, 3, 5, 8, 10, 13, 15)}
    assert {entry["case"] for entry in ended.listed["training"]} == cases
    for case in cases:
        entries = _of(ended, case, "T2SPIR")
        assert all(sum(entry["areas"][organ] for entry in entries) > 100 for organ in ORGANS)
        _assert_written(ended, folder, case, "T2SPIR")
        columns = {index: [] for index in range(1, 5)}
        for entry in entries:
            for index in columns:
                columns[index].append(np.nonzero(_label(ended, entry) == index)[1])
        middle = [np.concatenate(columns[index]).mean() for index in range(1, 5)]
        assert middle[0] < middle[3]  # the patient's right is on the left of the picture
        assert middle[1] < middle[2]


# What is written


def test_all_phantoms(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    folder = phantoms("chaos") / "Train_Sets"
    ended = prep("chaos", "--raw", phantoms("chaos"))
    assert (ended.status, ended.rejected) == (0, [])
    for case in sorted(folder.glob("*/*")):
        name = case.relative_to(folder).as_posix()
        for sequence in ["CT"] if name.startswith("CT") else list(FOLDERS)[1:]:
            _assert_written(ended, folder, name, sequence)
    listed = ended.listed
    assert listed["classes"] == ORGANS
    assert (listed["channels"], listed["sample"], listed["validation"], listed["test"]) == (1, False, [], [])
    assert "CC BY-NC-SA" in listed["licence"]


def test_folds_keep_patients_together_and_hold_every_sequence(
    prep: Callable[..., Any], phantoms: Callable[[str], Path]
) -> None:
    entries = prep("chaos", "--raw", phantoms("chaos")).listed["training"]
    folds: dict[str, set[int]] = {}
    for entry in entries:
        folds.setdefault(entry["patient"], set()).add(entry["fold"])
    assert all(len(where) == 1 for where in folds.values())
    assert {"chaos/CT/1", "chaos/MR/1"} <= set(folds)
    for fold in range(3):
        own = {entry["patient"] for entry in entries if entry["fold"] == fold}
        assert sum(patient.startswith("chaos/CT/") for patient in own) == 1
        assert sum(patient.startswith("chaos/MR/") for patient in own) == 2
        assert {entry["sequence"] for entry in entries if entry["fold"] == fold} == set(FOLDERS)


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_a_set_of_the_published_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries = [
        {"patient": f"chaos/{modality}/{case}", "sequence": sequence}
        for modality, sequences in (("CT", ["CT"]), ("MR", ["T1DUAL-in", "T1DUAL-out", "T2SPIR"]))
        for case, count in enumerate(rng.integers(26, 50, 20))
        for sequence in sequences
        for _ in range(count)
    ]
    dealt = assign_folds(entries, 3, seed)
    for modality in ("CT", "MR"):
        sizes = [len({e["patient"] for e in dealt if e["fold"] == k and modality in e["patient"]}) for k in range(3)]
        assert sorted(sizes) == [6, 7, 7]


def test_list_loads_with_monai_and_holds_together(prep: Callable[..., Any], raw: Path) -> None:
    ended = prep("chaos", "--raw", raw)
    path = ended.folder / "datalist.json"
    loaded = load_decathlon_datalist(str(path), is_segmentation=True, data_list_key="training")
    assert all(Path(one["image"]).is_file() and Path(one["label"]).is_file() for one in loaded)
    assert datalist.read(ended.folder).task == "segmentation"
    assert problems_of_data(ended.folder)[1] == []
    (ended.folder / ended.listed["training"][0]["label"]).unlink()
    assert problems_of_data(ended.folder)[1][0].startswith("1 missing file(s)")


def test_a_patient_in_two_folds_is_a_problem(tmp_path: Path) -> None:
    entries = [
        {"image": f"{k}.png", "label": "m.png", "patient": "chaos/MR/1", "source": "chaos", "sha256": str(k), "fold": k}
        for k in range(2)
    ]
    about = {"name": "chaos", "classes": ("liver",), "channels": 1, "licence": "", "created_by": "", "sample": True}
    made = DataList(**about, training=entries, validation=[], test=[], folder=tmp_path)
    assert datalist.overlaps(made) == ["1 patient(s) in more than one fold, the first chaos/MR/1"]


@pytest.mark.parametrize(("rule", "expected"), [("largest:3", 3), ("stride:4", None), ("area:1.0", 1)])
def test_key_slices(rule: str, expected: int | None, prep: Callable[..., Any], raw: Path) -> None:
    everything = prep("chaos", "--raw", raw, "--out", raw.parent / "all")
    ended = prep("chaos", "--raw", raw, "--key-slices", rule)
    assert ended.status == 0
    whole = [entry["slice"] for entry in _of(everything, "MR/2", "T1DUAL-out")]
    some = [entry["slice"] for entry in _of(ended, "MR/2", "T1DUAL-out")]
    with_organ = [e["slice"] for e in _of(everything, "MR/2", "T1DUAL-out") if any(e["areas"].values())]
    assert some == with_organ[::4] if expected is None else len(some) == expected
    assert set(some) <= set(whole)
    assert f"--key-slices {rule}" in ended.listed["created_by"]
    assert "validation-fraction" not in ended.listed["created_by"]


def test_rerun_gives_the_same_bytes_and_repairs_what_is_lost(prep: Callable[..., Any], raw: Path) -> None:
    ended = prep("chaos", "--raw", raw)
    before = {p.relative_to(ended.folder): p.read_bytes() for p in ended.folder.rglob("*") if p.is_file()}
    written = {path: path.stat().st_mtime_ns for path in ended.folder.rglob("*.png")}
    assert prep("chaos", "--raw", raw).status == 0
    assert {path: path.stat().st_mtime_ns for path in ended.folder.rglob("*.png")} == written
    next((ended.folder / "masks/chaos/MR/1").glob("*.png")).unlink()
    assert prep("chaos", "--raw", raw).status == 0
    after = {p.relative_to(ended.folder): p.read_bytes() for p in ended.folder.rglob("*") if p.is_file()}
    assert after == before
    shutil.rmtree(raw / "MR/1/T2SPIR")
    assert prep("chaos", "--raw", raw).status == 0
    assert not list(ended.folder.glob("*/chaos/MR/1/T2SPIR*"))


def test_dry_run_counts_cases_of_each_sequence(prep: Callable[..., Any], raw: Path) -> None:
    shutil.rmtree(raw / "MR/2/T2SPIR")
    dry = prep("chaos", "--raw", raw, "--dry-run")
    assert not dry.folder.exists()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in dry.out.splitlines() if "│" in line]
    assert cells == [
        ["CT", "1", "cases", "20"],
        ["T1DUAL-in", "2", "cases", "20"],
        ["T1DUAL-out", "2", "cases", "20"],
        ["T2SPIR", "1", "cases", "20"],
    ]


# Where the folders lie


@pytest.mark.parametrize("below", ["Train_Sets", ".", "Train_Sets/CT", "Train_Sets/MR", "..", "link"])
def test_folder_may_lie_above_or_be_one_modality(below: str, prep: Callable[..., Any], raw: Path) -> None:
    (raw.parent / "__MACOSX").mkdir()
    shutil.copytree(raw / "CT", raw.parent / "__MACOSX/CT")
    (raw.parent / "link").symlink_to(raw)
    root = raw.parent if below == ".." else None
    if root:
        (raw.parent / "up/down").mkdir(parents=True)
        shutil.move(str(raw), str(raw.parent / "up/down/Train_Sets"))
        (raw.parent / "link").unlink()
    given = raw.parent / "up" if root else raw.parent / below
    if below == ".":
        (raw.parent / "link").unlink()
    ended = prep("chaos", "--raw", given, "--out", raw.parent / "made/out")
    assert (ended.status, ended.rejected) == (0, [])
    cases = {entry["case"] for entry in ended.listed["training"]}
    everything = {"CT/1", "MR/1", "MR/2"}
    assert cases == {case for case in everything if not below.endswith(("CT", "MR")) or case.startswith(below[-2:])}


def test_cases_without_ground_truth_are_passed_over(prep: Callable[..., Any], raw: Path) -> None:
    tests = raw.parent / "Test_Sets"
    shutil.copytree(raw / "CT/1", tests / "CT/4")
    shutil.copytree(raw / "MR/1", tests / "MR/1")
    for ground in tests.rglob("Ground"):
        shutil.rmtree(ground)
    shutil.rmtree(raw / "MR/2/T2SPIR/Ground")
    ended = prep("chaos", "--raw", raw.parent, "--out", raw.parent / "made/out")
    assert (ended.status, ended.rejected) == (0, [])
    assert "3 case(s) without ground truth" in ended.err
    assert {entry["case"] for entry in ended.listed["training"]} == {"CT/1", "MR/1", "MR/2"}
    assert _of(ended, "MR/2", "T2SPIR") == []
    alone = prep("chaos", "--raw", tests, "--out", raw.parent / "made/alone")
    assert alone.status == 2
    assert "no CHAOS case with ground truth" in alone.err


def test_pairs_by_the_natural_order_of_file_names(prep: Callable[..., Any], raw: Path) -> None:
    """Names without leading zeros, 10 after 9, positions running against them on CT: the result stays the same."""
    before = prep("chaos", "--raw", raw, "--out", raw.parent / "before")
    for folder in (raw / "CT/1/DICOM_anon", raw / "CT/1/Ground", raw / "MR/1/T2SPIR/Ground"):
        for number, path in enumerate(sorted(folder.iterdir()), start=1):
            path.rename(folder / f"slice{number}{path.suffix}")
    (raw / "CT/1/Ground/._slice1.png").write_bytes(b"\0\5\26\7")
    (raw / "CT/1/DICOM_anon/._slice1.dcm").write_bytes(b"\0\5\26\7")
    after = prep("chaos", "--raw", raw, "--out", raw.parent / "after")
    assert (after.status, after.rejected) == (0, [])
    assert after.listed == before.listed


def test_natural_order() -> None:
    names = ["i0010,0000b.dcm", "IMG-0002-00010.dcm", "img-0002-9.dcm", "2.png", "10.png", "i0009,0000b.dcm"]
    assert sorted(names, key=natural) == [names[3], names[4], names[5], names[0], names[2], names[1]]


# What is refused


def test_phases_share_ground_truth_and_may_differ_in_size(prep: Callable[..., Any], raw: Path) -> None:
    for path in (raw / "MR/1/T1DUAL/DICOM_anon/OutPhase").iterdir():
        one = pydicom.dcmread(path)
        one.PixelData = np.pad(one.pixel_array, 8).tobytes()
        one.Rows = one.Columns = 144
        one.save_as(path)
    ended = prep("chaos", "--raw", raw)
    assert ended.status == 3
    assert ended.rejected == [
        ("MR/1/T1DUAL/DICOM_anon/OutPhase", "images of 144 × 144 pixels, but masks of 128 × 128"),
    ]
    _assert_written(ended, raw, "MR/1", "T1DUAL-in")
    assert _of(ended, "MR/1", "T1DUAL-out") == []
    for inward, outward in zip(_of(ended, "MR/2", "T1DUAL-in"), _of(ended, "MR/2", "T1DUAL-out"), strict=True):
        np.testing.assert_array_equal(_label(ended, inward), _label(ended, outward))
        assert (ended.picture(inward) != ended.picture(outward)).any()


@pytest.mark.parametrize("flips", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_every_flip_of_a_liver_is_told(flips: tuple[int, ...], phantoms: Callable[[str], Path]) -> None:
    values, greys = _oracle(phantoms("chaos") / "Train_Sets/CT/2", "CT")
    hounsfield, mask = values.transpose(2, 1, 0), greys.transpose(2, 1, 0)
    check_liver(hounsfield, mask)
    names = ("left-right", "up-down", "in slice order")
    with pytest.raises(BadFileError, match=" and ".join(names[axis] for axis in flips)):
        check_liver(hounsfield, np.flip(mask, flips))


@pytest.mark.parametrize(("mean", "sd"), [(20, 10), (300, 10), (120, 100)])
def test_a_mask_beside_the_liver_is_told(mean: float, sd: float) -> None:
    rng = np.random.default_rng(0)
    hounsfield = rng.normal(0, 400, (30, 20, 10))
    mask = np.zeros(hounsfield.shape, np.uint8)
    mask[2:10, 3:8, 1:4] = 1
    hounsfield[mask > 0] = rng.normal(mean, sd, int(mask.sum()))
    with pytest.raises(BadFileError, match=r"inside the liver mask .* HU; expected a mean"):
        check_liver(hounsfield, mask)


def test_grey_ranges_of_the_organs(tmp_path: Path) -> None:
    greys = {0: 0, 55: 1, 63: 1, 70: 1, 110: 2, 126: 2, 135: 2, 175: 3, 189: 3, 200: 3, 240: 4, 252: 4, 255: 4}
    Image.fromarray(np.array([list(greys)], np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", MR_GREYS).tolist() == [list(greys.values())]
    assert list(MR_GREYS) == ORGANS
    assert read_mask(tmp_path / "mask.png", None).tolist() == [[0] + [1] * 12]
    for mode in ("RGB", "LA"):
        with Image.open(tmp_path / "mask.png") as image:
            image.convert(mode).save(tmp_path / "other.png")
        assert read_mask(tmp_path / "other.png", MR_GREYS).tolist() == [list(greys.values())]
    # the liver on what is transparent, and white beneath
    Image.fromarray(np.array([[[255, 0], [63, 255], [255, 0]]], np.uint8)).save(tmp_path / "other.png")
    assert read_mask(tmp_path / "other.png", MR_GREYS).tolist() == [[0, 1, 0]]
    pages = [Image.fromarray(np.array([line], np.uint8)) for line in ([0, 63, 0], [63, 0, 0])]
    pages[0].save(tmp_path / "other.png", save_all=True, append_images=pages[1:])
    with pytest.raises(BadFileError, match="several pictures"):
        read_mask(tmp_path / "other.png", MR_GREYS)


@pytest.mark.parametrize("grey", [1, 54, 71, 109, 136, 174, 201, 239])
def test_other_grey_values_are_refused(grey: int, prep: Callable[..., Any], raw: Path) -> None:
    path = sorted((raw / "MR/1/T2SPIR/Ground").iterdir())[3]
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0] = grey
    Image.fromarray(pixels).save(path)
    if grey > 1:  # once through the whole command is enough
        with pytest.raises(BadFileError, match=rf"stand for no organ: {grey}$"):
            read_mask(path, MR_GREYS)
        return
    ended = prep("chaos", "--raw", raw)
    assert ended.status == 3
    reason = "holds grey values that stand for no organ: 1; the case's T2SPIR is left out"
    assert ended.rejected == [(path.relative_to(raw).as_posix(), reason)]
    assert _of(ended, "MR/1", "T2SPIR") == []
    assert _of(ended, "MR/1", "T1DUAL-in")


def test_bad_cases_are_named_and_the_rest_is_taken(prep: Callable[..., Any], raw: Path) -> None:
    sorted((raw / "MR/1/T2SPIR/Ground").iterdir())[-1].unlink()
    cut = sorted((raw / "MR/1/T1DUAL/Ground").iterdir())[2]
    cut.write_bytes(cut.read_bytes()[:60])
    for name, change in (("4", "masks"), ("6", "all masks"), ("7", "images"), ("9", "modality"), ("12", "two")):
        case = raw / "MR" / name
        shutil.copytree(raw / "MR/2/T2SPIR", case / "T2SPIR")
        if change == "masks":
            for path in (case / "T2SPIR/Ground").iterdir():
                with Image.open(path) as image:
                    Image.new("L", image.size).save(path)
        elif change == "all masks":
            shutil.rmtree(case / "T2SPIR/Ground")
            (case / "T2SPIR/Ground").mkdir()
        elif change == "images":
            shutil.rmtree(case / "T2SPIR/DICOM_anon")
        elif change == "two":
            shutil.copytree(raw / "MR/1/T2SPIR/DICOM_anon", case / "T2SPIR/DICOM_anon/more")
        else:
            for path in (case / "T2SPIR/DICOM_anon").iterdir():
                one = pydicom.dcmread(path)
                one.Modality = "CT"
                one.save_as(path)
    shutil.copytree(raw / "MR/2/T2SPIR", raw / "MR/Smith/T2SPIR")
    ended = prep("chaos", "--raw", raw)
    assert ended.status == 3
    reasons = dict(ended.rejected)
    count = len(list((raw / "MR/1/T2SPIR/DICOM_anon").iterdir()))
    assert reasons.pop("MR/1/T2SPIR/DICOM_anon") == f"{count} images, but {count - 1} masks in its ground truth"
    assert "cut short" in reasons.pop(cut.relative_to(raw).as_posix())
    assert reasons.pop("MR/4/T2SPIR/DICOM_anon") == "the ground truth is empty"
    assert "but 0 masks" in reasons.pop("MR/6/T2SPIR/DICOM_anon")
    assert "without images" in reasons.pop("MR/7/T2SPIR/Ground")
    assert reasons.pop("MR/9/T2SPIR/DICOM_anon") == "modality CT where MR is expected"
    assert reasons.pop("MR/12/T2SPIR/DICOM_anon") == "2 series where one is expected"
    assert reasons.pop("MR/Smith") == "is not named by a case's number"
    assert reasons == {}
    _assert_written(ended, raw, "CT/1", "CT")
    _assert_written(ended, raw, "MR/2", "T2SPIR")
    assert {entry["case"] for entry in ended.listed["training"]} == {"CT/1", "MR/2"}


def test_the_same_case_twice_is_refused(prep: Callable[..., Any], raw: Path) -> None:
    shutil.copytree(raw / "CT", raw.parent / "Copy/CT")
    ended = prep("chaos", "--raw", raw.parent, "--out", raw.parent / "made/out")
    assert ended.status == 3
    assert ended.rejected == [("Train_Sets/CT/1/DICOM_anon", "another folder holds the same case")]


def test_burned_in_annotation_is_refused(prep: Callable[..., Any], raw: Path) -> None:
    path = sorted((raw / "CT/1/DICOM_anon").iterdir())[4]
    one = pydicom.dcmread(path)
    one.BurnedInAnnotation = "YES"
    one.save_as(path)
    ended = prep("chaos", "--raw", raw)
    assert ended.status == 3
    (file, reason), (folder, whole) = ended.rejected
    assert (file, folder) == (path.relative_to(raw).as_posix(), "CT/1/DICOM_anon")
    assert "burned into the pixels" in reason
    assert "cannot be used" in whole
    assert {entry["case"] for entry in ended.listed["training"]} == {"MR/1", "MR/2"}


@pytest.mark.parametrize("damaged", [False, True])
def test_nothing_about_the_person_gets_out(damaged: bool, prep: Callable[..., Any], raw: Path) -> None:
    """Names, ids, dates and UIDs of the headers, and where the files lay, appear nowhere, also not in reasons."""
    for path in raw.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        if damaged and path.stem.endswith("3"):
            dataset.Rows = 0
        dataset.save_as(path)
    dry = prep("chaos", "--raw", raw, "--dry-run")
    ended = prep("chaos", "--raw", raw)
    assert ended.status == (3 if damaged else 0)
    secrets = [str(raw).encode(), str(raw.parent).encode()]
    secrets += [part.encode() for value in PLANTED.values() for part in value.split("^")]
    texts = {"stdout": ended.out.encode(), "stderr": ended.err.encode(), "dry": (dry.out + dry.err).encode()}
    files = [path for path in ended.folder.rglob("*") if path.is_file()]
    texts.update({path.relative_to(ended.folder).as_posix(): path.read_bytes() for path in files})
    texts["names of files"] = "\n".join(texts).encode()
    for name, text in texts.items():
        assert not [secret for secret in secrets if secret in text], name
        if not name.endswith(".png"):
            assert not UID.search(text), name
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert image.info == {}


def test_usage_errors(prep: Callable[..., Any], raw: Path, tmp_path: Path) -> None:
    (tmp_path / "empty/CT").mkdir(parents=True)
    ended = prep("chaos", "--raw", tmp_path / "empty")
    assert ended.status == 2
    assert "CT/NN" in ended.err
    ended = prep("chaos", "--raw", raw, "--key-slices", "most")
    assert ended.status == 2
    assert "key-slice rule 'most'" in ended.err
