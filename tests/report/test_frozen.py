"""A probe and the fine-tuning of its best starts in one report, with their rank correlation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_grids import truth, write_grid, write_run
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from medtl.files import read_rows
from medtl.report import figures
from medtl.report.arms import Study, study
from medtl.report.build import write_report
from medtl.report.collect import collect
from medtl.report.frozen import frozen_and_tuned, rank_agreement
from medtl.report.layout import Group
from medtl.report.page import evaluate
from medtl.report.scores import Scores, score

STRENGTHS = {"random": 0.2, "imagenet": 0.9, "cpmid": 0.6}
TWO = ("plain", "pattern")
FEW = {"test": truth(TWO, 60, "test")}


def make_probe(folder: Path, **recipe: object) -> None:
    """Make a run of ``write_run`` one of a probe."""
    record = json.loads((folder / "run.json").read_text())
    record["bundle"]["name"] = "probe"
    record["command"] = ["probe", "/home/jane/secret", "--starts", "random,imagenet,cpmid", "--out", "/home/jane/p"]
    own = {key: record["recipe"][key] for key in ("backbone", "init", "seed", "fold", "train_fraction", "image_size")}
    record["recipe"] = own | {"head": "logistic"} | recipe
    record |= {"head": {"name": record["recipe"]["head"]}, "times": {"embed_s": 20.0, "head_s": 0.1}}
    (folder / "run.json").write_text(json.dumps(record))


def write_probe(folder: Path, strengths: dict[str, float], seeds: tuple[int, ...] = (0, 1)) -> None:
    """Cells as a probe writes them, beside a grid of ``write_grid``."""
    for init, strength in strengths.items():
        for seed in seeds:
            place = folder / "cells" / f"resnet18_{init}_seed{seed}_logistic"
            write_run(place, TWO, None, strength, init=init, seed=seed)
            make_probe(place)


def auc(found: dict[str, np.ndarray]) -> float:
    return float(roc_auc_score([label for *_, label in FEW["test"]], found["test"][:, 1]))


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


def scores(found: Study) -> Scores:
    return {key: score(arm, found.patients, found.positive) for key, arm in found.arms.items()}


def notes_of(folder: Path) -> dict[str, str]:
    """What is said of each block of starts."""
    found = study(collect(folder))
    (table,) = frozen_and_tuned(found, scores(found), "auc").tables
    blocks = [row.text for row in table.rows if isinstance(row, Group)]
    said = dict(note.split(": ", 1) for note in table.notes)
    assert [block.lower() for block in blocks] == [name.lower() for name in said]
    return said


def correlation(frozen: dict[str, float], tuned: dict[str, float]) -> str:
    told = spearmanr([frozen[init] for init in tuned], list(tuned.values())).statistic
    return f"Spearman's rank correlation {told:.2f}".replace("-", "−")


def test_shares_of_the_patients_are_no_starts(tmp_path: Path) -> None:
    """Within each share the orders are opposite; more patients raise both sides, and would turn the correlation."""
    inits, expected = list(STRENGTHS), {}
    for share, base in ((0.1, 0.0), (1.0, 1.0)):
        sides: list[dict[str, float]] = [{}, {}]
        for side, order in enumerate((inits, inits[::-1])):
            for place, init in enumerate(order):
                run = tmp_path / f"{side}_{init}_{share}"
                found = write_run(run, TWO, FEW, base + 0.9 * place, init=init, train_fraction=share)
                sides[side][init] = auc(found)
                if side == 0:
                    make_probe(run)
        expected["Head logistic" + (", 0.1 of the patients" if share < 1 else "")] = correlation(*sides)
    said = notes_of(tmp_path)
    assert set(expected.values()) == {"Spearman's rank correlation −1.00"}
    assert {name: note.split(" (")[0] for name, note in said.items()} == expected
    assert all("over 3 starts" in note for note in said.values())


def test_each_setting_has_a_correlation_of_its_own(tmp_path: Path) -> None:
    frozen: dict[int, dict[str, float]] = {64: {}, 128: {}}
    tuned: dict[float, dict[str, float]] = {0.001: {}, 0.01: {}}
    for place, init in enumerate(STRENGTHS):
        for size, own in frozen.items():
            own[init] = auc(write_run(tmp_path / f"f{init}{size}", TWO, FEW, 0.2 + 0.8 * place, init=init))
            make_probe(tmp_path / f"f{init}{size}", image_size=size)
        for rate, sign in ((0.001, 1), (0.01, -1)):
            run = tmp_path / f"t{init}{rate}"
            tuned[rate][init] = auc(
                write_run(run, TWO, FEW, 1.2 + 0.8 * sign * (place - 1), init=init, learning_rate=rate)
            )
    said = notes_of(tmp_path)
    expected = {
        f"Head logistic, image_size {size}, fine-tuned with learning_rate {rate}": correlation(
            frozen[size], tuned[rate]
        )
        for size in frozen
        for rate in tuned
    }
    assert len(set(expected.values())) > 1
    assert {name: note.split(" (")[0] for name, note in said.items()} == expected
    shutil.rmtree(tmp_path / "tcpmid0.001")  # a start that a setting lacks is not taken from another
    assert "of 2 starts" in notes_of(tmp_path)["Head logistic, image_size 64, fine-tuned with learning_rate 0.001"]


def test_a_curve_over_the_shares_is_of_one_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inits, shares = ("random", "imagenet"), (0.1, 0.5, 1.0)
    expected: dict[str, list[list[tuple[float, float]]]] = {}
    for head, base in (("knn", 0.1), ("logistic", 1.5)):
        curves = []
        for init in inits:
            points = []
            for share in shares:
                run = tmp_path / f"{head}{init}{share}"
                found = write_run(run, TWO, FEW, base + share, init=init, train_fraction=share)
                make_probe(run, head=head)
                points.append((100 * share, auc(found)))
            curves.append(points)
        expected[f"resnet18, head {head}"] = curves
    drawn = []

    def draw(slug: str, alternative: str, paint: Callable[[Axes], None], **size: float) -> str:
        axes = Figure().subplots()
        paint(axes)
        drawn.append([list(zip(*line.get_data(), strict=True)) for line in axes.lines])
        return ""

    monkeypatch.setattr(figures, "draw", draw)
    found = study(collect(tmp_path))
    made = figures.training_size(found, scores(found), "auc")
    assert [figure.caption for figure in made] == list(expected)
    for own, curves in zip(drawn, expected.values(), strict=True):
        for line, points in zip(own, curves, strict=True):
            assert [tuple(map(float, point)) for point in line] == [pytest.approx(point) for point in points]
