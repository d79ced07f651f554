"""MSD key slices: which slices, which way round and how bright, each against nibabel and numpy directly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.slow

CODES = ("RAS", "LPS", "LAS", "ASR", "SPL", "PIR")
HIPPOCAMPI = ("hippocampus_001", "hippocampus_003", "hippocampus_004")


def _areas(label: Path) -> np.ndarray:
    """Foreground voxels of each slice along the body axis, from the feet."""
    mask = np.asarray(nib.as_closest_canonical(nib.load(label)).dataobj) > 0
    return mask.sum(axis=(0, 1))


def _by_rule(areas: np.ndarray, rule: str) -> list[int]:
    with_organ = [z for z, area in enumerate(areas) if area]
    name, _, number = rule.partition(":")
    if name == "area":
        return [z for z in with_organ if areas[z] >= float(number) * max(areas)]
    if name == "largest":
        return sorted(sorted(with_organ, key=lambda z: (-areas[z], z))[: int(number)])
    return with_organ[:: int(number) if name == "stride" else 1]


def _written(ended: Any, case: str) -> list[int]:
    return sorted(entry["slice"] for entry in ended.entries if entry["case"] == case)


def _view(volume: np.ndarray, z: int) -> np.ndarray:
    """A RAS+ volume's slice with the front at the top and the patient's right at the left, voxel by voxel."""
    nx, ny = volume.shape[:2]
    return np.array([[volume[nx - 1 - column, ny - 1 - row, z] for column in range(nx)] for row in range(ny)])


def _subset(shared: Path, folder: Path) -> Path:
    """Real cases behind links: brain, three hippocampi, spleen."""
    for task, cases in (
        ("Task01_BrainTumour", ("BRATS_001", "BRATS_002")),
        ("Task04_Hippocampus", HIPPOCAMPI),
        ("Task09_Spleen", ("spleen_8",)),
    ):
        for part in ("imagesTr", "labelsTr"):
            (folder / task / part).mkdir(parents=True)
            for case in cases:
                (folder / task / part / f"{case}.nii.gz").symlink_to(
                    (shared / "msd" / task / part / f"{case}.nii.gz").resolve()
                )
    return folder


def test_real_cases_with_each_tasks_own_rule(prep: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    raw = _subset(shared_data, tmp_path / "raw")
    ended = prep("msd", "--raw", raw)
    assert (ended.status, ended.rejected) == (0, [])
    for task, organ, fraction in (("Task01", "Brain", 0.93), ("Task04", "Hippocampus", 0.9), ("Task09", "Spleen", 0.9)):
        for label in raw.glob(f"{task}*/labelsTr/*"):
            case = label.name.removesuffix(".nii.gz")
            assert _written(ended, case) == _by_rule(_areas(label), f"area:{fraction}")
            volume = nib.as_closest_canonical(nib.load(label))
            for entry in (entry for entry in ended.entries if entry["case"] == case):
                assert ended.picture(entry).shape == (volume.shape[1], volume.shape[0])
                assert entry["class"] == organ
                assert entry["patient"] == f"msd/{case}"
                assert entry["spacing"] == pytest.approx(volume.header.get_zooms()[:3], abs=1e-3)
    shown = [entry["sha256"] for entry in ended.entries if entry["class"] != "Spleen"]  # its slices repeat by fours
    assert len(set(shown)) == len(shown)


def test_real_pictures_are_the_voxels_of_the_case(prep: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    raw = _subset(shared_data, tmp_path / "raw")
    ended = prep("msd", "--raw", raw, "--key-slices", "largest:1")
    assert ended.status == 0
    for image in raw.glob("*/imagesTr/*"):
        (entry,) = [e for e in ended.entries if e["case"] == image.name.removesuffix(".nii.gz")]
        voxels = np.asarray(nib.as_closest_canonical(nib.load(image)).dataobj).astype(float)
        voxels = voxels[..., 0] if voxels.ndim == 4 else voxels
        if entry["class"] == "Spleen":
            low, high = 40 - 200, 40 + 200
        else:
            low, high = np.percentile(voxels[voxels != 0], (0.5, 99.5))
        expected = np.clip((_view(voxels, entry["slice"]) - low) / (high - low) * 255, 0, 255)
        assert np.abs(ended.picture(entry) - expected).max() <= 0.51


@pytest.mark.parametrize("rule", ["area:0.5", "area:1", "largest:4", "stride:3", "all"])
def test_rules(rule: str, prep: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(_subset(shared_data, tmp_path / "all") / "Task04_Hippocampus", tmp_path / "raw", symlinks=True)
    (tmp_path / "Task04_Hippocampus").symlink_to(tmp_path / "raw")  # the task's folder itself, behind a link
    ended = prep("msd", "--raw", tmp_path / "Task04_Hippocampus", "--key-slices", rule)
    assert ended.status == 0
    for case in HIPPOCAMPI:
        assert _written(ended, case) == _by_rule(_areas(tmp_path / "raw/labelsTr" / f"{case}.nii.gz"), rule)


@pytest.mark.parametrize(
    "rule", ["area:0", "area:1.5", "area:nan", "area", "largest:0", "stride:x", "all:3", "median", ""]
)
def test_a_wrong_rule_is_one_line(rule: str, prep: Callable[..., Any], small: dict[str, Path]) -> None:
    ended = prep("msd", "--raw", small["msd"], "--key-slices", rule)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "key-slice rule" in ended.err
    assert not ended.folder.exists()


@pytest.mark.parametrize("task", ["Task02_Heart", "Task09_Spleen"])
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("tilt", [0, 12])
def test_a_marker_appears_where_it_lies_in_the_patient(
    task: str, codes: str, tilt: float, prep: Callable[..., Any], write_msd: Callable[..., None], tmp_path: Path
) -> None:
    """A bright voxel 3 columns from the patient's right and 2 rows from the front, in the third slice from the feet."""
    shape = np.array((14, 18, 7))
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([2.0, 3.0, 5.0])
    affine[:3, 3] = (-31, 12, 400)
    right, front, up = shape[0] - 1 - 3, shape[1] - 1 - 2, 2
    image = np.random.default_rng(0).integers(1, 200, shape).astype(np.int16)
    image[..., up] = 1
    image[0, :, up] = 50  # the patient's left edge, grey
    image[right, front, up] = 1000
    labels = np.zeros(shape, np.uint8)
    labels[4:8, 4:8, up] = 1
    write_msd(tmp_path / "raw" / task, "case", image, labels, codes, affine)
    stored = nib.load(tmp_path / "raw" / task / "imagesTr/case.nii.gz")
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    world = stored.affine @ np.append(np.argwhere(np.asarray(stored.dataobj) == 1000)[0], 1)
    np.testing.assert_allclose(world, affine @ (right, front, up, 1), atol=1e-3)
    ended = prep("msd", "--raw", tmp_path / "raw")
    (entry,) = ended.entries
    picture = ended.picture(entry)
    assert entry["slice"] == up
    assert picture.shape == (18, 14)
    assert np.argwhere(picture == 255).tolist() == [[2, 3]]
    assert (picture[:, -1] > picture[0, 0]).all()
    assert entry["spacing"] == [2.0, 3.0, 5.0]


