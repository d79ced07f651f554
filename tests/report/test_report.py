"""Reports of whole grids: figures against scikit-learn and scipy, the page against what a reader may rely on."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_grids import ORGANS, THREE, TWO, truth, write_grid, write_organ_run, write_run
from scipy.stats import wilcoxon
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from medtl.__main__ import main
from medtl.errors import MedtlError, UsageError
from medtl.metrics import delong
from medtl.report.arms import study
from medtl.report.build import write_report
from medtl.report.collect import collect
from medtl.report.page import Results, evaluate

pytestmark = pytest.mark.slow

SIZES = {"val": 40, "test": 90}
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """What a browser would make of a page; complains of tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read_page(folder: Path) -> Reader:
    reader = Reader()
    reader.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def figures(folder: Path) -> dict[tuple[str, str, str, str], dict[str, str]]:
    with open(folder / "report.csv", newline="") as file:
        return {(r["backbone"], r["init"], r["seed"], r["metric"]): r for r in csv.DictReader(file)}


def expected(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    guesses = probabilities.argmax(axis=1)
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    return {
        "accuracy": accuracy_score(labels, guesses),
        "class_weighted_accuracy": balanced_accuracy_score(labels, guesses),
        "auc": float(np.mean([roc_auc_score(one_hot[:, c], probabilities[:, c]) for c in range(one_hot.shape[1])])),
        "f1_weighted": f1_score(labels, guesses, average="weighted"),
        "f1_macro": f1_score(labels, guesses, average="macro"),
    }


@pytest.fixture(scope="module")
def three(module_path: Path) -> tuple[Path, Mapping[str, Mapping[str, np.ndarray]]]:
    folder = module_path / "grid"
    failed = ["resnet50_cpmid_seed1"]
    found = write_grid(folder, THREE, seeds=(0, 1), sizes=SIZES, failed=failed, name="chestxray2017")
    write_report(folder)
    return folder, found


def test_every_figure_is_scikit_learns(three: tuple) -> None:
    folder, found = three
    labels = np.array([label for *_, label in truth(THREE, SIZES["test"], "test")])
    rows = figures(folder)
    assert len(rows) == 11 * 5
    for (backbone, init, seed, metric), row in rows.items():
        own = found[f"{backbone}_{init}_seed{seed}"]["test"]
        assert float(row["value"]) == pytest.approx(expected(labels, own)[metric], abs=1e-6)
        assert float(row["lo"]) < float(row["value"]) < float(row["hi"])
        assert (row["split"], row["n"], row["fold"]) == ("test", "90", "")


def test_the_table_holds_means_over_seeds_and_bold_is_what_the_test_finds(three: tuple) -> None:
    folder, found = three
    results = evaluate(study(collect(folder)), None, None)
    real = {each.init for each in results.found if each.row == "resnet18" and each.adjusted < 0.05}
    labels = np.array([label for *_, label in truth(THREE, SIZES["test"], "test")])
    text = (folder / "report.md").read_text(encoding="utf-8")
    means = {}
    for init in ("random", "imagenet", "cpmid"):
        each = [expected(labels, found[f"resnet18_{init}_seed{seed}"]["test"])["auc"] for seed in (0, 1)]
        means[init] = f"{np.mean(each):.3f}"
    assert means["random"] < means["imagenet"] < means["cpmid"]
    (line,) = [each for each in text.split("**AUC**")[1].splitlines() if each.startswith("| resnet18")][:1]
    assert real == {"imagenet", "cpmid"}
    assert f" {means['random']} (" in line
    assert f" **{means['imagenet']}** (" in line
    assert f" **{means['cpmid']}** (" in line
    main = text.split("Bold: better than random by more than chance explains")[0]
    assert "**" not in main.split("**Accuracy**")[1].split("**Class-weighted")[0], "accuracies were not tested"
    assert "resnet18: better than random by more than chance explains: cpmid +" in text
    assert "These were not tested against each other." in text
    assert f"Highest: cpmid, AUC {means['cpmid']}" in text


def test_the_spread_over_repeats_stands_beside_the_interval_over_patients(three: tuple) -> None:
    folder, found = three
    images = truth(THREE, SIZES["test"], "test")
    labels, people = np.array([label for *_, label in images]), np.array([patient for _, patient, _ in images])
    text = (folder / "report.md").read_text(encoding="utf-8").split("AUC over repeats on the test split")[1]
    header, _, *lines = text.split("\n\n")[1].splitlines()
    assert [cell.strip() for cell in header.split("|")][2:5] == [
        "mean ± SD over repeats", "lowest to highest", "95 % interval over patients",
    ]  # fmt: skip
    rows, group = {}, ""
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        group = cells[0].strip("*") if cells[0].startswith("**") else group
        rows[group, cells[0]] = cells[1:]
    assert ("resnet50", "cpmid") not in rows  # one of its two seeds failed
    for init in ("random", "imagenet", "cpmid"):
        told = [found[f"resnet18_{init}_seed{seed}"]["test"] for seed in (0, 1)]
        each = np.array([expected(labels, probabilities)["auc"] for probabilities in told])
        spread, ends, over = rows["resnet18", init]
        assert spread == f"{each.mean():.3f} ± {each.std(ddof=1):.3f} (2 repeats)"
        assert ends == f"{each.min():.3f} to {each.max():.3f}"
        names, random, drawn = np.unique(people), np.random.default_rng(1), []
        for _ in range(300):
            taken = np.concatenate([np.flatnonzero(people == name) for name in random.choice(names, len(names))])
            drawn.append(np.mean([expected(labels[taken], one[taken])["auc"] for one in told]))
        low, high = map(float, over.split(" to "))
        assert (high - low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.2)
    assert "SD over repeats: how far the result depends on the seed" in text


def test_a_metric_that_the_table_leaves_out_is_compared_on_request(tmp_path: Path) -> None:
    found = write_grid(tmp_path, THREE, seeds=(0, 1), sizes=SIZES, name="chestxray2017")
    write_report(tmp_path, metric="auc_micro")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    labels = np.array([label for *_, label in truth(THREE, SIZES["test"], "test")])
    told = [found[f"resnet18_cpmid_seed{seed}"]["test"] for seed in (0, 1)]
    each = np.array([roc_auc_score(np.eye(3)[labels], one, average="micro") for one in told])
    section = text.split("AUC of all answers (micro) over repeats on the test split")[1]
    assert f"{each.mean():.3f} ± {each.std(ddof=1):.3f}" in section
    assert "AUC of all answers (micro) of each start less that of random" in text
    with pytest.raises(MedtlError, match=r"--metric auc_0 is not one of auc, .*, auc_micro"):
        write_report(tmp_path, metric="auc_0")


def test_comparisons_are_paired_by_seed_and_adjusted_together(three: tuple) -> None:
    folder, found = three
    results = evaluate(study(collect(folder)), None, None)
    labels = np.array([label for *_, label in truth(THREE, SIZES["test"], "test")])
    assert [(each.row, each.init) for each in results.found] == [
        ("resnet18", "imagenet"), ("resnet18", "cpmid"), ("resnet50", "imagenet"), ("resnet50", "cpmid"),
    ]  # fmt: skip
    for each in results.found:
        seeds = (0,) if (each.row, each.init) == ("resnet50", "cpmid") else (0, 1)
        gaps = [
            expected(labels, found[f"{each.row}_{each.init}_seed{s}"]["test"])["auc"]
            - expected(labels, found[f"{each.row}_random_seed{s}"]["test"])["auc"]
            for s in seeds
        ]
        assert each.difference.value == pytest.approx(np.mean(gaps), abs=1e-9)
        assert (each.pairs, each.partial) == (len(seeds), len(seeds) == 1)
    adjusted = multipletests([each.p for each in results.found], method="holm")[1]
    assert [each.adjusted for each in results.found] == pytest.approx(adjusted)


def test_a_failed_cell_is_named_with_its_reason(three: tuple) -> None:
    folder, _ = three
    text = read_page(folder).text
    assert "1 run not counted (resnet50 cpmid)" in text
    assert (
        "cells/resnet50_cpmid_seed1 resnet50 cpmid 1 – failed: error: …/cpmid.pt: 3 of 102 tensors do not fit" in text
    )


def test_the_page_is_whole_and_needs_nothing_else(three: tuple) -> None:
    reader = read_page(three[0])
    loads = [
        (tag, attrs) for tag, attrs in reader.tags for name in ("src", "srcset", "data", "action") if name in attrs
    ]
    assert all(attrs["src"].startswith("data:") for _, attrs in loads)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "base"}
    targets = [attrs["href"] for _, attrs in reader.tags if "href" in attrs]
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert all(target.startswith("#") and target[1:] in ids for target in targets)
    assert len(ids) == len(set(ids))
    page = (three[0] / "report.html").read_text(encoding="utf-8")
    assert "@import" not in page
    assert page.count("http") == page.count('xmlns="http')  # a name, not a place
    drawings = [attrs for tag, attrs in reader.tags if tag == "svg"]
    assert len(drawings) == 8 + 4 + 2  # ROC, learning, calibration
    first = [attrs["aria-label"] for _, attrs in reader.tags if attrs.get("class") == "forest"]
    assert [each.split(": ")[1].split()[0] for each in first] == ["cpmid", "cpmid"]  # the highest
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert not re.search(r"\b(nan|inf|None)\b", reader.text)


