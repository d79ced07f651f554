"""LogME against the evidence that a general optimiser finds, and purity against counting."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from medtl.features import heads, transferability
from medtl.features.transferability import log_evidence, purity


def evidence_by_search(features: np.ndarray, target: np.ndarray) -> float:
    """The largest log density a row of N(0, I / beta + F F' / alpha), over alpha and beta."""
    gram, n = features @ features.T, len(target)

    def minus(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        return -float(multivariate_normal.logpdf(target, np.zeros(n), np.eye(n) / beta + gram / alpha)) / n

    ends = [minimize(minus, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000})
            for start in ([0.0, 0.0], [3.0, 2.0])]  # fmt: skip
    return -min(end.fun for end in ends)


@pytest.mark.parametrize(("n", "width"), [(40, 6), (25, 60)])
def test_log_evidence_is_the_largest_there_is(n: int, width: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(n, width)) + 0.3
    labels = (features[:, 0] + 0.5 * random.normal(size=n) > 0.3).astype(int)
    expected = np.mean([evidence_by_search(features, (labels == c).astype(float)) for c in (0, 1)])
    assert log_evidence(features, labels, 2) == pytest.approx(expected, abs=1e-5)
    numbers = features[:, 1] * 3 + random.normal(size=n)
    assert log_evidence(features, numbers, 0) == pytest.approx(evidence_by_search(features, numbers), abs=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_few_pictures_that_fit_exactly_have_a_finite_evidence(seed: int) -> None:
    """With fewer pictures than features the best noise may be none at all: the evidence is then that limit's."""
    random = np.random.default_rng(seed)
    n = 5 + seed
    features = random.normal(size=(n, 400))
    features[:, 0] += 30 * np.arange(n)
    numbers = features @ random.normal(size=400)
    gram = features @ features.T
    alpha = n / float(numbers @ np.linalg.solve(gram, numbers))
    limit = float(multivariate_normal.logpdf(numbers, np.zeros(n), gram / alpha)) / n
    found = log_evidence(features, numbers, 0)
    assert math.isfinite(found)
    assert found >= limit - 1e-5
    assert math.isfinite(log_evidence(features, np.arange(n) % 2, 2))


def test_features_that_tell_the_classes_have_more_evidence_and_purer_neighbourhoods() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(80) % 2
    noise = random.normal(size=(80, 12))
    telling = noise + 3 * labels[:, np.newaxis]
    assert log_evidence(telling, labels, 2) > log_evidence(noise, labels, 2)
    assert purity(telling, labels, 2) > purity(noise, labels, 2) + 0.2


def test_purity_by_hand() -> None:
    """Directions 0, 1, 90 and 91 degrees with classes 0, 0, 1, 0; all three others are neighbours."""
    angles = np.radians([0, 1, 90, 91])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 0])
    assert purity(features, labels, 2) == pytest.approx((2 + 2 + 0 + 2) / 12)
    hot = (labels[:, np.newaxis] == [0, 1]).astype(float)
    assert purity(features, hot, 2) == pytest.approx((2 + 2 + 0 + 2) / 12)
    assert math.isnan(purity(features, labels, 0))


def test_one_class_alone_has_no_evidence() -> None:
    assert math.isnan(log_evidence(np.eye(4), np.zeros(4, int), 2))


def test_memory_does_not_grow_with_all_pairs_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50,000 pictures there are 2.5 billion; in parts purity and nearest neighbours say the same."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(1500, 5)), random.integers(0, 3, 1500)
    pairs = 8 * len(features) ** 2  # bytes
    answers = []
    for together in (len(features), 50):
        monkeypatch.setattr(heads, "TOGETHER", together)
        monkeypatch.setattr(transferability, "TOGETHER", together)
        tracemalloc.start()
        near = heads.neighbours("classification", features, labels, 3)
        answers.append((purity(features, labels, 3), near.predict(features)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (peak < pairs / 2) is (together == 50)
    assert answers[0][0] == answers[1][0]
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=1e-12)
