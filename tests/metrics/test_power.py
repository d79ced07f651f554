"""Plans against the equation of Hanley and McNeil, and against studies that are drawn and tested."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import UsageError
from medtl.metrics import delong
from medtl.metrics.power import Design, covariance, images_for, outlook, variance_of_difference


@pytest.mark.parametrize("area", [0.6, 0.85, 0.95])
@pytest.mark.parametrize(("positive", "negative"), [(60, 140), (10, 25)])
def test_the_equation_of_hanley_and_mcneil(area: float, positive: int, negative: int) -> None:
    """Equation 1 of 1982; the chance that two positive images outrank one negative image by numerical integration, and
    that of one positive and two negative images, which the equal variances make the same."""
    shift = math.sqrt(2) * norm.ppf(area)
    twice, _ = quad(lambda y: norm.sf(y - shift) ** 2 * norm.pdf(y), -9, 9)
    spread = (positive + negative - 2) * (twice - area**2)
    expected = (area * (1 - area) + spread) / (positive * negative)
    assert covariance(area, area, positive, negative) == pytest.approx(expected, rel=1e-5)


def test_one_image_a_class_and_no_difference() -> None:
    assert covariance(0.8, 0.8, 1, 1) == pytest.approx(0.8 * 0.2)
    same = Design(0.8, 0.5, 0.0, correlation=1.0)
    assert variance_of_difference(same, 40, 40) == pytest.approx(0, abs=1e-12)


def test_images_of_one_patient_that_are_the_same_count_once() -> None:
    """With an ICC of 1 two images a patient tell what one does, with 0 what two patients do."""
    twins = covariance(0.8, 0.8, 60, 100, 1.0, 2, 1.0)
    assert twins == pytest.approx(covariance(0.8, 0.8, 30, 50), rel=1e-9)
    assert covariance(0.8, 0.8, 60, 100, 1.0, 2, 0.0) == pytest.approx(covariance(0.8, 0.8, 60, 100), rel=1e-9)


def test_more_images_are_needed_for_a_smaller_difference() -> None:
    wide, narrow = Design(0.85, 0.3, 0.1), Design(0.85, 0.3, 0.05)
    assert 3 < images_for(narrow) / images_for(wide) < 5
    needed = images_for(narrow)
    assert outlook(narrow, needed).power >= 0.8 > outlook(narrow, needed - 1).power - 0.01
    assert outlook(Design(0.85, 0.3, 0.05, 2), needed).power < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("each", "correlation", "images", "difference"), [(1, 0.5, 300, 0.08), (2, 0.6, 400, 0.08)])
def test_power_is_that_of_studies_that_are_drawn(each: int, correlation: float, images: int, difference: float) -> None:
    """Within two points; 4,000 studies leave a standard error of 0.8."""
    design = Design(0.85, 0.3, difference, each, 0.5, correlation)
    expected = outlook(design, images)
    random = np.random.default_rng(0)
    labels = np.arange(images) < expected.positive
    patients = np.where(labels, np.arange(images) // each, -1 - np.arange(images)[::-1] // each)
    owner = np.unique(patients, return_inverse=True)[1]
    shifts = math.sqrt(2) * norm.ppf([design.auc, design.auc - difference])
    mixing = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    found, widths = 0, []
    studies = 4000
    for _ in range(studies):
        shared = mixing @ random.normal(size=(2, owner.max() + 1))
        noise = math.sqrt(design.icc) * shared[:, owner] + math.sqrt(1 - design.icc) * (
            mixing @ random.normal(size=(2, images))
        )
        if each == 1:
            noise = mixing @ random.normal(size=(2, images))
        scores = noise + shifts[:, np.newaxis] * labels
        test = delong.paired_test(labels, *scores, None if each == 1 else patients)
        found += test.p < 0.05
        widths.append((test.high - test.low) / 2)
    assert found / studies == pytest.approx(expected.power, abs=0.02)
    assert np.mean(widths) == pytest.approx(expected.difference_half_width, rel=0.03)


def test_the_command_says_width_and_power() -> None:
    words = ["plan", "--auc", "0.85", "--prevalence", "0.3", "--difference", "0.05"]
    printed = CliRunner().invoke(app, words).output
    assert "power 80% needs" in printed
    found = json.loads(CliRunner().invoke(app, [*words, "--n", "200", "--images-per-patient", "2", "--json"]).output)
    (row,) = found["outlook"]
    assert (row["images"], row["patients"], row["positive"]) == (200, 100, 60)
    assert 1.3 < row["design_effect"] < 1.5
    assert found["images_needed"] == images_for(Design(0.85, 0.3, 0.05, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auc": 0.4}, "--auc 0.4"),
        ({"prevalence": 1.0}, "--prevalence 1.0"),
        ({"difference": 0.9}, "--difference 0.9"),
        ({"images_per_patient": 0}, "--images-per-patient 0"),
        ({"icc": 2.0}, "--icc 2.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Design(**{"auc": 0.8, "prevalence": 0.3, **changes})
    with pytest.raises(UsageError, match="fewer than two patients"):
        outlook(Design(0.8, 0.1), 10)
