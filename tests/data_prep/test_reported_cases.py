"""Downloads as users have them: nested, doubled, saved by other editors, on other grids."""

import codecs
import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from medtl.integrity import problems_of_data

SHAPE = (20, 18, 9)
AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])


@pytest.fixture
def spleens(write_msd: Callable[..., None], tmp_path: Path) -> Path:
    """Five spleen cases in an MSD folder with its dataset.json."""
    task = tmp_path / "raw/Task09_Spleen"
    for number in range(5):
        image = np.random.default_rng(number).integers(-200, 300, SHAPE).astype(np.int16)
        labels = np.zeros(SHAPE, np.uint8)
        labels[5:12, 5:12, 3:6] = 1
        write_msd(task, f"spleen_{number:03d}", image, labels)
    table = {"training": [{"image": f"./imagesTr/spleen_{k:03d}.nii.gz", "label": "x"} for k in range(5)]}
    (task / "dataset.json").write_text(json.dumps(table))
    return task


def turned(degrees: float) -> np.ndarray:
    return nib.affines.from_matvec(nib.eulerangles.euler2mat(z=np.radians(degrees)) @ AFFINE[:3, :3])


GRIDS: dict[str, tuple[np.ndarray, str]] = {
    "spacing": (np.diag([4.0, 6.0, 10.0, 1.0]), r"its voxels measure 4 × 6 × 10 mm, the image's 2 × 3 × 5 mm"),
    "origin": (nib.affines.from_matvec(AFFINE[:3, :3], (100, 0, 0)), "it begins 100.0 mm away from the image"),
    "direction": (turned(17), r"it is turned by 17\.0° against the image"),
    "slightly": (turned(3), r"it is turned by 3\.0°"),
    "one step": (nib.affines.from_matvec(AFFINE[:3, :3], (0, 0, 5)), "it begins 5.0 mm away"),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_label_on_another_grid_is_refused(name: str, prep: Callable[..., Any], spleens: Path) -> None:
    affine, reason = GRIDS[name]
    path = spleens / "labelsTr/spleen_002.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine), path)
    ended = prep("msd", "--raw", spleens.parent)
    assert ended.status == 3
    ((file, why),) = ended.rejected
    assert file == "Task09_Spleen/imagesTr/spleen_002.nii.gz"
    assert re.search(reason, why)


def test_rounded_headers_are_one_grid(prep: Callable[..., Any], spleens: Path) -> None:
    path = spleens / "labelsTr/spleen_002.nii.gz"
    affine = AFFINE + np.random.default_rng(0).uniform(-0.002, 0.002, (4, 4)) * [[1, 1, 1, 100]] * 3 + [[0, 0, 0, 0]]
    affine = np.vstack([affine[:3], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine), path)
    assert prep("msd", "--raw", spleens.parent).status == 0


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_table_saved_by_another_editor_is_read(mark: bytes, prep: Callable[..., Any], spleens: Path) -> None:
    text = (spleens / "dataset.json").read_text()
    encoding = "utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le"
    (spleens / "dataset.json").write_bytes(mark + text.encode(encoding))
    ended = prep("msd", "--raw", spleens.parent)
    assert (ended.status, len({entry["case"] for entry in ended.entries})) == (0, 5)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_task_in_a_folder_of_its_own_name_is_found(depth: int, prep: Callable[..., Any], spleens: Path) -> None:
    inner = spleens
    for _ in range(depth):
        outer = inner.with_name("away")
        inner.rename(outer)
        inner.mkdir()
        outer.rename(inner / inner.name)
    ended = prep("msd", "--raw", spleens.parent)
    assert (ended.status, len({entry["case"] for entry in ended.entries})) == (0, 5)
    again = prep("msd", "--raw", spleens, "--out", spleens.parents[1] / "again")
    assert again.listed == ended.listed


def test_a_task_that_is_lost_is_named(prep: Callable[..., Any], spleens: Path) -> None:
    (spleens.parent / "Task02_Heart/imagesTs").mkdir(parents=True)
    (spleens.parent / "Task04_Hippocampus/imagesTr").mkdir(parents=True)
    shutil.copytree(spleens, spleens.parent / "copy/Task09_Spleen")
    ended = prep("msd", "--raw", spleens.parent)
    assert ended.status == 3
    assert dict(ended.rejected) == {
        "Task02_Heart": "the task 'Heart' is lost: it holds neither dataset.json nor imagesTr",
        "Task04_Hippocampus": "the task 'Hippocampus' is lost: it holds no training case",
        "copy/Task09_Spleen": "is a second folder of this task; the first is taken",
    }


def test_suffixes_and_packing_of_msd_count_in_any_case(prep: Callable[..., Any], spleens: Path) -> None:
    (spleens / "imagesTr/spleen_000.nii.gz").rename(spleens / "imagesTr/spleen_000.NII.GZ")
    (spleens / "labelsTr/spleen_001.nii.gz").rename(spleens / "labelsTr/spleen_001.nii")  # gzip all the same
    ended = prep("msd", "--raw", spleens.parent)
    assert (ended.status, len({entry["case"] for entry in ended.entries})) == (0, 5)


@pytest.fixture
def patient(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """One LIDC patient with one CT and its annotation beside it."""
    return Path(shutil.copytree(phantoms("lidc") / "LIDC-IDRI/LIDC-IDRI-0001", tmp_path / "raw/LIDC-IDRI-0001"))


def annotation(patient: Path) -> Path:
    (xml,) = patient.rglob("*.xml")
    return xml


def test_copies_of_one_annotation_count_once(prep: Callable[..., Any], patient: Path, tmp_path: Path) -> None:
    once = prep("lidc", "--raw", patient.parent)
    shutil.copy(annotation(patient), annotation(patient).with_name("069 (1).xml"))
    twice = prep("lidc", "--raw", patient.parent, "--out", tmp_path / "twice")
    assert once.entries
    assert (twice.status, twice.listed) == (0, once.listed)
    counts = [prep("lidc", "--raw", patient.parent, "--dry-run").out]
    assert f" {len(once.entries)} " in counts[0]


def test_annotations_that_differ_are_refused_by_name(prep: Callable[..., Any], patient: Path) -> None:
    xml = annotation(patient)
    other = xml.with_name("070.xml")
    text = xml.read_text(encoding="utf-8")
    other.write_text(re.sub(r"<xCoord>(\d+)</xCoord>", lambda m: f"<xCoord>{int(m[1]) + 2}</xCoord>", text))
    ended = prep("lidc", "--raw", patient.parent)
    assert not ended.entries
    assert {Path(file).name for file, _ in ended.rejected} == {xml.name, "070.xml"}
    assert all("annotates the same series as another file, differently" in reason for _, reason in ended.rejected)


def test_the_chest_x_rays_annotation_beside_the_patient_does_not_hide_the_cts(
    prep: Callable[..., Any], patient: Path, tmp_path: Path
) -> None:
    beside = prep("lidc", "--raw", patient.parent)
    xml = annotation(patient)
    loose = patient.parent / "tcia-lidc-xml/157/158.xml"
    loose.parent.mkdir(parents=True)
    xml.rename(loose)
    (patient / "dx").mkdir()
    (patient / "dx/070.xml").write_text("<IdriReadMessage><ResponseHeader/></IdriReadMessage>")
    apart = prep("lidc", "--raw", patient.parent, "--out", tmp_path / "apart")
    assert (apart.status, apart.listed) == (0, beside.listed)
    # neither does an annotation of a series that is not there
    strange = re.sub(r"(<SeriesInstanceUid>)[^<]*", r"\g<1>1.2.3.4", loose.read_text(encoding="utf-8"))
    (patient / "dx/071.xml").write_text(strange)
    other = prep("lidc", "--raw", patient.parent, "--out", tmp_path / "other")
    assert other.listed == beside.listed
    assert [Path(file).name for file, _ in other.rejected] == ["071.xml"]


def test_two_slices_at_one_position_leave_the_spacing(prep: Callable[..., Any], patient: Path, tmp_path: Path) -> None:
    once = prep("lidc", "--raw", patient.parent)
    files = sorted(patient.rglob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    for number, path in enumerate(files[:2]):
        copy = pydicom.dcmread(path)
        copy.SOPInstanceUID, copy.InstanceNumber, copy.PatientID = generate_uid(), 100 + number, "copy"
        copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
        copy.save_as(path.with_name(f"copy{number}.dcm"))
    twice = prep("lidc", "--raw", patient.parent, "--out", tmp_path / "twice")
    assert twice.status == 0
    assert [entry["spacing"] for entry in twice.entries] == [entry["spacing"] for entry in once.entries]


@pytest.mark.parametrize("keyword", ["RescaleIntercept", None])
def test_ct_without_a_rescale_is_refused(keyword: str | None, prep: Callable[..., Any], patient: Path) -> None:
    for path in patient.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name in ("RescaleIntercept", "RescaleSlope"):
            if keyword in (name, None) and name in dataset:
                delattr(dataset, name)
        dataset.save_as(path)
    ended = prep("lidc", "--raw", patient.parent)
    assert ended.status == 3
    assert not ended.entries
    assert "CT without a rescale intercept" in str(ended.rejected)


def test_class_names_in_both_unicode_forms_are_one_class(prep: Callable[..., Any], tmp_path: Path) -> None:
    for split, form in (("train", "NFD"), ("test", "NFC")):
        for name in ("Épanchement", "normal"):
            for number in range(4):
                folder = tmp_path / "raw" / split / unicodedata.normalize(form, name)
                folder.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(number + 10 * len(name) + 100 * len(split)).integers(0, 256, (12, 12))
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    ended = prep("folder", "--raw", tmp_path / "raw")
    assert ended.listed["classes"] == ["normal", unicodedata.normalize("NFC", "Épanchement")]
    table = tmp_path / "table.csv"
    files = [f"test/{name}/{k}.png" for name in ("Épanchement", "normal") for k in range(4)]
    forms = ["NFD", "NFC"] * 4  # paths and labels as another system writes them
    lines = [
        unicodedata.normalize(form, f"{file},{Path(file).parent.name}") for file, form in zip(files, forms, strict=True)
    ]
    table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    listed = prep("folder", "--raw", tmp_path / "raw", "--table", table, "--out", tmp_path / "listed")
    assert listed.rejected == []
    assert listed.listed["classes"] == ended.listed["classes"]
    assert len(listed.entries) == 8


def test_a_class_of_other_files_is_named_and_bmp_is_read(prep: Callable[..., Any], tmp_path: Path) -> None:
    for name, suffix in (("a", "png"), ("b", "bmp"), ("c", "heic")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for number in range(4):
            path = tmp_path / "raw" / name / f"{number}.{suffix}"
            noise = np.random.default_rng([number, ord(name)]).integers(0, 256, (12, 12)).astype(np.uint8)
            path.write_bytes(b"heic") if suffix == "heic" else Image.fromarray(noise).save(path)
    ended = prep("folder", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert ended.listed["classes"] == ["a", "b"]
    assert ended.rejected == [("c", "class 'c' is lost: none of its 4 file(s) is a picture")]
    assert "error: c: class 'c' is lost" in ended.err


@pytest.mark.parametrize("above", [True, False])
def test_the_full_size_chexpert_is_told_in_one_line(
    above: bool, prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    write_chexpert(tmp_path / "raw", [("train/patient00001/study1/view1_frontal.jpg", {"Edema": "1.0"})])
    tables = tmp_path / "raw/CheXpert-v1.0 batch 1 (validate & csv)"
    (tmp_path / "raw/CheXpert-v1.0-small").rename(tables)
    (tables / "train").rename(tmp_path / "raw/CheXpert-v1.0 batch 2 (train 1)")
    ended = prep("chexpert", "--raw", tables.parent if above else tables)
    assert ended.status == 2
    (line,) = ended.err.strip().splitlines()
    assert "full-size download in batches" in line
    assert str(tables / "train") in line
    # what it says to do helps
    (tmp_path / "raw/CheXpert-v1.0 batch 2 (train 1)").rename(tables / "train")
    assert prep("chexpert", "--raw", tables.parent).status == 0


def test_the_shared_cases_of_msd(prep: Callable[..., Any], shared_case: Callable[[str], Path], tmp_path: Path) -> None:
    for case in ("msd_nested", "msd_nested_alone", "msd_bom"):
        ended = prep("msd", "--raw", shared_case(f"files/{case}"), "--out", tmp_path / case)
        assert (ended.status, ended.rejected) == (0, []), case
        assert "Hippocampus" in {entry["class"] for entry in ended.entries}
    ended = prep("msd", "--raw", shared_case("files/msd_other_grid"), "--out", tmp_path / "grid")
    assert ended.status == 3
    (one, other) = (reason for _, reason in ended.rejected)
    assert "its voxels measure 2 × 2 × 2 mm, the image's 1 × 1 × 1 mm" in one
    assert "mm away from the image" in other


def test_the_shared_cases_of_lidc(prep: Callable[..., Any], shared_case: Callable[[str], Path], tmp_path: Path) -> None:
    ended = {
        case: prep("lidc", "--raw", shared_case(f"files/{case}"), "--out", tmp_path / case)
        for case in ("lidc_two_xml", "lidc_own_twice", "lidc_cxr_own_and_good", "lidc_dup_slice")
    }
    assert not ended["lidc_two_xml"].entries
    assert {Path(file).name for file, _ in ended["lidc_two_xml"].rejected} == {"069.xml", "070.xml"}
    assert ended["lidc_own_twice"].status == 0
    images = [entry["image"] for entry in ended["lidc_own_twice"].entries]
    assert len(images) == len(set(images)) > 0
    assert ended["lidc_cxr_own_and_good"].status == 0
    patients = {entry["patient"] for entry in ended["lidc_cxr_own_and_good"].entries}
    assert patients == {"lidc/LIDC-IDRI-0007", "lidc/LIDC-IDRI-0009"}
    assert {entry["spacing"][2] for entry in ended["lidc_dup_slice"].entries} == {2.5}


def test_the_shared_cases_of_folders(
    prep: Callable[..., Any], shared_case: Callable[..., Path], tmp_path: Path
) -> None:
    ended = prep("folder", "--raw", shared_case("files/nfd_classes"))
    assert ended.status == 0
    assert len(ended.listed["classes"]) == 2
    bmp = prep("folder", "--raw", shared_case("training/bmp_class", "raw"), "--out", tmp_path / "bmp")
    assert (bmp.status, len(bmp.listed["classes"])) == (0, 3)
    batches = prep("chexpert", "--raw", shared_case("files/chexpert_batches"), "--out", tmp_path / "batches")
    assert batches.status == 2
    assert "full-size download in batches" in batches.err


def test_a_picture_under_two_labels_is_named_and_used_under_neither(prep: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("benign", "malignant"):
        for number in range(8):
            path = tmp_path / "raw" / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    shutil.copy(tmp_path / "raw/benign/benign0.png", tmp_path / "raw/malignant/copy.png")
    shutil.copy(tmp_path / "raw/benign/benign1.png", tmp_path / "raw/benign/twice.png")  # no contradiction
    ended = prep("folder", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert ended.rejected == [
        ("benign/benign0.png", "the same picture is malignant/copy.png, labelled malignant"),
        ("malignant/copy.png", "the same picture is benign/benign0.png, labelled benign"),
    ]
    assert len(ended.entries) == 16
    listed = json.loads((ended.folder / "datalist.json").read_text())
    one, other = (entry for entry in listed["training"] if entry["label"] == 0), listed["training"]
    first = next(one)
    changed = next(entry for entry in other if entry["label"] == 1)
    changed["sha256"] = first["sha256"]
    (ended.folder / changed["image"]).write_bytes((ended.folder / first["image"]).read_bytes())
    (ended.folder / "datalist.json").write_text(json.dumps(listed))
    problems = problems_of_data(ended.folder)[1]
    assert any(line.startswith("one picture under several labels: ") for line in problems), problems


def test_the_shared_case_of_contradictions(
    prep: Callable[..., Any], shared_case: Callable[..., Path], tmp_path: Path
) -> None:
    ended = prep("folder", "--raw", shared_case("training/contradiction", "raw"), "--out", tmp_path / "out")
    assert ended.status == 3
    assert {file for file, _ in ended.rejected} >= {"malignant/copy0.png", "benign/benign0.png"}
