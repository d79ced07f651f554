"""Sets whose pictures stand in a table or in class folders: their samples, what is refused, and real files."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import cifar100, ham10000, imagefolder, isic2019, listed, mura, oct2017
from data_prep.listed import Listed
from medtl.cards import dataset_cards
from medtl.errors import UsageError

Prep = Callable[..., Any]
MODULES = {
    "ham10000": ham10000,
    "isic2019": isic2019,
    "imagefolder": imagefolder,
    "cifar100": cifar100,
    "oct2017": oct2017,
    "mura": mura,
}
SEEN = ("ham10000", "imagefolder")


@pytest.fixture
def download(tmp_path: Path) -> Callable[[str], Path]:
    """Gives the folder of a phantom download."""

    def make(name: str) -> Path:
        MODULES[name].make_sample(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_samples_are_prepared_and_patients_kept_apart(name: str, download: Callable[[str], Path], prep: Prep) -> None:
    ended = prep(name, "--raw", download(name), "--workers", 1)
    assert ended.status == 0, ended.err
    assert ended.rejected == []
    assert set(ended.listed["classes"]) == {entry["class"] for entry in ended.entries}
    assert ended.listed["channels"] == (1 if name in ("oct2017", "mura") else 3)
    splits: dict[str, set[str]] = {}
    for entry in ended.entries:
        splits.setdefault(entry["patient"], set()).add(entry["split"])
    assert all(len(each) == 1 for each in splits.values())
    unseen = "never tried on real files" in ended.err
    assert unseen == (not dataset_cards()[name].seen) == (name not in SEEN)


def test_ham10000_keeps_pictures_of_one_lesion_together_and_groups(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("ham10000")
    (raw / "HAM10000_images_part_1" / "ISIC_0024002.jpg").unlink()
    with (raw / "HAM10000_metadata.csv").open("a") as file:
        file.write("HAM_9,ISIC_0024001,other,histo,50,male,back\n")
    ended = prep("ham10000", "--raw", raw.parent, "--workers", 1)
    assert ended.status == 3
    assert {e["image"].split("/")[2] for e in ended.entries} == {f"HAM10000_images_part_{k}" for k in (1, 2)}
    assert dict(ended.rejected) == {
        "ISIC_0024002.jpg": "is missing, and the table lists it",
        "HAM10000_images_part_2/ISIC_0024001.jpg": "its class 'other' is none of the set's",
    }
    several = [patient for patient, n in Counter(e["patient"] for e in ended.entries).items() if n > 1]
    assert len(several) > 10
    groups = [entry["group"] for entry in ended.entries]
    assert max(group["age"] for group in groups) == 90  # the table has 94
    assert {group.get("sex") for group in groups} == {"F", "M", None}


def test_isic2019_takes_one_class_a_picture(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("isic2019")
    truth = raw / isic2019.TRUTH
    rows = list(csv.reader(truth.open()))
    rows[1][2] = "1.0"  # two classes
    truth.write_text("\n".join(",".join(row) for row in rows) + "\n")
    ended = prep("isic2019", "--raw", raw, "--workers", 1)
    assert (ended.status, len(ended.rejected)) == (3, 1)
    assert "2 of the classes" in ended.rejected[0][1]
    named = next(entry for entry in ended.entries if entry["image"].endswith("ISIC_0000005.jpg"))
    assert (named["class"], named["patient"]) == ("DF", "isic2019/BCN_0000002")


def test_cifar100_pixels_are_those_of_the_records(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("cifar100")
    records = np.fromfile(raw / "cifar-100-binary" / "test.bin", np.uint8).reshape(-1, 3074)
    records[7, 1] = 200
    (raw / "cifar-100-binary" / "test.bin").write_bytes(records.tobytes())
    ended = prep("cifar100", "--raw", raw, "--workers", 1)
    assert ended.rejected == [("cifar-100-binary/test.bin#7", "its class 200 is not below 100")]
    (entry,) = (entry for entry in ended.entries if entry["image"].endswith("test/00003.png"))
    assert (entry["class"], entry["split"]) == ("bear", "test")
    pixels = np.asarray(Image.open(ended.folder / entry["image"]))
    assert np.array_equal(pixels.transpose(2, 0, 1).ravel(), records[3, 2:])
    (raw / "cifar-100-binary" / "train.bin").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="3074 bytes"):
        cifar100.find(raw)


def test_imagefolder_keeps_val_for_test(tmp_path: Path, download: Callable[[str], Path], prep: Prep) -> None:
    flat = download("imagefolder")
    for part in ("train", "val"):
        (tmp_path / "deep" / part).mkdir(parents=True)
        for folder in flat.iterdir():
            (tmp_path / "deep" / part / folder.name).mkdir()
            for path in sorted(folder.iterdir())[:: 1 if part == "train" else 5]:
                (tmp_path / "deep" / part / folder.name / f"{part}_{path.name}").write_bytes(
                    path.read_bytes() + part.encode()
                )
    ended = prep("imagefolder", "--raw", tmp_path / "deep", "--workers", 1)
    assert ended.status == 0
    assert {e["split"] for e in ended.entries if "/val/" in e["image"]} == {"test"}
    assert "test" not in {e["split"] for e in ended.entries if "/train/" in e["image"]}
    (tmp_path / "deep" / "other").mkdir()
    with pytest.raises(UsageError, match="beside other folders"):
        imagefolder.find(tmp_path / "deep")


def test_oct2017_reads_names_and_keeps_the_released_test(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("oct2017")
    train = raw / "OCT2017" / "train"
    (train / "CNV" / "picture.jpeg").write_bytes(b"x")
    (train / "DME" / "CNV-1-1.jpeg").write_bytes(b"x")
    ended = prep("oct2017", "--raw", raw, "--workers", 1)
    assert {file for file, _ in ended.rejected} == {"train/CNV/picture.jpeg", "train/DME/CNV-1-1.jpeg"}
    assert {e["image"].split("/")[2] for e in ended.entries if e["split"] == "test"} == {"test"}
    assert {e["image"].split("/")[2] for e in ended.entries if e["split"] != "test"} == {"train", "val"}
    assert "oct2017/100500" in {entry["patient"] for entry in ended.entries}


def test_mura_gives_each_picture_the_label_of_its_study(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("mura")
    with (raw / "MURA-v1.1" / "train_labeled_studies.csv").open("a") as file:
        file.write("MURA-v1.1/train/XR_HAND/patient09999/study1_positive/,1\nMURA-v1.1/../../etc/x,1\n")
    ended = prep("mura", "--raw", raw, "--workers", 1)
    assert (ended.status, len(ended.rejected)) == (3, 2)
    assert all(entry["class"] in entry["image"].split("/")[-2] for entry in ended.entries)
    assert {e["group"]["site"] for e in ended.entries} == {"XR_WRIST", "XR_ELBOW", "XR_HAND"}
    assert all((e["split"] == "test") == ("/valid/" in e["image"]) for e in ended.entries)


def test_rows_of_a_table_are_read_by_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\ufeffb, a,b2\n1,x ,2\n")
    with pytest.raises(UsageError, match="no column 'a'"):
        list(listed.table(path, ("a",)))
    path.write_text("\ufeffb,a\n1, x \n")
    assert list(listed.table(path, ("a", "b"))) == [{"b": "1", "a": "x"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("female", "63.0", "back"), {"sex": "F", "age": 63, "site": "back"}),
        (("Male", "93", "unknown"), {"sex": "M", "age": 90}),
        (("unknown", "nan", ""), {}),
        (("", "-1", ""), {}),
    ],
)
def test_groups_say_what_is_known(given: tuple[str, str, str], expected: dict[str, Any]) -> None:
    assert listed.group_of(*given) == expected


def test_nothing_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HAM10000_metadata"):
        ham10000.find(tmp_path)
    with pytest.raises(UsageError, match="fewer than two classes"):
        imagefolder.find(tmp_path)
    with pytest.raises(UsageError, match="holds no"):
        listed.source(ham10000.CARD, tmp_path, [])
    found = listed.source(ham10000.CARD, tmp_path, [Listed("a.jpg", "nv"), Listed("b.jpg", "x")])
    assert (found.found["nv"], [row.file for row in found.rejected]) == (1, ["b.jpg"])


@pytest.mark.slow
def test_real_dermoscopies(shared_data: Path, prep: Prep) -> None:
    ended = prep("ham10000", "--raw", shared_data, "--workers", 1, "--test-fraction", 0.2)
    assert (ended.status, len(ended.entries)) == (0, 560)
    assert Counter(entry["class"] for entry in ended.entries).most_common(1)[0][1] == 80
    assert {entry["split"] for entry in ended.entries} == {"training", "validation", "test"}


def test_small_numbers_and_dark_colours_of_masks_count(tmp_path: Path) -> None:
    """Beside 300, the 1 of 16 bits was scaled to nothing; so was the darkest blue as grey."""
    Image.fromarray(np.array([[0, 1, 300, 0]], np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]], np.uint8)).save(tmp_path / "b.png")
    union = listed._union(tmp_path, ["a.png", "b.png"])
    assert union is not None
    assert union.tolist() == [[0, 1, 1, 1]]
