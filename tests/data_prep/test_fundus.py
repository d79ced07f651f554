"""EyePACS, Messidor, Messidor-2 and STARE's diagnoses: grades and codes by table, whose pictures they are, and what is
refused. No real file of them was at hand: the layouts are drawn."""

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import messidor, messidor2
from data_prep.sample.fundus import fundus
from medtl.errors import UsageError
from medtl.leaks import compare_lists

Prep = Callable[..., Any]


@pytest.fixture
def download(tmp_path: Path) -> Callable[[str], Path]:
    """Gives the folder of a phantom download."""

    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        importlib.import_module(f"data_prep.{name}").make_sample(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "people"), [("eyepacs", 76, 38), ("messidor", 48, 48), ("messidor2", 59, 30)]
)
def test_samples_keep_both_eyes_of_a_patient_together(
    name: str, count: int, people: int, download: Callable[[str], Path], prep: Prep
) -> None:
    ended = prep(name, "--raw", download(name), "--workers", 1, "--test-fraction", 0.2)
    assert ended.status == 0, ended.err
    assert "never tried on real files" in ended.err
    assert len(ended.entries) == count
    splits: dict[str, set[str]] = {}
    for entry in ended.entries:
        splits.setdefault(entry["patient"], set()).add(entry["split"])
    assert len(splits) == people
    assert all(len(each) == 1 for each in splits.values())
    assert {entry["class"] for entry in ended.entries} == set(ended.listed["classes"])


def test_eyepacs_takes_levels_by_number_and_the_later_solution_for_test(
    download: Callable[[str], Path], prep: Prep
) -> None:
    raw = download("eyepacs")
    (raw / "train" / "10_left.jpeg").unlink()
    with (raw / "trainLabels.csv").open("a") as file:
        file.write("11_left,5\nother,0\n")
    ended = prep("eyepacs", "--raw", raw.parent, "--workers", 1)
    assert ended.status == 3
    assert dict(ended.rejected) == {
        "10_left.jpeg": "is missing, and trainLabels.csv lists it",
        "train/11_left.jpeg": "trainLabels.csv gives it the level '5'; expected 0 to 4",
        "other": "trainLabels.csv names it, and not PATIENT_left or PATIENT_right",
    }
    by_image = {Path(entry["image"]).stem: entry for entry in ended.entries}
    assert [by_image[f"{k}_left"]["class"] for k in range(20, 25)] == [
        "none",
        "mild",
        "moderate",
        "severe",
        "proliferative",
    ]
    assert (by_image["14_left"]["class"], by_image["14_right"]["class"]) == ("proliferative", "none")
    assert by_image["14_left"]["patient"] == by_image["14_right"]["patient"] == "eyepacs/14"
    assert {stem for stem, entry in by_image.items() if entry["split"] == "test"} == {
        f"{patient}_{side}" for patient in range(1, 9) for side in ("left", "right")
    }
    (raw / "retinopathy_solution.csv").unlink()
    without = prep("eyepacs", "--raw", raw, "--workers", 1, "--out", raw.parent / "b")
    assert without.listed["test"] == []