def test_mr_is_scaled_by_the_whole_case_without_its_background(
    prep: Callable[..., Any], write_msd: Callable[..., None], tmp_path: Path
) -> None:
    """Slices of one case stay comparable: a dim slice is written dim. Background and outliers do not set the range."""
    rng = np.random.default_rng(1)
    image = rng.uniform(100, 400, (16, 16, 6)).astype(np.float32)
    image[..., 1] *= 0.25
    image[..., 4] = 0
    image[0, 0, 3] = 1e6
    labels = np.zeros(image.shape, np.uint8)
    labels[2:5, 2:5, 1:4] = 2
    write_msd(tmp_path / "raw/Task02_Heart", "la_001", image, labels)
    ended = prep("msd", "--raw", tmp_path / "raw", "--key-slices", "all")
    low, high = np.percentile(image[image != 0].astype(float), (0.5, 99.5))
    assert [entry["slice"] for entry in ended.entries] == [1, 2, 3]
    for entry in ended.entries:
        expected = np.clip((_view(image, entry["slice"]) - low) / (high - low) * 255, 0, 255)
        assert np.abs(ended.picture(entry) - expected).max() <= 0.51
    means = [ended.picture(entry).mean() for entry in ended.entries]
    assert means[0] < means[1] / 3


@pytest.mark.parametrize(
    ("task", "names"), [("Task01_BrainTumour", ["FLAIR", "T1w", "T1gd", "T2w"]), ("Task05_Prostate", ["T2", "ADC"])]
)
def test_channels(
    task: str, names: list[str], prep: Callable[..., Any], write_msd: Callable[..., None], tmp_path: Path
) -> None:
    image = np.random.default_rng(2).integers(1, 500, (9, 8, 5, len(names))).astype(np.int16)
    labels = np.zeros(image.shape[:3], np.uint8)
    labels[2:5, 2:5, 1:3] = 1
    write_msd(tmp_path / "raw" / task, "case", image, labels, "LPS")
    first = prep("msd", "--raw", tmp_path / "raw")
    assert [(entry["sequence"], entry["slice"]) for entry in first.entries] == [(names[0], 1), (names[0], 2)]
    every = prep("msd", "--raw", tmp_path / "raw", "--channels", "all", "--out", tmp_path / "every")
    assert {(e["sequence"], e["slice"]) for e in every.entries} == {(name, z) for name in names for z in (1, 2)}
    assert {entry["patient"] for entry in every.entries} == {"msd/case"}
    assert len({entry["split"] for entry in every.entries}) == 1
    for entry in every.entries:
        channel = image[..., names.index(entry["sequence"])].astype(float)
        low, high = np.percentile(channel, (0.5, 99.5))
        expected = np.clip((_view(channel, entry["slice"]) - low) / (high - low) * 255, 0, 255)
        assert np.abs(every.picture(entry) - expected).max() <= 0.51


