"""``medtl test`` against pROC's published figures and scipy's tests, on tables of medtl and of other tools."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import MedtlError
from medtl.metrics import delong

ASAH = Path(__file__).parents[1] / "metrics" / "asah.csv"
OWN = ["image", "patient", "split", "label", "prob_good", "prob_bad"]
OTHER = ("--label", "outcome", "--positive", "Poor", "--score")


def medtl_test(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["test", *map(str, words)])
    if isinstance(done.exception, MedtlError):
        return done.exception.exit_status, str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def as_json(*words: object) -> dict:
    status, printed = medtl_test(*words, "--json")
    assert status == 0, printed
    return json.loads(printed)


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def own_table(path: Path, seed: int, strength: float, n: int = 80, each: int = 1, reverse: bool = False) -> Path:
    """predictions.csv of a network: images of n / each patients, the labels the same whatever the seed."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) // each % 2
    chance = 1 / (1 + np.exp(-(strength * (2 * labels - 1) + random.normal(size=n))))
    rows = [[f"i{k}.png", f"p{k // each}", "test", labels[k], 1 - chance[k], chance[k]] for k in range(n)]
    rows = rows[::-1] if reverse else rows
    rows += [["v.png", "v", "val", 0, 0.5, 0.5]]
    return write(path, OWN, rows)


def test_published_figures_of_a_table_of_another_tool() -> None:
    """pROC's own tests (tests/testthat/test-roc.test.R) of its example data; Holm by hand."""
    found = as_json(ASAH, ASAH, ASAH, *OTHER, "wfns,s100b,ndka")
    first, second = found["pairs"]
    assert (first["p"], first["low"], first["high"]) == pytest.approx(
        (0.0271757822291882, 0.0104061769564846, 0.174214419249478), rel=1e-9
    )
    assert second["p"] == pytest.approx(0.00514557970691098, rel=1e-9)
    assert first["values"] == pytest.approx([0.8236789, 0.7313686], abs=5e-8)
    assert (second["adjusted"], first["adjusted"]) == pytest.approx((2 * second["p"], first["p"]))
    assert {pair["method"] for pair in found["pairs"]} == {"DeLong"}
    assert first["mcnemar_p"] is None  # µg/l are no answers
    assert (found["images"], found["positive"], found["metric"]) == (113, "Poor", "auc")


def test_tables_that_a_spreadsheet_saved_are_matched_by_their_images(tmp_path: Path) -> None:
    """Excel's "CSV UTF-8" begins with a mark, which is no part of the first column's name."""
    plain = [own_table(tmp_path / name / "p.csv", seed, 1) for seed, name in enumerate("ab")]
    saved = []
    for path, step in zip(plain, (1, -1), strict=True):
        header, *lines = path.read_text().splitlines()
        saved.append(tmp_path / f"{path.parent.name}.csv")
        saved[-1].write_text("\n".join([header, *lines[::step]]) + "\n", encoding="utf-8-sig")
    told = [
        {k: v for k, v in as_json(*each)["pairs"][0].items() if k not in ("first", "second")} for each in (plain, saved)
    ]
    assert told[0] == told[1]


def test_a_missing_label_is_no_label_of_several(tmp_path: Path) -> None:
    """Where probabilities add up to 1 each image has one class, and one without a label is told; it was taken for an
    image of several findings that has none."""
    path = own_table(tmp_path / "a" / "p.csv", 0, 1)
    header, *rows = list(csv.reader(path.open()))
    write(path, header, [[*row[:3], "" if k == 7 else row[3], *row[4:]] for k, row in enumerate(rows)])
    status, told = medtl_test(path, path)
    assert status != 0
    assert "has label ''; expected a class index below 2" in told
    findings = [["a", "", "test", "", 0.1, 0.2], ["b", "", "test", "1", 0.3, 0.8], ["c", "", "test", "0", 0.7, 0.2]]
    several = write(tmp_path / "several.csv", OWN, findings)
    assert as_json(several, several)["pairs"][0]["values"] == [1.0, 1.0]


