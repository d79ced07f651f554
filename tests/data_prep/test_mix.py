"""Several data lists in one: whose classes, whose patients, and nothing of a later target."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import mix_pictures, mix_shares, sample
from medtl import datalist
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow


def prepared(
    folder: Path, patients: int = 8, images: int = 2, channels: int = 1, seed: int = 0, **changes: Any
) -> Path:
    """A list of two classes, with blocky pictures that have structure to compare."""
    made: dict[str, list[dict[str, Any]]] = {split: [] for split in datalist.SPLITS}
    rng = np.random.default_rng([seed, *folder.name.encode()])
    for patient in range(patients):
        for image in range(images):
            path = folder / "images" / folder.name / f"{patient}_{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            blocks = Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).resize(
                (72, 72), Image.Resampling.BOX
            )
            (blocks.convert("RGB") if channels == 3 else blocks).save(path)
            made["test" if patient == 0 else "training"].append(
                {
                    "image": path.relative_to(folder).as_posix(),
                    "label": patient % 2,
                    "patient": f"{folder.name}/{patient}",
                    "source": folder.name,
                    "sha256": file_hash(path),
                }
            )
    listed = DataList(folder.name, ("no", "yes"), channels, f"licence of {folder.name}", "", False, **made)
    datalist.write(listed, folder)
    if changes:
        content = json.loads((folder / "datalist.json").read_text())
        (folder / "datalist.json").write_text(json.dumps(content | changes))
    return folder


def test_classes_patients_licences_and_files(prep: Callable[..., Any], tmp_path: Path) -> None:
    one, two = prepared(tmp_path / "one"), prepared(tmp_path / "two", channels=3)
    ended = prep("mix", "--lists", f"x={one}, two={two}", "--validation-fraction", "0.3")
    assert ended.status == 0
    listed = ended.listed
    assert listed["name"] == "medtl-mini"
    assert listed["classes"] == ["x/no", "x/yes", "two/no", "two/yes"]
    assert listed["licence"] == "x: licence of one; two: licence of two"
    assert listed["channels"] == 1  # RGB whose channels are alike
    assert listed["created_by"].startswith("python -m data_prep mix ")
    assert str(tmp_path) not in json.dumps(listed)
    assert "x: 14 entries of one" in ended.err
    assert problems_of_data(ended.folder)[1] == []
    originals = {entry["sha256"]: (entry, list_) for list_ in map(datalist.read, (one, two)) for _, entry in list_}
    assert len(ended.entries) == 28
    for entry in ended.entries:
        old, list_ = originals[entry["sha256"]]
        assert (entry["patient"], entry["source"]) == (old["patient"], old["source"])
        assert entry["class"].split("/")[1] == list_.classes[old["label"]]
        assert os.path.samefile(ended.folder / entry["image"], list_.folder / old["image"])
        assert old in list_.training
    assert len(listed["validation"]) > 4


def test_real_colour_makes_three_channels(prep: Callable[..., Any], tmp_path: Path) -> None:
    two = prepared(tmp_path / "two", channels=3)
    path = two / "images/two/3_0.png"
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(path)
    content = (two / "datalist.json").read_text()
    entry = next(e for e in json.loads(content)["training"] if e["image"].endswith("3_0.png"))
    (two / "datalist.json").write_text(content.replace(entry["sha256"], file_hash(path)))
    assert prep("mix", "--lists", f"two={two}").listed["channels"] == 3


def test_a_copy_where_there_are_no_links(
    prep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(mix_pictures.os, "link", refused)
    ended = prep("mix", "--lists", f"one={prepared(tmp_path / 'one')}")
    assert ended.status == 0
    assert problems_of_data(ended.folder)[1] == []


def test_a_limit_prefers_many_patients_and_never_varies(prep: Callable[..., Any], tmp_path: Path) -> None:
    words = ("mix", "--lists", f"one={prepared(tmp_path / 'one', images=3)}", "--per-class-limit")
    ended = prep(*words, "4")
    assert Counter(entry["class"] for entry in ended.entries) == {"one/no": 4, "one/yes": 4}
    people = Counter(entry["patient"] for entry in ended.entries)
    assert len(people) == 7
    assert max(people.values()) == 2  # three patients have to give a fourth image
    before = (ended.folder / "datalist.json").read_bytes()
    again = prep(*words, "4", "--out", tmp_path / "again")
    assert (again.folder / "datalist.json").read_bytes() == before
    seeded = prep(*words, "4", "--seed", "1", "--out", tmp_path / "seeded")
    assert {e["image"] for e in seeded.entries} != {e["image"] for e in ended.entries}


def test_what_a_target_holds_is_left_out(prep: Callable[..., Any], tmp_path: Path) -> None:
    """By patient, by file, and by what the picture shows; the patient goes with the picture."""
    one = prepared(tmp_path / "one")
    target = prepared(tmp_path / "target", patients=3, images=1)
    content = json.loads((target / "datalist.json").read_text())
    with Image.open(one / "images/one/4_1.png") as image:
        image.resize((60, 60)).save(target / "images/target/1_0.png")
    (target / "images/target/2_0.png").write_bytes((one / "images/one/5_0.png").read_bytes())
    for entry in [*content["training"], *content["test"]]:
        entry["sha256"] = file_hash(target / entry["image"])
    content["test"][0]["patient"] = "one/6"
    (target / "datalist.json").write_text(json.dumps(content))
    ended = prep("mix", "--lists", f"one={one}", "--exclude", target)
    assert ended.status == 0
    assert {entry["patient"] for entry in ended.entries} == {f"one/{n}" for n in (1, 2, 3, 7)}
    assert "one: 8 entries of one; 6 entries of 3 patients left out" in ended.err
    assert "--exclude target" in ended.listed["created_by"]


def test_a_damaged_picture_is_named_and_the_rest_goes_on(prep: Callable[..., Any], tmp_path: Path) -> None:
    one, target = prepared(tmp_path / "one"), prepared(tmp_path / "target", patients=3, images=1)
    (one / "images/one/2_0.png").write_bytes(b"no picture")
    (target / "images/target/1_0.png").write_bytes(b"no picture")
    ended = prep("mix", "--lists", f"one={one}", "--exclude", target)
    assert ended.status == 3
    assert {(file, reason.split(":")[0]) for file, reason in ended.rejected} == {
        ("excluded target: images/target/1_0.png", "is not a readable image, or is cut short"),
        ("images/one/2_0.png", "is not a readable image, or is cut short"),
    }
    assert len(ended.entries) == 13


def test_segmentation_enters_by_sequence(prep: Callable[..., Any], tmp_path: Path) -> None:
    ended = prep("mix", "--lists", "chaos=sample", "--per-class-limit", "12")
    assert ended.status == 0
    assert ended.listed["sample"] is True
    assert ended.listed["classes"] == ["chaos/CT", "chaos/T1DUAL-in", "chaos/T1DUAL-out", "chaos/T2SPIR"]
    sequences = {e["sha256"]: e for _, e in datalist.read(sample.prepared("chaos"))}
    for entry in ended.entries:
        assert entry["class"] == f"chaos/{sequences[entry['sha256']]['sequence']}"
        assert any(sequences[entry["sha256"]]["areas"].values())
        assert "areas" not in entry


def test_a_picture_under_several_labels_is_one_file(prep: Callable[..., Any], tmp_path: Path) -> None:
    one = prepared(tmp_path / "one")
    content = json.loads((one / "datalist.json").read_text())
    content["training"] += [{**entry, "label": 1 - entry["label"]} for entry in content["training"][:4]]
    (one / "datalist.json").write_text(json.dumps(content))
    ended = prep("mix", "--lists", f"one={one}")
    assert ended.status == 0
    assert len(ended.entries) == 18
    assert len(list((ended.folder / "images").rglob("*.png"))) == 14
    assert problems_of_data(ended.folder)[1] == []


def test_a_second_run_changes_nothing_and_other_lists_leave_nothing(prep: Callable[..., Any], tmp_path: Path) -> None:
    one, two = prepared(tmp_path / "one"), prepared(tmp_path / "two")
    ended = prep("mix", "--lists", f"one={one},two={two}")
    before = {path: path.stat().st_mtime_ns for path in ended.folder.rglob("*.json")}
    content = (ended.folder / "datalist.json").read_bytes()
    assert prep("mix", "--lists", f"one={one},two={two}").status == 0
    assert (ended.folder / "datalist.json").read_bytes() == content
    assert {p: p.stat().st_mtime_ns for p in before if p.parent.name == ".progress"} == {
        p: n for p, n in before.items() if p.parent.name == ".progress"
    }
    ended = prep("mix", "--lists", f"one={one}")
    assert not (ended.folder / "images/two").exists() or not list((ended.folder / "images/two").rglob("*.png"))
    assert len(list((two / "images").rglob("*.png"))) == 16  # the originals stay


def test_files_that_are_not_what_was_listed(prep: Callable[..., Any], tmp_path: Path) -> None:
    one = prepared(tmp_path / "one")
    (one / "images/one/2_0.png").unlink()
    Image.new("L", (9, 9)).save(one / "images/one/3_1.png")
    content = (one / "datalist.json").read_text()
    (one / "datalist.json").write_text(content.replace("images/one/4_0.png", "images/../../x.png"))
    ended = prep("mix", "--lists", f"one={one}")
    assert ended.status == 3
    assert ended.rejected == [
        ("images/one/2_0.png", "is missing"),
        ("images/one/3_1.png", "differs from what was listed (sha256)"),
        ("images/../../x.png", "leads out of the data list's folder"),
    ]
    assert len(ended.entries) == 11


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--lists", "ONE"), "expected NAME=DIR"),
        (("--lists", "one="), "expected NAME=DIR"),
        (("--lists", ","), "names no data list"),
        (("--lists", "a/b=ONE"), "--name 'a/b'"),
        (("--lists", "one=ONE,one=ONE"), "names 'one' twice"),
        (("--lists", "one=/nowhere"), "/nowhere: no such folder"),
        (("--lists", "mine=sample"), "there is no data set 'mine'"),
        (("--lists", "one=MULTI"), "prepare it again, chexpert with --rule exactly-one"),
        (("--lists", "one=NUMBERS"), "its labels are numbers"),
        (("--lists", "one=ONE", "--take", "validation"), "its validation split is empty"),
        (("--lists", "one=ONE", "--take", "later"), "--take names 'later': expected some of training"),
        (("--lists", "one=ONE", "--take", "training,train"), "--take names training twice"),
        (("--lists", "one=ONE", "--exclude", ","), "--exclude names no prepared folder"),
        (("--lists", "one=ONE", "--exclude", ""), "--exclude names no prepared folder"),
        (("--lists", "one=ONE", "--take", ","), "--take names no split"),
        (("--lists", "one=ONE", "--exclude", "/nowhere"), "/nowhere: no such folder"),
    ],
)
def test_mistakes_end_in_one_line(
    words: tuple[str, ...], wanted: str, prep: Callable[..., Any], tmp_path: Path
) -> None:
    one = prepared(tmp_path / "one")
    entries = json.loads((one / "datalist.json").read_text())["training"]
    multi = prepared(tmp_path / "multi", test=[], training=[{**entry, "label": [0, 1]} for entry in entries])
    alone = {
        "task": "regression",
        "classes": ["size"],
        "test": [],
        "training": [{**entry, "label": 1.5} for entry in entries],
    }
    lists = {"ONE": one, "MULTI": multi, "NUMBERS": prepared(tmp_path / "numbers", **alone)}
    for name, folder in lists.items():
        words = tuple(word.replace(name, str(folder)) for word in words)
    ended = prep("mix", *words)
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert wanted in line
    assert not ended.folder.exists()


def test_a_list_within_the_target_gives_nothing(prep: Callable[..., Any], tmp_path: Path) -> None:
    one = prepared(tmp_path / "one")
    ended = prep("mix", "--lists", f"one={one}", "--exclude", one)
    assert ended.status == 1
    assert "nothing usable was found" in ended.err.splitlines()[-1]


def test_a_licence_can_be_put_right(prep: Callable[..., Any], tmp_path: Path) -> None:
    lists = f"x={prepared(tmp_path / 'one')},two={prepared(tmp_path / 'two')}"
    ended = prep("mix", "--lists", lists, "--licences", "x=CC BY 4.0; credit: the hospital")
    assert ended.status == 2
    ended = prep("mix", "--lists", lists, "--licences", "x=free, with credit;")
    assert ended.status == 0
    assert ended.listed["licence"] == "x: free, with credit; two: licence of two"
    assert "--licences" in ended.listed["created_by"]


def entries(**counts: int) -> list[dict[str, str]]:
    """Entries of classes, two of each patient."""
    return [
        {"image": f"{name}{k}", "label": f"part/{name}", "patient": f"{name}{k // 2}"}
        for name, count in counts.items()
        for k in range(count)
    ]


def test_a_number_of_samples_keeps_the_proportions_and_rare_classes() -> None:
    given = entries(common=80, some=18, rare=2)
    found = Counter(entry["label"] for entry in mix_shares.drawn(given, 10, 0))
    assert found == {"part/common": 8, "part/some": 1, "part/rare": 1}
    assert (
        len({e["patient"] for e in mix_shares.drawn(given, 10, 0)}) == 10
    )  # many patients before many pictures of one
    assert mix_shares.drawn(given, 100, 0) == tuple(given)
    assert len(mix_shares.drawn(given, 2, 0)) == 2
    assert mix_shares.drawn(given, 10, 0) == mix_shares.drawn(given, 10, 0) != mix_shares.drawn(given, 10, 1)


def test_shares_samples_and_dropped_classes(prep: Callable[..., Any], tmp_path: Path) -> None:
    lists = f"cxr={sample.prepared('chestxray2017')},us={sample.prepared('breastmnist')}"
    ended = prep("mix", "--lists", lists, "--samples", 60, "--drop_class", "viral", "--validation-fraction", 0)
    sizes = Counter(entry["class"].partition("/")[0] for entry in ended.entries)
    assert sizes["us"] == 60 >= sizes["cxr"] > 30
    assert "cxr/viral" not in ended.listed["classes"]
    assert "--samples 60" in ended.listed["created_by"]
    equal = prep("mix", "--lists", lists, "--shares", "equal", "--drop_class", "cxr/viral", "--validation-fraction", 0)
    sizes = Counter(entry["class"].partition("/")[0] for entry in equal.entries)
    assert sizes["us"] == sizes["cxr"]
    wrong = prep("mix", "--lists", lists, "--drop_class", "Virall")
    assert (wrong.status, "no list has such a class" in wrong.err) == (2, True)
