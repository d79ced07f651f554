"""Seeds of a probe that draw nothing: one training, however many there are."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from report_grids import write_run
from scipy.stats import mannwhitneyu, norm

from medtl.files import read_rows
from medtl.report.arms import Study, study
from medtl.report.build import write_report
from medtl.report.collect import collect
from medtl.report.page import evaluate

TWO = ("plain", "pattern")
STRENGTHS = {"random": 0.4, "imagenet": 1.4}
LABELS = np.array([0, 1] * 30)
TEST = [(f"images/{n:02d}.png", f"made/{n:02d}", int(label)) for n, label in enumerate(LABELS)]


def probes(folder: Path, seeds: Mapping[str, Sequence[int]], alike: bool = True) -> dict[str, np.ndarray]:
    """Cells of a probe, with ``alike`` each seed's the first one's; probabilities of the first seed of each start."""
    first = {}
    for init, own in seeds.items():
        for seed in own:
            place = folder / f"{init}{seed}"
            if init in first and alike:
                shutil.copytree(folder / f"{init}{own[0]}", place)
            else:
                found = write_run(place, TWO, {"test": TEST}, STRENGTHS[init], init=init, seed=seed)
                first.setdefault(init, found["test"][:, 1])
            record = json.loads((place / "run.json").read_text())
            record["bundle"]["name"] = "probe"
            record["seed"] = record["recipe"]["seed"] = seed
            (place / "run.json").write_text(json.dumps(record | {"head": {"name": "logistic"}}))
    return first


def placements(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's, of the positive and of the negative images, one patient each."""
    wins = np.sign(scores[LABELS == 1][:, None] - scores[LABELS == 0]) / 2 + 0.5
    return wins.mean(axis=1), wins.mean(axis=0)


def delong(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference of two areas and its p, from the placements."""
    gaps = [own - other for own, other in zip(placements(first), placements(second), strict=True)]
    gap = gaps[0].mean()
    return gap, 2 * norm.sf(abs(gap) / np.sqrt(sum(each.var(ddof=1) / len(each) for each in gaps)))


@pytest.mark.parametrize(
    "seeds", [{"random": (0, 1, 2), "imagenet": (0, 1, 2)}, {"random": (1, 2), "imagenet": (0, 1)}]
)
def test_seeds_that_draw_nothing_count_once(tmp_path: Path, seeds: dict[str, tuple[int, ...]]) -> None:
    found = probes(tmp_path, seeds)
    results = evaluate(study(collect(tmp_path)), None, "auc")
    for init, scores in found.items():
        area = mannwhitneyu(scores[LABELS == 1], scores[LABELS == 0]).statistic / 900
        spread = np.sqrt(sum(each.var(ddof=1) / len(each) for each in placements(scores)))
        logit, half = np.log(area / (1 - area)), norm.isf(0.025) * spread / (area * (1 - area))
        expected = [area, *(1 / (1 + np.exp(-(logit + sign * half))) for sign in (-1, 1))]
        estimate = results.scored["resnet18", init].estimate("auc")
        assert [estimate.value, estimate.low, estimate.high] == pytest.approx(expected)
    (compared,) = results.found
    assert (compared.difference.value, compared.p) == pytest.approx(delong(found["imagenet"], found["random"]))
    assert (compared.method, compared.pairs) == ("DeLong", 1)


def test_the_page_says_that_seeds_drew_nothing_and_the_table_holds_each(tmp_path: Path) -> None:
    probes(tmp_path, {"random": (0, 1, 2), "imagenet": (0, 1, 2)})
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "The seeds gave the same predictions and count as one training" in text
    assert "Seeds of a probe that gave the same predictions count as one training." in text
    assert "over repeats" not in text
    assert "the chance of trainings" not in text
    rows = [row for row in read_rows(tmp_path / "report.csv") if row["metric"] == "auc"]
    assert [row["seed"] for row in rows] == ["0", "1", "2"] * 2
    assert len({row["value"] for row in rows}) == 2


def test_seeds_that_draw_count_each(tmp_path: Path) -> None:
    probes(tmp_path, {"random": (0, 1, 2), "imagenet": (0, 1, 2)}, alike=False)
    found: Study = study(collect(tmp_path))
    results = evaluate(found, None, "auc")
    assert not found.seeds_alike
    assert [len(arm.members) for arm in results.scored.values()] == [3, 3]
    assert (results.found[0].method, results.found[0].pairs) == ("t", 3)


def test_a_start_that_a_draw_does_not_change_is_compared_draw_by_draw(tmp_path: Path) -> None:
    probes(tmp_path, {"random": (0, 1, 2)}, alike=False)
    probes(tmp_path, {"imagenet": (0, 1, 2)})
    results = evaluate(study(collect(tmp_path)), None, "auc")
    assert [len(results.scored["resnet18", init].members) for init in STRENGTHS] == [3, 1]
    assert (results.found[0].method, results.found[0].pairs) == ("t", 3)
