"""CheXpert: labels by rule against a count with the csv module, bad files named, patients kept apart."""

import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

RULES = ("paper", "multilabel", "exactly-one")
ROOT = Path(__file__).resolve().parents[2]

# Table 1 of the CPMID paper: positives of CheXpert's train.csv, in the order of its columns
ROWS = 223_414
TABLE_1 = {
    "No Finding": 22_381,
    "Enlarged Cardiomediastinum": 10_798,
    "Cardiomegaly": 27_000,
    "Lung Opacity": 105_581,
    "Lung Lesion": 9_186,
    "Edema": 52_246,
    "Consolidation": 14_783,
    "Pneumonia": 6_039,
    "Atelectasis": 33_376,
    "Pneumothorax": 19_448,
    "Pleural Effusion": 86_187,
    "Pleural Other": 3_523,
    "Fracture": 9_040,
    "Support Devices": 116_001,
}


def _positives(table: Path) -> dict[str, list[str]]:
    """Path below the download's folder → positive findings, read with the csv module."""
    with table.open(encoding="utf-8", newline="") as file:
        return {
            row["Path"].split("/", 1)[1]: [
                name for name in TABLE_1 if row[name] not in ("", "nan") and float(row[name]) == 1
            ]
            for row in csv.DictReader(file)
        }


def _expected(positives: dict[str, list[str]], rule: str) -> Counter[str]:
    """Entries by class that the rule asks for."""
    if rule == "exactly-one":
        positives = {path: names for path, names in positives.items() if len(names) == 1}
    return Counter(name for names in positives.values() for name in names)


def _found(entries: list[dict[str, Any]]) -> Counter[str]:
    return Counter(name for e in entries for name in (e["class"] if isinstance(e["class"], list) else [e["class"]]))


def _patient(entry: dict[str, Any]) -> str:
    return entry["patient"].removeprefix("chexpert/")


def _assert_no_patient_twice(entries: list[dict[str, Any]]) -> None:
    splits = defaultdict(set)
    for entry in entries:
        splits[entry["patient"]].add(entry["split"])
    assert all(len(where) == 1 for where in splits.values())


