"""Planted leaks are found whatever was done to the copy, and look-alikes are none."""

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_arrays
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from data_prep import sample
from medtl import datalist, leaks, signatures
from medtl.cli import app
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.signatures import Listed

pytestmark = pytest.mark.slow

Change = Callable[[Image.Image], Image.Image]


def check(*words: object) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["check", *map(str, words), "--workers", "1"])
    return ended.exit_code, ended.output


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Twenty drawings of different people."""
    listed = datalist.read(sample.prepared("folder"))
    chosen = {entry["patient"]: entry for entry in listed.training}
    opened = []
    for entry in list(chosen.values())[:20]:
        with Image.open(listed.folder / entry["image"]) as image:
            opened.append(image.convert("L"))
    return opened


def write(folder: Path, splits: dict[str, list[tuple[str, str, Image.Image]]], **more: Any) -> Path:
    """A data list of (name, patient, picture) a split; the name's suffix says how it is saved."""
    made: dict[str, list[dict[str, Any]]] = {split: [] for split in datalist.SPLITS}
    (folder / "images").mkdir(parents=True)
    for split, rows in splits.items():
        for name, patient, image in rows:
            path = folder / "images" / name
            image.save(path, **({"quality": 75} if path.suffix == ".jpg" else {}))
            entry = {"image": f"images/{name}", "label": 0, "patient": patient, "source": folder.name}
            made[split].append({**entry, "sha256": file_hash(path), **more})
    listed = DataList(folder.name, ("a", "b"), 1, "", "by hand", True, **made)
    datalist.write(listed, folder)
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CHANGES: dict[str, Change] = {
    "smaller": lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    "larger, other proportions": lambda image: image.resize((image.width * 2, image.height * 3 // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "all of it": lambda image: ImageEnhance.Brightness(image.resize((150, 150))).enhance(1.08),
}


def test_patients_whom_nobody_knows_are_not_shared(pictures: list[Image.Image], tmp_path: Path) -> None:
    a, b = (
        write(tmp_path / name, {"training": [(f"{k}.png", "", pictures[k]) for k in own]})
        for name, own in (("a", range(4)), ("b", range(10, 14)))
    )
    assert check(a, "--against", b)[0] == 0


def test_a_planted_leak_of_each_kind(pictures: list[Image.Image], tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"training": [(f"{k}.png", f"a/{k}", pictures[k]) for k in range(8)]})
    rgb = pictures[1].convert("RGB")
    others = [
        ("same.png", "b/0", pictures[0]),
        ("saved_again.tif", "b/1", rgb),
        ("copy.jpg", "b/2", CHANGES["all of it"](pictures[2])),
        ("other.png", "a/3", pictures[10]),
        *((f"new{k}.png", f"b/{k}", pictures[k]) for k in range(11, 16)),
    ]
    b = write(tmp_path / "b", {"test": others[:5], "training": others[5:]})
    status, printed = check(a, "--against", b, "--csv", tmp_path / "leaks.csv")
    assert status == 1
    assert f"a leak between {a} and {b}: 4 image(s) of 8" in printed
    rows = {(row["kind"], row["image"], row["other_image"]) for row in read_csv(tmp_path / "leaks.csv")}
    assert rows == {
        ("file", "images/0.png", "images/same.png"),
        ("pixels", "images/1.png", "images/saved_again.tif"),
        ("near-duplicate", "images/2.png", "images/copy.jpg"),
        ("patient", "images/3.png", "images/other.png"),
    }
    assert "1 patient(s) in both: a/3 (training, test)" in printed
    assert "images/2.png (training) = images/copy.jpg (test)" in printed


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_changed_copy_is_found(change: str, suffix: str, pictures: list[Image.Image], tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"training": [(f"{k}.png", f"a/{k}", image) for k, image in enumerate(pictures)]})
    copies = [(f"{k}.{suffix}", f"b/{k}", CHANGES[change](image)) for k, image in enumerate(pictures)]
    b = write(tmp_path / "b", {"training": copies})
    (found,) = leaks.compare_lists(a, [b])
    assert [(leak.first, leak.second) for leak in found.leaks] == [(k, k) for k in range(len(pictures))]


