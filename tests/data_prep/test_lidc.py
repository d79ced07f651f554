"""LIDC-IDRI crops against an own reading of the XML: outlines filled by scipy, pixels straight from pydicom."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import binary_fill_holes

pytestmark = pytest.mark.slow

PLANTED = {
    "PatientName": "Zebedee^Quentin",
    "PatientBirthDate": "19470823",
    "StudyDate": "20190314",
    "SeriesDate": "20190315",
    "AccessionNumber": "ACC55512",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Whodunnit^Xavier",
    "PatientID": "MRN-7731982",
}
UID = re.compile(rb"\d+(\.\d+){4,}")


@dataclass(frozen=True)
class Found:
    """A nodule as the oracle sees it: slice number → union mask, z of each slice, and how many readers."""

    masks: dict[int, np.ndarray]
    z: dict[int, float]
    readers: int

    def boxes(self, rule: str) -> dict[int, list[int]]:
        """Slice number → [row0, column0, row1, column1], half-open."""
        areas = {k: int(mask.sum()) for k, mask in self.masks.items()}
        kept = sorted(areas) if rule == "all" else [min(areas, key=lambda k: (-areas[k], k))]
        boxes = {}
        for k in kept:
            rows, columns = np.nonzero(self.masks[k])
            boxes[k] = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        return boxes


def _slices(patient: Path) -> list[pydicom.Dataset]:
    """From the feet to the head."""
    slices = [pydicom.dcmread(path) for path in patient.rglob("*.dcm")]
    return sorted(slices, key=lambda one: float(one.ImagePositionPatient[2]))


def _filled(points: list[tuple[int, int]], shape: tuple[int, int], outline: bool) -> np.ndarray:
    ring = np.zeros(shape, bool)
    for x, y in points:
        ring[y, x] = True
    filled = binary_fill_holes(ring)
    return filled if outline else filled & ~ring


def _oracle(patient: Path, min_readers: int = 1) -> list[Found]:
    """Nodules of 3 mm or more: every reader's outlines without the line itself, joined where they share a voxel."""
    slices = _slices(patient)
    shape = slices[0].pixel_array.shape
    number = {str(one.SOPInstanceUID): k for k, one in enumerate(slices)}
    (xml,) = patient.rglob("*.xml")
    root = ET.fromstring(re.sub(r'\sxmlns(:\w+)?="[^"]*"|\sxsi:\w+="[^"]*"', "", xml.read_text(encoding="utf-8")))
    marks = []
    for reader, session in enumerate(root.findall("readingSession")):
        for nodule in session.findall("unblindedReadNodule"):
            rois = nodule.findall("roi")
            if nodule.find("characteristics") is None and all(len(roi.findall("edgeMap")) == 1 for roi in rois):
                continue
            masks: dict[int, np.ndarray] = {}
            for inclusion in ("TRUE", "FALSE"):
                for roi in rois:
                    if roi.findtext("inclusion") != inclusion:
                        continue
                    points = [(int(e.findtext("xCoord")), int(e.findtext("yCoord"))) for e in roi.findall("edgeMap")]
                    k = number[roi.findtext("imageSOP_UID")]
                    mask = masks.setdefault(k, np.zeros(shape, bool))
                    filled = _filled(points, shape, outline=inclusion == "FALSE")
                    masks[k] = mask | filled if inclusion == "TRUE" else mask & ~filled
            marks.append((reader, {k: mask for k, mask in masks.items() if mask.any()}))
    groups: list[list[int]] = []
    for n, (_, masks) in enumerate(marks):
        touching = [
            g for g in groups if any((marks[m][1][k] & masks[k]).any() for m in g for k in masks if k in marks[m][1])
        ]
        groups = [g for g in groups if g not in touching] + [[n, *(m for g in touching for m in g)]]
    found = []
    for group in groups:
        union: dict[int, np.ndarray] = {}
        for n in group:
            for k, mask in marks[n][1].items():
                union[k] = union.get(k, np.zeros(shape, bool)) | mask
        readers = len({marks[n][0] for n in group})
        if union and readers >= min_readers:
            found.append(Found(union, {k: float(slices[k].ImagePositionPatient[2]) for k in union}, readers))
    return found


def _expected(found: list[Found], rule: str = "largest") -> list[tuple[int, list[int], int]]:
    return sorted((k, box, nodule.readers) for nodule in found for k, box in nodule.boxes(rule).items())