def test_the_parts_stand_in_their_order(three: tuple) -> None:
    reader = read_page(three[0])
    parts = [attrs["id"] for tag, attrs in reader.tags if tag == "section"]
    assert parts == [
        "summary", "results", "comparison", "absent", "networks", "roc", "learning", "confusion", "calibration",
        "provenance", "leaks", "reproduce",
    ]  # fmt: skip
    assert reader.text.index("Not for clinical use.") < reader.text.index("Summary")
    assert "Phantom data" not in reader.text
    assert "Validation only" not in reader.text
    confusion = (three[0] / "report.md").read_text().split("## Confusion")[1].split("##")[0]
    assert confusion.count("| true |") == 6


def test_no_place_of_anybodys_machine_is_in_a_report(three: tuple) -> None:
    for name in ("report.html", "report.md", "report.csv"):
        text = (three[0] / name).read_text(encoding="utf-8")
        for secret in ("jane", "/home", "/scratch", "secret", str(three[0].parent)):
            assert secret not in text, (name, secret)
    assert (
        "medtl compare bundles/made --dataset_dir DATASET_DIR --backbones resnet18,resnet50 "
        "--inits random,imagenet,cpmid --seeds 0,1 --epochs 12 --out GRID"
    ) in (three[0] / "report.md").read_text()


