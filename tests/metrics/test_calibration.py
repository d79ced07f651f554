"""Calibration against hand-made cases, scikit-learn and simulation of a network that is perfectly calibrated."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from medtl.metrics import calibration


def named(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and two-class probabilities that name class 0 with this confidence."""
    return np.where(right, 0, 1), np.stack([confidence, 1 - confidence], axis=1)


def test_error_and_curve_by_hand() -> None:
    labels, probabilities = named(np.array([0.55, 0.58, 0.95, 0.95, 0.99]), np.array([1, 0, 1, 1, 0], bool))
    low, high = calibration.reliability(labels, probabilities)
    assert (low.low, low.high, low.count) == (pytest.approx(8 / 15), pytest.approx(9 / 15), 2)
    assert (low.confidence, low.accuracy) == pytest.approx((0.565, 0.5))
    assert (high.count, high.high) == (3, 1)
    assert (high.confidence, high.accuracy) == pytest.approx((0.9633333, 2 / 3))
    expected = 2 / 5 * 0.065 + 3 / 5 * (0.9633333 - 2 / 3)
    assert calibration.scores(labels, probabilities)["ece"] == pytest.approx(expected)


def test_curve_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), 500)
    labels = random.integers(0, 4, 500)
    right = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=10)
    points = calibration.reliability(labels, probabilities, bins=10)
    assert [point.accuracy for point in points] == pytest.approx(accuracy.tolist())
    assert [point.confidence for point in points] == pytest.approx(confidence.tolist())


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_brier_is_that_of_scikit_learn(n_classes: int) -> None:
    random = np.random.default_rng(1)
    probabilities, labels = random.dirichlet(np.ones(n_classes), 60), random.integers(0, n_classes, 60)
    truth = labels if n_classes == 2 else np.eye(n_classes)[labels]
    expected = brier_score_loss(truth, probabilities[:, 1] if n_classes == 2 else probabilities)
    found = calibration.scores(labels, probabilities)
    assert tuple(found) == ("ece", "brier", "nll", "log_likelihood")
    assert found["brier"] == pytest.approx(expected)


def test_a_sure_network_that_is_always_wrong() -> None:
    labels, probabilities = named(np.ones(10), np.zeros(10, bool))
    found = calibration.scores(labels, probabilities)
    assert (found["ece"], found["brier"]) == (1, 1)
    assert calibration.debiased_error(labels, probabilities) == 1


def test_edges_belong_to_the_bin_below() -> None:
    places = calibration.bin_of(np.array([0.0, 0.2, 0.2000001, 1.0]), bins=5)
    assert places.tolist() == [0, 0, 1, 4]


def test_few_images_of_a_perfect_network_look_badly_calibrated_unless_debiased() -> None:
    random, plain, debiased = np.random.default_rng(2), [], []
    for _ in range(400):
        confidence = random.uniform(0.5, 1, 156)
        labels, probabilities = named(confidence, random.random(156) < confidence)
        plain.append(calibration.scores(labels, probabilities)["ece"])
        debiased.append(calibration.debiased_error(labels, probabilities))
    assert np.mean(plain) > 0.06
    assert np.median(debiased) < 0.03
    assert np.mean(np.array(debiased) == 0) > 0.35


def test_debiased_error_finds_a_real_gap() -> None:
    random, found = np.random.default_rng(3), []
    for _ in range(200):
        confidence = random.uniform(0.7, 1, 2000)
        found.append(calibration.debiased_error(*named(confidence, random.random(2000) < confidence - 0.2)))
    assert np.mean(np.square(found)) == pytest.approx(0.2**2, rel=0.02)


def test_debiased_error_of_ties_and_single_images() -> None:
    labels, probabilities = named(np.full(8, 0.75), np.array([1, 1, 1, 0, 1, 1, 1, 0], bool))
    assert calibration.debiased_error(labels, probabilities) == 0
    assert math.isnan(calibration.debiased_error(labels[:1], probabilities[:1]))