def test_scaled_voxels_are_in_hounsfield_units(prep: Callable[..., Any], tmp_path: Path) -> None:
    """Slope and intercept of the header count: stored 0..3000 with intercept -1024 is HU."""
    stored = np.random.default_rng(3).integers(0, 3000, (8, 8, 4)).astype(np.int16)
    labels = np.zeros(stored.shape, np.uint8)
    labels[2:4, 2:4, 2] = 1
    for part, array in (("imagesTr", stored), ("labelsTr", labels)):
        volume = nib.Nifti1Image(array, np.eye(4))
        if part == "imagesTr":
            volume.header.set_slope_inter(0.5, -200)
        (tmp_path / "raw/Task03_Liver" / part).mkdir(parents=True)
        nib.save(volume, tmp_path / "raw/Task03_Liver" / part / "liver_0.nii.gz")
    hu = nib.load(tmp_path / "raw/Task03_Liver/imagesTr/liver_0.nii.gz").get_fdata()
    ended = prep("msd", "--raw", tmp_path / "raw")
    expected = np.clip((_view(hu, 2) - (40 - 200)) / 400 * 255, 0, 255)
    assert np.abs(ended.picture(ended.entries[0]) - expected).max() <= 0.51


def _spoil(task: Path, case: str) -> dict[str, str]:
    """Six ways to ruin a case; (case → word of the reason)."""
    image, label = task / "imagesTr", task / "labelsTr"

    def name(k: int) -> str:
        return f"{case}_{k:03d}.nii.gz"

    content = (image / name(0)).read_bytes()
    (image / name(0)).write_bytes(content[: len(content) // 2])
    (label / name(1)).unlink()
    shape = nib.load(label / name(2)).shape
    nib.save(nib.Nifti1Image(np.ones((*shape[:2], shape[2] + 1), np.uint8), np.diag([-2, -3, 5, 1])), label / name(2))
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.diag([-2, -3, 5, 1])), label / name(3))
    (label / name(4)).write_bytes(b"")
    (image / name(5)).write_bytes(b"no gzip at all")
    return {
        "000": "cut short or damaged",
        "001": "missing",
        "002": "shape",
        "003": "marks nothing",
        "004": "empty",
        "005": "",
    }


@pytest.fixture
def cases(write_msd: Callable[..., None], tmp_path: Path) -> Path:
    """Eight spleen cases in an MSD folder with its dataset.json."""
    task = tmp_path / "raw/Task09_Spleen"
    for number in range(8):
        image = np.random.default_rng(number).integers(-200, 300, (20, 18, 9)).astype(np.int16)
        labels = np.zeros(image.shape, np.uint8)
        labels[5:12, 5:12, 3:6] = 1
        write_msd(task, f"spleen_{number:03d}", image, labels, "LPS")
    names = [f"spleen_{number:03d}.nii.gz" for number in range(8)]
    table = {"training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]}
    (task / "dataset.json").write_text(json.dumps(table))
    return task


def test_each_bad_case_is_named_and_the_rest_is_taken(prep: Callable[..., Any], cases: Path) -> None:
    reasons = _spoil(cases, "spleen")
    (cases / "imagesTr/._spleen_006.nii.gz").write_bytes(b"\0\5\26\7" + bytes(40))
    (cases / "labelsTr/._spleen_006.nii.gz").write_bytes(b"\0\5\26\7" + bytes(40))
    ended = prep("msd", "--raw", cases.parent)
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == [f"Task09_Spleen/imagesTr/spleen_{k}.nii.gz" for k in reasons]
    assert all(word in reason for word, (_, reason) in zip(reasons.values(), ended.rejected, strict=True))
    assert {entry["case"] for entry in ended.entries} == {"spleen_006", "spleen_007"}
    assert "Traceback" not in ended.err
    assert len([path for path in (ended.folder / "images").rglob("*") if path.is_file()]) == len(ended.entries)


@pytest.mark.parametrize("length", [0, 3, 100, 347, 348, 400])
def test_an_unpacked_file_cut_anywhere_is_rejected(length: int, prep: Callable[..., Any], cases: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        nib.save(nib.load(cases / part / "spleen_000.nii.gz"), cases / part / "spleen_000.nii")
        (cases / part / "spleen_000.nii.gz").unlink()
    image = cases / "imagesTr/spleen_000.nii"
    image.write_bytes(image.read_bytes()[:length])
    ended = prep("msd", "--raw", cases.parent)
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == ["Task09_Spleen/imagesTr/spleen_000.nii"]
    assert len({entry["case"] for entry in ended.entries}) == 7
    dry = prep("msd", "--raw", cases.parent, "--dry-run")
    assert ("spleen_000.nii" in dry.out) == (length < 348)


@pytest.mark.parametrize("kind", ["five axes", "complex", "rgb", "nan", "fractions", "plane"])
def test_an_odd_kind_of_array_is_rejected(kind: str, prep: Callable[..., Any], cases: Path) -> None:
    shape, affine = (20, 18, 9), np.diag([-2.0, -3.0, 5.0, 1.0])
    array = {
        "five axes": np.ones((*shape, 1, 2), np.int16),
        "complex": np.ones(shape, np.complex64),
        "rgb": np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]),
        "nan": np.full(shape, np.nan, np.float32),
        "fractions": np.full(shape, 0.4, np.float32),
        "plane": np.ones(shape[:2], np.int16),
    }[kind]
    part = "labelsTr" if kind == "fractions" else "imagesTr"
    nib.save(nib.Nifti1Image(array, affine), cases / part / "spleen_003.nii.gz")
    ended = prep("msd", "--raw", cases.parent)
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == ["Task09_Spleen/imagesTr/spleen_003.nii.gz"]
    assert len({entry["case"] for entry in ended.entries}) == 7