def test_the_same_runs_give_the_same_bytes(three: tuple) -> None:
    names = ("report.html", "report.md", "report.csv")
    before = [(three[0] / name).read_bytes() for name in names]
    write_report(three[0])
    assert [(three[0] / name).read_bytes() for name in names] == before


def test_half_a_report_is_never_left(three: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in three[0].glob("*") if path.is_file()}
    monkeypatch.setattr("medtl.report.build.to_csv", lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(three[0], title="another")
    assert {path.name: path.read_bytes() for path in three[0].glob("*") if path.is_file()} == before


def test_two_classes_are_told_from_the_positive_one(tmp_path: Path) -> None:
    threshold = {"positive": 0, "positive_class": "normal", "rule": "youden", "value": 0.37}
    found = write_grid(
        tmp_path, TWO, backbones=("resnet18",), inits=("random", "cpmid"), seeds=(3,), sizes=SIZES,
        threshold=threshold, data={"sample": True},
    )  # fmt: skip
    write_report(tmp_path)
    labels = np.array([label for *_, label in truth(TWO, SIZES["test"], "test")])
    rows = figures(tmp_path)
    for init in ("random", "cpmid"):
        scores = found[f"resnet18_{init}_seed3"]["test"][:, 0]
        positive = labels == 0
        wanted = {
            "sensitivity": (scores >= 0.5)[positive].mean(),
            "specificity": (scores < 0.5)[~positive].mean(),
            "sensitivity_at_threshold": (scores >= 0.37)[positive].mean(),
            "specificity_at_threshold": (scores < 0.37)[~positive].mean(),
            "f1": f1_score(positive, scores >= 0.5),
            "auc": roc_auc_score(positive, scores),
        }
        for metric, value in wanted.items():
            assert float(rows["resnet18", init, "3", metric]["value"]) == pytest.approx(value, abs=1e-6)
    text = read_page(tmp_path).text
    assert "Phantom data." in text
    assert "Positive class: normal (as the runs name it)" in text
    assert "One seed only" in text
    assert "One training each: the 95 % interval covers the drawing of patients alone" in text
    assert "by DeLong's test for patients with several images" in text


def test_a_perfect_score_has_the_exact_bound(tmp_path: Path) -> None:
    rows = {"test": [(f"{number}.png", f"p/{number}", number % 2) for number in range(30)]}
    write_run(tmp_path / "run", TWO, rows, strength=60.0)
    write_report(tmp_path)
    found = figures(tmp_path)
    for metric, trials in (("accuracy", 30), ("sensitivity", 15), ("specificity", 15)):
        row = found["resnet18", "random", "0", metric]
        assert float(row["lo"]) == pytest.approx(proportion_confint(trials, trials, method="beta")[0], abs=1e-6)
        assert row["hi"] == "1.000000"
    assert found["resnet18", "random", "0", "auc"]["lo"] == ""
    assert "No interval where none can be said: of a perfect score" in read_page(tmp_path).text


def test_one_class_in_the_test_split_gives_a_dash_and_its_reason(tmp_path: Path) -> None:
    rows = {"test": [(image, patient, 1) for image, patient, _ in truth(THREE, 30, "test")]}
    for init in ("random", "cpmid"):
        write_run(tmp_path / init, THREE, rows, init=init)
    write_report(tmp_path)
    text = read_page(tmp_path).text
    assert "–: AUC is not defined: every image of the test split is of class bacterial." in text
    assert figures(tmp_path)["resnet18", "cpmid", "0", "auc"]["value"] == ""
    assert "Highest: cpmid, accuracy" in text  # what is compared instead
    for name in ("report.html", "report.md", "report.csv"):
        assert not re.search(r"\b(nan|inf)\b", (tmp_path / name).read_text(), re.IGNORECASE)
    for init in ("random", "cpmid"):
        write_run(tmp_path / f"{init}1", THREE, rows, init=init, seed=1)
    write_report(tmp_path, metric="auc")
    assert "over repeats" not in read_page(tmp_path).text
    write_report(tmp_path)
    assert "Accuracy over repeats on the test split" in read_page(tmp_path).text


def test_without_a_test_split_the_report_says_so_loudly(tmp_path: Path) -> None:
    write_run(tmp_path / "run", TWO, {"val": truth(TWO, 40, "val")}, test=None)
    write_report(tmp_path / "run")
    text = read_page(tmp_path / "run").text
    assert "Validation only. There is no test split" in text
    assert "No run has opened a test split." in text
    assert "there is no other start to compare it with" in text
    assert "> **There is no test split" in (tmp_path / "run" / "report.md").read_text()
    assert "bundles/made/configs/train.json --dataset_dir DATASET_DIR --output_dir RUN" in text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    classes = ("<script>alert(1)</script>", "a|b_*c*&", "x")
    write_run(tmp_path / "<b>run", classes, backbone="<img src=x>", init="random")
    write_run(tmp_path / "other", classes, backbone="<img src=x>", init="</style><i>")
    write_report(tmp_path, title="<u>title</u>")
    reader = read_page(tmp_path)
    assert not {"script", "b-run", "img", "i", "u"} & {tag for tag, _ in reader.tags}
    assert "<script>alert(1)</script>" in reader.text
    assert "<u>title</u>" in reader.text
    text = (tmp_path / "report.md").read_text()
    assert "\\<script\\>" in text
    assert "a\\|b\\_\\*c\\*&amp;" in text


def test_folds_of_a_seed_are_scored_together(tmp_path: Path) -> None:
    everybody = truth(TWO, 60, "val")
    patients = sorted({patient for _, patient, _ in everybody})
    folds = [[row for row in everybody if patients.index(row[1]) % 3 == fold] for fold in range(3)]
    found = {}
    for init in ("random", "cpmid"):
        for seed in (0, 1):
            for fold in range(3):
                place = tmp_path / f"{init}_{seed}_{fold}"
                found[init, seed, fold] = write_run(
                    place, TWO, {"val": folds[fold]}, init=init, seed=seed, fold=fold, test=None
                )["val"]
    write_report(tmp_path)
    labels = [np.array([label for *_, label in fold]) for fold in folds]
    for init in ("random", "cpmid"):
        for seed in (0, 1):
            scores = [found[init, seed, fold] for fold in range(3)]
            areas = [roc_auc_score(own, each[:, 1]) for own, each in zip(labels, scores, strict=True)]
            pairs = [own.sum() * (1 - own).sum() for own in labels]
            row = figures(tmp_path)["resnet18", init, str(seed), "auc"]
            # of three networks, each ranks its own fold
            assert float(row["value"]) == pytest.approx(np.average(areas, weights=pairs), abs=1e-6)
            assert (row["fold"], row["n"]) == ("all", "60")
            right = np.concatenate(scores).argmax(axis=1) == np.concatenate(labels)
            row = figures(tmp_path)["resnet18", init, str(seed), "accuracy"]
            assert float(row["value"]) == pytest.approx(right.mean(), abs=1e-6)
    assert "an image is ranked among its own fold's only" in read_page(tmp_path).text
    assert "No patient is in the validation of two folds." in read_page(tmp_path).text


def test_folds_judged_on_one_test_split_are_no_trainings_of_their_own(tmp_path: Path) -> None:
    for init in ("random", "cpmid"):
        for fold in range(3):
            write_run(tmp_path / f"{init}{fold}", TWO, init=init, seed=0, fold=fold)
    write_report(tmp_path)
    text = read_page(tmp_path).text
    assert "Trainings of different folds share most of their images" in text
    assert "over repeats" not in text
    for init in ("random", "cpmid"):
        for fold in range(3):
            write_run(tmp_path / f"again{init}{fold}", TWO, init=init, seed=1, fold=fold)
    write_report(tmp_path)
    text = read_page(tmp_path).text
    assert "2 repeats" in text
    assert "A repeat's figure is the mean over its folds." in text


def edit_run(folder: Path, **changes: dict) -> None:
    """Change parts of a run.json."""
    content = json.loads((folder / "run.json").read_text())
    for part, values in changes.items():
        content[part] = {**content.get(part, {}), **values}
    (folder / "run.json").write_text(json.dumps(content))


def test_runs_that_differ_within_their_config_or_bundle_are_no_seeds_of_one_way(tmp_path: Path) -> None:
    for seed, rotate, version in ((0, 0.15, "0.1.0"), (1, 0.15, "0.1.0"), (2, 1.5, "0.1.0"), (3, 0.15, "0.2.0")):
        place = tmp_path / f"run{seed}"
        write_run(place, TWO, seed=seed)
        edit_run(place, config={"train#augmentation#rotate": rotate}, bundle={"name": "made", "version": version})
    found = study(collect(tmp_path))
    assert {row: sorted(run.seed for run in arm.runs) for (row, _), arm in found.arms.items()} == {
        "resnet18, train#augmentation#rotate 0.15, bundle made 0.1.0": [0, 1],
        "resnet18, train#augmentation#rotate 1.5, bundle made 0.1.0": [2],
        "resnet18, train#augmentation#rotate 0.15, bundle made 0.2.0": [3],
    }


@pytest.mark.parametrize(
    ("overlaps", "words"),
    [
        ([], "No patient and no file is in more than one split of the data list"),
        (
            ["2 patient(s) in more than one split, the first p1"],
            "Data list of run: 2 patient(s) in more than one split",
        ),
        (None, "Not every run says whether the splits of its data list share patients."),
    ],
)
def test_what_a_data_list_shares_is_told(overlaps: list | None, words: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", TWO)
    edit_run(tmp_path / "run", data={} if overlaps is None else {"overlaps": overlaps})
    write_report(tmp_path)
    assert words in read_page(tmp_path).text


def test_shares_and_starts_from_files_are_in_the_command(tmp_path: Path) -> None:
    cells = []
    for fraction in (0.5, 0.25):
        for init in ("random", "study-mini-d1f3f3f5"):
            write_run(tmp_path / f"{init}{fraction}", TWO, init=init, train_fraction=fraction)
            cells.append({"backbone": "resnet18", "init": init, "seed": 0, "fold": None, "train_fraction": fraction})
    (tmp_path / "grid.json").write_text(json.dumps({"bundle": "made", "ids": {}, "cells": cells}))
    write_report(tmp_path)
    assert (
        "medtl compare bundles/made --dataset_dir DATASET_DIR --backbones resnet18 --inits random,WEIGHTS "
        "--seeds 0 --fractions 0.5,0.25 --out GRID"
    ) in (tmp_path / "report.md").read_text()


def test_the_mean_over_one_organ_is_no_second_comparison(tmp_path: Path) -> None:
    cases = [(f"{p}", f"p{p}") for p in range(10)]
    for init, level in (("random", 0.5), ("imagenet", 0.7)):
        write_organ_run(tmp_path / init, cases, level, organs=("vessel",), init=init, fold=None)
    results = evaluate(study(collect(tmp_path)), None, None)
    assert [(each.metric, each.adjusted) for each in results.found] == [("iou_mean", results.found[0].p)]
    write_report(tmp_path)
    assert "Mean IoU of each start less that of random" in read_page(tmp_path).text


def test_segmentations_are_told_organ_by_organ(tmp_path: Path) -> None:
    cases = [(f"MR/{p}_T1", f"MR/{p}") for p in range(12)]
    found = {}
    for init, level in (("random", 0.7), ("imagenet", 0.78)):
        for seed in (0, 1):
            for fold in (0, 1):
                own = cases[fold::2]
                place = tmp_path / f"{init}{seed}{fold}"
                found[init, seed, fold] = write_organ_run(place, own, level, init=init, seed=seed, fold=fold)
    write_report(tmp_path)
    both = {(i, s): np.vstack([found[i, s, 0], found[i, s, 1]]) for i in ("random", "imagenet") for s in (0, 1)}
    rows = figures(tmp_path)
    for (init, seed), iou in both.items():
        for organ, mean in zip(ORGANS, np.nanmean(iou, axis=0), strict=True):
            assert float(rows["resnet18", init, str(seed), f"iou_{organ}"]["value"]) == pytest.approx(mean, abs=2e-6)
        wanted = np.nanmean(iou, axis=0).mean()
        assert float(rows["resnet18", init, str(seed), "iou_mean"]["value"]) == pytest.approx(wanted, abs=2e-6)
    results = evaluate(study(collect(tmp_path)), None, None)
    assert [each.metric for each in results.found] == [*(f"iou_{organ}" for organ in ORGANS), "iou_mean"]
    liver = [np.mean([both[init, s][:, 0] for s in (0, 1)], axis=0) for init in ("imagenet", "random")]
    assert results.found[0].p == pytest.approx(wilcoxon(liver[0], liver[1]).pvalue)
    text = read_page(tmp_path).text
    assert "IoU on the pooled validation folds (12 cases of 12 patients)" in text
    assert "by Wilcoxon's signed ranks of patients" in text
    assert "ROC" not in text


def test_of_distances_the_smaller_one_is_better(tmp_path: Path) -> None:
    cases = [(f"{p}", f"p{p}") for p in range(10)]
    found = {}
    for init, level in (("random", 0.5), ("imagenet", 0.7)):
        place = tmp_path / init
        found[init] = write_organ_run(place, cases, level, organs=("vessel",), distances=True, init=init, fold=None)
    results = evaluate(study(collect(tmp_path)), None, "hd95_mean")
    (told,) = results.found
    assert told.difference.value == pytest.approx(40 * np.mean(found["random"] - found["imagenet"]), abs=1e-4)
    assert told.difference.value < 0 < told.gain
    assert told.p == pytest.approx(wilcoxon(found["imagenet"][:, 0], found["random"][:, 0]).pvalue)
    write_report(tmp_path, metric="hd95_mean")
    text = read_page(tmp_path).text
    assert "95 % Hausdorff distance in mm (pixels) on the" in text
    assert "lowest first" in text
    distance = float(figures(tmp_path)["resnet18", "imagenet", "0", "hd95_vessel"]["value"])
    assert distance == pytest.approx(40 * np.mean(1 - found["imagenet"]), abs=1e-4)


def test_what_an_earlier_run_did_not_measure_is_left_out(tmp_path: Path) -> None:
    cases = [(f"{p}", f"p{p}") for p in range(4)]
    for init, distances in (("random", False), ("imagenet", True)):
        write_organ_run(tmp_path / init, cases, 0.5, organs=("vessel",), distances=distances, init=init, fold=None)
    found = study(collect(tmp_path))
    assert found.classes == ("iou_vessel", "dice_vessel")
    with pytest.raises(UsageError, match="hd95_mean"):
        evaluate(found, None, "hd95_mean")


def test_segmented_slices_are_embedded_side_by_side(tmp_path: Path) -> None:
    cases = [(f"MR/{p}", f"MR/{p}") for p in range(7)]
    dice = {}
    for init in ("random", "imagenet"):
        place = tmp_path / init
        iou = write_organ_run(place, cases, 0.7, init=init, fold=0)
        for case in (0, 1):
            dice[case, init] = np.nanmean(2 * iou[case] / (1 + iou[case]))
        (place / "overlays").mkdir()
        for name in ("val_MR_0.png", "val_MR_1.png", "test_MR_0.png"):
            Image.new("RGB", (768, 256), (9, 90, 20)).save(place / "overlays" / name)
    write_report(tmp_path)
    reader = read_page(tmp_path)
    pictures = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert [each["alt"].split("picture, ground truth and prediction of ")[1] for each in pictures] == [
        f"val_MR_{case}: resnet18 from {init}, seed 0, fold 0, Dice {dice[case, init]:.2f}"
        for case in (0, 1)
        for init in ("imagenet", "random")
    ]
    first = Image.open(io.BytesIO(base64.b64decode(pictures[0]["src"].split(",")[1])))
    assert first.size == (640, 213)
    assert "liver orange, right kidney sky blue" in reader.text


def test_of_many_slices_the_worst_the_median_and_the_best_are_shown(tmp_path: Path) -> None:
    """Of three runs and 21 cases 63 slices: a dozen has room for three cases of three runs each."""
    cases = [(f"MR/{p}", f"MR/{p}") for p in range(21)]
    found = []
    for init in ("random", "imagenet", "cpmid"):
        iou = write_organ_run(tmp_path / init, cases, 0.7, init=init, fold=0)
        found.append(np.nanmean(2 * iou / (1 + iou), axis=1))
        (tmp_path / init / "overlays").mkdir()
        for case in range(21):
            Image.new("RGB", (96, 32), (9, 90, 20)).save(tmp_path / init / "overlays" / f"val_MR_{case}.png")
    order = np.argsort(np.mean(found, axis=0))
    write_report(tmp_path)
    reader = read_page(tmp_path)
    pictures = [attrs["alt"] for tag, attrs in reader.tags if tag == "img"]
    shown = [int(alt.split("val_MR_")[1].split(":")[0]) for alt in pictures]
    assert shown == [order[place] for place in (0, 10, 20) for _ in range(3)]
    assert "9 of 63 slices are shown, of cases from the worst to the best by Dice" in reader.text


def test_shares_of_the_training_set_are_rows_and_a_figure(tmp_path: Path) -> None:
    for fraction in (0.1, 1.0):
        for init in ("random", "cpmid"):
            write_run(tmp_path / f"{init}{fraction}", TWO, init=init, train_fraction=fraction, strength=1 + fraction)
    write_report(tmp_path)
    assert ("resnet18, train_fraction 0.1", "cpmid", "0", "auc") in figures(tmp_path)
    reader = read_page(tmp_path)
    assert "size" in [attrs.get("id") for tag, attrs in reader.tags if tag == "section"]


def test_findings_of_several_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, THREE, {"val": truth(THREE, 50, "val")}, test=None, task="multilabel")
    random = np.random.default_rng(0)
    labels = random.random((50, 3)) < 0.4
    scores = np.clip(0.3 * labels + random.random((50, 3)) * 0.7, 0, 1).round(6)
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "patient", "split", "label", *(f"prob_{c}" for c in THREE)])
        for number in range(50):
            label = ";".join(map(str, np.flatnonzero(labels[number])))
            writer.writerow([f"{number}.png", f"p/{number}", "val", label, *scores[number]])
    write_report(tmp_path)
    wanted = roc_auc_score(labels, scores, average="macro")
    assert float(figures(tmp_path)["resnet18", "random", "0", "auc"]["value"]) == pytest.approx(wanted, abs=1e-6)


