"""Metrics against hand-computed cases and scikit-learn; intervals against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medtl.metrics import bootstrap, classification


def one_hot(classes: list[int], n: int) -> np.ndarray:
    return np.eye(n)[classes] * 0.9 + 0.1 / n


def test_scores_of_a_hand_made_case() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = classification.single_label(labels, one_hot([0, 0, 1, 1, 1, 0], 4))
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["class_weighted_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)  # class 3 does not occur
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert scores["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 4 / 5 + 0) / 6)


def test_area_is_the_mean_of_one_against_the_rest() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    probabilities = random.dirichlet(np.ones(3), 200)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert classification.single_label(labels, probabilities)["auc"] == pytest.approx(expected)


def test_one_class_alone_has_no_area() -> None:
    assert math.isnan(classification.single_label(np.zeros(4, int), one_hot([0, 1, 0, 0], 2))["auc"])


def test_multi_label_scores() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32)
    probabilities = np.array([[0.9, 0.2, 0.1], [0.4, 0.1, 0.1], [0.6, 0.8, 0.7]])
    scores = classification.multi_label(labels, probabilities)
    assert scores["accuracy"] == pytest.approx(7 / 9)
    assert scores["auc"] == pytest.approx((1.0 + 0.5) / 2)  # the third class never occurs


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_scores_from_counts_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    counts = [
        np.bincount(which, minlength=5).astype(float) for which in (labels[labels == predicted], labels, predicted)
    ]
    expected = classification.single_label(labels, np.eye(5)[predicted])
    for name, value in bootstrap.from_counts(*counts).items():
        assert value == pytest.approx(expected[name])


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Patients with four alike images each: an interval over images would cover far less often."""
    random = np.random.default_rng(1)
    covered = covered_by_images = 0
    for draw in range(300):
        right = random.beta(3, 1, size=80)  # each patient's own difficulty; the mean is 0.75
        hits = (random.random((80, 4)) < (random.random((80, 1)) < right[:, None])).ravel()
        patients = np.repeat(np.arange(80), 4).astype(str)
        labels = np.zeros(320, int)
        predicted = np.where(hits, 0, 1)
        low, high = bootstrap.intervals(labels, predicted, patients, 2, seed=draw)["accuracy"]
        covered += low <= 0.75 <= high
        low, high = bootstrap.intervals(labels, predicted, np.arange(320).astype(str), 2, seed=draw)["accuracy"]
        covered_by_images += low <= 0.75 <= high
    assert 0.90 <= covered / 300 <= 0.98
    assert covered_by_images / 300 < 0.80


def test_interval_is_repeatable_and_needs_two_patients() -> None:
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    first = bootstrap.intervals(labels, predicted, ["a", "a", "b", "c"], 2)
    assert first == bootstrap.intervals(labels, predicted, ["a", "a", "b", "c"], 2)
    assert set(first) == {"accuracy", "class_weighted_accuracy", "f1_macro", "f1_weighted"}
    for low, high in first.values():
        assert 0 <= low <= high <= 1
    assert bootstrap.intervals(labels, predicted, ["a"] * 4, 2) == {}
