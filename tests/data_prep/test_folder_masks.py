"""One's own pictures with masks: pairs, values and colours, what is named, and that nobody can be recognised."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.folder_masks import Classes, Pairing, _partners, classes_of
from data_prep.folder_people import People
from medtl.errors import UsageError
from medtl.integrity import problems_of_data
from medtl.readers.find import File

pytestmark = pytest.mark.slow

Prep = Callable[..., Any]
SHAPE = (18, 24)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path) if mode else Image.fromarray(pixels).save(path)
    return path


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def regions(seed: int, classes: int) -> np.ndarray:
    """Random indices 0..classes, all there."""
    found = np.random.default_rng(100 + seed).integers(0, classes + 1, SHAPE, dtype=np.uint8)
    found[0, : classes + 1] = range(classes + 1)
    return found


def pairs(root: Path, patients: int = 8, images: int = 2, classes: int = 1) -> dict[str, np.ndarray]:
    """``images/smith0_0.png`` and ``masks/smith0_0.png`` of indices; the masks by name."""
    made = {}
    for patient in range(patients):
        for number in range(images):
            name = f"smith{patient}_{number}"
            save(root / "images" / f"{name}.png", picture(len(made)))
            made[name] = regions(len(made), classes)
            save(root / "masks" / f"{name}.png", made[name])
    return made


def given(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "private_mapping.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def masks(ended: Any) -> dict[str, np.ndarray]:
    """Each prepared mask by the name of the picture that it came from."""
    found, names = {}, given(ended.folder)
    for split in ("training", "validation", "test"):
        for entry in ended.listed[split]:
            with Image.open(ended.folder / entry["label"]) as mask:
                found[Path(names[entry["image"]]["file"]).stem] = np.asarray(mask)
    return found


def prepared(prep: Prep, root: Path, *words: object) -> Any:
    return prep("folder", "--raw", root / "images", "--masks", root / "masks", *words)


def test_patients_stay_in_one_split_and_nobody_is_named(prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw", patients=10)
    ended = prepared(prep, tmp_path / "raw", "--patient-pattern", r"([a-z]+\d+)_", "--name", "mine")
    assert ended.status == 0
    assert ended.listed["task"] == "segmentation"
    assert ended.listed["name"] == "mine"
    assert [len(ended.listed[split]) for split in ("training", "validation", "test")] == [14, 2, 4]
    splits = defaultdict(set)
    names = given(ended.folder)
    for split in ("training", "validation", "test"):
        for entry in ended.listed[split]:
            splits[names[entry["image"]]["given"]].add(split)
            assert re.fullmatch(r"mine/[0-9a-f]{16}", entry["patient"])
            number = list(made).index(Path(names[entry["image"]]["file"]).stem)
            assert np.array_equal(ended.picture(entry), picture(number))
    assert len(splits) == 10
    assert all(len(own) == 1 for own in splits.values())
    assert (ended.folder / "rejected.csv").stat().st_mode & 0o77 == 0
    for path in (path for path in ended.folder.rglob("*") if path.is_file() and path.name != "private_mapping.csv"):
        assert b"smith" not in path.read_bytes().lower(), path
        assert "smith" not in path.as_posix().removeprefix(str(tmp_path))
    assert problems_of_data(ended.folder)[1] == []


def test_the_key_decides_names_and_nothing_else(prep: Prep, tmp_path: Path) -> None:
    pairs(tmp_path / "raw")
    words: tuple[object, ...] = ("--patient-pattern", r"(smith\d+)_")
    first = prepared(prep, tmp_path / "raw", *words, "--out", tmp_path / "a").listed
    other = prepared(prep, tmp_path / "raw", *words, "--out", tmp_path / "b").listed
    words += ("--out", tmp_path / "c", "--key-file", tmp_path / "a" / ".progress" / "key")
    assert prepared(prep, tmp_path / "raw", *words).listed == first
    assert first != other
    for listed in (first, other):
        for entry in listed["training"] + listed["validation"] + listed["test"]:
            entry.pop("patient")
    assert first == other


def test_values_stand_for_classes(prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw", classes=2)
    for name, indices in made.items():
        save(tmp_path / "raw" / "masks" / f"{name}.png", np.array([0, 255, 128], np.uint8)[indices])
    ended = prepared(prep, tmp_path / "raw", "--classes", "disc=255,cup=128")
    assert ended.status == 0
    assert ended.listed["classes"] == ["disc", "cup"]
    found = masks(ended)
    assert found.keys() == made.keys()
    assert all(np.array_equal(found[name], made[name]) for name in made)


@pytest.mark.parametrize("palette", [False, True])
def test_colours_stand_for_classes(palette: bool, prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw", classes=2)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 64]], np.uint8)
    for name, indices in made.items():
        path = tmp_path / "raw" / "masks" / f"{name}.png"
        if palette:
            image = Image.fromarray(
                np.array([0, 2, 1], np.uint8)[indices], "P"
            )  # the palette's order is not the classes'
            image.putpalette(colours[[0, 2, 1]].tobytes())
            image.save(path)
        else:
            save(path, colours[indices])
    found = masks(prepared(prep, tmp_path / "raw", "--classes", "disc=#ff0000,cup=#008040"))
    assert found.keys() == made.keys()
    assert all(np.array_equal(found[name], made[name]) for name in made)


def test_a_palette_without_colours_is_read_by_index(prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw", classes=2)
    for name, indices in made.items():
        image = Image.fromarray(indices, "P")
        image.putpalette(bytes([9, 9, 9, 200, 0, 0, 0, 200, 0]))
        image.save(tmp_path / "raw" / "masks" / f"{name}.png")
    found = masks(prepared(prep, tmp_path / "raw", "--classes", "disc,cup"))
    assert all(np.array_equal(found[name], made[name]) for name in made)


def test_one_class_is_what_is_not_black_however_the_mask_is_saved(prep: Prep, tmp_path: Path) -> None:
    """What a mask cannot be is refused by name: two pages, and fractions."""
    made = pairs(tmp_path / "raw", patients=10, images=1)
    for name, marked in made.items():
        grey, path = 255 * marked, tmp_path / "raw" / "masks" / f"{name}.png"
        image, number = Image.fromarray(grey), int(name[5])
        if number == 0:  # what is transparent is white beneath
            image = Image.fromarray(np.dstack([np.full_like(grey, 255)] * 3 + [grey]))
        elif number == 1:
            image = image.quantize(2)
        elif number == 2:
            image = Image.fromarray(np.dstack([0 * grey, 0 * grey, marked]))  # the darkest blue
        elif number > 2:
            path.unlink()
            path = path.with_suffix(".tif")
            image = Image.fromarray(marked * np.float32(0.5 if number == 4 else 1)) if number < 5 else image
        image.save(path, save_all=number == 5, **({"append_images": [image]} if number == 5 else {}))
    ended = prepared(prep, tmp_path / "raw", "--test-fraction", 0.25)
    assert ended.status == 3
    assert [(file.removeprefix("images/"), reason.split(": ")[0]) for file, reason in ended.rejected] == [
        ("smith4_0.png", "its mask smith4_0.tif holds negative numbers or fractions"),
        ("smith5_0.png", "its mask smith5_0.tif holds several pictures where one is expected"),
    ]
    found = masks(ended)
    assert found.keys() == made.keys() - {"smith4_0", "smith5_0"}
    assert all(np.array_equal(found[name], made[name]) for name in found)


def test_a_file_a_class_and_the_last_class_lies_above(prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw")
    expected = {}
    for number, name in enumerate(made):
        (tmp_path / "raw" / "masks" / f"{name}.png").unlink()
        disc, cup = (regions(10 * number + k, 1) for k in (1, 2))
        save(tmp_path / "raw" / "masks" / f"{name}_Disc.png", 255 * disc)
        save(tmp_path / "raw" / "masks" / f"{name}-cup.bmp", 255 * cup)
        expected[name] = np.where(cup > 0, 2, disc)
    ended = prepared(prep, tmp_path / "raw", "--classes", "disc,cup")
    assert ended.status == 0
    found = masks(ended)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_what_cannot_be_used_is_named_and_the_rest_is_done(prep: Prep, tmp_path: Path) -> None:
    pairs(tmp_path / "raw", patients=10, images=1, classes=2)
    folder = tmp_path / "raw" / "masks"
    (folder / "smith0_0.png").unlink()
    save(folder / "smith1_0.png", np.ones((5, 6), np.uint8))
    save(folder / "smith2_0.png", np.full(SHAPE, 7, np.uint8))
    (folder / "smith3_0.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "raw" / "images" / "smith4_0.png").unlink()
    save(folder / "smith5_0_mask_2.png", regions(5, 2))  # a second mask of the picture
    ended = prepared(prep, tmp_path / "raw", "--classes", "disc,cup", "--patient-pattern", r"(smith\d+)_")
    assert ended.status == 3
    assert sum(len(ended.listed[split]) for split in ("training", "validation", "test")) == 5
    reasons = dict(ended.rejected)
    assert len(reasons) == 5
    assert sum("no mask" in reason for reason in reasons.values()) == 1
    assert sum("(5, 6)" in reason for reason in reasons.values()) == 1
    assert sum("value 7" in reason and "no class" in reason for reason in reasons.values()) == 1
    assert sum("not a readable image" in reason for reason in reasons.values()) == 1
    assert sum("without its picture" in reason for reason in reasons.values()) == 1
    told = json.dumps(ended.rejected) + ended.out + ended.err
    assert not [number for number in range(4) if f"smith{number}" in told]


def test_a_suffix_takes_its_masks_alone(prep: Prep, tmp_path: Path) -> None:
    made = pairs(tmp_path / "raw")
    for name, indices in made.items():
        (tmp_path / "raw" / "masks" / f"{name}.png").unlink()
        save(tmp_path / "raw" / "masks" / f"{name}_1stHO.png", 255 * indices)
        save(tmp_path / "raw" / "masks" / f"{name}_2ndHO.png", 0 * indices)
    ended = prepared(prep, tmp_path / "raw", "--mask-suffix", "_1stHO", "--classes", "vessel")
    assert ended.status == 0
    assert "16 without _1stHO" in ended.err
    found = masks(ended)
    assert all(np.array_equal(found[name], made[name]) for name in made)


def test_equal_names_in_folders_are_paired_by_folder_or_named(prep: Prep, tmp_path: Path) -> None:
    for number, place in enumerate(("a", "b", "c", "d")):
        save(tmp_path / "raw" / place / "images" / "1.png", picture(number))
        save(tmp_path / "raw" / "masks" / place / "1.png", regions(number, 1))
    save(tmp_path / "raw" / "masks" / "1.png", regions(9, 1))
    ended = prep("folder", "--raw", tmp_path / "raw", "--masks", tmp_path / "raw" / "masks", "--test-fraction", "0.25")
    assert ended.status == 3
    assert [reason for _, reason in ended.rejected] == ["is a mask that fits several pictures of one name"]
    names = given(ended.folder)
    for split in ("training", "validation", "test"):
        for entry in ended.listed[split]:
            place = "abcd".index(names[entry["image"]]["file"][0])
            with Image.open(ended.folder / entry["label"]) as mask:
                assert np.array_equal(np.asarray(mask), regions(place, 1))


def test_a_number_behind_a_name_is_another_picture(prep: Prep, tmp_path: Path) -> None:
    """``p1_2.png`` is the mask of a picture that is not there, and not a second one of ``p1.png``."""
    pairs(tmp_path / "raw")
    save(tmp_path / "raw" / "masks" / "smith1_0_2.png", regions(1, 1))
    ended = prepared(prep, tmp_path / "raw")
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == ["masks/smith1_0_2.png"]


def test_a_number_in_front_of_a_word_is_another_pictures(prep: Prep, tmp_path: Path) -> None:
    """``p1_2_mask.png`` belongs to ``p1_2.png``, which is not there; ``p1_mask_1.png`` is one more of ``p1.png``."""
    made = pairs(tmp_path / "raw")
    folder = tmp_path / "raw" / "masks"
    save(folder / "smith1_0_2_mask.png", np.ones(SHAPE, np.uint8))
    (folder / "smith2_0.png").rename(folder / "smith2_0_mask.png")
    second = np.zeros(SHAPE, np.uint8)
    second[:, 3] = 255
    save(folder / "smith2_0_mask_1.png", second)
    ended = prepared(prep, tmp_path / "raw")
    assert ended.status == 3
    assert ended.rejected == [("masks/smith1_0_2_mask.png", "is a mask without its picture")]
    found = masks(ended)
    made["smith2_0"] = made["smith2_0"] | (second > 0)
    assert found.keys() == made.keys()
    assert all(np.array_equal(found[name], made[name]) for name in made)


def partners(
    pictures: str, files: str, classes: str, suffix: str = ""
) -> tuple[dict[str, list[tuple[str, int]]], dict[str, str]]:
    """Which masks are whose, each with its class, and the reasons of those that are nobody's; names without .png."""
    there = [File(Path(f"{file}.png"), f"{file}.png") for file in files.split()]
    pairing = Pairing("own", classes_of(classes), People(), suffix, b"")
    found, lost, passed = _partners([f"{file}.png" for file in pictures.split()], there, pairing)
    assert passed == ()
    told = {name[:-4]: [(path.as_posix()[:-4], number) for path, number in own] for name, own in found.items()}
    return told, {name[:-4]: reason for name, reason in lost}