def test_what_leaks_is_said_in_the_summary(tmp_path: Path) -> None:
    test = truth(TWO, 30, "test")
    val = [*truth(TWO, 30, "val"), ("images/other.png", test[0][1], 0)]
    write_run(tmp_path / "run", TWO, {"val": val, "test": test}, test=None)
    write_report(tmp_path)
    text = read_page(tmp_path).text
    assert f"Possible leak: 1 patient in more than one split of run, such as {test[0][1]}." in text
    assert "1 of 1 run with test predictions do not say when the test split was opened, such as run." in text


def test_explanations_are_embedded_small_and_at_most_a_dozen(tmp_path: Path) -> None:
    for init in ("random", "cpmid"):
        write_run(tmp_path / init, TWO, init=init)
        (tmp_path / init / "explain").mkdir()
        for number in range(8):
            Image.new("RGB", (900, 600), (number, 90, 20)).save(tmp_path / init / "explain" / f"case{number}.png")
    write_report(tmp_path)
    reader = read_page(tmp_path)
    pictures = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert len(pictures) == 12
    assert pictures[0]["alt"] == "Grad-CAM overlay of case0: resnet18 from cpmid, seed 0"
    assert pictures[1]["alt"] == "Grad-CAM overlay of case0: resnet18 from random, seed 0"
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)
    assert "12 of 16 panels are shown" in reader.text
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_runs_that_do_not_count_are_listed(tmp_path: Path) -> None:
    write_run(tmp_path / "done", TWO)
    write_run(tmp_path / "goes_on", TWO, seed=1, status="running")
    write_run(tmp_path / "broken", TWO, seed=2)
    (tmp_path / "broken" / "predictions.csv").unlink()
    write_run(tmp_path / "seedless", TWO, seed=3)
    edit_run(tmp_path / "seedless", recipe={"seed": None})
    seedless = json.loads((tmp_path / "seedless" / "run.json").read_text()) | {"seed": None}
    (tmp_path / "seedless" / "run.json").write_text(json.dumps(seedless))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    cells = [
        {"name": "later", "backbone": "vit_b16", "init": "/home/jane/w.pt", "seed": 0, "fold": 1, "status": "waiting"}
    ]
    (tmp_path / "grid.json").write_text(json.dumps({"bundle": "made", "cells": cells}))
    write_report(tmp_path)
    found = {each.name: each for each in collect(tmp_path).absent}
    assert {name: each.reason for name, each in found.items()} == {
        "goes_on": "still running, or killed",
        "broken": "finished, but predictions.csv is missing",
        "odd": "its run.json cannot be read",
        "seedless": "its run.json names no seed",
        "cells/later": "not run yet",
    }
    assert found["cells/later"].init == "w.pt"
    assert "5 runs not counted" in read_page(tmp_path).text