def test_within_one_list_only_what_crosses_splits(pictures: list[Image.Image], tmp_path: Path) -> None:
    rows = [(f"{k}.png", f"p/{k // 2}", pictures[k // 2]) for k in range(8)]  # each person twice, the same picture
    clean = write(tmp_path / "clean", {"training": rows[:4], "test": rows[4:]})
    assert check(clean, "--against", clean) == (0, f"no leak between the splits of {clean}: 8 images compared\n")
    darker = ("copy.jpg", "p/9", CHANGES["darker"](pictures[0]))
    leaky = write(tmp_path / "leaky", {"training": rows[:4], "validation": [darker], "test": rows[4:]})
    for words in (("--against", leaky), ("--near-duplicates",)):
        status, printed = check(leaky, *words)
        assert status == 1
        assert f"a leak between the splits of {leaky}: 3 image(s) of 9" in printed
        assert "2 pair(s) of near-duplicates: images/0.png (training) = images/copy.jpg (validation)" in printed
    assert check(leaky)[0] == 0  # the plain check stays quick


@pytest.mark.parametrize("word", ["", ",", " , "])
def test_a_check_against_nothing_is_no_check(word: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["check", str(tmp_path), "--against", word])
    assert str(found.exception) == "--against names no data list"


def test_the_same_patient_and_the_same_file_in_two_splits(pictures: list[Image.Image], tmp_path: Path) -> None:
    rows = [("0.png", "p/0", pictures[0]), ("1.png", "p/1", pictures[1])]
    listed = write(
        tmp_path / "a", {"training": rows, "test": [("2.png", "p/0", pictures[2]), ("3.png", "p/3", pictures[1])]}
    )
    (found,) = leaks.compare_lists(listed, [listed / "datalist.json"])
    assert [(leak.kind, leak.first, leak.second) for leak in found.leaks] == [("patient", 0, 2), ("file", 1, 3)]


def test_folds_are_sides_too(pictures: list[Image.Image], tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"training": [("0.png", "p/0", pictures[0]), ("1.png", "p/1", pictures[0])]})
    content = json.loads((folder / "datalist.json").read_text())
    for folds, status in (((0, 0), 0), ((0, 1), 1)):
        for entry, fold in zip(content["training"], folds, strict=True):
            entry["fold"] = fold
        (folder / "datalist.json").write_text(json.dumps(content))
        assert check(folder, "--against", folder)[0] == status


def test_pictures_that_show_nothing_are_no_leak(tmp_path: Path) -> None:
    """Black slices stand in every case, and a faint ramp has no structure to compare."""
    black, ramp = (
        Image.new("L", (40, 40)),
        Image.linear_gradient("L").resize((40, 40)).point([v // 16 for v in range(256)]),
    )
    a = write(tmp_path / "a", {"training": [("0.png", "a/0", black)]})
    b = write(tmp_path / "b", {"training": [("0.png", "b/0", black), ("1.png", "b/1", ramp)]})
    c = write(tmp_path / "c", {"training": [("0.jpg", "c/0", ramp)]})
    assert check(a, "--against", f"{b},{c}")[0] == 0
    assert check(b, "--against", c)[0] == 0


def test_several_lists_and_one_image_under_many_labels(pictures: list[Image.Image], tmp_path: Path) -> None:
    rows = [("0.png", "a/0", pictures[0])]
    a = write(tmp_path / "a", {"training": [*rows, *rows]})
    b = write(tmp_path / "b", {"training": [("x.png", "b/0", pictures[1])]})
    c = write(tmp_path / "c", {"test": [("y.png", "c/0", pictures[0])]})
    status, printed = check(a, "--against", f"{b}, {c}", "--csv", tmp_path / "all.csv")
    assert status == 1
    assert printed.splitlines()[0] == f"no leak between {a} and {b}: 1 and 1 images compared"
    assert [row["kind"] for row in read_csv(tmp_path / "all.csv")] == ["file"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--against", "/nowhere"), "/nowhere: no such folder"),
        (("--csv", "x.csv"), "--csv goes with --against"),
        (("--against", "damaged"), "images/0.png is not a readable image"),
    ],
)
def test_mistakes(words: tuple[str, str], wanted: str, pictures: list[Image.Image], tmp_path: Path) -> None:
    a = write(
        tmp_path / "a", {"training": [("0.png", "a/0", pictures[0])], "validation": [("1.png", "a/1", pictures[1])]}
    )
    shutil.copytree(a, tmp_path / "damaged")
    (tmp_path / "damaged/images/0.png").write_bytes(b"no picture")
    ended = CliRunner().invoke(app, ["check", str(a), words[0], words[1].replace("damaged", str(tmp_path / "damaged"))])
    assert isinstance(ended.exception, Exception)
    assert wanted in str(ended.exception)


def test_real_people_who_look_alike_are_no_leak(shared_data: Path, tmp_path: Path) -> None:
    """300 adults and 300 children: thousands of pairs have close hashes, none is reported; one copy is."""
    adults = sorted((shared_data / "chexpert").rglob("*.jpg"))[:300]
    children = sorted((shared_data / "chestxray2017").rglob("*.jpeg"))[::17][:300]
    lists = []
    for name, paths in (("adults", adults), ("children", children)):
        entries = [
            {"image": str(path), "label": 0, "patient": f"{name}/{path}", "source": name, "sha256": "0"}
            for path in paths
        ]
        listed = DataList(name, ("a",), 1, "", "", False, entries, [], [], folder=Path("/"))
        lists.append(signatures.sign_list(listed, name))
    a, b = lists
    candidates = sum(len(rows) for rows, _, _ in leaks.close_hashes(a.phashes, b.phashes, leaks.MOST_BITS))
    assert candidates > 0
    assert leaks.compare(a, b).leaks == ()
    buffer = io.BytesIO()
    with Image.open(children[7]) as image:
        image.convert("L").resize((180, 180)).save(buffer, "JPEG", quality=75)
    (tmp_path / "copy.jpg").write_bytes(buffer.getvalue())
    copy = signatures.sign(tmp_path / "copy.jpg")
    changed = dataclasses.replace(
        a,
        phashes=np.append(a.phashes[:-1], np.uint64(copy.phash)),
        details=np.concatenate([a.details[:-1], copy.detail[np.newaxis]]),
    )
    assert [(leak.kind, leak.first, leak.second) for leak in leaks.compare(changed, b).leaks] == [
        ("near-duplicate", 299, 7)
    ]


HASHES = numpy_arrays.arrays(np.uint64, st.integers(0, 12), elements=st.integers(0, 2**64 - 1))


@settings(max_examples=60)
@given(a=HASHES, b=HASHES, bits=st.integers(0, 40), step=st.integers(1, 40), data=st.data())
def test_the_search_finds_what_counting_bits_one_by_one_finds(
    a: np.ndarray, b: np.ndarray, bits: int, step: int, data: st.DataObject
) -> None:
    if len(a) and len(b):  # a close pair at least
        b[0] = a[data.draw(st.integers(0, len(a) - 1))] ^ np.uint64(0b1011)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "PAIRS_AT_A_TIME", step)
        found = [
            (int(i), int(j), int(n))
            for rows, columns, counts in leaks.close_hashes(a, b, bits)
            for i, j, n in zip(rows, columns, counts, strict=True)
        ]
    distance = {(i, j): bin(int(x) ^ int(y)).count("1") for i, x in enumerate(a) for j, y in enumerate(b)}
    assert found == sorted((i, j, n) for (i, j), n in distance.items() if n <= bits)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), m=st.integers(1, 6))