@pytest.mark.parametrize("both", [False, True])
def test_unpacked_cases_are_taken_once(both: bool, prep: Callable[..., Any], cases: Path, tmp_path: Path) -> None:
    packed = prep("msd", "--raw", cases.parent)
    for path in list(cases.glob("*/*.nii.gz")):
        nib.save(nib.load(path), path.with_suffix(""))
        if not both:
            path.unlink()
    ended = prep("msd", "--raw", cases.parent, "--out", tmp_path / "unpacked")
    assert (ended.status, ended.rejected) == (0, [])
    assert ended.listed == packed.listed


def test_a_case_in_another_orientation_than_its_label_is_rejected(prep: Callable[..., Any], cases: Path) -> None:
    label = nib.load(cases / "labelsTr/spleen_002.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj), np.diag([2, 3, 5, 1])), cases / "labelsTr/spleen_002.nii.gz")
    ended = prep("msd", "--raw", cases.parent)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert file.endswith("spleen_002.nii.gz")
    assert "orientation" in reason


def test_too_few_channels_is_rejected(prep: Callable[..., Any], write_msd: Callable[..., None], tmp_path: Path) -> None:
    labels = np.ones((6, 6, 4), np.uint8)
    write_msd(tmp_path / "raw/Task01_BrainTumour", "BRATS_001", np.ones((6, 6, 4), np.int16), labels)
    ended = prep("msd", "--raw", tmp_path / "raw")
    assert ended.status == 3
    assert "FLAIR, T1w, T1gd, T2w" in ended.rejected[0][1]
    assert ended.entries == []


@pytest.mark.parametrize("text", ["", "[]", '{"training": [{}]}', '{"training": [{"image": 3}]}', "{"])
def test_a_bad_dataset_json_is_named(text: str, prep: Callable[..., Any], cases: Path) -> None:
    (cases / "dataset.json").write_text(text)
    ended = prep("msd", "--raw", cases.parent)
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == ["Task09_Spleen/dataset.json"]


def test_a_case_named_by_the_table_but_absent_is_rejected(prep: Callable[..., Any], cases: Path) -> None:
    (cases / "imagesTr/spleen_005.nii.gz").unlink()
    ended = prep("msd", "--raw", cases.parent)
    assert ended.rejected == [("Task09_Spleen/imagesTr/spleen_005.nii.gz", "is missing")]
    assert len({entry["case"] for entry in ended.entries}) == 7


def test_dry_run_reads_headers_and_counts_cases(prep: Callable[..., Any], small: dict[str, Path]) -> None:
    ended = prep("msd", "--raw", small["msd"], "--dry-run")
    assert ended.status == 0
    lines = {line.split()[1]: line.split() for line in ended.out.splitlines() if line.startswith("│")}
    assert [lines[organ][3] for organ in ("Brain", "Heart", "Spleen", "Liver")] == ["4", "4", "4", "0"]
    assert "4,788" in lines["Brain"]
    assert not ended.folder.exists()


def test_no_task_is_a_usage_error(prep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "raw/Task99_Other").mkdir(parents=True)
    ended = prep("msd", "--raw", tmp_path / "raw")
    assert ended.status == 2
    assert "TaskNN_*" in ended.err
