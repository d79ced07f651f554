"""A probe and the fine-tuning of its best starts in one report, with their rank correlation."""

import json
from pathlib import Path

import numpy as np
import pytest
from report_grids import write_grid, write_run
from scipy.stats import spearmanr

from medtl.files import read_rows
from medtl.report.arms import study
from medtl.report.build import write_report
from medtl.report.collect import collect
from medtl.report.frozen import frozen_and_tuned, rank_agreement
from medtl.report.page import evaluate

STRENGTHS = {"random": 0.2, "imagenet": 0.9, "cpmid": 0.6}
TWO = ("plain", "pattern")


def write_probe(folder: Path, strengths: dict[str, float], seeds: tuple[int, ...] = (0, 1)) -> None:
    """Cells as a probe writes them, beside a grid of ``write_grid``."""
    for init, strength in strengths.items():
        for seed in seeds:
            place = folder / "cells" / f"resnet18_{init}_seed{seed}_logistic"
            write_run(place, TWO, None, strength, init=init, seed=seed)
            record = json.loads((place / "run.json").read_text())
            record["bundle"]["name"] = "probe"
            record["command"] = [
                "probe",
                "/home/jane/secret",
                "--starts",
                "random,imagenet,cpmid",
                "--out",
                "/home/jane/p",
            ]
            record["recipe"] = {"backbone": "resnet18", "init": init, "seed": seed, "fold": None, "head": "logistic",
                                "train_fraction": 1.0, "image_size": 224}  # fmt: skip
            record |= {"head": {"name": "logistic"}, "times": {"embed_s": 20.0, "head_s": 0.1}}
            record["data"]["name"] = "made"
            (place / "run.json").write_text(json.dumps(record))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    write_probe(tmp_path / "p", STRENGTHS)
    write_grid(tmp_path / "p" / "fine_tuning", TWO, backbones=("resnet18",), seeds=(0, 1))
    return tmp_path / "p"


def test_the_same_starts_stand_side_by_side_with_their_rank_correlation(both: Path) -> None:
    results = evaluate(study(collect(both)), None, "auc")
    assert results.study.rows == ("resnet18", "resnet18, frozen")
    section = frozen_and_tuned(results.study, results.scored, "auc")
    (table,) = section.tables
    pairs = {
        init: [results.scored[row, init].value("auc") for row in ("resnet18, frozen", "resnet18")] for init in STRENGTHS
    }
    expected = spearmanr(*zip(*pairs.values(), strict=True)).statistic
    shown = f"{expected:.2f}".replace("-", "−")
    assert table.notes[0].startswith(f"Head logistic: Spearman's rank correlation {shown}")
    assert table.notes[0].endswith("over 3 starts; of so few starts it is uncertain.")
    assert len(table.rows) == 1 + 3


def test_the_page_has_both_and_no_path(both: Path) -> None:
    write_report(both)
    text = (both / "report.md").read_text()
    assert "## Frozen features and fine-tuning" in text
    assert "medtl probe" in text
    assert "medtl compare" in text
    assert "jane" not in text
    assert {row["backbone"] for row in read_rows(both / "report.csv")} == {"resnet18", "resnet18, frozen"}


def test_of_two_starts_no_correlation_is_told_and_without_fine_tuning_nothing(tmp_path: Path) -> None:
    write_probe(tmp_path / "p", {"random": 0.2, "imagenet": 0.9})
    found = study(collect(tmp_path / "p"))
    alone = evaluate(found, None, "auc")
    assert not frozen_and_tuned(found, alone.scored, "auc").tables
    write_grid(tmp_path / "p" / "fine_tuning", TWO, backbones=("resnet18",), inits=("random", "imagenet"), seeds=(0, 1))
    more = evaluate(study(collect(tmp_path / "p")), None, "auc")
    assert "no rank correlation" in frozen_and_tuned(more.study, more.scored, "auc").tables[0].notes[0]


def test_the_agreement_of_each_replicate_is_spearmans() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 6, 50))
    first = first.round(0)  # some are alike
    expected = [spearmanr(*sides).statistic for sides in zip(first.T, second.T, strict=True)]
    np.testing.assert_allclose(rank_agreement(first, second), expected, atol=1e-12)
    first[:, 0], second[2, 1] = 1.0, np.nan
    assert np.isnan(rank_agreement(first, second)[:2]).all()
    assert np.isfinite(rank_agreement(first, second)[2:]).all()