WITHOUT, SEVERAL = "is a mask without its picture", "is a mask that fits several pictures of one name"
TWICE = "is one of several masks of a picture, in different folders"


@pytest.mark.parametrize(
    ("pictures", "files", "pairs_of", "lost"),
    [
        # the picture B/1 is absent, with and without A/1's own mask; so is all of B
        ("A/1 A/2 B/2 C/3", "A/1 B/1 A/2 B/2 C/3", "A/1:A/1 A/2:A/2 B/2:B/2 C/3:C/3", {"B/1": WITHOUT}),
        ("A/1 A/2 B/2 C/3", "B/1 A/2 B/2 C/3", "A/2:A/2 B/2:B/2 C/3:C/3", {"B/1": WITHOUT}),
        ("A/1 C/3", "B/1 C/3", "C/3:C/3", {"B/1": WITHOUT}),
        ("T/A/1 T/C/1 V/D/1", "T/B/1 T/C/1 V/D/1", "T/C/1:T/C/1 V/D/1:V/D/1", {"T/B/1": WITHOUT}),
        # folders in another order are other folders
        ("L/R/1 R/L/2 R/L/3", "R/L/1 R/L/2 L/R/3", "R/L/2:R/L/2", {"R/L/1": WITHOUT, "L/R/3": WITHOUT}),
        ("1 B/2", "B/1 B/2", "B/2:B/2", {"B/1": WITHOUT}),
        # two masks of one name, which nothing tells apart
        ("1 2", "x/1 y/1 x/2", "2:x/2", {"x/1": TWICE, "y/1": TWICE}),
        ("A/1 B/1 B/2", "1 A/1 B/1 2", "A/1:A/1 B/1:B/1 B/2:2", {"1": SEVERAL}),
        ("B/1 C/2", "1 B/1 C/2", "B/1:B/1 C/2:C/2", {"1": TWICE}),
        # layouts that pair
        ("A/1 B/2 C/3", "1 2 3", "A/1:1 B/2:2 C/3:3", {}),
        ("1 2 3", "1 2 3", "1:1 2:2 3:3", {}),
        ("1 2", "vessel/1 vessel/2", "1:vessel/1 2:vessel/2", {}),
        ("benign/1 malignant/2", "p1/1 p2/2", "benign/1:p1/1 malignant/2:p2/2", {}),
        ("A/images/1 B/images/1", "A/masks/1 B/masks/1", "A/images/1:A/masks/1 B/images/1:B/masks/1", {}),
        ("A/images/1 B/1 C/img/2", "A/1 B/gt/1 C/seg/2", "A/images/1:A/1 B/1:B/gt/1 C/img/2:C/seg/2", {}),
        ("A/OCT/1 B/OCT/1", "A/drawn/1 B/drawn/1", "A/OCT/1:A/drawn/1 B/OCT/1:B/drawn/1", {}),
        ("clinic/A/1 clinic/B/1", "a/1 b/1", "clinic/A/1:a/1 clinic/B/1:b/1", {}),
        ("in/x/1 in/y/2", "in/v/1 in/w/2", "in/x/1:in/v/1 in/y/2:in/w/2", {}),
    ],
)
@pytest.mark.parametrize("suffix", ["", "_s"])
def test_folders_tell_whose_a_mask_is(
    pictures: str, files: str, pairs_of: str, lost: dict[str, str], suffix: str
) -> None:
    found, gone = partners(pictures, " ".join(f"{file}{suffix}" for file in files.split()), "lesion", suffix)
    wanted = dict(pair.split(":") for pair in pairs_of.split())
    assert found == {picture: [(f"{one}{suffix}", 0) for one in own.split(",")] for picture, own in wanted.items()}
    assert gone == {f"{file}{suffix}": reason for file, reason in lost.items()}


