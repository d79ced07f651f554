"""Metrics against hand-computed cases and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, roc_auc_score

from medtl.metrics import classification, registry


def one_hot(classes: list[int], n: int) -> np.ndarray:
    return np.eye(n)[classes] * 0.9 + 0.1 / n


def test_scores_of_a_hand_made_case() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = classification.single_label(labels, one_hot([0, 0, 1, 1, 1, 0], 4))
    assert tuple(scores) == registry.names("single_label")
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["class_weighted_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)  # class 3 does not occur
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert scores["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 4 / 5 + 0) / 6)


def test_recall_of_each_class() -> None:
    labels, guesses = np.array([0, 0, 0, 1, 1, 2]), one_hot([0, 0, 1, 1, 1, 0], 4)
    found = registry.scorer(registry.split_of(labels, guesses))(np.ones((1, 6)))
    np.testing.assert_allclose([found[f"recall_{c}"][0] for c in range(4)], [2 / 3, 1, 0, np.nan])


def test_rankings_are_the_mean_of_one_against_the_rest() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    probabilities = random.dirichlet(np.ones(3), 200)
    scores = classification.single_label(labels, probabilities)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert scores["auc"] == pytest.approx(expected)
    expected = average_precision_score(np.eye(3)[labels], probabilities, average="macro")
    assert scores["average_precision"] == pytest.approx(expected)


def test_one_class_alone_has_no_ranking() -> None:
    scores = classification.single_label(np.zeros(4, int), one_hot([0, 1, 0, 0], 2))
    assert math.isnan(scores["auc"])
    assert math.isnan(scores["average_precision"])


def test_multi_label_scores() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32)
    probabilities = np.array([[0.9, 0.2, 0.1], [0.4, 0.1, 0.1], [0.6, 0.8, 0.7]])
    scores = classification.multi_label(labels, probabilities)
    assert tuple(scores) == registry.names("multi_label")
    assert scores["accuracy"] == pytest.approx(7 / 9)
    assert scores["auc"] == pytest.approx((1.0 + 0.5) / 2)  # the third class never occurs
    assert scores["average_precision"] == pytest.approx((1.0 + (1 / 2 * 1 + 1 / 2 * 2 / 3)) / 2)


# 10 images: 3 of class 0 called right, 1 called 1; of class 1, 4 called right, 2 called 0
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.9, 0.4, 0.2])  # of class 1; 0.5 is at the threshold: positive


def test_binary_scores_by_hand() -> None:
    scores = classification.binary(LABELS, SCORES, positive=1)
    assert tuple(scores) == registry.names("positive")
    assert scores["sensitivity"] == pytest.approx(4 / 6)
    assert scores["specificity"] == pytest.approx(3 / 4)
    assert scores["ppv"] == pytest.approx(4 / 5)
    assert scores["npv"] == pytest.approx(3 / 5)
    assert scores["f1"] == pytest.approx(8 / 11)
    assert scores["accuracy"] == pytest.approx(7 / 10)
    assert scores["class_weighted_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert scores["auc"] == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert scores["average_precision"] == pytest.approx(average_precision_score(LABELS, SCORES))


def test_the_other_class_as_the_positive_one_swaps_the_sides() -> None:
    one = classification.binary(LABELS, SCORES, positive=1, threshold=0.45)
    other = classification.binary(LABELS, 1 - SCORES, positive=0, threshold=0.55)
    for name, swapped in (("sensitivity", "specificity"), ("ppv", "npv"), ("accuracy", "accuracy"), ("auc", "auc")):
        assert one[name] == pytest.approx(other[swapped])
    assert other["f1"] == pytest.approx(2 * 3 / (3 + 5 + 0 + 1 - 0))
    assert other["ppv"] == pytest.approx(precision_score(LABELS, SCORES >= 0.45, pos_label=0))


@pytest.mark.parametrize(
    ("labels", "scores", "nan", "zero"),
    [
        ([0, 0], [0.1, 0.9], {"sensitivity", "f1", "auc", "average_precision"}, {"ppv"}),
        ([1, 1], [0.1, 0.9], {"specificity", "auc", "average_precision"}, {"npv"}),
        ([0, 1], [0.1, 0.2], {"ppv"}, {"sensitivity", "f1"}),
        ([0, 1], [0.8, 0.9], {"npv"}, {"specificity"}),
    ],
    ids=["no positive", "no negative", "none called positive", "none called negative"],
)
def test_what_cannot_be_said_is_nan(labels: list[int], scores: list[float], nan: set[str], zero: set[str]) -> None:
    found = classification.binary(np.array(labels), np.array(scores), positive=1)
    assert {name for name, value in found.items() if math.isnan(value)} == nan
    assert {name for name, value in found.items() if value == 0} == zero


def test_guessing_scores_what_each_metric_calls_chance() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    found = classification.of_guessing(labels, 3)
    assert found["auc"] == 0.5
    assert found["accuracy"] == 0.6
    assert found["class_weighted_accuracy"] == pytest.approx(1 / 3)
    assert found["average_precision"] == pytest.approx(1 / 3)
    assert found["f1_weighted"] == pytest.approx(0.6 * 2 * 0.6 / 1.6)
    several = classification.of_guessing(np.array([[1, 0], [1, 1], [1, 0], [0, 0]]), 2)
    micro = {
        "auc_micro": 12 / 16,
        "average_precision_micro": (3 * 3 / 4 + 4 / 8) / 4,
    }  # the commoner finding ranks above
    assert several == pytest.approx({"auc": 0.5, "accuracy": 0.75, "average_precision": 0.5, **micro})
