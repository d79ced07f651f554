"""What a report says of a design's settings, of heat maps over them, of first epochs, and of networks against each
other; figures by numpy, scipy, scikit-learn and statsmodels' definitions alone."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from report_grids import THREE, TWO, truth, write_grid, write_rows, write_run
from scipy.stats import shapiro, ttest_rel, wilcoxon
from sklearn.metrics import roc_auc_score

from medtl.errors import MedtlError
from medtl.report.arms import study
from medtl.report.build import write_report
from medtl.report.collect import collect
from medtl.report.settings import settings_of
from medtl.report.settings_figures import offsets

pytestmark = pytest.mark.slow

SPLITS = {"val": truth(TWO, 40, "val"), "test": truth(TWO, 90, "test")}
IDS = [{"freeze": freeze, "learning_rate": rate} for freeze in ("none", "trunk") for rate in (1e-3, 1e-4)]
BACKBONES = ("resnet18", "timm/mobilenetv2_100")
INITS = {"random": 0.4, "imagenet": 1.6}
PICTURES = SPLITS["test"][:20]


def lines_of(text: str, caption: str) -> list[list[str]]:
    table = text.split(caption)[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def markdown(folder: Path) -> str:
    return (folder / "report.md").read_text(encoding="utf-8").replace("\\", "")


def write_maps(run: Path, dice: np.ndarray) -> None:
    (run / "explain").mkdir()
    header = ["image", "patient", "split", "method", "asked", "dice_180", "dice_180_random"]
    rows = [
        [i, p, "test", "gradcam", "predicted", f"{d:.7g}", "0.1"] for (i, p, _), d in zip(PICTURES, dice, strict=True)
    ]
    write_rows(
        run / "explain" / "explain.csv", header, [*rows, ["other.png", "x", "test", "gradcam", "label", "0.9", "1"]]
    )


@pytest.fixture(scope="module")
def design(module_path: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Eight settings from two starts: (setting) AUCs and mean Dice of each start."""
    folder = module_path / "design"
    labels = np.array([label for *_, label in SPLITS["test"]])
    random = np.random.default_rng(0)
    areas, dice = ({init: [] for init in INITS} for _ in range(2))
    for backbone in BACKBONES:
        for number, ids in enumerate(IDS):
            for init, strength in INITS.items():
                place = folder / f"{backbone.replace('/', '-')}_{init}_{number}"
                found = write_run(place, TWO, SPLITS, strength + 0.2 * number, backbone=backbone, init=init, **ids)
                areas[init].append(roc_auc_score(labels, found["test"][:, 1]))
                own = np.clip(random.normal(0.1 if init == "random" else 0.16, 0.03, len(PICTURES)), 0, 1)
                write_maps(place, np.round(own, 6))
                dice[init].append(np.round(own, 6).mean())
    write_report(folder)
    return folder, *({init: np.array(each) for init, each in table.items()} for table in (areas, dice))


def test_the_summary_of_many_settings_names_those_that_tell_something_and_counts_the_others(tmp_path: Path) -> None:
    labels, areas = np.array([label for *_, label in SPLITS["test"]]), {init: [] for init in INITS}
    for number, (backbone, ids) in enumerate(itertools.product(BACKBONES, IDS)):
        for init, strength in INITS.items():
            place = tmp_path / f"{number}_{init}"
            reached = strength if number < 3 else INITS["random"]
            found = write_run(place, TWO, SPLITS, reached, backbone=backbone, init=init, **ids)
            areas[init].append(roc_auc_score(labels, found["test"][:, 1]))
    write_report(tmp_path)
    summary = markdown(tmp_path).split("## Summary")[1].split("## Results")[0]
    for init, own in areas.items():
        assert f"Over 8 settings {init} reaches a mean AUC of {np.mean(own):.3f} (SD" in summary
    gap = np.mean(areas["imagenet"]) - np.mean(areas["random"])
    assert f"the difference from random is +{gap:.3f} (95 %" in summary
    real = markdown(tmp_path).split("## Compared with random")[1].split("## ")[0].count("| imagenet | **")
    assert 0 < real < 8
    assert summary.count("better than random by more than chance explains") == real
    assert f"{8 - real} of 8 rows of the table: no start is shown to differ from random" in summary
    assert len(summary.strip().splitlines()) == 2 + real + 1 + 2  # starts, rows, the others, what it rests on


