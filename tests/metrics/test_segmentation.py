"""Scores of organs against plain counting, scikit-learn, and distances between all pairs of surface voxels."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score

from medtl.metrics import contours, registry, segmentation
from medtl.metrics.segmentation import (
    case_means,
    case_scores,
    guess_scores,
    intervals,
    mean_scores,
    overlaps,
)

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
SPACING = (1.5, 1.2, 6.0)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_overlaps_equal_scikit_learns(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    truth, predicted = random.integers(0, count + 1, (2, 5, 6, 3), dtype=np.uint8)
    iou, dice = overlaps(truth, predicted, count)
    for organ in range(1, count + 1):
        a, b = (truth == organ).ravel(), (predicted == organ).ravel()
        if not a.any() and not b.any():
            assert math.isnan(iou[organ - 1])
            assert math.isnan(dice[organ - 1])
        else:
            assert iou[organ - 1] == pytest.approx(jaccard_score(a, b, zero_division=0))
            assert dice[organ - 1] == pytest.approx(f1_score(a, b, zero_division=0))


def boxes(shift: int = 0) -> NDArray[np.uint8]:
    volume = np.zeros((20, 16, 8), np.uint8)
    volume[2 + shift : 9 + shift, 3:12, 1:6] = 1
    volume[12:16, 2:7, 2:5] = 2
    return volume


def contour(mask: NDArray, spacing: tuple[float, ...]) -> NDArray:
    """Places in mm (n, axes) of the voxels of a mask that touch its outside by a side, looked at one by one."""
    padded = np.pad(mask, 1)
    found = []
    for place in np.argwhere(padded):
        steps = [s * np.eye(mask.ndim, dtype=int)[axis] for axis in range(mask.ndim) for s in (-1, 1)]
        if not all(padded[tuple(place + step)] for step in steps):
            found.append(place * np.array(spacing))
    return np.array(found)


def by_hand(truth: NDArray, predicted: NDArray, spacing: tuple[float, ...]) -> dict[str, float]:
    """The scores of contours from the distances of all pairs of their points."""
    diagonal = float(np.linalg.norm(np.array(truth.shape) * spacing))
    flat = (slice(None), slice(None), 0) if truth.shape[2] == 1 else ...
    apart = spacing[:2] if truth.shape[2] == 1 else spacing
    a, b = (contour(mask[flat], apart) for mask in (truth, predicted))
    apart_of_a, apart_of_b = cdist(a, b).min(axis=1), cdist(a, b).min(axis=0)
    recall, precision = (apart_of_a <= 0.0075 * diagonal).mean(), (apart_of_b <= 0.0075 * diagonal).mean()
    near = (apart_of_a <= 2).sum() + (apart_of_b <= 2).sum()
    return {
        "hd95": max(np.percentile(apart_of_a, 95), np.percentile(apart_of_b, 95)),
        "nsd": near / (len(a) + len(b)),
        "bf": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


@pytest.mark.parametrize("spacing", [SPACING, (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("depth", [1, 7])
def test_contours_are_scored_as_from_all_pairs_of_their_points(depth: int, spacing: tuple[float, ...]) -> None:
    """Of a case of one slice the contour is a line: its inner pixels are none of it."""
    random = np.random.default_rng(depth)
    rough = [np.zeros((30, 24, depth), bool) for _ in range(2)]
    for mask, shift in zip(rough, (0, 3), strict=True):
        mask[4 + shift : 20 + shift, 5:18] = random.random((16, 13, depth)) < 0.97
    found = contours.scores(*rough, spacing)
    assert found == pytest.approx(by_hand(*rough, spacing), abs=1e-4)
    assert 0 < found["nsd"] < 1
    same = contours.scores(rough[0], rough[0], spacing)
    assert same == {"hd95": 0, "nsd": 1, "bf": 1}


def test_a_thin_line_that_is_one_pixel_off_is_found_by_its_contour_alone() -> None:
    """What boundary F is for: a vessel beside its true place overlaps nothing and is still drawn well."""
    truth, predicted = np.zeros((2, 200, 200, 1), bool)
    truth[20:180, 100], predicted[20:180, 101] = True, True
    assert overlaps(truth.astype(int), predicted.astype(int), 1)[0][0] == 0
    assert contours.scores(truth, predicted, (1, 1, 1))["bf"] == 1
    predicted[20:180, 101], predicted[20:180, 130] = False, True
    assert contours.scores(truth, predicted, (1, 1, 1))["bf"] == 0


def test_a_file_adds_a_metric_of_contours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "tips.py").write_text(
        "from medtl.metrics.contours import CaseMetric\n"
        "CASE_METRICS = (CaseMetric('size', 'size', lambda a, b, mm, far: float(b.sum() / a.sum()), float),)\n"
    )
    monkeypatch.setenv("MEDTL_PLUGINS", str(tmp_path))
    truth, predicted = boxes(), boxes()
    predicted[2, 3, 1] = 0
    scores = case_scores(truth, predicted, ORGANS, SPACING)
    assert scores["size_liver"] == pytest.approx(314 / 315)
    assert case_means(scores)["mean_size"] == pytest.approx((314 / 315 + 1) / 2)
    assert registry.metrics()


def test_an_organ_that_is_missing_is_scored_by_the_table() -> None:
    truth, predicted = boxes(), boxes()
    truth[truth == 2] = 0  # a kidney that is not there is found
    truth[0, 0, 0] = 4  # the spleen is not found
    scores = case_scores(truth, predicted, ORGANS, SPACING)
    diagonal = math.sqrt((20 * 1.5) ** 2 + (16 * 1.2) ** 2 + (8 * 6.0) ** 2)
    for organ in ("right_kidney", "spleen"):
        assert (scores[f"iou_{organ}"], scores[f"dice_{organ}"]) == (0, 0)
        assert scores[f"hd95_{organ}"] == pytest.approx(diagonal)
        assert (scores[f"nsd_{organ}"], scores[f"bf_{organ}"]) == (0, 0)
    assert all(math.isnan(scores[f"{kind}_left_kidney"]) for kind in ("iou", "dice", "hd95", "nsd", "bf"))
    assert (scores["iou_liver"], scores["hd95_liver"]) == (1, 0)
    assert case_means(scores)["mean_iou"] == pytest.approx(1 / 3)  # liver 1, right kidney 0, spleen 0
    assert tuple(scores) == segmentation.names(ORGANS)


def test_guessing_scores_as_a_volume_that_is_all_one_organ() -> None:
    truth = boxes()
    guessed = guess_scores(truth, ORGANS)
    assert tuple(guessed) == segmentation.names(ORGANS, distances=False)
    for index, organ in enumerate(ORGANS, start=1):
        filled = case_scores(truth, np.full_like(truth, index), ORGANS, distances=False)
        for kind in ("iou", "dice"):
            expected = filled[f"{kind}_{organ}"] if index < 3 else math.nan  # two organs are not there
            assert guessed[f"{kind}_{organ}"] == pytest.approx(expected, nan_ok=True)


def test_means_are_over_the_cases_that_count() -> None:
    nan = math.nan
    cases = [
        {"iou_liver": 0.8, "iou_spleen": nan, "dice_liver": 0.9, "dice_spleen": nan},
        {"iou_liver": 0.6, "iou_spleen": 0.2, "dice_liver": 0.7, "dice_spleen": 0.4},
    ]
    means = mean_scores(cases)
    assert means["iou_liver"] == pytest.approx(0.7)
    assert means["iou_spleen"] == pytest.approx(0.2)
    assert means["mean_iou"] == pytest.approx(0.45)
    assert means["mean_dice"] == pytest.approx(0.6)
    assert math.isnan(mean_scores([cases[0]])["iou_spleen"])


def test_intervals_draw_patients() -> None:
    """Against a bootstrap written out with the same draws: two cases of one patient are drawn together."""
    values = [0.9, 0.5, 0.7, 0.6, 0.8]
    patients = ["a", "a", "b", "c", "d"]
    cases = [{"iou_liver": value} for value in values]
    low, high = intervals(cases, patients)["iou_liver"]
    random = np.random.default_rng(5)
    members = {p: [v for v, q in zip(values, patients, strict=True) if q == p] for p in "abcd"}
    drawn = [np.mean([v for p in random.choice(list("abcd"), 4) for v in members[p]]) for _ in range(20000)]
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=0.01)
    assert intervals(cases, ["a"] * 5) == {}
    assert intervals(cases, patients)["mean_iou"] == (low, high)


def test_a_mean_over_organs_is_never_of_fewer_organs() -> None:
    """A spleen in two of twenty cases: 14 % of the replicates have none, and their mean would be that of the liver."""
    nan = math.nan
    cases = [{"iou_liver": 0.9 + k / 1000, "iou_spleen": 0.2 if k < 2 else nan, "iou_kidney": nan} for k in range(20)]
    found = intervals(cases, [str(k) for k in range(20)])
    assert set(found) == {"iou_liver"}
    five = [case | {"iou_spleen": 0.2 + k / 1000 if k < 9 else nan} for k, case in enumerate(cases)]
    assert intervals(five, [str(k) for k in range(20)])["mean_iou"] == pytest.approx((0.555, 0.558), abs=0.003)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        overlaps(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), 1)
