"""One's own images: every layout, what is kept of it, and that nobody can be recognised in what comes out."""

import csv
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import sample
from data_prep.sample.folder import _header
from medtl import datalist
from medtl.errors import UsageError
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow


def noise(seed: int, shape: tuple[int, ...] = (24, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, seed: int, shape: tuple[int, ...] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, shape)).save(path)
    return path


def save_dicom(path: Path, seed: int, patient: str, name: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _header(path.stem, patient, noise(seed))
    header.PatientName = name
    header.PatientBirthDate = "19510203"
    header.save_as(path, enforce_file_format=True)
    return path


def class_folders(root: Path, classes: str = "ab", patients: int = 10, images: int = 2) -> Path:
    """``a/a0_0.png``: of each class so many patients with so many images each."""
    number = 0
    for name in classes:
        for patient in range(patients):
            for image in range(images):
                save(root / name / f"{name}{patient}_{image}.png", number)
                number += 1
    return root


def write_table(path: Path, rows: list[tuple[str, ...]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def mapping(folder: Path) -> list[dict[str, str]]:
    with (folder / "private_mapping.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tree(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_class_folders(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    ended = prep("folder", "--raw", raw, "--patient-pattern", r"/(\w+)_", "--name", "mine", "--licence", "ours")
    assert ended.status == 0
    assert ended.listed["name"] == "mine"
    assert ended.listed["licence"] == "ours"
    assert ended.listed["classes"] == ["a", "b"]
    assert ended.listed["channels"] == 1
    assert ended.listed["sample"] is False
    assert str(tmp_path) not in json.dumps(ended.listed)
    assert problems_of_data(ended.folder)[1] == []
    given = {row["image"]: row for row in mapping(ended.folder)}
    assert len(given) == len(ended.entries) == 40
    splits = defaultdict(set)
    for entry in ended.entries:
        row = given[entry["image"]]
        assert row["file"].startswith(f"{entry['class']}/{row['given']}_")
        assert row["patient"] == entry["patient"]
        assert re.fullmatch(r"mine/[0-9a-f]{16}", entry["patient"])
        splits[row["given"]].add(entry["split"])
        with Image.open(raw / row["file"]) as image:
            assert np.array_equal(ended.picture(entry), np.asarray(image))
    assert all(len(own) == 1 for own in splits.values())
    by_class = {name: datalist.class_counts(datalist.read(ended.folder), name) for name in datalist.SPLITS}
    assert by_class == {"training": {"a": 14, "b": 14}, "validation": {"a": 2, "b": 2}, "test": {"a": 4, "b": 4}}


def test_a_second_run_changes_nothing_and_another_key_changes_only_names(
    prep: Callable[..., Any], tmp_path: Path
) -> None:
    raw = class_folders(tmp_path / "raw")
    words = ("folder", "--raw", raw, "--patient-pattern", r"/(\w+)_")
    first = prep(*words)
    before = tree(first.folder)
    assert prep(*words).status == 0
    assert tree(first.folder) == before
    one, again = (prep(*words, "--key-file", tmp_path / "key", "--out", tmp_path / name) for name in ("one", "again"))
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert tree(one.folder) == tree(again.folder)
    strip = [{k: v for k, v in e.items() if k != "patient"} for e in first.entries]
    assert [{k: v for k, v in e.items() if k != "patient"} for e in one.entries] == strip
    assert not {e["patient"] for e in first.entries} & {e["patient"] for e in one.entries}


def test_a_name_in_header_and_file_name_is_nowhere(prep: Callable[..., Any], tmp_path: Path) -> None:
    """Not in data lists, records, rejected.csv, logs, file names or picture files; only in the private mapping."""
    raw = tmp_path / "raw"
    for k in range(4):
        save_dicom(raw / "a" / f"Mustermann_{k}.dcm", k, "MRN4711", "Mustermann^Erika")
        save_dicom(raw / "b" / f"x{k}.dcm", 10 + k, f"MRN{k}", "Other^Person")
        save(raw / "a" / f"y{k}.png", 20 + k)
        save(raw / "b" / f"z{k}.png", 30 + k)
    broken = raw / "a" / "Mustermann_5.dcm"
    save_dicom(broken, 40, "MRN4711", "Mustermann^Erika")
    broken.write_bytes(broken.read_bytes()[:-200])
    with Image.open(raw / "b/z0.png") as image:
        image.save(raw / "b/z0.png", comment="Mustermann", exif=b"Exif\0\0Mustermann")
    ended = prep("folder", "--raw", raw)
    assert ended.status == 3
    for path in ended.folder.rglob("*"):
        if path.is_file() and path.name != "private_mapping.csv":
            for secret in (b"mustermann", b"erika", b"mrn4711", b"19510203", str(tmp_path).encode()):
                assert secret not in path.read_bytes().lower(), path
                assert secret.decode() not in path.name.lower()
    assert "mustermann" not in (ended.out + ended.err).lower()
    ((file, reason),) = ended.rejected
    assert re.fullmatch(r"a/\[[0-9a-f]{16}\]_5\.dcm", file)
    assert "truncated" in reason
    own = {row["patient"] for row in mapping(ended.folder) if "Mustermann_" in row["file"]} - {""}
    assert len(own) == 1  # one patient, as the headers say
    for name in ("private_mapping.csv", "rejected.csv", ".progress/key"):
        assert (ended.folder / name).stat().st_mode & 0o777 == 0o600
    assert "private_mapping.csv" in ended.err


def test_unknown_patients_are_told(prep: Callable[..., Any], tmp_path: Path) -> None:
    ended = prep("folder", "--raw", class_folders(tmp_path / "raw"))
    assert ended.status == 0
    assert len({entry["patient"] for entry in ended.entries}) == 40
    assert "of 40 of 40 images the patient is unknown" in ended.err


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "test")])
def test_splits_that_are_there_are_kept(names: tuple[str, ...], prep: Callable[..., Any], tmp_path: Path) -> None:
    for k, name in enumerate(names):
        for c in "ab":
            for n in range(4):
                save(tmp_path / "raw" / name / c / f"{n}.png", 100 * k + 10 * n + ord(c))
    ended = prep("folder", "--raw", tmp_path / "raw")
    assert ended.status == 0
    wanted = dict(zip(names, datalist.SPLITS, strict=True))
    given = {row["image"]: wanted[row["file"].split("/")[0]] for row in mapping(ended.folder)}
    assert {entry["image"]: entry["split"] for entry in ended.entries} == given


def test_a_missing_split_is_dealt_from_train(prep: Callable[..., Any], tmp_path: Path) -> None:
    class_folders(tmp_path / "raw/train")
    for c, seed in (("a", 1000), ("b", 1001)):
        save(tmp_path / "raw/test" / c / "t.png", seed)
    ended = prep("folder", "--raw", tmp_path / "raw", "--validation-fraction", "0.25")
    assert {name: len(ended.listed[name]) for name in datalist.SPLITS} == {"training": 30, "validation": 10, "test": 2}


def test_who_is_in_a_given_test_split_is_not_trained_on(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw/train").parent
    save(raw / "test/a/a3_9.png", 999)  # the same patient
    (raw / "test/b").mkdir()
    shutil.copy(raw / "train/b/b5_0.png", raw / "test/b/q1_0.png")  # the same picture
    ended = prep("folder", "--raw", raw, "--patient-pattern", r"/(\w+)_")
    assert ended.status == 3
    assert len(ended.rejected) == 4
    assert {reason for _, reason in ended.rejected} == {"its patient, or the same picture, is in the test split too"}
    assert problems_of_data(ended.folder)[1] == []
    assert len(ended.listed["test"]) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_in_any_order(delimiter: str, prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    files = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.png"))
    rows = [(f"Fall {k % 3}", "x", file, f"person {k // 2}") for k, file in enumerate(files)]
    head = ("Label", "comment", " PATH ", "patient")
    ended = [
        prep("folder", "--raw", raw, "--table", table, "--out", tmp_path / name, "--key-file", tmp_path / "key")
        for name, table in (
            ("one", write_table(tmp_path / "1.csv", [head, *rows], delimiter, "utf-8-sig")),
            ("two", write_table(raw / "2.csv", [head, *reversed(rows)], delimiter)),
        )
    ]
    assert ended[0].status == 0
    assert ended[0].listed["classes"] == ["Fall 0", "Fall 1", "Fall 2"]
    assert len({entry["patient"] for entry in ended[0].entries}) == 20
    assert tree(ended[0].folder) == tree(ended[1].folder)


def test_what_a_table_tells_of_patients_is_their_group(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    files = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.png"))
    said = [("F", "61", "north"), ("M", "93.5", ""), ("", "", ""), ("F", "old", "north")]
    rows = [(file, file[0], str(k), *said[k % 4]) for k, file in enumerate(files)]
    table = write_table(tmp_path / "t.csv", [("path", "label", "patient", "Sex", "AGE", "site"), *rows])
    ended = prep("folder", "--raw", raw, "--table", table)
    assert ended.status == 3
    groups = {entry["image"]: entry.get("group") for entry in ended.entries}
    image = {row["file"]: row["image"] for row in mapping(ended.folder)}
    wanted = [{"sex": "F", "age": 61, "site": "north"}, {"sex": "M", "age": 90}, None]
    for k, file in enumerate(files):
        assert k % 4 == 3 or groups[image[file]] == wanted[k % 4]
    assert (ended.folder / "rejected.csv").read_text().count("has an age that is no number of years") == 10


@pytest.mark.parametrize(("words", "positive"), [((), "b"), (("--positive", "a"), "a")])
def test_the_positive_class_is_asked_for_or_said_first(
    words: tuple[str, ...], positive: str, prep: Callable[..., Any], tmp_path: Path
) -> None:
    ended = prep("folder", "--raw", class_folders(tmp_path / "raw"), *words)
    assert datalist.read(ended.folder).positive == positive
    first = ended.err.splitlines()[0]
    assert first.startswith("data_prep: positive class: b, the second of a, b; --positive a") == (not words)


def test_a_positive_class_that_cannot_be_is_refused(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    assert "--positive c is not one of a, b" in prep("folder", "--raw", raw, "--positive", "c").err
    three = class_folders(tmp_path / "three", "abc")
    assert "expected two classes" in prep("folder", "--raw", three, "--positive", "a").err
    assert "positive" not in prep("folder", "--raw", three).listed


def test_several_labels_make_it_multilabel(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    files = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.png"))
    labels = ["effusion|edema", "edema", '["edema", "nodule"]', "nodule | effusion"]
    rows = [(file, labels[k % 4]) for k, file in enumerate(files)]
    table = write_table(tmp_path / "labels.csv", [("path", "label"), *rows])
    ended = prep("folder", "--raw", raw, "--table", table, "--classes", "nodule,effusion,edema")
    assert ended.status == 0
    listed = datalist.read(ended.folder)
    assert (listed.task, listed.classes) == ("multilabel", ("nodule", "effusion", "edema"))
    images = {row["file"]: row["image"] for row in mapping(ended.folder)}
    hot = {entry["image"]: entry["label"] for _, entry in listed}
    wanted = [[0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 1, 0]]
    assert all(hot[images[file]] == wanted[k % 4] for k, file in enumerate(files))


def test_rows_that_cannot_be_used_are_named(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    save(tmp_path / "secret.png", 1)
    (raw / "a/broken.png").write_bytes((raw / "a/a0_0.png").read_bytes()[:80])
    (raw / "a/empty.png").touch()
    (raw / "a/notes.txt").write_text("x")
    Image.new("L", (9, 9), 7).save(raw / "a/plain.png")
    good = [(f"{c}/{c}{p}_0.png", c, f"{c}{p}", "") for c in "ab" for p in range(8)]
    bad = {
        ("../secret.png", "a", "1", ""): "leads outside",
        (str(Path("/etc/hostname")), "a", "1", ""): "leads outside",
        ("a/absent.png", "a", "1", ""): "is missing",
        ("a/a9_0.png", "", "1", ""): "has no label",
        ("a/a9_1.png", "c", "1", ""): "its class 'c' is not among --classes",
        ("b/b9_1.png", "a", "1", "later"): "its split 'later' is not train, val or test",
        ("a/a0_0.png", "a", "a0", ""): "stands twice in the table",
        ("b/b7_0.png", "a", "b7", ""): "stands in lines 17 and 25 of the table, which say different things",
        ("", "a", "1", ""): "names no picture",
        ("a/notes.txt", "a", "1", ""): "is no picture",
        ("a/broken.png", "a", "1", ""): "cut short",
        ("a/empty.png", "a", "1", ""): "is empty",
        ("a/plain.png", "a", "1", ""): "shows nothing",
    }
    (tmp_path / "tables").mkdir()
    table = write_table(tmp_path / "tables/t.csv", [("path", "label", "patient", "split"), *good, *bad])
    ended = prep("folder", "--raw", raw, "--table", table, "--classes", "a,b")
    assert ended.status == 3
    assert len(ended.entries) == 15  # nobody can say which of two labels is right
    assert len(ended.rejected) == len(bad)
    for wanted in bad.values():
        assert any(wanted in reason for _, reason in ended.rejected), wanted
    assert not any(str(tmp_path) in file + reason or file.startswith("/") for file, reason in ended.rejected)


def test_folds(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    ended = prep("folder", "--raw", raw, "--folds", "4", "--patient-pattern", r"/(\w+)_")
    assert ended.status == 0
    assert ended.listed["validation"] == []
    assert len(ended.listed["test"]) == 8
    folds = defaultdict(list)
    for entry in ended.listed["training"]:
        folds[entry["fold"]].append(entry["label"])
    assert sorted(folds) == [0, 1, 2, 3]
    assert all(sorted(labels) == [0] * 4 + [1] * 4 for labels in folds.values())
    assert problems_of_data(ended.folder)[1] == []
    assert datalist.with_fold(datalist.read(ended.folder), 2).validation


def test_what_a_picture_becomes(prep: Callable[..., Any], tmp_path: Path) -> None:
    """16-bit is scaled, grey in RGB is grey, colour stays, large ones shrink, DICOM is windowed, TIFF is read."""
    raw = class_folders(tmp_path / "raw", patients=2, images=1)
    grey = noise(50, (40, 80))
    Image.fromarray(np.repeat(grey[..., np.newaxis], 3, axis=2)).save(raw / "a/grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(raw / "a/deep.png")
    Image.fromarray(grey).save(raw / "a/scan.TIFF")
    save_dicom(raw / "a/ray.dcm", 51, "p")
    pages = [Image.fromarray(noise(k)) for k in range(2)]
    pages[0].save(raw / "b/pages.tif", save_all=True, append_images=pages[1:])
    ended = prep("folder", "--raw", raw)
    assert ended.status == 3
    assert ended.rejected == [("b/pages.tif", "holds several pictures where one is expected")]
    assert ended.listed["channels"] == 1
    images = {row["file"]: {"image": row["image"]} for row in mapping(ended.folder)}
    for file in ("a/grey.png", "a/deep.png", "a/scan.TIFF"):
        assert np.array_equal(ended.picture(images[file]), grey)
    low, high = np.percentile(noise(51)[noise(51) > 0], (0.5, 99.5))
    expected = np.clip((noise(51) - low) / (high - low) * 255, 0, 255)
    assert np.abs(ended.picture(images["a/ray.dcm"]) - expected).max() <= 1
    (raw / "b/pages.tif").unlink()
    save(raw / "b/colour.jpg", 52, (30, 90, 3))
    ended = prep("folder", "--raw", raw, "--size", "40")
    assert (ended.status, ended.listed["channels"]) == (0, 3)
    images = {row["file"]: {"image": row["image"]} for row in mapping(ended.folder)}
    assert ended.picture(images["b/colour.jpg"]).shape == (13, 40, 3)
    assert ended.picture(images["a/grey.png"]).shape == (20, 40)
    assert ended.picture(images["a/a0_0.png"]).shape == (24, 20)


def test_odd_folders(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw", patients=3)
    save(raw / "a/deep/er/x.png", 70)
    save(raw / "loose.png", 71)
    save(raw / "__MACOSX/a/y.png", 72)
    save(raw / ".hidden/z.png", 73)
    (raw / "a/Thumbs.db").write_bytes(b"x")
    (raw / "empty").mkdir()
    save(tmp_path / "elsewhere/w.png", 74)
    (raw / "linked").symlink_to(tmp_path / "elsewhere")
    ended = prep("folder", "--raw", raw)
    assert ended.status == 3
    assert ended.rejected == [("loose.png", "lies in no class folder")]
    assert ended.listed["classes"] == ["a", "b", "linked"]
    assert len(ended.entries) == 14
    assert "passed over: 2 hidden, 1 of other kinds (.db)" in ended.err
    assert "the folder empty is empty" in ended.err
    assert "class 'linked' has only 1 patient(s)" in ended.err


@pytest.mark.parametrize(
    ("make", "words", "wanted"),
    [
        (lambda raw: raw.mkdir(), (), "holds no picture to use: expected DIR/<class>"),
        (lambda raw: save(raw / "x.png", 0), (), "1 file(s) cannot be used: x.png lies in no class folder"),
        (lambda raw: class_folders(raw, "a"), (), "only one class, 'a'"),
        (lambda raw: class_folders(raw / "set"), (), "say --raw"),
        (class_folders, ("--classes", "a,x"), "no picture of class 'x'; there are 'a', 'b'"),
        (class_folders, ("--name", "../x"), "--name '../x'"),
        (class_folders, ("--patient-pattern", "("), "is no regular expression"),
        (class_folders, ("--patient-pattern", "abc"), "has no group"),
        (class_folders, ("--patient-pattern", "(zz)"), "fits no path, such as a/a0_0.png"),
        (class_folders, ("--patient-pattern", "(png)"), "all images have the same patient"),
        (class_folders, ("--test-fraction", "0.6", "--validation-fraction", "0.5"), "leave nothing to train on"),
        (class_folders, ("--folds", "1"), "--folds 1"),
        (class_folders, ("--table", "nowhere.csv"), "nowhere.csv: no such file"),
        (
            lambda raw: class_folders(raw / "train") and save(raw / "more/x.png", 0),
            (),
            "holds split folders (train) and",
        ),
    ],
)
def test_mistakes_end_in_one_line(
    make: Callable[[Path], Any], words: tuple[str, ...], wanted: str, prep: Callable[..., Any], tmp_path: Path
) -> None:
    make(tmp_path / "raw")
    ended = prep("folder", "--raw", tmp_path / "raw", *words)
    assert ended.status == 2
    assert wanted in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert not (ended.folder / "datalist.json").exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"file;class\nx.png;a\n", "has no column 'path'; there are 'file', 'class'"),
        (b"path,class\nx.png,a\n", "has no column 'label'; there are 'path', 'class'"),
        (b"", "there are none"),
        (b"path,label\n", "lists no picture"),
        (b"path,label\nx.png,\xff\xfe\n", "is not UTF-8 text"),
    ],
)
def test_tables_that_are_none(content: bytes, wanted: str, prep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/t.csv").write_bytes(content)
    ended = prep("folder", "--raw", tmp_path / "raw", "--table", "t.csv")
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert wanted in line


def test_out_must_lie_elsewhere(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    before = tree(raw)
    for out in (raw, raw / "prepared"):
        assert prep("folder", "--raw", raw, "--out", out).status == 2
    other = prep("folder", "--raw", raw, "--name", "one")
    assert prep("folder", "--raw", raw, "--name", "two").status == 2
    assert {e["source"] for e in other.entries} == {"one"}
    (tmp_path / "short").write_text("abc")
    assert "holds no key" in prep("folder", "--raw", raw, "--key-file", tmp_path / "short", "--name", "one").err
    assert tree(raw) == before


def test_dry_run_writes_nothing(prep: Callable[..., Any], tmp_path: Path) -> None:
    ended = prep("folder", "--raw", class_folders(tmp_path / "raw"), "--dry-run")
    assert ended.status == 0
    assert not ended.folder.exists()
    assert "nothing was written" in ended.out


def test_an_added_picture_is_taken_up(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw")
    words = ("folder", "--raw", raw, "--key-file", tmp_path / "key")
    prep(*words)
    save(raw / "a/a0_9.png", 500)
    ended = prep(*words)
    fresh = prep(*words, "--out", tmp_path / "fresh")
    assert tree(ended.folder) == tree(fresh.folder)
    assert len(ended.entries) == 41


def test_the_built_in_sample(prep: Callable[..., Any]) -> None:
    folder = sample.prepared("folder")
    listed = datalist.read(folder)
    assert listed.sample is True
    assert problems_of_data(folder)[1] == []
    assert all(min(datalist.class_counts(listed, split).values()) >= 3 for split in datalist.SPLITS)
    assert not (folder / "private_mapping.csv").exists()
    ended = prep("folder", "--raw", "sample")
    assert ended.status == 0
    assert {entry["sha256"] for entry in ended.entries} == {entry["sha256"] for _, entry in listed}
    assert len({entry["patient"] for entry in ended.entries}) == 72


def test_names_that_are_no_utf_8(prep: Callable[..., Any], tmp_path: Path) -> None:
    raw = class_folders(tmp_path / "raw", patients=4, images=1)
    name = os.fsdecode(b"caf\xe9.png")
    save(raw / "a" / name, 90)
    (raw / "b" / name).write_bytes(b"no picture")
    ended = prep("folder", "--raw", raw)
    assert ended.status == 3
    assert ended.rejected == [("b/caf\\udce9.png", "is not a readable image, or is cut short")]
    assert len(list(datalist.read(ended.folder))) == 9


def test_one_person_is_one_patient_in_both_forms_of_unicode(prep: Callable[..., Any], tmp_path: Path) -> None:
    """Tables merged from a Mac and a Windows machine write one name in two ways."""
    raw = class_folders(tmp_path / "raw", patients=12)
    names = {f"{c}{p}": f"M\u00fcller {c}{p}" for c in "ab" for p in range(12)}
    rows = [
        (f"{n[0]}/{n}_{k}.png", n[0], unicodedata.normalize("NFD", t) if k else t)
        for n, t in names.items()
        for k in (0, 1)
    ]
    ended = prep(
        "folder", "--raw", raw, "--table", write_table(tmp_path / "t.csv", [("path", "label", "patient"), *rows])
    )
    assert ended.status == 0
    assert len({entry["patient"] for entry in ended.entries}) == len(names)
    assert problems_of_data(ended.folder)[1] == []


def test_a_row_with_more_cells_than_the_first_line_is_rejected(prep: Callable[..., Any], tmp_path: Path) -> None:
    """An unquoted comma in a label would shift the patient away; empty cells at the end are Excel's, and do no harm."""
    raw = class_folders(tmp_path / "raw")
    rows = [f"{c}/{c}{p}_0.png,{c},{c}{p},," for c in "ab" for p in range(10)]
    rows[3] = "a/a3_0.png,malignant, grade 2,a3"
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path,label,patient", *rows]) + "\n")
    ended = prep("folder", "--raw", raw, "--table", table)
    assert ended.status == 3
    assert [(file, "more than the 3 cells" in reason) for file, reason in ended.rejected] == [
        ("line 5 of the table", True)
    ]
    assert ended.listed["classes"] == ["a", "b"]


def test_words_for_what_is_not_known_are_no_patient_and_no_group(prep: Callable[..., Any], tmp_path: Path) -> None:
    """R writes NA, pandas nan."""
    raw = class_folders(tmp_path / "raw")
    unknown = {2: "NA", 3: "nan", 4: "N/A", 5: ""}
    rows = [
        (f"{c}/{c}{p}_0.png", c, unknown.get(p, f"{c}{p}"), unknown.get(p, "F"), unknown.get(p, "50"))
        for c in "ab"
        for p in range(10)
    ]
    header = ("path", "label", "patient", "sex", "age")
    ended = prep("folder", "--raw", raw, "--table", write_table(tmp_path / "t.csv", [header, *rows]))
    assert (ended.status, ended.rejected) == (0, [])
    assert "patient is unknown" in ended.err
    assert len({entry["patient"] for entry in ended.entries}) == 20
    assert sum("group" in entry for entry in ended.entries) == 12


def test_what_is_rejected_is_never_readable_by_others(
    prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the disk is full, or the process killed, before all is written."""
    raw = class_folders(tmp_path / "raw")
    (raw / "a/Doe_Jane.png").write_bytes(b"cut")

    def full(*_: object) -> None:
        raise UsageError("no space left")

    monkeypatch.setattr("data_prep.private.write_mapping", full)
    ended = prep("folder", "--raw", raw)
    assert "no space left" in ended.err
    assert "Doe_Jane" in (ended.folder / "rejected.csv").read_text()
    assert (ended.folder / "rejected.csv").stat().st_mode & 0o777 == 0o600