def medtl_report(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["medtl", "report", *words])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


def test_the_command_writes_or_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: str) -> str:
        status, _, told = medtl_report(capsys, monkeypatch, str(tmp_path), *words)
        assert (status, told.count("\n")) == (2, 1)
        assert not (tmp_path / "report.html").exists()
        return told

    assert "holds no run: expected folders with run.json" in refused()
    write_run(tmp_path / "a", TWO)
    assert "--baseline mini: the runs start from random" in refused("--baseline", "mini")
    assert "--metric acc is not one of auc, accuracy" in refused("--metric", "acc")
    status, printed, _ = medtl_report(capsys, monkeypatch, str(tmp_path))
    assert status == 0
    assert [Path(line).name for line in printed.split()] == ["report.html", "report.md", "report.csv"]


def other_data(folder: Path) -> None:
    write_run(folder / "b", THREE, init="cpmid", name="other")


def other_version(folder: Path) -> None:
    write_run(folder / "b", TWO, init="cpmid", data={"sha256": "beef" * 16})


def twice(folder: Path) -> None:
    write_run(folder / "b", TWO)


def rows_are_missing(folder: Path) -> None:
    path = folder / "a" / "predictions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")


def changed(folder: Path) -> None:
    path = folder / "a" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": 0.11}))


