"""``medtl probe`` end to end: a planted start is found, cells are ordinary runs, nothing is computed twice."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_lists import SIDE, noisy_list, planted_start
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score
from typer.testing import CliRunner

import medtl
from medtl import datalist
from medtl.cli import app
from medtl.compare import run as grid
from medtl.datalist import DataList
from medtl.errors import MedtlError
from medtl.features import extract, pool, then
from medtl.files import read_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def listed(module_path: Path) -> DataList:
    return noisy_list(module_path / "data")


@pytest.fixture(scope="module")
def planted(module_path: Path) -> Path:
    return planted_start(module_path / "planted.safetensors")


@pytest.fixture(scope="module", autouse=True)
def cache(module_path: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(module_path / "cache"))
        yield


def probe(listed: DataList, *words: object, image_size: int = SIDE) -> tuple[int, str]:
    """Exit status and what was printed."""
    usual = ("--image_size", str(image_size), "--device", "cpu")
    given = ["probe", str(listed.folder), *usual, *map(str, words)]
    done = CliRunner().invoke(app, given)
    if isinstance(done.exception, MedtlError):
        return done.exception.exit_status, str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def out(module_path: Path, listed: DataList, planted: Path) -> Path:
    """A probe of a random and the planted start."""
    folder = module_path / "out"
    words = ("--starts", f"random,{planted}", "--seeds", "0,1", "--fractions", "1.0,0.25")
    status, printed = probe(listed, *words, "--out", folder)
    assert status == 0, printed
    last = printed.strip().splitlines()[-1]
    assert re.match(r"best start on validation: resnet18 \S*planted", last)
    assert "more than chance explains" in last
    assert re.search(r"p (= 0\.0|< 0\.001)", last)
    return folder


def test_the_planted_start_ranks_above_the_random_one(out: Path) -> None:
    rows = read_rows(out / "transferability.csv")
    assert [row["init"].startswith("random") for row in rows[:2]] == [False, True]
    assert float(rows[0]["val_auc"]) > 0.9 > float(rows[1]["val_auc"])
    assert float(rows[0]["test_auc"]) > float(rows[1]["test_auc"]) + 0.15
    assert float(rows[0]["logme"]) > float(rows[1]["logme"])
    assert rows[2]["backbone"] == "Spearman"
    assert rows[2]["logme"] == ""  # of two starts nothing can be ranked


def test_a_cell_is_an_ordinary_run(out: Path, listed: DataList) -> None:
    names = sorted(path.name for path in (out / "cells").iterdir())
    assert len(names) == 2 * 2 * 2 * 2
    assert "resnet18_random_seed1_frac0.25_knn" in names
    run = medtl.Run(out / "cells" / "resnet18_random_seed1_frac0.25_logistic")
    record = run.record
    assert (record.status, record.bundle.name, record.backbone, record.seed) == ("finished", "probe", "resnet18", 1)
    assert set(record.times) == {"embed_s", "head_s"}
    assert record.head["features"] == 512
    assert record.head["penalty"] > 0
    assert record.test == "opened once, after the penalty was chosen on validation"
    assert record.data is not None
    assert record.data.entries == {"training": 16, "validation": 32, "test": 48}
    table = run.predictions("test")
    assert list(table["image"]) == [entry["image"] for entry in listed.test]
    measured = run.metrics("test", intervals=True)
    assert measured["auc"] == pytest.approx(roc_auc_score(table["label"], table["prob_pattern"]), abs=1e-6)
    assert measured["auc_lo"] < measured["auc"] < measured["auc_hi"]
    assert {"accuracy", "ece", "brier", "f1_macro"} <= set(measured)


def test_the_report_shows_it_unchanged(out: Path) -> None:
    medtl.report(out)
    text = (out / "report.md").read_text()
    assert r"resnet18, train\_fraction 1.0, head logistic" in text
    assert "medtl probe" in text
    assert "Frozen features and fine-tuning" not in text
    assert str(out.parent) not in text
    assert len(read_rows(out / "report.csv")) > 16


def test_other_seeds_and_another_folder_compute_nothing(
    out: Path, listed: DataList, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*words: Any) -> Any:
        raise AssertionError("a picture passed through a network")

    monkeypatch.setattr(extract, "before_head", never)
    words = ("--starts", f"random,{planted}", "--seeds", "0,7", "--fractions", "1.0,0.25")
    status, _ = probe(listed, *words, "--out", tmp_path / "again")
    assert status == 0
    for name in ("resnet18_random_seed0_frac1.0_knn", "resnet18_random_seed0_frac0.25_logistic"):
        again = (tmp_path / "again" / "cells" / name / "predictions.csv").read_bytes()
        assert again == (out / "cells" / name / "predictions.csv").read_bytes()
    drawn = [f"resnet18_random_seed{seed}_frac0.25_knn/predictions.csv" for seed in (0, 7)]
    assert len({(tmp_path / "again" / "cells" / name).read_bytes() for name in drawn}) == 2


def test_one_process_says_what_several_say(
    out: Path, listed: DataList, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FEWEST", 10**6)
    words = ("--starts", f"random,{planted}", "--seeds", "0,1", "--fractions", "1.0,0.25")
    assert probe(listed, *words, "--out", tmp_path / "alone")[0] == 0
    name = "resnet18_random_seed1_frac0.25_logistic"
    found = [medtl.Run(folder / "cells" / name).metrics("test") for folder in (out, tmp_path / "alone")]
    assert found[0] == pytest.approx(found[1])


def test_features_of_another_program_get_the_same_statistics(listed: DataList, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    entries = [entry for _, entry in listed]
    names = [entry["image"] for entry in entries]
    values = random.normal(size=(len(names), 6))
    values[:, 0] += 2 * np.array([entry["label"] for entry in entries])
    np.savez(tmp_path / "theirs.npz", names=names, features=values)
    status, printed = probe(listed, "--features", tmp_path / "theirs.npz", "--out", tmp_path / "out")
    assert (status, "features theirs" in printed) == (0, True)
    run = medtl.Run(tmp_path / "out" / "cells" / "features_theirs_seed0_logistic")
    assert run.metrics("test")["auc"] > 0.8
    assert (run.record.start.sha256 if run.record.start else "") != ""
    medtl.report(tmp_path / "out")
    np.savez(tmp_path / "few.npz", names=names[:-2], features=values[:-2])
    status, printed = probe(listed, "--features", tmp_path / "few.npz", "--out", tmp_path / "few")
    assert (status, "has no vector of 2 of" in printed, names[-1] in printed) == (2, True, True)


@pytest.mark.parametrize(("one", "other"), [("a+b.npz", "a-b.npz"), ("a.npz", "a.csv")])
def test_two_starts_never_share_a_folder(listed: DataList, tmp_path: Path, one: str, other: str) -> None:
    """Signs that are no part of a folder's name do not tell two files apart."""
    names = [entry["image"] for _, entry in listed]
    for name in (one, other):
        if name.endswith(".npz"):
            np.savez(tmp_path / name, names=names, features=np.random.default_rng(0).normal(size=(len(names), 3)))
        else:
            (tmp_path / name).write_text("\n".join(["image,f", *(f"{name},{n}" for n, name in enumerate(names))]))
    given = f"{tmp_path / one},{tmp_path / other}"
    status, printed = probe(listed, "--features", given, "--out", tmp_path / "out")
    assert (status, "would be one folder" in printed, "rename one of the files" in printed) == (2, True, True)
    assert not (tmp_path / "out").exists()


