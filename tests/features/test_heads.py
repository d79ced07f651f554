"""Heads against scikit-learn, called directly on the same features."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from medtl.errors import MedtlError, UsageError
from medtl.features import heads


def drawn(n: int, width: int, n_classes: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Features on very different scales, of which a few tell the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    features = random.normal(size=(n, width)) * random.uniform(0.1, 30, width) + random.normal(size=width)
    features[:, :n_classes] += 3 * (labels[:, np.newaxis] == np.arange(n_classes)) * features.std(axis=0)[:n_classes]
    return features.astype(np.float16), labels


@pytest.mark.parametrize(("n", "width", "n_classes"), [(60, 12, 2), (40, 90, 2), (60, 12, 3), (45, 100, 4)])
def test_logistic_is_scikit_learns_with_the_penalty_of_the_least_validation_loss(
    n: int, width: int, n_classes: int
) -> None:
    """Also where there are fewer pictures than features, which are rotated then."""
    rows, labels = drawn(n + 60, width, n_classes)
    train, validation, test = rows[:n], rows[n : n + 30], rows[n + 30 :]
    own, theirs = labels[:n], labels[n : n + 30]
    found = heads.fit("logistic", "classification", (train, own), (validation, theirs), n_classes)
    scaler = StandardScaler().fit(train.astype(float))
    losses, answers = [], []
    for penalty in heads.PENALTIES:
        model = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=20000).fit(scaler.transform(train), own)
        losses.append(log_loss(theirs, model.predict_proba(scaler.transform(validation)), labels=range(n_classes)))
        answers.append(model.predict_proba(scaler.transform(test)))
    best = int(np.argmin(losses))
    assert found.facts["penalty"] == heads.PENALTIES[best]
    assert found.facts["val_loss"] == pytest.approx(losses[best], abs=2e-3)
    np.testing.assert_allclose(found.predict(test), answers[best], atol=5e-3)


def test_each_finding_against_the_rest() -> None:
    rows, first = drawn(120, 15, 2)
    labels = np.stack([first, np.arange(120) // 2 % 2, np.zeros(120, int)], axis=1).astype(float)
    own = rows[:60], labels[:60]
    found = heads.fit("logistic", "multilabel", own, (rows[60:90], labels[60:90]), 3)
    scaler, penalty = StandardScaler().fit(rows[:60].astype(float)), found.facts["penalty"]
    for place in (0, 1):
        model = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=20000)
        model.fit(scaler.transform(rows[:60]), labels[:60, place])
        expected = model.predict_proba(scaler.transform(rows[90:]))[:, 1]
        np.testing.assert_allclose(found.predict(rows[90:])[:, place], expected, atol=5e-3)
    assert found.predict(rows[90:])[:, 2] == pytest.approx(1 / 62)  # nobody has it: Laplace's share


def test_a_class_without_a_training_picture_is_never_said() -> None:
    rows, labels = drawn(60, 8, 3)
    seen = labels[:30] != 1
    found = heads.fit("logistic", "classification", (rows[:30][seen], labels[:30][seen]), (rows[30:], labels[30:]), 3)
    assert (found.predict(rows)[:, 1] == 0).all()
    assert found.predict(rows).sum(axis=1) == pytest.approx(1)
    with pytest.raises(MedtlError, match="all of one class"):
        heads.fit("logistic", "classification", (rows[:5], np.zeros(5, int)), (rows[30:], labels[30:]), 3)


@pytest.mark.parametrize("width", [9, 80])
def test_ridge_is_scikit_learns(width: int) -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(100, width)) * random.uniform(0.1, 9, width)
    ages = 50 + 5 * rows[:, 0] + random.normal(size=100)
    found = heads.fit("logistic", "regression", (rows[:50], ages[:50]), (rows[50:75], ages[50:75]), 0)
    scaler = StandardScaler().fit(rows[:50])
    models = [Ridge(alpha=p).fit(scaler.transform(rows[:50]), ages[:50]) for p in heads.PENALTIES]
    losses = [mean_squared_error(ages[50:75], model.predict(scaler.transform(rows[50:75]))) for model in models]
    best = int(np.argmin(losses))
    assert (found.name, found.facts["penalty"]) == ("ridge", heads.PENALTIES[best])
    np.testing.assert_allclose(found.predict(rows[75:]), models[best].predict(scaler.transform(rows[75:])), rtol=1e-6)


def test_neighbours_are_scikit_learns_with_the_weights_of_the_paper() -> None:
    rows, labels = drawn(90, 10, 3)
    ages = labels * 10.0 + 1
    known = {"n_neighbors": 20, "metric": "cosine", "weights": lambda distance: np.exp((1 - distance) / 0.07)}
    own = rows[:60].astype(float)
    model = KNeighborsClassifier(**known).fit(own, labels[:60])
    found = heads.fit("knn", "classification", (rows[:60], labels[:60]), (rows[:1], labels[:1]), 3)
    np.testing.assert_allclose(found.predict(rows[60:]), model.predict_proba(rows[60:].astype(float)), atol=1e-8)
    found = heads.fit("knn", "regression", (rows[:60], ages[:60]), (rows[:1], ages[:1]), 0)
    expected = KNeighborsRegressor(**known).fit(own, ages[:60]).predict(rows[60:].astype(float))
    np.testing.assert_allclose(found.predict(rows[60:]), expected, rtol=1e-8)


def test_few_pictures_vote_all_and_findings_are_shares_of_votes() -> None:
    rows, labels = drawn(12, 5, 2)
    several = np.stack([labels, 1 - labels], axis=1).astype(float)
    found = heads.fit("knn", "multilabel", (rows, several), (rows, several), 2)
    assert found.facts["neighbours"] == 12
    assert found.predict(rows).sum(axis=1) == pytest.approx(1)


def test_other_heads_are_refused() -> None:
    with pytest.raises(UsageError, match="--heads svm is not one of logistic, knn"):
        heads.check_heads(("svm",))
