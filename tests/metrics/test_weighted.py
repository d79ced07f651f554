"""Scores with weights are the scores of repeated images, and rankings behave as rankings must."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medtl.metrics import calibration, classification, weighted

Split = tuple[NDArray, NDArray, NDArray, NDArray]


@st.composite
def splits(draw: st.DrawFn, n_classes: int = 3) -> Split:
    """Labels, probabilities full of ties, patients 0..count-1 of each image, and how often each patient is drawn."""
    images = draw(st.integers(1, 25))
    count = draw(st.integers(1, images))
    patient = np.array(
        [*range(count), *draw(st.lists(st.integers(0, count - 1), min_size=images - count, max_size=images - count))]
    )
    labels = np.array(draw(st.lists(st.integers(0, n_classes - 1), min_size=images, max_size=images)))
    raw = draw(
        st.lists(st.lists(st.integers(1, 5), min_size=n_classes, max_size=n_classes), min_size=images, max_size=images)
    )
    probabilities = np.array(raw) / np.array(raw).sum(axis=1, keepdims=True)
    times = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any))
    return labels, probabilities, patient, np.array(times)


def same(found: dict[str, NDArray], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, nan_ok=True), name


@given(splits())
def test_single_label_weights_are_repetitions(split: Split) -> None:
    labels, probabilities, patient, times = split
    rows = np.repeat(np.arange(len(labels)), times[patient])
    found = weighted.single_label(labels, probabilities, patient, len(times))(times[None].astype(float))
    same(found, classification.single_label(labels[rows], probabilities[rows]))
    same(found, calibration.scores(labels[rows], probabilities[rows]))
    recalls = classification.recalls(labels[rows], probabilities[rows].argmax(axis=1), 3)
    same(found, {f"recall_{c}": value for c, value in enumerate(recalls)})


@given(splits())
def test_multi_label_weights_are_repetitions(split: Split) -> None:
    _, probabilities, patient, times = split
    labels = (np.roll(probabilities, 1, axis=0) > 0.35).astype(np.float32)
    rows = np.repeat(np.arange(len(labels)), times[patient])
    found = weighted.multi_label(labels, probabilities, patient, len(times))(times[None].astype(float))
    same(found, classification.multi_label(labels[rows], probabilities[rows]))


@given(splits(n_classes=2), st.sampled_from([0, 1]), st.sampled_from([0.3, 0.5, 0.75]))
def test_binary_weights_are_repetitions(split: Split, positive: int, threshold: float) -> None:
    labels, probabilities, patient, times = split
    scores = probabilities[:, positive]
    rows = np.repeat(np.arange(len(labels)), times[patient])
    found = weighted.binary(labels == positive, scores, patient, len(times), threshold)(times[None].astype(float))
    expected = classification.binary(labels[rows], scores[rows], positive, threshold)
    assert set(found) == set(expected)
    same(found, expected)


def test_a_row_of_weights_does_not_touch_the_others() -> None:
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 3, 40), random.dirichlet(np.ones(3), 40).round(1)
    scorer = weighted.single_label(labels, probabilities, np.arange(40) // 2, 20)
    times = random.integers(0, 3, (7, 20)).astype(float)
    together = scorer(times)
    for row in range(7):
        for name, values in scorer(times[row : row + 1]).items():
            assert values[0] == pytest.approx(together[name][row], nan_ok=True), name


def area(positive: NDArray, scores: NDArray) -> float:
    scorer = weighted.binary(positive, scores, np.arange(len(scores)), len(scores))
    return float(scorer(np.ones((1, len(scores))))["auc"][0])


@given(st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=40), st.randoms())
def test_area_invariances(images: list[tuple[bool, int]], random: object) -> None:
    positive, scores = (np.array(column) for column in zip(*images, strict=True))
    value = area(positive, scores.astype(float))
    if positive.all() or not positive.any():
        assert math.isnan(value)
        return
    assert value == pytest.approx(roc_auc_score(positive, scores))
    assert area(positive, np.exp(scores / 3) - 7) == pytest.approx(value)  # only the order counts
    assert area(~positive, scores.astype(float)) == pytest.approx(1 - value)
    assert area(positive, -scores.astype(float)) == pytest.approx(1 - value)
    order = np.random.default_rng(random.randint(0, 99)).permutation(len(scores))  # type: ignore[attr-defined]
    assert area(positive[order], scores[order].astype(float)) == pytest.approx(value)


def test_means_leave_missing_cases_out() -> None:
    dice = np.array([0.5, np.nan, 0.9, 0.7])
    found = weighted.means({"dice": dice}, np.array([0, 0, 1, 2]), 3)(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found["dice"], [(0.5 + 2 * 0.9) / 3, np.nan])


def test_mean_of_trainings() -> None:
    random = np.random.default_rng(3)
    labels, patient = random.integers(0, 2, 20), np.arange(20)
    scorers = [weighted.single_label(labels, random.dirichlet([1, 1], 20), patient, 20) for _ in range(3)]
    times = random.integers(1, 3, (2, 20)).astype(float)
    expected = np.mean([scorer(times)["auc"] for scorer in scorers], axis=0)
    np.testing.assert_allclose(weighted.mean_of(scorers)(times)["auc"], expected)