def test_two_findings_are_not_taken_for_two_classes(tmp_path: Path) -> None:
    """DeLong's test is of one AUC; the mean of two findings' is compared by the bootstrap."""
    listed = noisy_list(tmp_path / "data", task="multilabel")
    names, values = [], []
    for _, entry in listed:
        names.append(entry["image"])
        values.append(entry["label"])
    random = np.random.default_rng(0)
    for name, noise in (("good", 0.4), ("poor", 4.0)):
        drawn = np.array(values) + noise * random.normal(size=(len(values), 2))
        np.savez(tmp_path / f"{name}.npz", names=names, features=drawn)
    given = f"{tmp_path / 'good.npz'},{tmp_path / 'poor.npz'}"
    status, printed = probe(listed, "--features", given, "--out", tmp_path / "out")
    last = printed.strip().splitlines()[-1]
    assert status == 0
    assert "best start on validation: features good (val_auc " in last
    assert "bootstrap of patients): more than chance explains" in last


def test_the_class_that_the_list_names_is_the_positive_one(tmp_path: Path) -> None:
    listed = replace(noisy_list(tmp_path / "data"), positive="plain")
    listed.test[:] = listed.test[:12] + listed.test[12::2]  # fewer with the pattern
    datalist.write(listed, listed.folder)
    entries = [entry for _, entry in listed]
    values = np.random.default_rng(1).normal(size=(len(entries), 4))
    values[:, 0] += [entry["label"] for entry in entries]
    np.savez(tmp_path / "theirs.npz", names=[entry["image"] for entry in entries], features=values)
    status, printed = probe(listed, "--features", tmp_path / "theirs.npz", "--out", tmp_path / "out")
    assert status == 0, printed
    run = medtl.Run(tmp_path / "out" / "cells" / "features_theirs_seed0_logistic")
    table, measured = run.predictions("test"), run.metrics("test", intervals=True)
    plain, chance = np.array(table["label"]) == 0, np.array(table["prob_plain"], float)
    assert measured["average_precision"] == pytest.approx(average_precision_score(plain, chance), abs=1e-6)
    assert measured["average_precision"] != pytest.approx(average_precision_score(~plain, 1 - chance), abs=0.01)
    assert measured["sensitivity"] == pytest.approx(recall_score(plain, chance >= 0.5))
    assert measured["average_precision_lo"] < measured["average_precision"] < measured["average_precision_hi"]