def test_unknown_patients_are_not_one(tmp_path: Path) -> None:
    """40 images of 20 patients, and 40 of whom nobody says who they are: as if each had a name of its own."""
    found = []
    for who in ("", "u{}"):
        tables = []
        for seed, name in enumerate("ab"):
            header, *rows = list(csv.reader(own_table(tmp_path / name / "p.csv", seed, 1 + seed, each=2).open()))
            rows = [[row[0], who.format(k) if k < 40 else row[1], *row[2:]] for k, row in enumerate(rows)]
            tables.append(write(tmp_path / f"{name}{who}" / "p.csv", header, rows))
        found.append(as_json(*tables))
    assert found[0]["owners"] == found[1]["owners"] == 60
    for key in ("low", "high", "p", "mcnemar_p"):
        assert found[0]["pairs"][0][key] == pytest.approx(found[1]["pairs"][0][key])


def test_one_line_for_people() -> None:
    status, printed = medtl_test(ASAH, ASAH, *OTHER, "wfns,s100b")
    assert status == 0
    assert printed.count("\n") == 1
    assert printed.startswith("auc: asah:wfns 0.824, asah:s100b 0.731: difference +0.092")
    assert "DeLong p = 0.027" in printed
    assert "bootstrap p = " in printed


def test_tables_of_medtl_are_matched_by_image_and_clustered_by_patient(tmp_path: Path) -> None:
    files = [own_table(tmp_path / "a.csv", 1, 1.0, each=4), own_table(tmp_path / "b.csv", 2, 0.3, each=4, reverse=True)]
    found = as_json(*files)
    (pair,) = found["pairs"]
    random = [np.random.default_rng(seed).normal(size=80) for seed in (1, 2)]
    labels = np.arange(80) // 4 % 2
    scores = [strength * (2 * labels - 1) + noise for strength, noise in zip((1.0, 0.3), random, strict=True)]
    expected = delong.paired_test(labels == 1, *scores, [f"p{k // 4}" for k in range(80)])
    assert (pair["method"], pair["p"]) == ("DeLong, clustered", pytest.approx(expected.p, rel=1e-6))
    assert (found["by"], found["owners"], found["images"]) == ("patient", 20, 80)
    alone = as_json(*files, "--by", "image")
    assert (alone["pairs"][0]["method"], alone["by"]) == ("DeLong", "")
    assert alone["pairs"][0]["p"] == pytest.approx(delong.paired_test(labels == 1, *scores).p, rel=1e-6)
    assert as_json(*files, "--positive", "good")["pairs"][0]["p"] == pytest.approx(pair["p"])


def test_mcnemar_is_the_binomial_test_where_each_patient_has_one_image(tmp_path: Path) -> None:
    files = [own_table(tmp_path / "a.csv", 1, 1.2), own_table(tmp_path / "b.csv", 2, 0.4)]
    pair = as_json(*files, "--metric", "accuracy")["pairs"][0]
    expected = binomtest(pair["first_only"], pair["first_only"] + pair["second_only"]).pvalue
    assert pair["mcnemar_p"] == pytest.approx(expected)
    assert pair["difference"] == pytest.approx((pair["first_only"] - pair["second_only"]) / 80)
    assert pair["method"] == "bootstrap"
    assert pair["low"] < pair["difference"] < pair["high"]


def test_the_micro_average_is_of_both_classes(tmp_path: Path) -> None:
    files = [own_table(tmp_path / "a.csv", 1, 1.2), own_table(tmp_path / "b.csv", 2, 0.4)]
    values = as_json(*files, "--metric", "auc_micro")["pairs"][0]["values"]
    for file, value in zip(files, values, strict=True):
        rows = [row for row in csv.DictReader(file.open()) if row["split"] == "test"]
        scores = np.array([[float(row["prob_good"]), float(row["prob_bad"])] for row in rows])
        one_hot = np.eye(2)[[int(row["label"]) for row in rows]]
        assert value == pytest.approx(roc_auc_score(one_hot, scores, average="micro"))