def test_classes_may_lie_in_folders_of_their_own_each_in_one() -> None:
    found, gone = partners("1 2", "cup/1_cup disc/1_disc cup/2_cup disc/2_disc old/2_cup", "disc,cup")
    assert found == {"1": [("disc/1_disc", 1), ("cup/1_cup", 2)]}
    assert gone == dict.fromkeys(["cup/2_cup", "disc/2_disc", "old/2_cup"], TWICE)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--classes", "disc=1,cup"), "--classes"),
        (("--classes", "disc=1,cup=1"), "--classes"),
        (("--classes", "disc=1,cup=#ff0000"), "--classes"),
        (("--classes", "disc=0"), "background"),
        (("--task", "regression"), "--task"),
        (("--positive", "disc"), "--positive"),
        (("--patient-pattern", "smith"), "group"),
        (("--patient-pattern", "(jones)"), "fits no path"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], part: str, prep: Prep, tmp_path: Path) -> None:
    pairs(tmp_path / "raw", patients=2)
    ended = prepared(prep, tmp_path / "raw", *words)
    assert ended.status == 2
    assert part in ended.err
    assert not (ended.folder / "datalist.json").exists()


def table_of(root: Path, lines: list[str], head: str = "path;patient;split;age;sex;note") -> Path:
    path = root / "people.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_says_whose_pictures_are_and_where_they_go(prep: Prep, tmp_path: Path) -> None:
    """Pictures are named by numbers, so that the table alone tells patients."""
    split = {0: "test", 1: "test", 2: "val"}
    lines, owner = [], {}
    for number in range(16):
        patient = number // 2
        save(tmp_path / "raw" / "images" / f"{number:02d}.png", picture(number))
        save(tmp_path / "raw" / "masks" / f"{number:02d}_mask.png", regions(number, 1))
        owner[f"{number:02d}"] = patient
        lines.append(f"{number:02d}.png;miller{patient};{split.get(patient, 'train')};{80 + 2 * patient};F;x")
    table = table_of(tmp_path, lines)
    ended = prepared(prep, tmp_path / "raw", "--table", table, "--name", "mine")
    assert ended.status == 0
    assert "unknown" not in ended.err
    names = given(ended.folder)
    codes = defaultdict(set)
    for part, wanted in (("training", {3, 4, 5, 6, 7}), ("validation", {2}), ("test", {0, 1})):
        assert {owner[Path(names[e["image"]]["file"]).stem] for e in ended.listed[part]} == wanted
        for entry in ended.listed[part]:
            patient = owner[Path(names[entry["image"]]["file"]).stem]
            assert names[entry["image"]]["given"] == f"miller{patient}"
            assert entry["group"] == {"age": min(80 + 2 * patient, 90), "sex": "F"}
            codes[entry["patient"]].add(patient)
    assert len(codes) == 8
    assert all(len(own) == 1 for own in codes.values())
    assert "miller" not in (ended.folder / "datalist.json").read_text()
    assert problems_of_data(ended.folder)[1] == []
    alike = prepared(prep, tmp_path / "raw", "--table", table, "--name", "mine")  # nothing to do, the same list
    assert alike.listed == ended.listed
    table_of(tmp_path, [line.replace(";F;", ";M;") for line in lines])
    changed = prepared(prep, tmp_path / "raw", "--table", table, "--name", "mine")
    assert {entry["group"]["sex"] for entry in changed.listed["training"]} == {"M"}