def test_sources_within_a_class_are_probed_and_stand_beside_the_accuracy(tmp_path: Path) -> None:
    listed = noisy_list(tmp_path / "data")
    content = json.loads((listed.folder / "datalist.json").read_text())
    entries = [entry for split in ("training", "validation", "test") for entry in content[split]]
    for entry in entries:
        entry["source"] = "adults" if int(re.sub(r"[^0-9]", "", entry["patient"])) % 2 else "children"
    (listed.folder / "datalist.json").write_text(json.dumps(content))
    values = np.random.default_rng(0).normal(size=(len(entries), 6))
    values[:, 1] += 4 * np.array([entry["source"] == "adults" for entry in entries])
    np.savez(tmp_path / "theirs.npz", names=[entry["image"] for entry in entries], features=values)
    status, _ = probe(listed, "--features", tmp_path / "theirs.npz", "--out", tmp_path / "out")
    assert status == 0
    run = medtl.Run(tmp_path / "out" / "cells" / "features_theirs_seed0_logistic")
    told = {each["label"]: each for each in run.record.source_probes}
    assert list(told) == ["plain", "pattern"]
    assert all(each["auc"] > 0.95 and set(each["sources"]) == {"adults", "children"} for each in told.values())
    medtl.report(tmp_path / "out")
    assert "Source told among plain, AUC" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_several_findings_and_folds(module_path: Path, planted: Path, tmp_path: Path) -> None:
    sizes = {"training": 48, "validation": 0, "test": 24}
    several = noisy_list(tmp_path / "several", sizes, task="multilabel", folds=2)
    status, printed = probe(
        several, "--starts", planted, "--folds", "0,1", "--heads", "logistic", "--out", tmp_path / "out"
    )
    assert status == 0, printed
    runs = [medtl.Run(path) for path in (tmp_path / "out" / "cells").iterdir()]
    assert {(run.record.task, run.record.recipe["fold"]) for run in runs} == {("multilabel", 0), ("multilabel", 1)}
    for run in runs:
        table = run.predictions("test")
        truth = [["0" in str(label).split(";"), "1" in str(label).split(";")] for label in table["label"]]
        each = [
            roc_auc_score([row[c] for row in truth], table[f"prob_{name}"]) for c, name in enumerate(several.classes)
        ]
        assert run.metrics("test")["auc"] == pytest.approx(np.mean(each), abs=1e-6)
        assert each[0] > 0.65
    status, printed = probe(several, "--starts", "random", "--out", tmp_path / "none")
    assert (status, "it is dealt into folds: name some, --folds 0,1" in printed) == (2, True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--starts is missing"),
        (("--startz", "random"), "--startz random: medtl probe has no such option"),
        (("--starts", "imagenett"), r"--starts imagenett: no such file or folder.*did you mean imagenet\?"),
        (("--starts", "random", "--backbones", "resnet19"), "resnet19.*did you mean"),
        (("--starts", "random", "--heads", "svm"), "--heads svm is not one of logistic, knn"),
        (("--starts", "random", "--fractions", "1.5"), "--fractions 1.5: expected numbers above 0 and up to 1"),
        (("--starts", "random", "--folds", "3"), "--folds 3: .* is not dealt into folds"),
        (("--starts", "random", "--epochs", "3"), "--epochs 3: .*without --then"),
        (("--starts", "random", "--device", "tpu7"), "--device tpu7 cannot be used"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    listed: DataList, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    status, printed = probe(listed, *words, "--out", tmp_path / "out")
    assert status == 2
    assert re.search(said, printed), printed
    assert not (tmp_path / "out").exists()


def test_other_folders_are_refused(out: Path, listed: DataList, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    status, printed = probe(listed, "--starts", "random", "--out", tmp_path / "mine")
    assert (status, "thesis.txt" in printed) == (2, True)
    other = noisy_list(tmp_path / "other", {"training": 20, "validation": 8, "test": 8})
    status, printed = probe(other, "--starts", "random", "--out", out)
    assert (status, "is of another data list" in printed) == (2, True)


def test_then_hands_the_best_starts_to_compare(
    listed: DataList, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(grid, "compare", lambda request: asked.append(request) or 0)
    words = ("--starts", f"random,{planted}", "--seeds", "0,1", "--then", "1", "--epochs", "2")
    status, printed = probe(listed, *words, "--out", tmp_path / "out")
    assert (status, "fine-tuning: resnet18" in printed) == (0, True)
    (request,) = asked
    assert (request.bundle.name, request.backbones, request.seeds) == ("folder", ("resnet18",), (0, 1))
    assert request.inits == (str(planted),)
    assert request.out == tmp_path / "out" / then.FOLDER
    assert request.ids == {"image_size": "32", "device": "cpu", "epochs": "2"}


def test_python_says_the_same(out: Path, listed: DataList, planted: Path, tmp_path: Path) -> None:
    found = medtl.probe(
        medtl.load_data(listed.folder),
        starts=["random", planted],
        seeds=(0, 1),
        fractions=(1.0, 0.25),
        image_size=SIDE,
        device="cpu",
        out=tmp_path / "out",
    )
    assert found.best == ("resnet18", str(planted))
    table = found.table()
    assert list(table.columns[:4]) == ["backbone", "init", "val_auc", "test_auc"]
    assert len(found.runs) == 16
    assert (found.folder / "transferability.csv").read_bytes() == (out / "transferability.csv").read_bytes()
    name = "resnet18_random_seed1_frac0.25_logistic"
    same = [json.loads((folder / "cells" / name / "metrics.json").read_text()) for folder in (out, found.folder)]
    assert same[0] == same[1]
    with pytest.raises(medtl.UsageError, match=r"fractions=\[…\]"):
        medtl.probe(medtl.load_data(listed.folder, train_fraction=0.5), starts=["random"])


def test_python_takes_lists_of_any_kind_and_refuses_what_is_none(listed: DataList, tmp_path: Path) -> None:
    names = [entry["image"] for _, entry in listed]
    theirs = tmp_path / "theirs.npz"
    np.savez(theirs, names=names, features=np.random.default_rng(0).normal(size=(len(names), 3)))
    given: dict[str, Any] = {"features": [theirs], "heads": ["knn"], "out": tmp_path / "out"}
    medtl.probe(listed, **given, seeds=np.arange(2), fractions=[1])
    cells = sorted(path.name for path in (tmp_path / "out" / "cells").iterdir())
    assert cells == [f"features_theirs_seed{seed}_frac1.0_knn" for seed in (0, 1)]  # as the command names them
    for name, value in {"starts": "imagenet", "backbones": "resnet18", "features": theirs, "seeds": 0}.items():
        with pytest.raises(medtl.UsageError, match=rf"medtl\.probe: {name} .* is no list: {name}=\["):
            medtl.probe(listed, **{**given, name: value})