MADE = [
    ("train/patient00001/study1/view1_frontal.jpg", {"Edema": "1.0", "Pneumonia": "1.0", "Fracture": "0.0"}),
    ("train/patient00001/study1/view2_lateral.jpg", {"Edema": "1.0", "Pneumonia": "1.0", "Fracture": "0.0"}),
    ("train/patient00001/study2/view1_frontal.jpg", {"No Finding": "1.0"}),
    ("train/patient00002/study1/view1_frontal.jpg", {"Edema": "-1.0", "Cardiomegaly": "1.0", "Atelectasis": "0.0"}),
    ("train/patient00003/study1/view1_frontal.jpg", {"Edema": "-1.0", "Atelectasis": "0.0"}),
    ("train/patient00004/study1/view1_frontal.jpg", {}),
    ("train/patient00005/study1/view1_lateral.jpg", {"Support Devices": "1"}),
]


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        (
            "paper",
            [
                ["Edema", "Pneumonia"],
                ["Edema", "Pneumonia"],
                ["No Finding"],
                ["Cardiomegaly"],
                [],
                [],
                ["Support Devices"],
            ],
        ),
        (
            "multilabel",
            [
                ["Edema", "Pneumonia"],
                ["Edema", "Pneumonia"],
                ["No Finding"],
                ["Cardiomegaly"],
                [],
                [],
                ["Support Devices"],
            ],
        ),
        ("exactly-one", [[], [], ["No Finding"], ["Cardiomegaly"], [], [], ["Support Devices"]]),
    ],
)
def test_only_one_point_zero_counts_and_laterals_count_like_frontals(
    rule: str, labels: list[list[str]], prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    ended = prep("chexpert", "--raw", write_chexpert(tmp_path / "raw", MADE), "--rule", rule)
    assert (ended.status, ended.rejected, ended.listed["test"]) == (0, [], [])
    got = defaultdict(list)
    for entry in ended.entries:
        _, _, split, patient, rest = entry["image"].split("/")
        path = "/".join((split, patient, *rest.split("_", 1)))
        got[path] += entry["class"] if rule == "multilabel" else [entry["class"]]
        if rule == "multilabel":
            assert len(entry["label"]) == 14
            assert set(entry["label"]) <= {0, 1}
    kept = {path: names for (path, _), names in zip(MADE, labels, strict=True) if names or rule == "multilabel"}
    assert got == kept
    _assert_no_patient_twice(ended.entries)


@pytest.mark.parametrize("rule", RULES)
def test_real_images_agree_with_their_table(rule: str, prep: Callable[..., Any], shared_data: Path) -> None:
    raw = shared_data / "chexpert"
    tables = {name: _positives(raw / "CheXpert-v1.0-small" / name) for name in ("train.csv", "valid.csv")}
    ended = prep("chexpert", "--raw", raw, "--rule", rule)
    assert (ended.status, ended.rejected) == (0, [])
    train = [entry for entry in ended.entries if entry["split"] != "test"]
    test = [entry for entry in ended.entries if entry["split"] == "test"]
    assert _found(train) == _expected(tables["train.csv"], rule)
    assert _found(test) == _expected(tables["valid.csv"], rule)
    if rule == "multilabel":
        assert len(train) == len(tables["train.csv"])
    _assert_no_patient_twice(ended.entries)
    for entry in ended.entries:
        split, patient, name = entry["image"].split("/")[2:]
        original = raw / "CheXpert-v1.0-small" / split / patient / name.replace("_", "/", 1)
        content = (ended.folder / entry["image"]).read_bytes()
        assert content == original.read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["patient"] == f"chexpert/{patient}"
        assert entry["source"] == "chexpert"
    named = {entry["image"] for entry in ended.entries}
    written = {path.relative_to(ended.folder).as_posix() for path in (ended.folder / "images").rglob("*.jpg")}
    assert written == named


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5])
def test_validation_share_and_seed(fraction: float, prep: Callable[..., Any], shared_data: Path) -> None:
    given = ("chexpert", "--raw", shared_data / "chexpert", "--rule", "multilabel", "--validation-fraction", fraction)
    parts = []
    for seed in (0, 0, 1):
        ended = prep(*given, "--seed", seed)
        parts.append({entry["patient"] for entry in ended.listed["validation"]})
        _assert_no_patient_twice(ended.entries)
        share = len(ended.listed["validation"]) / (len(ended.listed["validation"]) + len(ended.listed["training"]))
        assert share == pytest.approx(fraction, abs=0.05)
    assert parts[0] == parts[1]
    assert (parts[0] == parts[2]) == (fraction == 0)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train.csv as long as CheXpert's own, with Table 1's positives in each column and no image file."""
    rng = np.random.default_rng(0)
    columns = []
    for count in TABLE_1.values():
        values = rng.choice(np.array(["", "0.0", "-1.0"]), ROWS, p=[0.7, 0.2, 0.1]).astype("U4")
        values[rng.choice(ROWS, count, replace=False)] = "1.0"
        columns.append(values.tolist())
    root = tmp_path_factory.mktemp("full") / "CheXpert-v1.0-small"
    root.mkdir()
    paths = (f"{root.name}/train/patient{n // 4 + 1:05d}/study{n % 4 + 1}/view1_frontal.jpg" for n in range(ROWS))
    with (root / "train.csv").open("w", encoding="utf-8") as file:
        file.write("Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(TABLE_1) + "\n")
        file.writelines(
            f"{path},Male,60,Frontal,AP,{','.join(row)}\n" for path, *row in zip(paths, *columns, strict=True)
        )
    return root.parent


def test_dry_run_counts_table_1_in_little_memory_and_writes_nothing(full_size: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in full_size.rglob("*")}
    words = ["chexpert", "--raw", str(full_size), "--out", str(tmp_path / "out"), "--dry-run"]
    # the process's own high-water mark: getrusage would also count this test process, from which it was forked
    script = (
        "import atexit, pathlib, runpy, sys\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "atexit.register(lambda: sys.stderr.write(status.read_text()))\n"
        "runpy.run_module('data_prep', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = done.stdout
    for name, count in TABLE_1.items():
        (row,) = [line for line in printed.splitlines() if re.search(rf"\s{name}\s", line)]
        assert [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", row)] == [count, count]
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert int(peak) * 1024 < 1e9
    assert {path: path.stat().st_mtime_ns for path in full_size.rglob("*")} == before
    assert not list(tmp_path.iterdir())


def test_each_bad_image_is_named_and_the_rest_is_taken(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    raw = write_chexpert(tmp_path / "raw", [(path, {"Edema": "1.0"}) for path, _ in MADE])
    root = raw / "CheXpert-v1.0-small"
    bad = [root / path for path, _ in MADE[:5]]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[: bad[1].stat().st_size // 2])
    bad[2].unlink()
    bad[3].write_text("<html>please log in</html>")
    bad[4].unlink()
    bad[4].mkdir()
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    reasons = dict(ended.rejected)
    assert list(reasons) == [path.relative_to(raw).as_posix() for path in bad]
    words = ("empty", "cut short", "missing", "not a readable image", "missing")
    assert all(word in reason for word, reason in zip(words, reasons.values(), strict=True))
    good = {path for path, _ in MADE[5:]}
    assert {"/".join(e["image"].split("/")[2:]).replace("_view", "/view") for e in ended.entries} == good
    assert "Traceback" not in ended.err
    written = [path for path in (ended.folder / "images").rglob("*") if path.is_file()]
    assert len(written) == len(good)


def test_an_unreadable_file_does_not_stop_the_rest(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_chexpert(tmp_path / "raw", MADE)
    read_bytes = Path.read_bytes

    def faulty(path: Path) -> bytes:
        if "patient00002" in path.parts:
            raise OSError(5, "Input/output error", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", faulty)
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    ((file, reason),) = ended.rejected
    assert (file, reason) == (f"CheXpert-v1.0-small/{MADE[3][0]}", "cannot be read: Input/output error")


@pytest.mark.parametrize(
    "path",
    [
        "../../secret/patient1/view1.jpg",
        "train/patient1/../view1.jpg",
        "train/../patient1/view1.jpg",
        "/etc/patient1/view1.jpg",
        "/patient1/study1/view1.jpg",
        "train/patient1/view1.jpg",
        "train/someone/study1/view1.jpg",
        "train/patient1/study1/" + "x" * 300 + ".jpg",
        "",
    ],
)
def test_a_table_cannot_lead_out_of_its_folder(
    path: str, prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    raw = write_chexpert(tmp_path / "raw", MADE)
    for place in (tmp_path / "secret/patient1/view1.jpg", raw / "patient1/view1.jpg"):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(place)
    table = raw / "CheXpert-v1.0-small" / "train.csv"
    table.write_text(table.read_text() + f"CheXpert-v1.0-small/{path},Male,60,Frontal,AP,1.0" + "," * 13 + "\n")
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    ((file, _),) = ended.rejected
    assert file == f"CheXpert-v1.0-small/{path.lstrip('/')}".rstrip("/")
    assert len(ended.entries) == 7
    assert all("patient1" not in p.parts for p in ended.folder.rglob("*"))


def test_a_patient_of_the_test_table_is_not_trained_on(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    raw = write_chexpert(tmp_path / "raw", MADE)
    write_chexpert(raw, [("valid/patient00001/study9/view1_frontal.jpg", {"Edema": "1.0"})], "valid.csv")
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    assert [file for file, _ in ended.rejected] == [f"CheXpert-v1.0-small/{path}" for path, _ in MADE[:3]]
    assert {_patient(entry): entry["split"] for entry in ended.entries}["patient00001"] == "test"
    _assert_no_patient_twice(ended.entries)


def test_the_folder_above_gives_the_same_data_list(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    raw = write_chexpert(tmp_path / "raw", MADE)
    texts = []
    for number, folder in enumerate((raw, raw / "CheXpert-v1.0-small")):
        ended = prep("chexpert", "--raw", folder, "--out", tmp_path / f"out{number}")
        texts.append((ended.folder / "datalist.json").read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("Edema", "Oedema"), "Edema"),
        (lambda text: text.replace(",-1.0,", ",2.0,"), "is not 1, 0, -1 or blank"),
        (lambda text: text.replace(",-1.0,", ",yes,"), "is not 1, 0, -1 or blank"),
        (lambda _: "", "train.csv"),
        (lambda _: "\0\1\2", "train.csv"),
    ],
)
def test_a_table_of_another_kind_is_one_line(
    change: Callable[[str], str],
    words: str,
    prep: Callable[..., Any],
    write_chexpert: Callable[..., Path],
    tmp_path: Path,
) -> None:
    raw = write_chexpert(tmp_path / "raw", MADE)
    table = raw / "CheXpert-v1.0-small" / "train.csv"
    table.write_text(change(table.read_text()))
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    rejected = (ended.folder / "rejected.csv").read_text()
    assert words in rejected
    assert "train" in rejected


def test_no_table_is_a_usage_error(prep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    ended = prep("chexpert", "--raw", tmp_path / "raw")
    assert ended.status == 2
    assert "train.csv" in ended.err
    assert not ended.folder.exists()


def test_odd_and_repeated_rows_are_left_out_and_the_rest_is_taken(
    prep: Callable[..., Any], write_chexpert: Callable[..., Path], tmp_path: Path
) -> None:
    raw = write_chexpert(tmp_path / "raw", [(path, {"Edema": "1.0"}) for path, _ in MADE])
    table = raw / "CheXpert-v1.0-small" / "train.csv"
    head, first, *rest = table.read_text().splitlines()
    odd = first.replace(",1.0,", ",yes,")
    table.write_text("\n".join([head, odd, first, first, *rest]) + "\n")
    (raw / "CheXpert-v1.0-small" / "valid.csv").write_text("junk")
    ended = prep("chexpert", "--raw", raw)
    assert ended.status == 3
    text = (ended.folder / "rejected.csv").read_text()
    assert "line 2 of train.csv: Edema is not 1, 0, -1 or blank" in text
    assert "stands twice in train.csv" in text
    assert "valid.csv,\"is not CheXpert's table: it has no column Path" in text
    assert (
        len({entry["image"] for split in ("training", "validation") for entry in ended.listed[split]}) == len(rest) + 1
    )