def test_near_pairs_agree_with_numpy(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, 4096))
    close = base[rng.integers(0, n, m)] + rng.normal(size=(m, 4096)) * rng.uniform(0, 2, (m, 1))
    arrays = [
        np.clip(np.rint(16 * (x - x.mean(axis=1, keepdims=True))), -127, 127).astype(np.int8) for x in (base, close)
    ]
    a, b = (
        Listed("x", ("all",) * len(d), ("i",) * len(d), ("p",) * len(d), ("",) * len(d), ("",) * len(d),
               np.zeros(len(d), np.uint64), d)
        for d in arrays
    )  # fmt: skip
    found = {(i, j): c for i, j, _, c in leaks.near_pairs(a, b, 0, 0.5)}
    expected = np.corrcoef(arrays[0], arrays[1])[:n, n:]
    for i in range(n):
        for j in range(m):
            if abs(expected[i, j] - 0.5) > 0.005:
                assert ((i, j) in found) == (expected[i, j] > 0.5)
            if (i, j) in found:
                assert found[i, j] == pytest.approx(expected[i, j], abs=0.005)


def test_workers_sign_alike(pictures: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "a", {"training": [(f"{k}.png", f"a/{k}", image) for k, image in enumerate(pictures)]})
    one = signatures.sign_list(datalist.read(folder), "a", 1)
    monkeypatch.setattr(signatures, "TOO_FEW_FOR_WORKERS", 1)
    two = signatures.sign_list(datalist.read(folder), "a", 2)
    assert one.pixels == two.pixels
    assert np.array_equal(one.phashes, two.phashes)
    assert np.array_equal(one.details, two.details)