def test_mean_and_sd_are_over_settings_and_the_interval_is_over_patients(design: tuple) -> None:
    folder, areas, _ = design
    header, _, *rows = lines_of(markdown(folder), "AUC over settings on the test split")
    assert header[1:4] == ["mean ± SD over settings", "lowest to highest", "95 % interval over patients"]
    for row in rows:
        own = areas[row[0]]
        assert row[1] == f"{own.mean():.3f} ± {own.std(ddof=1):.3f}"
        assert row[2] == f"{own.min():.3f} to {own.max():.3f}"
    gap = areas["imagenet"].mean() - areas["random"].mean()
    assert rows[1][4] == f"{gap:+.3f}"
    low, high = (float(each.replace("−", "-")) for each in rows[1][5].split(" to "))
    assert low < gap < high
    # patients, drawn anew, move the mean by what the interval says: an independent bootstrap by patient
    told = {}
    for init in INITS:
        runs = sorted(folder.glob(f"*_{init}_*/predictions.csv"))
        tables = [[row for row in csv.DictReader(run.open()) if row["split"] == "test"] for run in runs]
        told[init] = np.array([[float(row["prob_tuberculosis"]) for row in table] for table in tables])
    people = np.array([patient for _, patient, _ in SPLITS["test"]])
    labels = np.array([label for *_, label in SPLITS["test"]])
    names, random, drawn = np.unique(people), np.random.default_rng(1), []
    for _ in range(300):
        rows_ = np.concatenate([np.flatnonzero(people == name) for name in random.choice(names, len(names))])
        means = [np.mean([roc_auc_score(labels[rows_], s[rows_]) for s in told[init]]) for init in INITS]
        drawn.append(means[1] - means[0])
    assert (high - low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.2)


def test_both_drawings_are_there_and_the_wide_and_the_narrow_page_hold_them(design: tuple) -> None:
    page = (design[0] / "report.html").read_text(encoding="utf-8")
    section = page.split('id="settings"')[1].split("</section>")[0]
    assert section.count("<svg") == 2
    assert "AUC of every setting, for a start from random and imagenet" in section
    assert "Mean ROC curve over settings with its SD, tuberculosis" in section
    assert "● resnet18, ■ timm/mobilenetv2_100" in section


def test_dice_over_settings_has_the_papers_tests_and_an_interval_over_patients(design: tuple) -> None:
    folder, _, dice = design
    text = markdown(folder)
    header, _, *rows = lines_of(text, "Dice of the Grad-CAM pixels above 180 of 255")
    assert "20 pictures, 8 settings" in text
    gaps = dice["imagenet"] - dice["random"]
    row = dict(zip(header, rows[1], strict=False))
    assert rows[1][1] == f"{dice['imagenet'].mean():.3f} ± {dice['imagenet'].std(ddof=1):.3f}"
    assert row["less random"] == f"{gaps.mean():+.3f}"
    expected = (shapiro(gaps).pvalue, ttest_rel(dice["imagenet"], dice["random"]).pvalue, wilcoxon(gaps).pvalue)
    said = [row[name] for name in ("Shapiro p", "paired t p", "Wilcoxon p")]
    assert said == [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in expected]
    assert rows[0][3] == "0.100"


def test_a_damaged_table_of_maps_is_named(tmp_path: Path) -> None:
    for number, ids in enumerate(IDS):
        write_run(tmp_path / f"run{number}", TWO, SPLITS, 1.0, **ids)
        write_maps(tmp_path / f"run{number}", np.full(20, 0.2))
    damaged = tmp_path / "run2" / "explain" / "explain.csv"
    damaged.write_text(damaged.read_text().replace("dice_180,", "dice,"))
    with pytest.raises(MedtlError, match=r"explain\.csv is no table of medtl explain"):
        write_report(tmp_path)


def test_settings_are_rows_of_one_design(tmp_path: Path) -> None:
    for number, ids in enumerate(IDS):
        for init in INITS:
            if (number, init) != (3, "imagenet"):
                write_run(tmp_path / "a" / f"{init}{number}", TWO, SPLITS, 1.0, init=init, **ids)
    assert len(settings_of(study(collect(tmp_path / "a")))) == 3  # the fourth lacks a start
    write_report(tmp_path / "a")
    assert "1 row not counted here" in markdown(tmp_path / "a")
    write_grid(tmp_path / "b", TWO, ("resnet18", "resnet34", "resnet50"), ("random",), (0,))
    assert settings_of(study(collect(tmp_path / "b"))) == ()  # three networks, one setting each
    for number, share in enumerate((1.0, 0.5, 0.25)):
        write_run(tmp_path / "c" / str(number), TWO, SPLITS, 1.0, train_fraction=share)
    assert settings_of(study(collect(tmp_path / "c"))) == ()


def test_points_of_a_swarm_never_lie_upon_each_other() -> None:
    values = np.concatenate([np.full(9, 0.5), np.random.default_rng(0).normal(0.7, 0.02, 40)])
    beside = offsets(values, apart=0.01, step=1.0)
    for first in range(len(values)):
        for second in range(first):
            assert abs(values[first] - values[second]) >= 0.01 or beside[first] != beside[second]
    assert sorted(beside[:9]) == list(range(-4, 5))
    assert (offsets(np.array([0.1, 0.5, 0.9]), 0.01, 1.0) == 0).all()


