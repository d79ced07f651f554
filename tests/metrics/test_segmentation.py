"""Scores of organs against plain counting, scikit-learn, and distances between all pairs of surface voxels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score

from medtl.metrics import segmentation
from medtl.metrics.segmentation import (
    case_means,
    case_scores,
    guess_scores,
    hausdorff95,
    intervals,
    mean_scores,
    overlaps,
)

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
SPACING = (1.5, 1.2, 6.0)


def by_pairs(truth: NDArray, predicted: NDArray, spacing: tuple[float, ...]) -> float:
    """95 % Hausdorff distance from all pairs of surface voxels."""
    points = [np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing) for mask in (truth, predicted)]
    distances = cdist(*points)
    return float(max(np.percentile(distances.min(axis=0), 95), np.percentile(distances.min(axis=1), 95)))


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


def test_distance_equals_that_of_all_pairs_with_spacing() -> None:
    truth, predicted = boxes() == 1, boxes(3) == 1
    assert hausdorff95(truth, predicted, SPACING) == pytest.approx(by_pairs(truth, predicted, SPACING), abs=1e-4)
    random = np.random.default_rng(0)
    rough = [binary_erosion(random.random((14, 12, 7)) < 0.9) for _ in range(2)]
    assert hausdorff95(*rough, SPACING) == pytest.approx(by_pairs(*rough, SPACING), abs=1e-4)
    assert hausdorff95(truth, truth, SPACING) == 0


def test_an_organ_that_is_missing_is_scored_by_the_table() -> None:
    truth, predicted = boxes(), boxes()
    truth[truth == 2] = 0  # a kidney that is not there is found
    truth[0, 0, 0] = 4  # the spleen is not found
    scores = case_scores(truth, predicted, ORGANS, SPACING)
    diagonal = math.sqrt((20 * 1.5) ** 2 + (16 * 1.2) ** 2 + (8 * 6.0) ** 2)
    for organ in ("right_kidney", "spleen"):
        assert (scores[f"iou_{organ}"], scores[f"dice_{organ}"]) == (0, 0)
        assert scores[f"hd95_{organ}"] == pytest.approx(diagonal)
    assert all(math.isnan(scores[f"{kind}_left_kidney"]) for kind in ("iou", "dice", "hd95"))
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
