"""The mean log-likelihood is minus scikit-learn's log loss, for whole splits and for drawn patients."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from medtl.metrics.calibration import calibrated
from medtl.metrics.registry import metrics, split_of, values


@pytest.mark.parametrize("n_classes", [2, 4])
def test_it_is_minus_the_log_loss_of_scikit_learn(n_classes: int) -> None:
    random = np.random.default_rng(n_classes)
    probabilities, labels = random.dirichlet(np.ones(n_classes), 80), random.integers(0, n_classes, 80)
    patients = [str(number) for number in random.integers(0, 30, 80)]
    split = split_of(labels, probabilities, patients)
    expected = -log_loss(labels, probabilities, labels=range(n_classes))
    assert values(split)["log_likelihood"] == pytest.approx(expected)
    times = random.integers(0, 3, (5, split.count)).astype(float)
    drawn = [
        -log_loss(labels, probabilities, labels=range(n_classes), sample_weight=row[split.patient]) for row in times
    ]
    assert calibrated(split)(times)["log_likelihood"] == pytest.approx(drawn)


def test_a_sure_mistake_costs_much_and_not_everything() -> None:
    found = values(split_of(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])))
    assert found["log_likelihood"] == pytest.approx(np.log(1e-12) / 2)
    least, most = metrics()["log_likelihood"].bounds
    assert least <= found["log_likelihood"] <= most
