"""ChestXRay2017: class and patient from names against an independent count, official test kept, pairs on one side."""

import hashlib
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep import chestxray2017
from medtl.integrity import problems_of_data

PUBLISHED = {"normal": 1349, "bacterial": 2538, "viral": 1345}  # train and val together


def _class(path: Path) -> str:
    if path.parent.name == "NORMAL":
        return "normal"
    return "bacterial" if "bacteria" in path.name.lower() else "viral"


def _number(name: str) -> str:
    """``person`` or ``IM`` with the number after it."""
    match = re.search(r"(person|IM-)(\d+)", name)
    assert match is not None
    return match[0]


def _jpegs(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*.jpeg") if path.parent.name in ("NORMAL", "PNEUMONIA"))


@pytest.fixture
def copy(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """A phantom download that may be changed; its chest_xray folder."""
    shutil.copytree(phantoms("chestxray2017"), tmp_path / "raw")
    return tmp_path / "raw" / "chest_xray"


def test_classes_splits_and_bytes_agree_with_the_folders(
    prep: Callable[..., Any], phantoms: Callable[[str], Path]
) -> None:
    root = phantoms("chestxray2017") / "chest_xray"
    ended = prep("chestxray2017", "--raw", root)
    assert ended.status == 0
    expected = {path.relative_to(root).as_posix(): _class(path) for path in _jpegs(root)}
    got = {entry["image"].removeprefix("images/chestxray2017/"): entry for entry in ended.entries}
    assert {name: entry["class"] for name, entry in got.items()} == expected
    for name, entry in got.items():
        assert (entry["split"] == "test") == name.startswith("test/")
        content = (ended.folder / entry["image"]).read_bytes()
        assert content == (root / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert {name.split("/")[0] for name, entry in got.items() if entry["split"] == "training"} <= {"train", "val"}


def test_a_number_is_one_patient_within_train_and_val(
    prep: Callable[..., Any], phantoms: Callable[[str], Path]
) -> None:
    ended = prep("chestxray2017", "--raw", phantoms("chestxray2017"), "--validation-fraction", "0.4")
    where = defaultdict(set)
    kinds = defaultdict(set)
    for entry in ended.entries:
        name = entry["image"].split("/")[-1]
        if entry["split"] == "test":
            assert entry["patient"] == f"chestxray2017/test-{_number(name)}"
        else:
            assert entry["patient"] == f"chestxray2017/trainval-{_number(name)}"
            where[_number(name)].add(entry["split"])
            kinds[_number(name)].add(entry["class"])
    assert all(len(splits) == 1 for splits in where.values())
    assert sum({"bacterial", "viral"} <= classes for classes in kinds.values()) == 12
    test = {_number(entry["image"]) for entry in ended.listed["test"]}
    assert test & where.keys(), "numbers of the other germ coincide, as in the release"
    assert problems_of_data(ended.folder)[1] == []


def test_dry_run_on_the_real_download_agrees_with_the_publication(prep: Callable[..., Any], shared_data: Path) -> None:
    root = shared_data / "chestxray2017"
    counts = Counter(_class(path) for path in _jpegs(root))
    assert counts == PUBLISHED
    assert counts.total() == 5232
    ended = prep("chestxray2017", "--raw", root, "--dry-run")
    assert ended.status == 0
    for name, count in counts.items():
        (row,) = [line for line in ended.out.splitlines() if re.search(rf"\s{name}\s", line)]
        numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", row)]
        assert numbers[:3] == [count, count, 0]
    assert "partial download: test 0 of 624 images" in ended.out
    assert "would reject" not in ended.out
    assert not ended.folder.exists()


def test_patients_of_the_real_names(shared_data: Path) -> None:
    """808 numbers stand under bacteria and virus: each is one patient."""
    rows = [row for work in chestxray2017.find(shared_data / "chestxray2017").works for row in work.payload[1]]
    assert len(rows) == 5232
    patients, labels = defaultdict(set), defaultdict(set)
    for file, label, patient in rows:
        patients[_number(file)].add(patient)
        labels[_number(file)].add(label)
    assert all(len(ids) == 1 for ids in patients.values())
    assert len({one for ids in patients.values() for one in ids}) == len(patients)
    assert sum({"bacterial", "viral"} <= names for names in labels.values()) == 808


def test_real_identical_pairs_lie_on_one_side(prep: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "chestxray2017" / "chest_xray"
    by_content = defaultdict(list)
    files = sorted(_jpegs(root))
    for path in files:
        by_content[hashlib.md5(path.read_bytes()).hexdigest()].append(path)
    groups = [paths for paths in by_content.values() if len(paths) > 1]
    assert Counter(len(paths) for paths in groups) == {2: 22, 3: 2}
    for path in [path for paths in groups for path in paths] + files[::17]:
        link = tmp_path / "raw/chest_xray" / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.symlink(path, link)
    for fraction in ("0.1", "0.5"):
        ended = prep("chestxray2017", "--raw", tmp_path / "raw", "--validation-fraction", fraction)
        assert ended.status == 0
        split = {entry["image"].removeprefix("images/chestxray2017/"): entry["split"] for entry in ended.entries}
        for paths in groups:
            assert len({split[path.relative_to(root).as_posix()] for path in paths}) == 1
        share = len(ended.listed["validation"]) / len(split)
        assert share == pytest.approx(float(fraction), abs=0.03)
        shares = Counter(entry["class"] for entry in ended.entries if entry["split"] == "validation")
        for name, count in Counter(entry["class"] for entry in ended.entries).items():
            assert shares[name] == pytest.approx(float(fraction) * count, abs=3)


def test_an_image_that_two_people_share_keeps_them_together(prep: Callable[..., Any], copy: Path) -> None:
    people = sorted(path for path in (copy / "train/PNEUMONIA").iterdir() if "virus" in path.name)[::3]
    for path in people[1:]:
        shutil.copyfile(people[0], path)
    names = {path.name for path in people}
    for seed in range(4):
        ended = prep("chestxray2017", "--raw", copy, "--validation-fraction", "0.4", "--seed", seed)
        assert len({e["split"] for e in ended.entries if e["image"].split("/")[-1] in names}) == 1


def test_two_classes(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    root = phantoms("chestxray2017")
    ended = prep("chestxray2017", "--raw", root, "--rule", "two-class")
    assert ended.listed["classes"] == ["normal", "pneumonia"]
    expected = Counter("normal" if _class(path) == "normal" else "pneumonia" for path in _jpegs(root))
    assert Counter(entry["class"] for entry in ended.entries) == expected
    assert "3,883 + 390" in ended.out


def test_each_bad_file_is_named_and_the_rest_is_taken(prep: Callable[..., Any], copy: Path) -> None:
    good = {path.relative_to(copy).as_posix() for path in _jpegs(copy)}
    bad = sorted((copy / "train/PNEUMONIA").iterdir())[:3]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:2000])
    bad[2].write_text("<html>please log in</html>")
    moved = sorted((copy / "test/PNEUMONIA").iterdir())[0]
    moved.rename(copy / "test/NORMAL" / moved.name)
    (copy / "val/NORMAL/holiday.jpeg").write_bytes(b"x")
    (copy / "val/NORMAL/.DS_Store").write_bytes(b"x")
    ended = prep("chestxray2017", "--raw", copy.parent)
    assert ended.status == 3
    expected = {f"chest_xray/train/PNEUMONIA/{path.name}" for path in bad}
    expected |= {f"chest_xray/test/NORMAL/{moved.name}", "chest_xray/val/NORMAL/holiday.jpeg"}
    reasons = dict(ended.rejected)
    assert reasons.keys() == expected
    assert "its folder NORMAL" in reasons[f"chest_xray/test/NORMAL/{moved.name}"]
    assert "person1_bacteria_1" in reasons["chest_xray/val/NORMAL/holiday.jpeg"]
    taken = {entry["image"].removeprefix("images/chestxray2017/") for entry in ended.entries}
    assert taken == good - {name.removeprefix("chest_xray/") for name in expected} - {f"test/PNEUMONIA/{moved.name}"}
    assert "5 rejected" in ended.out


def test_one_number_of_one_germ_in_train_and_test_is_said_and_not_moved(prep: Callable[..., Any], copy: Path) -> None:
    """In the release there is none; in a copy that somebody dealt anew there is."""
    (copy / "test/PNEUMONIA/person9_bacteria_21.jpeg").rename(copy / "test/PNEUMONIA/person2_bacteria_21.jpeg")
    ended = prep("chestxray2017", "--raw", copy)
    assert ended.status == 0
    (line,) = ended.err.splitlines()
    assert "1 patient(s) in more than one split, the first chestxray2017/person2" in line
    split = {entry["image"].split("/")[-1]: entry["split"] for entry in ended.entries}
    assert split["person2_bacteria_21.jpeg"] == "test"
    assert split["person2_bacteria_2.jpeg"] != "test"
    assert len(problems_of_data(ended.folder)[1]) == 1


def test_names_of_the_mendeley_release(prep: Callable[..., Any], copy: Path, tmp_path: Path) -> None:
    """(disease)-(randomised patient id)-(image number); one id is one patient wherever it stands."""
    source = iter(sorted(_jpegs(copy)))
    names = ["NORMAL/NORMAL-10-0001", "PNEUMONIA/BACTERIA-11-0001", "PNEUMONIA/VIRUS-11-0001"]
    names += [f"PNEUMONIA/VIRUS-2{n}-0001" for n in range(9)] + [f"NORMAL/NORMAL-3{n}-0001" for n in range(9)]
    for name in [*(f"train/{name}" for name in names), "test/PNEUMONIA/VIRUS-99-0001"]:
        target = tmp_path / f"data/ZhangLabData/CellData/chest_xray/{name}.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(next(source), target)
    ended = prep("chestxray2017", "--raw", tmp_path / "data/ZhangLabData")
    assert ended.status == 0
    by_name = {Path(entry["image"]).stem: entry for entry in ended.entries}
    assert by_name["BACTERIA-11-0001"]["class"] == "bacterial"
    assert by_name["VIRUS-11-0001"]["class"] == "viral"
    assert {by_name[f"{germ}-11-0001"]["patient"] for germ in ("BACTERIA", "VIRUS")} == {"chestxray2017/11"}
    assert by_name["BACTERIA-11-0001"]["split"] == by_name["VIRUS-11-0001"]["split"]
    assert by_name["VIRUS-99-0001"]["split"] == "test"


def test_kaggles_second_copy_inside_the_first_is_passed_over(
    prep: Callable[..., Any], copy: Path, tmp_path: Path
) -> None:
    once = prep("chestxray2017", "--raw", copy, "--out", tmp_path / "once")
    shutil.copytree(copy, tmp_path / "inner")
    (tmp_path / "inner").rename(copy / "chest_xray")
    (copy.parent / "__MACOSX/chest_xray/train/NORMAL").mkdir(parents=True)
    for number, folder in enumerate((copy, copy.parent)):
        ended = prep("chestxray2017", "--raw", folder, "--out", tmp_path / str(number))
        assert (ended.status, ended.rejected) == (0, [])
        assert (ended.folder / "datalist.json").read_bytes() == (once.folder / "datalist.json").read_bytes()


def test_a_download_without_test_and_one_with_too_many_are_named(prep: Callable[..., Any], copy: Path) -> None:
    shutil.rmtree(copy / "test")
    ended = prep("chestxray2017", "--raw", copy)
    assert (ended.status, ended.listed["test"]) == (0, [])
    last = ended.out.splitlines()[-1]
    assert "0 test entries" in last
    assert re.search(r"partial download: train and val \d+ of 5,232, test 0 of 624 images", last)
    for number in range(235):
        target = copy / f"test/NORMAL/IM-{number:04d}-0001.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    assert "not as published: test 235 of 624" in prep("chestxray2017", "--raw", copy, "--dry-run").out


def test_a_share_takes_the_absent_test_splits_place(prep: Callable[..., Any], copy: Path) -> None:
    refused = prep("chestxray2017", "--raw", copy, "--test-fraction", "0.2")
    assert refused.status == 2
    assert "official test folder" in refused.err
    shutil.rmtree(next(copy.rglob("test")))
    ended = prep("chestxray2017", "--raw", copy, "--test-fraction", "0.2")
    shares = Counter(entry["split"] for entry in ended.entries)
    assert shares["test"] == pytest.approx(0.2 * shares.total(), abs=4)
    assert {entry["class"] for entry in ended.entries if entry["split"] == "test"} == set(PUBLISHED)
    splits = defaultdict(set)
    for entry in ended.entries:
        splits[entry["patient"]].add(entry["split"])
    assert max(len(where) for where in splits.values()) == 1
    assert "--test-fraction 0.2" in ended.listed["created_by"]