def test_rows_and_pictures_that_do_not_meet_are_named_and_the_rest_is_done(prep: Prep, tmp_path: Path) -> None:
    pairs(tmp_path / "raw", patients=10, images=1)
    (tmp_path / "raw" / "masks" / "smith7_0.png").unlink()
    (tmp_path / "raw" / "images" / "smith8_0.png").unlink()
    save(tmp_path / "elsewhere.png", picture(50))
    lines = [f"images/smith{n}_0.png;smith{n};{'train' if n == 3 else ''};50;F;" for n in range(3, 9)]
    lines += ["images/smith1_0.png;smith1;later;50;F;", "images/smith2_0.png;smith2;;old;F;"]
    lines += ["images/smith3_0.png;smith3;train;50;F;", ";nobody;;50;F;", "elsewhere.png;smith6;;50;F;"]
    lines += ["images/smith9_0.png;smith3;test;50;F;"]
    table = table_of(tmp_path, lines)
    words = ("--raw", tmp_path / "raw", "--masks", tmp_path / "raw" / "masks", "--table", table)
    ended = prep("folder", *words, "--test-fraction", 0.25)
    assert ended.status == 3
    reasons = [reason for _, reason in ended.rejected]
    expected = (
        "has no row",
        "no mask",
        "is missing",
        "is not train, val or test",
        "no number of years",
        "stands twice",
    )
    for part in (*expected, "names no picture", "none of the pictures", "in the test split too", "without its picture"):
        assert sum(part in reason for reason in reasons) == 1, part
    assert len(reasons) == 10
    assert sum(len(ended.listed[split]) for split in ("training", "validation", "test")) == 4  # 4, 5, 6 and 9
    told = json.dumps(ended.rejected) + ended.out + ended.err
    assert not [number for number in range(1, 9) if f"smith{number}" in told]
    kept = {Path(row["file"]).stem for row in given(ended.folder).values() if row["image"]}
    assert kept == {"smith4_0", "smith5_0", "smith6_0", "smith9_0"}


