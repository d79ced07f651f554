"""Accuracy among the five likeliest classes, against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from medtl.metrics import registry


def scored(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    split = registry.split_of(labels, probabilities, np.array([f"p{number // 2:02d}" for number in range(len(labels))]))
    times = np.ones((1, split.count)) if weights is None else weights[None]
    return float(registry.scorer(split)(times)["accuracy_top5"][0])


@pytest.mark.parametrize("classes", [6, 20])
def test_it_is_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60 - classes)])
    probabilities = rng.dirichlet(np.ones(classes), 60).astype(np.float32)
    expected = top_k_accuracy_score(labels, probabilities, k=5, labels=np.arange(classes))
    assert scored(labels, probabilities) == pytest.approx(expected)
    weights = rng.integers(0, 3, 30).astype(float)
    drawn = top_k_accuracy_score(
        labels, probabilities, k=5, labels=np.arange(classes), sample_weight=np.repeat(weights, 2)
    )
    assert scored(labels, probabilities, weights) == pytest.approx(drawn)


def test_five_classes_say_nothing() -> None:
    labels = np.arange(10) % 5
    assert math.isnan(scored(labels, np.full((10, 5), 0.2, np.float32)))