def not_a_number(folder: Path) -> None:
    path = folder / "a" / "predictions.csv"
    lines = path.read_text().splitlines()
    lines[4] = ",".join([*lines[4].split(",")[:4], "nan", "nan"])
    path.write_text("\n".join(lines) + "\n")


def another_label(folder: Path) -> None:
    test = [(image, patient, 1 - label) for image, patient, label in truth(TWO, 120, "test")]
    write_run(folder / "b", TWO, {"val": truth(TWO, 60, "val"), "test": test}, init="cpmid")


def some_folds(folder: Path) -> None:
    for name, fold in (("a2", 0), ("b", None)):
        write_run(folder / name, TWO, {"val": truth(TWO, 60, "val")}, init="cpmid", seed=5, fold=fold)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_data, "a and b are of different data: made (2 classes: normal, tuberculosis) and other (3 classes"),
        (other_version, "a and b are of two versions of the data list of made"),
        (twice, "a and b are both resnet18 from random with seed 0: which of them counts?"),
        (rows_are_missing, "predictions.csv has 117 rows of split test; run.json says 120"),
        (changed, "metrics.json says 0.1100"),
        (not_a_number, "predictions.csv line 5 has prob_normal nan; expected a number from 0 to 1"),
        (another_label, "a and b disagree about label or patient of images/test/0000_0.png"),
        (some_folds, "names no fold and other runs do"),
    ],
)
def test_what_cannot_be_reported_is_refused(tmp_path: Path, spoil, message: str) -> None:
    write_run(tmp_path / "a", TWO)
    spoil(tmp_path)
    with pytest.raises(MedtlError) as error:
        write_report(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_torch_is_needed(tmp_path: Path) -> None:
    script = "import sys, medtl.report.build; print([name for name in ('torch', 'monai') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_folder_of_a_run_names_a_start(tmp_path: Path) -> None:
    start = {"init": "model.pt", "sha256": "aa" * 32, "coverage": 1.0}
    write_run(tmp_path / "w", TWO, init="/home/jane/mini_without_x/", start=start)
    assert evaluate(study(collect(tmp_path)), None, None).study.inits == ("mini_without_x",)


def test_starts_of_one_name_but_other_files_are_told_apart(tmp_path: Path) -> None:
    for seed, digest in ((0, "aa" * 32), (1, "bb" * 32)):
        start = {"init": "model.pt", "sha256": digest, "coverage": 1.0}
        write_run(tmp_path / f"w{seed}", TWO, init="/home/jane/model.pt", seed=seed, start=start)
    results: Results = evaluate(study(collect(tmp_path)), None, None)
    assert results.study.inits == ("model.pt (aaaaaaaa)", "model.pt (bbbbbbbb)")
    assert (results.baseline, results.found) == ("", ())


@pytest.mark.parametrize(
    ("trained_on", "said"),
    [
        (["made", "medtl-mini"], "Possible leak: The weights mini were trained on made, too: they may have seen test"),
        (["medtl-mini"], "No weights were trained on this data set, as their cards say."),
        ([], "Not known: what the weights mini were trained on."),
    ],
)
def test_weights_that_know_the_data_set_are_named(trained_on: list[str], said: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", init="mini", start={"init": "mini", "coverage": 1.0, "trained_on": trained_on})
    write_report(tmp_path)
    assert said in read_page(tmp_path).text


def test_no_lead_that_chance_may_explain_is_called_one(tmp_path: Path) -> None:
    rows = {"test": truth(TWO, 60, "test")}
    for init, strength in (("random", 1.0), ("cpmid", 1.1)):
        write_run(tmp_path / init, TWO, rows, init=init, strength=strength)
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    (lead,) = evaluate(study(collect(tmp_path)), None, None).found
    assert lead.difference.value > 0
    assert lead.adjusted > 0.05
    assert "no start is shown to differ from random; chance may explain every difference." in text
    assert "AUC (positive class: tuberculosis)" in text
    assert "best" not in text.split("## Results")[0]
    cells = [
        cell for line in text.split("## Results")[1].split("Bold:")[0].splitlines() for cell in line.split("|")[2:]
    ]
    assert not any("**" in cell for cell in cells)


def test_a_start_that_names_one_class_only_is_never_bold_and_says_so(tmp_path: Path) -> None:
    """Ranked without an error, but on one side of 0.5."""
    rows = {"test": truth(TWO, 60, "test")}
    labels = np.array([label for *_, label in rows["test"]])
    write_run(tmp_path / "random", TWO, rows, init="random", strength=0.3)
    write_run(tmp_path / "cpmid", TWO, rows, init="cpmid")
    lines = [[*row[:2], "test", row[2], *(0.9 - 0.3 * row[2], 0.1 + 0.3 * row[2])] for row in rows["test"]]
    header = ["image", "patient", "split", "label", *(f"prob_{name}" for name in TWO)]
    with open(tmp_path / "cpmid" / "predictions.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])
    (tmp_path / "cpmid" / "metrics.json").write_text(json.dumps({"test_accuracy": float((labels == 0).mean())}))
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    (lead,) = evaluate(study(collect(tmp_path)), None, None).found
    assert lead.real
    (line,) = [each for each in text.split("**AUC**")[1].splitlines() if each.startswith("| resnet18")][:1]
    assert line.endswith("| 1.000 (one class only) |")
    assert "cpmid: one class only, whatever the image." in text
    first = [attrs["aria-label"] for _, attrs in read_page(tmp_path).tags if attrs.get("class") == "forest"]
    assert "cpmid: one class only 1.000" in first[0]
    assert "better than random" not in text.split("## Results")[0]


def test_what_is_reached_without_a_look_at_an_image_and_the_classes_of_each_split(tmp_path: Path) -> None:
    splits = {"val": truth(THREE, 40, "val"), "test": truth(THREE, 60, "test")}
    for init in ("random", "cpmid"):
        counts = {"normal": 200, "bacterial": 100, "viral": 0}
        write_run(tmp_path / init, THREE, splits, init=init, data={"training_images": counts})
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    labels = np.array([label for *_, label in splits["test"]])
    common = int(np.bincount(labels).argmax())
    guesses = np.full(60, common)
    for name, value in (
        ("AUC", 0.5),
        ("Accuracy", accuracy_score(labels, guesses)),
        ("Class-weighted accuracy", balanced_accuracy_score(labels, guesses)),
        ("F1, weighted by support", f1_score(labels, guesses, average="weighted")),
    ):
        (line,) = [each for each in text.split(f"**{name}**")[1].splitlines() if "majority class" in each][:1]
        assert line == f"| majority class ({THREE[common]}) | {value:.3f} | {value:.3f} |"
    assert "| training | 200 | 100 | 0 |" in text
    for split, rows in (("validation", splits["val"]), ("test", splits["test"])):
        counts = np.bincount([label for *_, label in rows], minlength=3)
        assert f"| {split} | {' | '.join(map(str, counts))} |" in text


def test_the_interval_of_one_trainings_area_is_delongs(tmp_path: Path) -> None:
    rows = {"test": truth(TWO, 60, "test")}
    found = write_run(tmp_path / "run", TWO, rows)["test"]
    write_report(tmp_path)
    (row,) = [each for key, each in figures(tmp_path).items() if key[3] == "auc"]
    patients = [patient for _, patient, _ in rows["test"]]
    area = delong.auc_interval(np.array([label for *_, label in rows["test"]]) == 1, found[:, 1], patients)
    assert (float(row["lo"]), float(row["hi"])) == pytest.approx((area.low, area.high), abs=1e-6)
