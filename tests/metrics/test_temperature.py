"""Temperature scaling against a grid search, scikit-learn's log loss and a known truth."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss as reference

from medtl.errors import MedtlError
from medtl.metrics import calibration
from medtl.metrics.temperature import fit_temperature, log_loss, with_temperature


def overconfident(n: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, true chances, and chances whose logits are ``factor`` times too large."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (n, 3))
    truth = softmax(logits, axis=1)
    labels = (random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    return labels, truth, softmax(factor * logits, axis=1)


def test_the_true_temperature_is_found() -> None:
    labels, truth, chances = overconfident(20_000, 2.5)
    temperature = fit_temperature(labels, chances)
    assert temperature == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(with_temperature(chances, temperature), truth, atol=0.02)
    before, after = (
        calibration.scores(labels, each)["ece"] for each in (chances, with_temperature(chances, temperature))
    )
    assert after < 0.02 < 0.1 < before


@pytest.mark.parametrize("several", [False, True])
def test_no_other_temperature_is_better(several: bool) -> None:
    random = np.random.default_rng(1)
    labels, _, chances = overconfident(80, 1.8, 3)
    if several:
        labels = (random.random((80, 3)) < 0.4).astype(float)
        chances = expit(random.normal(0, 2, (80, 3)) + labels)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))
    losses = [log_loss(labels, chances, t) for t in grid]
    found = fit_temperature(labels, chances)
    assert log_loss(labels, chances, found) <= min(losses) + 1e-9
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=5e-3)


def test_the_loss_is_that_of_scikit_learn() -> None:
    labels, _, chances = overconfident(50, 1.5)
    assert log_loss(labels, chances) == pytest.approx(reference(labels, chances))
    assert calibration.scores(labels, chances)["nll"] == pytest.approx(reference(labels, chances))
    scaled = with_temperature(chances, 1.7)
    assert log_loss(labels, chances, 1.7) == pytest.approx(reference(labels, scaled))
    assert (scaled.argmax(axis=1) == chances.argmax(axis=1)).all()


def test_a_rounded_0_and_a_perfect_validation_stay_finite() -> None:
    labels, chances = np.array([0, 1, 0]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert 0.02 <= fit_temperature(labels, chances) < 0.2
    assert np.isfinite(with_temperature(chances, 0.02)).all()
    assert np.isfinite(log_loss(1 - labels, chances))
    with pytest.raises(MedtlError):
        fit_temperature(np.zeros(0, int), np.zeros((0, 2)))