def test_numbers_are_compared_by_their_mean_absolute_error(tmp_path: Path) -> None:
    header = ["image", "patient", "split", "label", "pred"]
    truth = np.linspace(20, 80, 30)
    files = [
        write(
            tmp_path / f"{name}.csv", header, [[k, k, "test", truth[k], truth[k] + off * (-1) ** k] for k in range(30)]
        )
        for name, off in (("near", 1.0), ("far", 4.0))
    ]
    found = as_json(*files)
    assert (found["metric"], found["pairs"][0]["values"]) == ("mae", pytest.approx([1.0, 4.0]))
    assert found["pairs"][0]["p"] < 0.01


def test_images_that_not_all_have_are_left_out_and_told(tmp_path: Path) -> None:
    files = [own_table(tmp_path / "a.csv", 1, 1.0), own_table(tmp_path / "b.csv", 2, 0.4, n=60)]
    assert as_json(*files)["left_out"] == 20
    assert "20 left out that not every file has" in medtl_test(*files)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.csv",), "expected two or more tables"),
        (("a.csv", "none.csv"), "no such file"),
        (("a.csv", "b.csv", "--metric", "acuracy"), "did you mean accuracy"),
        (("a.csv", "b.csv", "--positive", "ugly"), "--positive ugly is not one of good, bad"),
        (("a.csv", "b.csv", "--by", "site"), "--by site: .* has the columns image, patient"),
        (("a.csv", "b.csv", "--split", "train"), "--split train: .* has the splits test, val"),
        (("a.csv", "b.csv", "--score", "x,y,z"), "one for each of 2 tables"),
        (
            (ASAH, ASAH, "--label", "outcome", "--score", "wfns"),
            "--positive is missing: the labels of .* are Good, Poor",
        ),
        ((ASAH, ASAH), "no column label|has the columns"),
        ((ASAH, ASAH, *OTHER, "wfns", "--metric", "accuracy"), "needs probabilities"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    import re

    own_table(tmp_path / "a.csv", 1, 1.0)
    own_table(tmp_path / "b.csv", 2, 0.4)
    monkeypatch.chdir(tmp_path)
    status, printed = medtl_test(*words)
    assert status == 2
    assert re.search(said, printed), printed


def test_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    first = own_table(tmp_path / "a.csv", 1, 1.0)
    text = first.read_text().replace("i3.png,p3,test,1", "i3.png,p3,test,0")
    (tmp_path / "b.csv").write_text(text)
    status, printed = medtl_test(first, tmp_path / "b.csv")
    assert (status, "disagree about i3.png" in printed) == (1, True)
    (tmp_path / "c.csv").write_text(first.read_text() + "i3.png,p3,test,1,0.5,0.5\n")
    assert "has the image i3.png twice" in medtl_test(first, tmp_path / "c.csv")[1]


@pytest.mark.parametrize(("words", "by", "owners"), [((), "patient", 20), (("--by", "image"), "image", 40)])
def test_an_image_of_several_classes_has_an_entry_for_each(
    tmp_path: Path, words: tuple[str, ...], by: str, owners: int
) -> None:
    """As CPMID lists a radiograph under each of its findings. The entries of an image are not independent: without
    patients it stays the unit."""
    entries = [(k, label) for k in range(40) for label in {k % 3, (k * 7 // 2) % 3}]
    labels = np.array([label for _, label in entries])
    for name, seed in (("a", 1), ("b", 2)):
        chances = np.random.default_rng(seed).dirichlet(np.ones(3), 40)
        rows = [[f"i{k}.png", f"p{k // 2}", "test", label, *chances[k]] for k, label in entries]
        header = ["image", "patient", "split", "label", "prob_effusion", "prob_nodule", "prob_none"]
        write(tmp_path / f"{name}.csv", header, rows if name == "a" else rows[::-1])
    found = as_json(tmp_path / "a.csv", tmp_path / "b.csv", *words)
    assert len(entries) > 40
    assert (found["images"], found["by"], found["owners"]) == (len(entries), by, owners)
    chances = np.random.default_rng(1).dirichlet(np.ones(3), 40)[[k for k, _ in entries]]
    auc = np.mean([roc_auc_score(labels == place, chances[:, place]) for place in range(3)])
    assert found["pairs"][0]["values"][0] == pytest.approx(auc, abs=1e-12)


def of_run(folder: Path, name: str, splits: Mapping[str, Sequence[int]], positive: str = "") -> Path:
    """predictions.csv of a run over the images of each split, with a run.json that may name the positive class."""
    random = np.random.default_rng(len(name))
    rows = []
    for split, numbers in splits.items():
        for n in numbers:
            chance = 1 / (1 + np.exp(-(n % 4 == 0) + random.normal()))
            rows.append([f"{split}{n}.png", f"{split}{n}", split, int(n % 4 == 0), 1 - chance, chance])
    table = write(folder / name / "predictions.csv", OWN, rows)
    record = {"status": "finished", "task": "classification", "recipe": {"positive_class": positive or None}}
    (table.parent / "run.json").write_text(json.dumps(record))
    return table


@pytest.mark.parametrize(("named", "given", "told"), [("good", "", "good"), ("good", "bad", "bad"), ("", "", "bad")])
def test_the_positive_class_is_that_of_the_runs_and_told(tmp_path: Path, named: str, given: str, told: str) -> None:
    files = [of_run(tmp_path, name, {"test": range(60)}, named) for name in ("a", "bb")]
    words = ("--metric", "average_precision", *(("--positive", given) if given else ()))
    found = as_json(*files, *words)
    rows = list(csv.DictReader(files[0].open()))
    truth = [row["label"] == ("1" if told == "bad" else "0") for row in rows]
    expected = average_precision_score(truth, [float(row[f"prob_{told}"]) for row in rows])
    assert (found["positive"], found["pairs"][0]["values"][0]) == (told, pytest.approx(expected))
    assert medtl_test(*files, *words)[1].startswith(f"average_precision of {told}: a {expected:.3f}, bb ")
    assert medtl_test(*files)[1].startswith("auc: a ")  # the same from either side


def test_runs_of_different_positive_classes_are_compared_when_one_is_named(tmp_path: Path) -> None:
    files = [of_run(tmp_path, name, {"test": range(60)}, positive) for name, positive in (("a", "good"), ("b", "bad"))]
    status, printed = medtl_test(*files)
    assert (status, "take different classes as positive: bad, good; choose: --positive" in printed) == (2, True)
    assert as_json(*files, "--positive", "good")["positive"] == "good"


def test_one_split_is_read_of_all_files(tmp_path: Path) -> None:
    both = of_run(tmp_path, "both", {"test": range(20), "val": range(30)})
    alone = of_run(tmp_path, "alone", {"val": range(30)})
    for files in ((both, alone), (alone, both)):
        found = as_json(*files)
        assert (found["split"], found["images"], found["left_out"]) == ("val", 30, 0)
        rows = [row for row in csv.DictReader(both.open()) if row["split"] == "val"]
        auc = roc_auc_score([int(row["label"]) for row in rows], [float(row["prob_bad"]) for row in rows])
        assert found["pairs"][0]["values"][files.index(both)] == pytest.approx(auc)
        assert "(30 images of 30 patients, split val)" in medtl_test(*files)[1]
    assert as_json(both, both)["split"] == "test"
    assert "split" not in medtl_test(both, both)[1]
    other = of_run(tmp_path, "other", {"test": range(20)})
    status, printed = medtl_test(alone, other)
    assert status == 2
    assert f"the files share no split: {alone} has val; {other} has test" in printed