def _got(ended: Any, patient: str) -> list[tuple[int, list[int], int]]:
    return sorted((e["slice"], e["box"], e["readers"]) for e in ended.entries if e["case"] == patient)


def _window(hu: np.ndarray) -> np.ndarray:
    """The lung window, -1350 to 150 HU, as grey values that are not rounded yet."""
    return np.clip((hu + 1350) / 1500 * 255, 0, 255)


def _cut(dataset: pydicom.Dataset, box: list[int]) -> np.ndarray:
    """224 × 224 Hounsfield units with the middle of the box at (112, 112); air beyond the picture."""
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    wide = np.pad(hu, 224, constant_values=-1000)
    row, column = (box[0] + box[2]) // 2 + 224, (box[1] + box[3]) // 2 + 224
    return wide[row - 112 : row + 112, column - 112 : column + 112]


def _assert_pixels(ended: Any, patient: str, slices: list[pydicom.Dataset]) -> None:
    for entry in (entry for entry in ended.entries if entry["case"] == patient):
        picture = ended.picture(entry)
        assert picture.shape == (224, 224)
        assert picture.dtype == np.uint8
        assert np.abs(picture - _window(_cut(slices[entry["slice"]], entry["box"]))).max() <= 0.51


@pytest.fixture
def raw(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """Three patients, free to be changed; the third has a nodule at the border of the image."""
    for patient in ("LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0003"):
        shutil.copytree(phantoms("lidc") / "LIDC-IDRI" / patient, tmp_path / "LIDC-IDRI" / patient)
    return tmp_path / "LIDC-IDRI"


def test_real_patient(prep: Callable[..., Any], shared_data: Path) -> None:
    patient = shared_data / "lidc/LIDC-IDRI/LIDC-IDRI-0001"
    slices = _slices(patient)
    for rule in ("largest", "all"):
        ended = prep("lidc", "--raw", shared_data / "lidc", "--nodule-slices", rule)
        assert (ended.status, ended.rejected) == (0, [])
        assert _got(ended, "LIDC-IDRI-0001") == _expected(_oracle(patient), rule)
        _assert_pixels(ended, "LIDC-IDRI-0001", slices)
    first, second = slices[:2]
    step = float(second.ImagePositionPatient[2] - first.ImagePositionPatient[2])
    for entry in ended.entries:
        assert entry["spacing"] == pytest.approx([*map(float, first.PixelSpacing), step], abs=1e-3)


def test_all_phantoms(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    ended = prep("lidc", "--raw", phantoms("lidc"))
    assert (ended.status, ended.rejected) == (0, [])
    padded = 0
    for patient in sorted((phantoms("lidc") / "LIDC-IDRI").iterdir()):
        assert _got(ended, patient.name) == _expected(_oracle(patient))
        slices = _slices(patient)
        _assert_pixels(ended, patient.name, slices)
        for entry in (entry for entry in ended.entries if entry["case"] == patient.name):
            row, column = (entry["box"][0] + entry["box"][2]) // 2, (entry["box"][1] + entry["box"][3]) // 2
            padded += min(row, column) < 112 or max(row, column) > 256 - 112
    assert padded >= 1
    assert {entry["class"] for entry in ended.entries} == {"Nodule"}
    splits: dict[str, set[str]] = {}
    for entry in ended.entries:
        splits.setdefault(entry["patient"], set()).add(entry["split"])
    assert all(len(where) == 1 for where in splits.values())


@pytest.mark.parametrize("readers", [2, 3, 4])
def test_min_readers_and_all_slices(readers: int, prep: Callable[..., Any], raw: Path) -> None:
    ended = prep("lidc", "--raw", raw, "--min-readers", readers, "--nodule-slices", "all")
    assert ended.status == 0
    for patient in raw.iterdir():
        assert _got(ended, patient.name) == _expected(_oracle(patient, readers), "all")
    assert all(entry["readers"] >= readers for entry in ended.entries)


def test_dry_run_counts_what_a_run_writes(prep: Callable[..., Any], raw: Path) -> None:
    for rule in ("largest", "all"):
        dry = prep("lidc", "--raw", raw, "--nodule-slices", rule, "--dry-run")
        assert not dry.folder.exists()
        expected = sum(len(_expected(_oracle(patient), rule)) for patient in raw.iterdir())
        (line,) = [line for line in dry.out.splitlines() if "Nodule" in line]
        assert int(line.split()[3]) == expected


def test_a_slice_that_is_absent_costs_one_nodule(prep: Callable[..., Any], raw: Path) -> None:
    patient = raw / "LIDC-IDRI-0001"
    found = _oracle(patient)
    slices = _slices(patient)
    lost, k = next(
        (n, k) for n in found for k in n.masks if all(k not in other.masks for other in found if other is not n)
    )
    path = Path(slices[k].filename)
    z = float(slices[k].ImagePositionPatient[2])
    path.unlink()
    (xml,) = patient.rglob("*.xml")
    ended = prep("lidc", "--raw", raw)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert file == xml.relative_to(raw).as_posix()
    assert f"{z:g}" in reason
    kept = [
        (n - (n > k), box, readers) for n, box, readers in _expected([nodule for nodule in found if nodule is not lost])
    ]
    assert _got(ended, patient.name) == kept
    assert _got(ended, "LIDC-IDRI-0002") == _expected(_oracle(raw / "LIDC-IDRI-0002"))


def test_annotations_in_a_folder_of_their_own(prep: Callable[..., Any], raw: Path) -> None:
    beside = prep("lidc", "--raw", raw.parent)
    assert beside.status == 0
    for number, xml in enumerate(sorted(raw.rglob("*.xml"))):
        (raw.parent / "tcia-lidc-xml/157").mkdir(parents=True, exist_ok=True)
        xml.rename(raw.parent / f"tcia-lidc-xml/157/{158 - number:03d}.xml")
    apart = prep("lidc", "--raw", raw.parent, "--out", raw.parent / "apart")
    assert (apart.status, apart.rejected) == (0, [])
    assert apart.listed == beside.listed
    dry = prep("lidc", "--raw", raw.parent, "--dry-run")
    (line,) = [line for line in dry.out.splitlines() if "Nodule" in line]
    assert int(line.split()[3]) == len(beside.entries)
    (raw.parent / "tcia-lidc-xml/157/157.xml").unlink()
    without = prep("lidc", "--raw", raw.parent, "--out", raw.parent / "apart")
    assert without.status == 3
    assert [file for file, _ in without.rejected] == ["LIDC-IDRI/LIDC-IDRI-0002"]
    assert {entry["case"] for entry in without.entries} == {"LIDC-IDRI-0001", "LIDC-IDRI-0003"}


def test_bad_patients_are_named_and_the_rest_is_taken(prep: Callable[..., Any], raw: Path) -> None:
    (xml,) = (raw / "LIDC-IDRI-0001").rglob("*.xml")
    xml.write_text(xml.read_text()[:5000])
    found = _oracle(raw / "LIDC-IDRI-0002")
    slices = _slices(raw / "LIDC-IDRI-0002")
    empty = next(k for k in range(len(slices)) if all(k not in nodule.masks for nodule in found))
    cut = Path(slices[empty].filename)
    cut.write_bytes(cut.read_bytes()[:700])
    (raw / "LIDC-IDRI-0004").mkdir()
    (raw / "LIDC-IDRI-0005").mkdir()
    (raw / "LIDC-IDRI-0005/only.xml").write_text("<other/>")
    ended = prep("lidc", "--raw", raw)
    assert ended.status == 3
    files = [file for file, _ in ended.rejected]
    assert files == [
        xml.relative_to(raw).as_posix(),
        cut.relative_to(raw).as_posix(),
        "LIDC-IDRI-0004",
        "LIDC-IDRI-0005/only.xml",
    ]
    assert _got(ended, "LIDC-IDRI-0002") == [(k - (k > empty), box, readers) for k, box, readers in _expected(found)]
    assert _got(ended, "LIDC-IDRI-0003") == _expected(_oracle(raw / "LIDC-IDRI-0003"))


@pytest.mark.parametrize("name", ["LIDC-IDRI", "LIDC-IDRI/LIDC-IDRI-0002"])
def test_the_set_itself_one_patient_or_a_link(name: str, prep: Callable[..., Any], raw: Path) -> None:
    ended = prep("lidc", "--raw", raw.parent / name)
    assert {entry["case"] for entry in ended.entries} >= {"LIDC-IDRI-0002"}
    (raw.parent / "elsewhere").mkdir()
    (raw / "LIDC-IDRI-0002").rename(raw.parent / "elsewhere/p2")
    (raw / "LIDC-IDRI-0002").symlink_to(raw.parent / "elsewhere/p2")
    linked = prep("lidc", "--raw", raw.parent / name, "--out", raw.parent / "linked")
    assert linked.status == 0
    assert linked.listed == ended.listed


def test_a_hidden_or_empty_copy_takes_no_patients_place(prep: Callable[..., Any], raw: Path) -> None:
    alone = prep("lidc", "--raw", raw.parent, "--out", raw.parent / ".alone")
    (raw.parent / ".Trash-1000/LIDC-IDRI-0001").mkdir(parents=True)
    (raw.parent / ".Trash-1000/LIDC-IDRI-0001/1-001.dcm").write_bytes(b"old")
    (raw.parent / "Aborted/LIDC-IDRI-0002").mkdir(parents=True)
    ended = prep("lidc", "--raw", raw.parent, "--out", raw.parent / ".out")
    assert (ended.status, ended.rejected) == (0, [])
    assert ended.listed == alone.listed
    assert "hidden" in ended.err
    assert "of other kinds" not in ended.err


def test_a_second_folder_of_a_patient_is_named_and_other_files_are_counted(prep: Callable[..., Any], raw: Path) -> None:
    alone = prep("lidc", "--raw", raw, "--out", raw.parent / ".alone")
    (raw.parent / "Zsecond/LIDC-IDRI-0001").mkdir(parents=True)
    shutil.copy(next((raw / "LIDC-IDRI-0001").rglob("*.dcm")), raw.parent / "Zsecond/LIDC-IDRI-0001/1-001.dcm")
    (raw.parent / "metadata.csv").write_text("Series UID\n")
    (raw / "LIDC-IDRI-0003/LIDC-IDRI-0003").mkdir()  # an archive's folder of its own name is no second one
    for path in (raw / "LIDC-IDRI-0003").rglob("*.xml"):
        path.rename(raw / "LIDC-IDRI-0003/LIDC-IDRI-0003" / path.name)
    ended = prep("lidc", "--raw", raw.parent, "--out", raw.parent / ".out")
    assert ended.status == 3
    assert ended.rejected == [("Zsecond/LIDC-IDRI-0001", "is a second folder of this patient; the first is taken")]
    assert ended.listed == alone.listed
    assert "1 of other kinds (.csv)" in ended.err


def test_nothing_about_the_person_gets_out(prep: Callable[..., Any], raw: Path) -> None:
    """Names, ids, dates and UIDs of the headers, and where the files lay, appear nowhere."""
    for path in raw.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    ended = prep("lidc", "--raw", raw, "--out", raw.parent / "out")
    assert (ended.status, ended.rejected) == (0, [])
    secrets = [str(raw).encode(), str(raw.parent).encode()]
    secrets += [part.encode() for value in PLANTED.values() for part in value.split("^")]
    texts = {"stdout": ended.out.encode(), "stderr": ended.err.encode()}
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
            content, chunks, at = path.read_bytes(), [], 8
            while at < len(content):
                chunks.append(content[at + 4 : at + 8])
                at += 12 + int.from_bytes(content[at : at + 4], "big")
            assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_no_reason_quotes_the_header(prep: Callable[..., Any], raw: Path) -> None:
    """What is wrong with a file is said without its content, on the console and in the records."""
    path = next((raw / "LIDC-IDRI-0001").rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    for keyword, value in PLANTED.items():
        setattr(dataset, keyword, value)
    dataset.Rows = 0
    dataset.save_as(path)
    ended = prep("lidc", "--raw", raw)
    assert ended.status == 3
    text = ended.out + ended.err + (ended.folder / "rejected.csv").read_text()
    text += "".join(record.read_text() for record in (ended.folder / ".progress").glob("*.json"))
    assert not [part for value in PLANTED.values() for part in value.split("^") if part in text]
    assert str(raw) not in text
    assert not any(UID.search(reason.encode()) for _, reason in ended.rejected)


def test_no_patient_is_a_usage_error(prep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "raw/LIDC-IDRI-1").mkdir(parents=True)
    ended = prep("lidc", "--raw", tmp_path / "raw")
    assert ended.status == 2
    assert "LIDC-IDRI-NNNN" in ended.err


@pytest.mark.parametrize("value", ["0", "5", "two"])
def test_readers_are_one_to_four(value: str, prep: Callable[..., Any], small: dict[str, Path]) -> None:
    ended = prep("lidc", "--raw", small["lidc"], "--min-readers", value)
    assert ended.status == 2
    assert "min-readers" in ended.err