def test_the_pattern_helps_where_the_table_names_nobody(prep: Prep, tmp_path: Path) -> None:
    pairs(tmp_path / "raw", patients=6)
    lines = [f"images/smith{p}_{k}.png,{'M' if p % 2 else 'F'}" for p in range(6) for k in range(2)]
    table = table_of(tmp_path / "raw", lines, "path,sex")
    words = ("--raw", tmp_path / "raw", "--masks", tmp_path / "raw" / "masks", "--table", "people.csv")
    ended = prep("folder", *words, "--patient-pattern", r"(smith\d+)_", "--out", tmp_path / "a")
    assert ended.status == 0
    people = {entry["patient"] for split in ("training", "validation", "test") for entry in ended.listed[split]}
    assert len(people) == 6
    alone = prep("folder", *words, "--out", tmp_path / "b")
    assert alone.status == 0
    assert "of 12 of 12 pictures the patient is unknown" in alone.err
    nothing = table_of(tmp_path, lines, "path,colour")
    refused = prep("folder", *words[:-1], nothing, "--out", tmp_path / "c")
    assert (refused.status, "expected a column patient" in refused.err) == (2, True)
    assert not (tmp_path / "c").exists()
    absent = prep("folder", *words[:-1], "none.csv", "--out", tmp_path / "c")
    assert (absent.status, "no such file" in absent.err) == (2, True)
    assert table.is_file()


def test_classes_are_read() -> None:
    assert classes_of("vessel") == Classes(("vessel",))
    assert classes_of("optic disc = 128, cup=255") == Classes(("optic disc", "cup"), (128, 255))
    assert classes_of("a=#0000ff") == Classes(("a",), (255,), True)
    with pytest.raises(UsageError, match="--classes"):
        classes_of("a,,b")


def test_real_vessels(prep: Prep, shared_data: Path, tmp_path: Path) -> None:
    """CHASE_DB1 as a user might have it: a folder of pictures, and one of masks by two people."""
    for file in (shared_data / "chase_db1").rglob("Image_*"):
        target = tmp_path / ("masks" if "HO" in file.name else "images") / file.name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(file)
    words = ("--mask-suffix", "_1stHO", "--classes", "vessel", "--patient-pattern", r"Image_(\d+)")
    ended = prepared(prep, tmp_path, *words)
    assert ended.status == 0
    found = masks(ended)
    assert len(found) == 28
    with Image.open(tmp_path / "masks" / "Image_07R_1stHO.png") as first:
        assert np.array_equal(found["Image_07R"], np.asarray(first.convert("L")) > 0)