def test_messidor_reads_the_tables_of_its_bases(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("messidor")
    first, second = (sorted((raw / f"Base{k}1").iterdir()) for k in (1, 2))
    table = raw / "Annotation_Base11.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:1], lines[1].replace(",1,1", ",4,1"), *lines[2:], lines[2]]) + "\n")
    second[0].unlink()
    ended = prep("messidor", "--raw", raw.parent, "--workers", 1)
    assert dict(ended.rejected) == {
        f"Base11/{first[0].name}": "Annotation_Base11.csv gives it the grade '4'; expected 0 to 3",
        f"Base11/{first[1].name}": "Annotation_Base11.csv lists it again; its first row counts",
        second[0].name: "is missing, and Annotation_Base21.csv lists it",
    }
    assert Counter(entry["group"]["site"] for entry in ended.entries) == {
        "Service Ophtalmologie Lariboisière": 15,
        "LaTIM - CHU de BREST": 15,
        "CHU de St Etienne": 16,
    }
    (entry,) = (entry for entry in ended.entries if entry["image"].endswith(first[2].name))
    assert entry["class"] == "grade 3"  # picture 2 of base 1
    for path in raw.glob("*.csv"):
        path.rename(path.with_suffix(".xls"))
    with pytest.raises(UsageError, match=r"save Annotation_Base11\.xls and its like as CSV"):
        messidor.find(raw)


def test_messidor2_leaves_out_what_was_not_gradable(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("messidor2")
    table = raw / "messidor_data.csv"
    lines = table.read_text().splitlines()
    name = [line.split(",")[0] for line in lines]
    lines[1], lines[2] = f"{name[1]},,,0", f"{Path(name[2]).stem}.jpg,3.0,0,1.0"  # another suffix than the file's
    lines[3] = f"{name[3]},,,1"
    table.write_text("\n".join([*lines, "IM000013.JPG,0,0,1"]) + "\n")
    ended = prep("messidor2", "--raw", raw, "--workers", 1)
    assert dict(ended.rejected) == {
        f"IMAGES/{name[1]}": "was not gradable, as its table says",
        f"IMAGES/{name[3]}": "messidor_data.csv gives it the grade ''; expected 0 to 4",
        "IM000013.JPG": "is missing, and messidor_data.csv lists it",
    }
    (entry,) = (entry for entry in ended.entries if entry["image"].endswith(name[2]))
    assert (entry["class"], entry["patient"]) == ("severe", f"messidor2/{Path(name[1]).stem}")  # with its left eye
    (raw / "messidor-2.csv").write_text("left,right\na,b\n")
    with pytest.raises(UsageError, match="no pairs left;right"):
        messidor2.find(raw)
    (raw / "messidor-2.csv").unlink()
    with pytest.raises(UsageError, match=r"messidor-2\.csv"):
        messidor2.find(raw)


def test_stare_takes_codes_and_not_the_numbers_among_words(download: Callable[[str], Path], prep: Prep) -> None:
    raw = download("stare_classes")
    with (raw / "all-mg-codes.txt").open("a") as file:
        file.write("im0001\t2\t\ttwice\nim0401\t3\t\tno picture\n\n")
    lines = (raw / "all-mg-codes.txt").read_text().splitlines()
    lines[1], lines[2] = "im0002\t\t\tUnknown 7", "im0003\t15\t\tno such code"
    (raw / "all-mg-codes.txt").write_text("\n".join(lines[:4] + lines[5:]) + "\n")
    ended = prep("stare_classes", "--raw", raw, "--workers", 1)
    assert dict(ended.rejected) == {
        "im0001": "has no picture, or a second line in all-mg-codes.txt",
        "im0401": "has no picture, or a second line in all-mg-codes.txt",
        "all-images/im0002.ppm": "all-mg-codes.txt gives it no codes from 0 to 14",
        "all-images/im0003.ppm": "all-mg-codes.txt gives it no codes from 0 to 14",
    }
    assert "8 of several diagnoses" in ended.err
    assert "1 not in all-mg-codes.txt" in ended.err
    by_image = {Path(entry["image"]).stem: entry for entry in ended.entries}
    assert by_image["im0010"]["class"] == "hypertensive retinopathy"  # code 10, and 2 in its words
    assert by_image["im0007"]["class"] == "background diabetic retinopathy"
    assert "im0022" not in by_image
    assert np.array_equal(ended.picture(by_image["im0007"]), fundus("stare", 7)[0])
    several = prep("stare_classes", "--raw", raw, "--workers", 1, "--rule", "multilabel", "--out", raw.parent / "m")
    assert several.listed["task"] == "multilabel"
    (entry,) = (entry for entry in several.entries if entry["image"].endswith("im0022.png"))
    assert entry["class"] == ["background diabetic retinopathy", "choroidal neovascularization"]


@pytest.mark.slow
def test_stares_diagnoses_and_vessels_are_known_for_the_same_people(
    download: Callable[[str], Path], prep: Prep, tmp_path: Path
) -> None:
    prep("stare_classes", "--raw", download("stare_classes"), "--workers", 1, "--out", tmp_path / "d")
    prep("stare", "--raw", download("stare"), "--workers", 1, "--out", tmp_path / "v")
    (found,) = compare_lists(tmp_path / "d", [tmp_path / "v"])
    # of the twenty, one has two diagnoses and is left out
    assert Counter(leak.kind for leak in found.leaks) == {"patient": 19, "file": 19}
