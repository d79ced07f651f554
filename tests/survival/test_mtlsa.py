"""MTLSA against a generic solver, by hand, and with its two norms at their ends."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import isotonic_regression

from medtl.errors import MedtlError
from medtl.metrics.survival import Followed, c_index, followed
from medtl.survival import mtlsa


def drawn(seed: int, n: int, features: int = 3) -> tuple[np.ndarray, Followed]:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, features))
    time = np.ceil(10 * rng.exponential(np.exp(-1.2 * table[:, 0])))
    return table, followed(time, rng.random(n) < 0.7)


def test_who_is_without_the_event_by_hand() -> None:
    who = followed([1, 2, 2, 5], [1, 1, 0, 0])
    free, known = mtlsa.targets(who, [1, 2, 3])
    assert free.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert known.tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]


def test_nearest_rows_that_never_increase_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(size=(30, 7)), rng.uniform(0.2, 3, (30, 7))
    theirs = [isotonic_regression(row, sample_weight=w, increasing=False) for row, w in zip(rows, weight, strict=True)]
    assert mtlsa.decreasing(rows, weight) == pytest.approx(np.array(theirs))


@pytest.mark.parametrize("seed", range(3))
def test_the_solution_is_that_of_a_generic_solver(seed: int) -> None:
    table, who = drawn(seed, 14, 2)
    known = mtlsa.targets(who, np.quantile(who.time, [0.25, 0.5, 0.75]))
    sparse, ridge = 0.6, 0.2
    whole = np.insert(table, 0, 1, axis=1)

    def loss(flat: np.ndarray) -> float:
        beta = flat.reshape(3, 3)
        off = known[1] * (known[0] - whole @ beta)
        lengths = np.sqrt((beta[1:] ** 2).sum(axis=1) + 1e-12).sum()
        return float(0.5 * (off**2).sum() + sparse * lengths + ridge * (beta[1:] ** 2).sum())

    def room(flat: np.ndarray) -> np.ndarray:
        curves = whole @ flat.reshape(3, 3)
        return np.concatenate([-np.diff(curves, axis=1).ravel(), curves[:, -1]])

    begin = np.zeros((3, 3))
    begin[0] = [0.7, 0.5, 0.3]
    found = minimize(
        loss, begin.ravel(), method="SLSQP", constraints={"type": "ineq", "fun": room},
        options={"maxiter": 1000, "ftol": 1e-12},
    )  # fmt: skip
    ours = mtlsa.solve(table, known, sparse, ridge)
    assert found.success
    assert loss(ours.ravel()) == pytest.approx(found.fun, abs=1e-4)
    assert ours == pytest.approx(found.x.reshape(3, 3), abs=5e-3)
    assert room(ours.ravel()).min() > -1e-3


def test_without_features_it_is_the_share_without_the_event() -> None:
    """By hand: the largest penalty leaves the intercepts, which are means over those of whom it is known."""
    table, who = drawn(5, 40)
    whole = Followed(who.time, np.ones_like(who.event))
    moments = np.quantile(who.time, [0.2, 0.5, 0.8])
    known = mtlsa.targets(whole, moments)
    top = mtlsa.largest(table, known)
    alone = mtlsa.solve(table, known, 1.01 * top, 0)
    assert np.all(alone[1:] == 0)
    assert alone[0] == pytest.approx([(who.time > moment).mean() for moment in moments], abs=1e-4)
    assert np.any(mtlsa.solve(table, known, 0.9 * top, 0)[1:] != 0)


def test_a_planted_risk_is_found() -> None:
    table, who = drawn(7, 150, 5)
    train = np.arange(150) < 100
    model = mtlsa.fit_mtlsa(table[train], Followed(who.time[train], who.event[train]))
    rest = Followed(who.time[~train], who.event[~train])
    assert c_index(rest, model.risk(table[~train])) > 0.7
    curve = model.curve(table)
    assert np.all(np.diff(curve, axis=1) <= 1e-12)
    assert curve.min() >= 0


def test_what_cannot_be_fitted_is_told() -> None:
    table, who = drawn(7, 10)
    with pytest.raises(MedtlError, match="event"):
        mtlsa.fit_mtlsa(table, Followed(who.time, np.zeros(10, bool)))
    with pytest.raises(MedtlError, match="converge"):
        mtlsa.solve(np.full((10, 2), np.nan), mtlsa.targets(who, [1, 2]), 0.1, 0.1)