@pytest.fixture(scope="module")
def networks(module_path: Path) -> tuple[Path, dict]:
    folder = module_path / "networks"
    found = write_grid(folder, THREE, ("resnet18", "torchvision/alexnet"), ("random", "imagenet"), (0,))
    for path in folder.glob("cells/**/history.csv"):
        header, *rows = csv.reader(path.open())
        rows = [[*row, row[3], f"{-2 * float(row[1]):.5f}"] for row in rows]
        path.unlink()
        write_rows(path, [*header, "val_accuracy", "val_log_likelihood"], rows)
    write_report(folder)
    return folder, found


def test_first_and_last_epochs_are_those_of_the_history(networks: tuple) -> None:
    folder, found = networks
    _, _, *rows = lines_of(markdown(folder), "Loss and accuracy by epoch, means over trainings.")
    labels = np.array([label for *_, label in truth(THREE, 120, "test")])
    own = [dict(zip(("start", "first", "val", "last", "val_loss", "best", "test"), row, strict=True)) for row in rows]
    at = next(place for place, row in enumerate(own) if "alexnet" in row["start"])
    row = own[at + 2]  # its imagenet line, after the line across and random
    with (folder / "cells" / "torchvision" / "alexnet_imagenet_seed0" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert row["first"] == f"{float(history[0]['train_loss']):.3f}"
    assert row["val"] == f"{float(history[0]['val_accuracy']):.3f}"
    assert row["last"] == f"{float(history[-1]['train_loss']):.3f}"
    assert row["val_loss"] == f"{-float(history[-1]['val_log_likelihood']):.3f}"
    assert row["best"] == f"{max(float(each['val_accuracy']) for each in history):.3f}"
    right = (found["torchvision/alexnet_imagenet_seed0"]["test"].argmax(axis=1) == labels).mean()
    assert row["test"].startswith(f"{right:.3f}")


def test_networks_are_compared_by_mcnemar_from_each_start(networks: tuple) -> None:
    folder, found = networks
    _, _, *rows = lines_of(markdown(folder), "Accuracy of two networks from the same start")
    labels = np.array([label for *_, label in truth(THREE, 120, "test")])
    lines = [row for row in rows if "less" in row[0]]
    assert [row[0] for row in lines] == ["resnet18 less torchvision/alexnet"] * 2
    for row, init in zip(lines, ("random", "imagenet"), strict=True):
        answers = [found[f"{b}_{init}_seed0"]["test"].argmax(axis=1) for b in ("resnet18", "torchvision/alexnet")]
        right = [each == labels for each in answers]
        only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
        assert [int(each) for each in row[3:5]] == only
        assert row[1] == f"{right[0].mean() - right[1].mean():+.3f}".replace("-", "−")


def test_the_title_names_the_design_and_what_stands_for_its_networks(networks: tuple, tmp_path: Path) -> None:
    write_grid(tmp_path, TWO, ("resnet18",), ("random", "imagenet"), (0,))
    grid = json.loads((tmp_path / "grid.json").read_text())
    grid |= {"protocol": "radimagenet24", "substitutes": ["resnet18"]}
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    write_report(tmp_path)
    assert markdown(tmp_path).startswith(
        "# made: comparison of starts, protocol radimagenet24 with substitutes for its networks (resnet18)"
    )
    assert "protocol" not in markdown(networks[0]).split("\n")[0]


def test_what_a_probe_found_of_sources_stands_beneath_every_accuracy(tmp_path: Path) -> None:
    told = {"label": "normal", "sources": {"a": 60, "b": 40}, "auc": 0.97, "low": 0.95, "high": 0.99}
    for init in INITS:
        write_run(tmp_path / init, TWO, SPLITS, 1.0, init=init, data={"sources": ["a", "b"]})
    write_report(tmp_path)
    assert "of 2 sources (a and b). Whether features tell the sources within a class was not measured" in markdown(
        tmp_path
    )
    probe = {"bundle": {"name": "probe", "version": "0"}, "head": {"name": "logistic"}, "source_probes": []}
    write_run(tmp_path / "probe", TWO, SPLITS, 1.0, init="imagenet", data={"sources": ["a", "b"]}, **probe)
    write_report(tmp_path)
    assert "The probe found no class with enough pictures of two of them" in markdown(tmp_path)
    probe["source_probes"] = [told]
    write_run(tmp_path / "another", TWO, SPLITS, 1.0, init="imagenet", seed=1, data={"sources": ["a", "b"]}, **probe)
    write_report(tmp_path)
    text = markdown(tmp_path)
    rows = text.split("**Source told among normal, AUC**")
    assert len(rows) == 3  # beneath accuracy, and beneath the class-weighted one
    line = next(line for line in rows[1].splitlines() if line.startswith("| resnet18 |"))
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == ["–", "0.970 (0.950–0.990)"]
    assert "60 of a, 40 of b" in text
