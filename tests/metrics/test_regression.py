"""Metrics of predicted numbers, beside scikit-learn and Bland and Altman's definitions."""

import math

import numpy as np
import oracle_scores as oracle
import pytest

from medtl.errors import UsageError
from medtl.metrics import bootstrap, classification, registry
from medtl.metrics.registry import Split, split_of

NAMES = ("mae", "rmse", "r2", "bias", "loa_lower", "loa_upper")


def drawn(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.normal(60, 12, count)
    return labels, labels + random.normal(1.5, 5, count), random.integers(0, count // 3, count)


def test_values_are_scikit_learns() -> None:
    labels, predicted, patients = drawn()
    split = split_of(labels, predicted[:, np.newaxis], patients)
    assert split.kind == "regression"
    assert registry.values(split) == pytest.approx(oracle.regression(labels, predicted))
    assert set(registry.values(split)) == set(NAMES)


def test_weights_are_repetitions_of_patients() -> None:
    labels, predicted, patients = drawn(seed=3)
    split = split_of(labels, predicted[:, np.newaxis], patients)
    times = np.random.default_rng(1).integers(0, 4, split.count)
    rows = np.repeat(np.arange(len(labels)), times[split.patient])
    found = registry.scorer(split)(times[np.newaxis].astype(float))
    expected = oracle.regression(labels[rows], predicted[rows])
    assert {name: float(found[name][0]) for name in NAMES} == pytest.approx(expected)


def test_large_numbers_lose_no_digits() -> None:
    labels, predicted, _ = drawn(seed=5)
    near, far = (registry.values(split_of(labels + shift, predicted[:, np.newaxis] + shift)) for shift in (0, 1e6))
    assert far == pytest.approx(near, rel=1e-6)


def test_numbers_that_do_not_differ_have_no_explained_share() -> None:
    found = registry.values(split_of(np.full(5, 3.1), np.arange(5.0)[:, np.newaxis]))
    assert math.isnan(found["r2"])
    assert found["mae"] == pytest.approx(np.abs(np.arange(5) - 3.1).mean())


def test_intervals_are_of_patients() -> None:
    labels, predicted, _ = drawn(90)
    alone = bootstrap.intervals(split_of(labels, predicted[:, np.newaxis], np.arange(90)))
    three = bootstrap.intervals(
        split_of(np.repeat(labels, 3), np.repeat(predicted, 3)[:, np.newaxis], np.arange(270) // 3)
    )
    values = registry.values(split_of(labels, predicted[:, np.newaxis]))
    for name in ("mae", "rmse", "r2", "bias"):
        low, high = alone[name]
        assert low < values[name] < high
        assert three[name] == pytest.approx(alone[name])  # three pictures of a patient say no more than one


def test_the_mean_alone_explains_nothing() -> None:
    labels, _, _ = drawn()
    found = classification.of_guessing(labels, 1)
    assert found["r2"] == pytest.approx(0)
    assert found["mae"] == pytest.approx(np.abs(labels - labels.mean()).mean())


def test_epochs_are_chosen_by_errors_that_are_small() -> None:
    assert registry.names("regression") == ("mae", "rmse", "r2")
    assert [name for name in NAMES if registry.lower_is_better(name)] == [*NAMES[:2], *NAMES[3:]]
    assert not registry.lower_is_better("auc")
    assert "mae" not in registry.names("single_label")


def test_findings_pooled_lie_between_chance_and_right() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0], [0, 1], [1, 0]], float)
    chances = np.clip(labels * 0.2 + np.linspace(0, 0.7, 16).reshape(8, 2), 0, 1)
    split = Split(labels, chances, np.arange(8), 8)
    assert registry.values(split) == pytest.approx(oracle.multi_label(labels, chances))
    low, high = bootstrap.intervals(split)["auc_micro"]
    assert low < registry.values(split)["auc_micro"] < high


def test_a_key_metric_is_of_its_task(tmp_path: object) -> None:
    from medtl.bundles.begin import check_metric

    check_metric("mae", "regression")
    for metric, task in (
        ("mae", "classification"),
        ("auc", "regression"),
        ("bias", "regression"),
        ("ece", "multilabel"),
    ):
        with pytest.raises(UsageError, match="is not one of"):
            check_metric(metric, task)
