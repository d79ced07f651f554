"""Several lists with masks in one: whose index is whose, what is named, and who is dealt where."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import mix_masks
from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import BadFileError, UsageError
from medtl.files import file_hash
from medtl.integrity import problems_of_data

pytestmark = pytest.mark.slow

Prep = Callable[..., Any]


def masked(
    folder: Path, classes: tuple[str, ...], patients: int = 6, slices: int = 2, channels: int = 1, sequences: str = ""
) -> DataList:
    """A list of blocky pictures; the last slice of each case is black, and has an empty mask."""
    rng = np.random.default_rng([len(classes), *folder.name.encode()])
    entries = []
    for patient in range(patients):
        for sequence in sequences.split(",") or [""]:
            for number in range(slices):
                names = {key: f"{key}s/{folder.name}/{patient}{sequence}_{number}.png" for key in ("image", "mask")}
                for name in names.values():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                last = number == slices - 1
                blocks = rng.integers(0, 256, (9, 9, channels), dtype=np.uint8) * (not last)
                pixels = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
                Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(folder / names["image"])
                labels = rng.integers(0, len(classes) + 1, (72, 72), dtype=np.uint8) * (not last)
                Image.fromarray(labels.astype(np.uint8)).save(folder / names["mask"])
                entry = {
                    "image": names["image"],
                    "label": names["mask"],
                    "patient": f"{folder.name}/{patient}",
                    "source": folder.name,
                    "sha256": file_hash(folder / names["image"]),
                    "mask_sha256": file_hash(folder / names["mask"]),
                    "case": str(patient),
                    "slice": number,
                    "spacing": [2.0, 2.0, 5.0],
                }
                entries.append({**entry, "sequence": sequence} if sequence else entry)
    made = DataList(folder.name, classes, channels, f"licence of {folder.name}", "", False, entries, [], [])
    datalist.write(made, folder)
    return datalist.read(folder)


def mix(prep: Prep, lists: list[DataList], *words: object) -> Any:
    named = ",".join(f"{listed.name}={listed.folder}" for listed in lists)
    return prep("mix", "--task", "segmentation", "--lists", named, *words)


def all_of(ended: Any) -> list[dict[str, Any]]:
    return [entry for split in datalist.SPLITS for entry in ended.listed[split]]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_indices_are_counted_on_and_everything_else_stays(prep: Prep, tmp_path: Path) -> None:
    eyes = masked(tmp_path / "eyes", ("disc", "cup"), channels=3)
    organs = masked(tmp_path / "organs", ("liver",), sequences="T1,T2")
    ended = mix(prep, [eyes, organs], "--validation-fraction", 0.3, "--name", "two")
    assert ended.status == 0
    listed = ended.listed
    assert (listed["name"], listed["task"], listed["channels"]) == ("two", "segmentation", 3)
    assert listed["classes"] == ["eyes/disc", "eyes/cup", "organs/liver"]
    assert listed["licence"] == "eyes: licence of eyes; organs: licence of organs"
    assert "--task segmentation" in listed["created_by"]
    old = {entry["image"]: (entry, one) for one in (eyes, organs) for _, entry in one}
    remapped = {"eyes": np.array([0, 1, 2]), "organs": np.array([0, 3])}
    assert len(all_of(ended)) == 12 + 24
    for entry in all_of(ended):
        before, one = old[entry["image"]]
        assert os.path.samefile(ended.folder / entry["image"], one.folder / before["image"])
        labels = pixels_of(one.folder / before["label"])
        assert np.array_equal(pixels_of(ended.folder / entry["label"]), remapped[one.name][labels])
        assert sum(entry["areas"].values()) == (labels > 0).sum()
        for key in ("patient", "source", "sha256", "slice", "spacing"):
            assert entry[key] == before[key]
        assert "sequence" not in entry
    slices: dict[str, list[int]] = defaultdict(list)
    for entry in all_of(ended):
        slices[entry["case"]].append(entry["slice"])
    assert len(slices) == 6 + 12
    assert all(sorted(own) == [0, 1] for own in slices.values())
    assert {case for case in slices if case.startswith("organs/3")} == {"organs/3/T1", "organs/3/T2"}
    assert problems_of_data(ended.folder)[1] == []
    # patients share a black slice, and are not one for that: both lists are in both splits
    for split in ("training", "validation"):
        assert {entry["source"] for entry in listed[split]} == {"eyes", "organs"}
    again = mix(prep, [eyes, organs], "--validation-fraction", 0.3, "--name", "two", "--out", tmp_path / "again")
    assert (again.folder / "datalist.json").read_bytes() == (ended.folder / "datalist.json").read_bytes()


def test_ct_without_all_organs_and_files_that_do_not_fit_are_named(prep: Prep, tmp_path: Path) -> None:
    mr = masked(tmp_path / "mr", ("liver", "spleen"), sequences="CT,T2")
    ct = masked(tmp_path / "ct", ("liver",), sequences="CT", slices=1)
    eyes = masked(tmp_path / "eyes", ("disc",), slices=3)
    place = eyes.folder / "masks" / "eyes"
    (place / "0_0.png").unlink()
    content = json.loads((eyes.folder / "datalist.json").read_text())
    for name, labels in (("1_0", np.zeros((72, 71))), ("2_0", np.full((72, 72), 2)), ("3_0", np.ones((72, 72)))):
        Image.fromarray(labels.astype(np.uint8)).save(place / f"{name}.png")
    for entry in content["training"]:
        if not entry["label"].endswith("3_0.png"):
            del entry["mask_sha256"]
        if entry["label"].endswith("4_0.png"):
            entry["label"] = "masks/../../4_0.png"
    (eyes.folder / "datalist.json").write_text(json.dumps(content))
    ended = mix(prep, [mr, ct, datalist.read(eyes.folder)])
    assert ended.status == 3
    assert "mr: 12 slices of CT are left out: not all of liver, spleen are marked there" in ended.err
    assert "ct: 6 entries" in ended.err
    assert [file for file, _ in ended.rejected] == [f"images/eyes/{number}_0.png" for number in range(5)]
    words = ("is missing", "its mask (72, 71)", "index 2", "differs from what was listed", "leads out of")
    for (_, reason), part in zip(ended.rejected, words, strict=True):
        assert "its mask" in reason
        assert part in reason
    assert Counter(entry["source"] for entry in all_of(ended)) == {"mr": 12, "ct": 6, "eyes": 13}
    assert problems_of_data(ended.folder)[1] == []


def test_shares_and_what_a_target_holds(prep: Prep, tmp_path: Path) -> None:
    one, two = masked(tmp_path / "one", ("a",), patients=8), masked(tmp_path / "two", ("b",), patients=4)
    equal = mix(prep, [one, two], "--shares", "equal", "--out", tmp_path / "equal")
    assert Counter(entry["source"] for entry in all_of(equal)) == {"one": 8, "two": 8}
    assert len({entry["patient"] for entry in all_of(equal)}) == 12
    target = masked(tmp_path / "target", ("a",), patients=2)
    content = json.loads((target.folder / "datalist.json").read_text())
    content["training"][0]["patient"] = "one/5"
    (target.folder / "datalist.json").write_text(json.dumps(content))
    ended = mix(prep, [one], "--exclude", target.folder)
    assert {entry["patient"] for entry in all_of(ended)} == {f"one/{number}" for number in range(8) if number != 5}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--lists", "x=LABELS"), "its pictures have no masks"),
        (("--lists", "x=PLACELESS"), "has no 'slice'; prepare it again"),
        (("--lists", "x=MASKS", "--take", "test"), "its test split is empty"),
        (("--lists", "x=MASKS", "--per-class-limit", "3"), "--per-class-limit: not with --task segmentation"),
        (("--lists", "x=MASKS", "--drop_class", "a"), "--drop_class: not with --task segmentation"),
    ],
)
def test_mistakes_end_in_one_line(words: tuple[str, ...], wanted: str, prep: Prep, tmp_path: Path) -> None:
    for name in ("MASKS", "LABELS", "PLACELESS"):
        folder = masked(tmp_path / name, ("a", "b"), patients=2).folder
        content = json.loads((folder / "datalist.json").read_text())
        for entry in content["training"]:
            entry |= {"label": 0} if name == "LABELS" else {}
            if name == "PLACELESS":
                del entry["slice"]
        (folder / "datalist.json").write_text(
            json.dumps(content | {"task": "classification"} if name == "LABELS" else content)
        )
        words = tuple(word.replace(f"={name}", f"={folder}") for word in words)
    ended = prep("mix", "--task", "segmentation", *words)
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert wanted in line
    assert not ended.folder.exists()


def test_a_mask_holds_255_classes(tmp_path: Path) -> None:
    many = DataList("many", tuple(f"c{k}" for k in range(200)), 1, "", "", False, [], [], [])
    assert len(mix_masks.classes_of([("x", many)])) == 200
    with pytest.raises(UsageError, match="400 classes"):
        mix_masks.classes_of([("x", many), ("y", many)])


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (1, 0)]
    pages[0].save(tmp_path / "one.tif")
    assert mix_masks._labels(tmp_path / "one.tif", tmp_path / "one.tif", 1).tolist() == [[1] * 5] * 4
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadFileError, match="its mask holds several pictures"):
        mix_masks._labels(tmp_path / "two.tif", tmp_path / "one.tif", 1)
