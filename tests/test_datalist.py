"""Data lists: strict reading, repeatable writing, patients kept together."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.integrity import problems_of_data


def entry(name: str, label: int = 0, patient: str = "set/1", sha256: str | None = None) -> dict:
    return {"image": name, "label": label, "patient": patient, "source": "set", "sha256": sha256 or name}


def make(folder: Path, training: list, validation: list = (), test: list = (), **other: object) -> DataList:
    fields = {"name": "set", "classes": ("a", "b"), "channels": 1, "licence": "none", "created_by": "", "sample": False}
    return DataList(**{**fields, **other}, training=training, validation=[*validation], test=[*test], folder=folder)


def test_written_list_loads_with_monai_and_reads_back_equal(tmp_path: Path) -> None:
    made = make(tmp_path, [entry("images/é.png", 1)], [entry("images/2.png", patient="set/2")])
    path = datalist.write(made, tmp_path)
    loaded = load_decathlon_datalist(str(path), is_segmentation=False, data_list_key="training")
    assert loaded[0]["image"] == str(tmp_path / "images/é.png")
    assert loaded[0]["label"] == 1
    assert datalist.read(tmp_path) == made


def test_same_list_gives_same_bytes(tmp_path: Path) -> None:
    made = make(tmp_path, [entry("1.png"), entry("2.png")])
    first = datalist.write(made, tmp_path).read_bytes()
    assert datalist.write(datalist.read(tmp_path), tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 2}, "outside the 2 classes"),
        ({"label": -1}, "outside the 2 classes"),
        ({"label": True}, "label True"),
        ({"label": None}, "label None"),
        ({"label": [1, 0, 0]}, "not 2 zeros and ones"),
        ({"label": [1, 2]}, "not 2 zeros and ones"),
        ({"label": [[0], [1]]}, "not 2 zeros and ones"),
        ({"fold": "0"}, "fold '0'; expected a whole number"),
        ({"mask": 5}, "mask 5; expected text"),
        ({"fold": -1}, "fold -1; expected a whole number"),
    ],
)
def test_wrong_label_is_refused_by_place(tmp_path: Path, change: dict, words: str) -> None:
    datalist.write(make(tmp_path, [entry("1.png"), {**entry("2.png"), **change}]), tmp_path)
    with pytest.raises(MedtlError, match=words) as caught:
        datalist.read(tmp_path)
    assert "training[1]" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}', '{"name":"x","classes":[],"training":{}}'])
def test_broken_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(MedtlError) as caught:
        datalist.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert "datalist.json" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"), [({"name": 3}, "'name'"), ({"channels": "x"}, "'channels'"), ({"classes": []}, "'classes'")]
)
def test_a_wrong_head_is_refused_by_name(tmp_path: Path, change: dict, words: str) -> None:
    path = datalist.write(make(tmp_path, []), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(MedtlError, match=words):
        datalist.read(tmp_path)


def test_the_positive_class_and_groups_are_kept_and_checked(tmp_path: Path) -> None:
    known = {**entry("1.png"), "group": {"sex": "F", "age": 61}}
    datalist.write(make(tmp_path, [known], positive="b"), tmp_path)
    read = datalist.read(tmp_path)
    assert (read.positive, read.training[0]["group"]) == ("b", {"sex": "F", "age": 61})
    for wrong in ({"positive": "c"}, {"positive": "b", "classes": ("a", "b", "c")}):
        datalist.write(make(tmp_path, [known], **wrong), tmp_path)
        with pytest.raises(MedtlError, match="'positive'"):
            datalist.read(tmp_path)
    datalist.write(make(tmp_path, [{**known, "group": ["F"]}]), tmp_path)
    with pytest.raises(MedtlError, match="has group"):
        datalist.read(tmp_path)


def test_an_unknown_patient_is_in_no_two_splits(tmp_path: Path) -> None:
    entries = [{**entry(name), "patient": "", "sha256": name} for name in ("1.png", "2.png")]
    shared = make(tmp_path, entries[:1], test=entries[1:])
    assert datalist.overlaps(shared) == []
    shared = make(tmp_path, entries[:1], test=entries[:1])
    assert datalist.overlaps(shared) == ["1 identical image(s) in more than one split, the first sha256 1.png…"]


def test_unknown_patients_are_drawn_one_by_one(tmp_path: Path) -> None:
    made = make(tmp_path, [entry(f"{k}.png", k % 2, "") for k in range(40)])
    kept = datalist.with_fraction(made, 0.5, 0).training
    assert [sum(each["label"] == label for each in kept) for label in (0, 1)] == [10, 10]


def test_entry_without_patient_is_refused(tmp_path: Path) -> None:
    broken = entry("1.png")
    del broken["patient"]
    datalist.write(make(tmp_path, [broken]), tmp_path)
    with pytest.raises(MedtlError, match="no 'patient'"):
        datalist.read(tmp_path)


def test_check_finds_leaks_absent_changed_and_escaping_files(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(b"good")
    sha = file_hash(good)
    (tmp_path / "changed.png").write_bytes(b"now")
    made = make(
        tmp_path,
        [entry("good.png", sha256=sha), entry("changed.png", sha256="0" * 64), entry("absent.png")],
        [entry("good.png", patient="set/2", sha256=sha), entry("../../etc/passwd", patient="set/1")],
    )
    datalist.write(made, tmp_path)
    what, problems = problems_of_data(tmp_path)
    text = "\n".join(problems)
    assert "3 training, 2 validation" in what
    assert "1 missing file(s): absent.png" in text
    assert "1 file(s) that differ" in text
    assert "lead out of" in text
    assert "1 patient(s) in more than one split, the first set/1" in text
    assert "1 identical image(s) in more than one split" in text


@pytest.mark.parametrize("false", [0, 1])
def test_check_compares_the_hash_of_each_entry_of_one_file(false: int, tmp_path: Path) -> None:
    """As where a picture was written a second time over the first."""
    (tmp_path / "1.png").write_bytes(b"1")
    (tmp_path / "2.png").write_bytes(b"2")
    twice = [entry("1.png", sha256=file_hash(tmp_path / "1.png")) for _ in range(2)]
    twice[false]["sha256"] = "0" * 64
    other = entry("2.png", patient="set/2", sha256=file_hash(tmp_path / "2.png"))
    datalist.write(make(tmp_path, twice, [other]), tmp_path)
    problems = problems_of_data(tmp_path)[1]
    assert any("1 file(s) that differ from what was listed (sha256): 1.png" in line for line in problems), problems


def test_check_of_a_sound_list_finds_nothing(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(name.encode())
    entries = [entry(n, patient=f"set/{n}", sha256=file_hash(tmp_path / n)) for n in ("1.png", "2.png")]
    datalist.write(make(tmp_path, entries[:1], entries[1:]), tmp_path)
    assert problems_of_data(tmp_path)[1] == []


def test_task_follows_the_labels(tmp_path: Path) -> None:
    assert make(tmp_path, [entry("1.png")]).task == "classification"
    assert make(tmp_path, [{**entry("1.png"), "label": [0, 1]}]).task == "multilabel"
    assert make(tmp_path, [{**entry("1.png"), "label": "m.png"}]).task == "segmentation"


def test_missing_folder_and_missing_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        datalist.read(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="python -m data_prep"):
        datalist.read(tmp_path)


def test_json_is_plain(tmp_path: Path) -> None:
    content = json.loads(datalist.write(make(tmp_path, [entry("1.png")]), tmp_path).read_text())
    assert list(content) == [
        *("name", "task", "classes", "channels", "licence", "created_by", "sample"),
        *("training", "validation", "test"),
    ]


def numbers(folder: Path, count: int = 80) -> DataList:
    entries = [{**entry(f"{n}.png", patient=f"set/{n}"), "label": float(n * n)} for n in range(count)]
    return make(folder, entries, classes=("age",))


def test_numbers_are_a_regression_and_read_back_equal(tmp_path: Path) -> None:
    made = numbers(tmp_path)
    assert made.task == "regression"
    content = json.loads(datalist.write(made, tmp_path).read_text())
    assert content["task"] == "regression"
    assert datalist.read(tmp_path) == made
    for each in content["training"]:
        each["label"] = int(each["label"])  # as another program writes them
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    assert datalist.read(tmp_path) == made
    assert datalist.class_counts(made) == {"age": 80}
    (tmp_path / "datalist.json").write_text(json.dumps({**content, "classes": []}))
    assert datalist.read(tmp_path).classes == ("value",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["a", "b"]}, "one name in 'classes'"),
        ({"task": "classification"}, "'task' is classification, but its labels are of a regression"),
        ({"task": "segmentation"}, "'task' is segmentation"),
    ],
)
def test_a_task_that_contradicts_its_labels_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    content = json.loads(datalist.write(numbers(tmp_path), tmp_path).read_text())
    (tmp_path / "datalist.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(MedtlError, match=words):
        datalist.read(tmp_path)


def test_no_number_is_infinite(tmp_path: Path) -> None:
    made = numbers(tmp_path)
    made.training[3]["label"] = float("inf")
    datalist.write(made, tmp_path)
    with pytest.raises(MedtlError, match=r"training\[3\] has label inf"):
        datalist.read(tmp_path)


def test_a_share_of_a_regression_has_all_sizes(tmp_path: Path) -> None:
    made = numbers(tmp_path, 200)
    half = datalist.with_fraction(made, 0.5, 1)
    quarters = [
        sum(lower <= n < lower + 50 for n in (e["label"] ** 0.5 for e in half.training)) for lower in (0, 50, 100, 150)
    ]
    assert quarters == [25] * 4
    mean, deviation = datalist.spread(made)
    assert mean == pytest.approx(sum(n * n for n in range(200)) / 200)
    assert deviation == pytest.approx(np.std(np.arange(200.0) ** 2))
    alike = make(tmp_path, [{**entry("1.png"), "label": 3.0}, {**entry("2.png"), "label": 3.0}], classes=("age",))
    with pytest.raises(MedtlError, match="do not differ"):
        datalist.spread(alike)


def patient(**changes: object) -> dict[str, object]:
    """An entry of a survival."""
    whole = {"time": 12, "event": 1, "features": "a.npz", "patient": "a", "source": "s", "sha256": ""}
    return {key: value for key, value in (whole | changes).items() if value is not None}


def survivals(folder: Path, *entries: dict[str, object], classes: tuple[str, ...] = datalist.SURVIVAL_CLASSES) -> Path:
    content = {"name": "s", "task": "survival", "classes": classes, "training": entries, "validation": [], "test": []}
    (folder / datalist.FILE_NAME).write_text(json.dumps(content))
    return folder


def test_a_survival_has_times_and_events(tmp_path: Path) -> None:
    survivals(tmp_path, patient(), patient(patient="b", event=0, time=3.5, image="b.png", features=None))
    listed = datalist.read(tmp_path)
    assert listed.task == "survival"
    assert datalist.class_counts(listed) == {"censored": 1, "event": 1}
    assert [datalist.file_of(entry) for entry in listed.training] == ["a.npz", "b.png"]
    assert listed.absolute("train")[0]["features"] == str(tmp_path.resolve() / "a.npz")
    datalist.write(listed, tmp_path)
    assert datalist.read(tmp_path) == listed


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"time": 0}, "time 0"),
        ({"time": "12"}, "time '12'"),
        ({"time": None}, "'time'"),
        ({"event": 2}, "event 2"),
        ({"event": True}, "event True"),
        ({"features": None}, "'features'"),
        ({"image": "a.png"}, "'features'"),
        ({"features": 3}, "features 3"),
        ({"label": 1}, "'label'"),
    ],
)
def test_a_patient_who_cannot_be_is_refused(changes: dict[str, object], word: str, tmp_path: Path) -> None:
    with pytest.raises(MedtlError, match=re.escape(word)):
        datalist.read(survivals(tmp_path, patient(**changes)))


def test_a_survival_names_each_patient_once(tmp_path: Path) -> None:
    with pytest.raises(MedtlError, match="twice"):
        datalist.read(survivals(tmp_path, patient(), patient(event=0)))
    with pytest.raises(MedtlError, match="censored, event"):
        datalist.read(survivals(tmp_path, patient(), classes=("alive", "dead")))
