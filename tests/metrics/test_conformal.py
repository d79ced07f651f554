"""Conformal sets: their promise by simulation, patients with several images included, and the quantile by hand."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from medtl.metrics.conformal import covered, fit_quantile, sets


def drawn(random: np.random.Generator, patients: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and patients; the images of a patient are as hard as each other, with one class."""
    sizes = random.integers(1, images + 1, patients)
    patient = np.repeat(np.arange(patients), sizes)
    label = random.integers(0, 3, patients)[patient]
    strength = random.normal(1.0, 1.2, patients)[patient]
    logits = random.normal(0, 1.0, (len(patient), 3)) * 0.3 + random.normal(0, 1, (patients, 3))[patient]
    logits[np.arange(len(patient)), label] += strength
    return label, softmax(logits, axis=1), patient


def by_patient_share(right: np.ndarray, patient: np.ndarray) -> float:
    return float((np.bincount(patient, right) / np.bincount(patient)).mean())


@pytest.mark.parametrize(("patients", "images"), [(20, 1), (40, 1), (20, 8), (40, 8)])
@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_a_new_patients_image_is_covered_as_often_as_promised(patients: int, images: int, alpha: float) -> None:
    random = np.random.default_rng((patients, images, int(100 * alpha)))
    shares = []
    for _ in range(1500):
        labels, chances, patient = drawn(random, patients, images)
        quantile = fit_quantile(labels, chances, patient, alpha)
        new, theirs, whose = drawn(random, 60, images)
        shares.append(by_patient_share(covered(new, theirs, quantile)[0], whose))
    error = np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) >= 1 - alpha - 3 * error
    assert np.mean(shares) <= 1 - alpha + 2 / (patients + 1) + 0.01, "not by taking every class"


def test_images_in_place_of_patients_would_promise_too_much() -> None:
    """Where easy patients have many images, a quantile over images is too small for a random patient's."""
    random = np.random.default_rng(5)
    by_patient, by_image = [], []
    for _ in range(300):
        parts = [drawn(random, 10, 1) for _ in range(2)]
        easy = np.eye(3)[np.zeros(200, int)] * 0.97 + 0.01
        labels = np.r_[parts[0][0], np.zeros(200, int)]
        chances = np.r_[parts[0][1], easy]
        patient = np.r_[parts[0][2], np.full(200, 10)]
        for fitted, names in ((by_patient, patient), (by_image, None)):
            fitted.append(covered(*parts[1][:2], fit_quantile(labels, chances, names, 0.2))[0].mean())
    assert np.mean(by_patient) >= 0.79 > np.mean(by_image)


def test_the_quantile_by_hand() -> None:
    chances = np.array([[p, 1 - p] for p in (0.9, 0.8, 0.7, 0.6)])
    labels = np.zeros(4, int)
    # scores .1 .2 .3 .4; the third of four is the smallest with 3/5 >= 1 - 0.4
    assert fit_quantile(labels, chances, None, 0.4) == pytest.approx(0.3)
    assert fit_quantile(labels, chances, None, 0.2) == pytest.approx(0.4)
    assert fit_quantile(labels, chances, None, 0.1) == math.inf
    # two patients, one with three images: weights 1/9, 1/9, 1/9 and 1/3
    assert fit_quantile(labels, chances, ["a", "a", "a", "b"], 0.7) == pytest.approx(0.3)
    assert fit_quantile(labels, chances, ["a", "a", "a", "b"], 0.5) == pytest.approx(0.4)


def test_sets_hold_what_is_likely_enough() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33]])
    assert sets(chances, 0.65).tolist() == [[True, False, False], [True, True, False], [False, False, False]]
    right, sizes = covered(np.array([0, 1, 2]), chances, math.inf)
    assert (right.all(), sizes.tolist()) == (True, [3, 3, 3])
    with pytest.raises(ValueError, match="alpha"):
        fit_quantile(np.zeros(2, int), chances[:2], None, 0.0)
