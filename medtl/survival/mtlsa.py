"""MTLSA: survival as many regressions at once, one a moment, of who is still without the event (Li et al. 2016).

    minimise ½ ‖W ∘ (Y − XB)‖² + λ₁ ‖B‖₂,₁ + λ₂ ‖B‖²_F,  each row of XB not negative and never increasing

Y (n, moments) is 1 as long as a patient is without the event, W is 0 where this is not known any more. The norm ‖·‖₂,₁
sums the lengths of the rows of B, so that a feature is used at all moments or at none. An intercept a moment, of which
the publication says nothing, is not penalised.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtl.errors import MedtlError
from medtl.metrics.survival import Followed, c_index_harrell

Floats = NDArray[np.float64]
MOMENTS = 10
LARGEST_SHARES = np.geomspace(1, 0.01, 8)  # of the smallest λ₁ that leaves no feature
ROUNDS, EXACT, ROUGH = 3000, 1e-5, 0.1
PATH_ROUNDS, PATH_EXACT = 150, 1e-3  # while the penalty is chosen


@dataclass(frozen=True, eq=False)
class Mtlsa:
    """A fitted model.

    Attributes:
        moments: (k,) ascending, at which it tells who is without the event.
        weights: (d, k) of the features.
        intercept: (k,).
    """

    moments: Floats
    weights: Floats
    intercept: Floats

    def curve(self, features: ArrayLike) -> Floats:
        """Return (n, k) estimates of being without the event, of features (n, d): 0 to 1 and never increasing."""
        return np.clip(decreasing(np.asarray(features, np.float64) @ self.weights + self.intercept), 0, 1)

    def risk(self, features: ArrayLike) -> Floats:
        """Return risks (n,): 1 less the mean over the moments. As linear as the model, so that few are equal."""
        return 1 - (np.asarray(features, np.float64) @ self.weights + self.intercept).mean(axis=1)


def targets(who: Followed, moments: ArrayLike) -> tuple[Floats, Floats]:
    """Return Y and W (n, k): who is without the event at each moment, and 1 where that is known. One with the event at
    a moment has it then; one last seen without it at a moment is without it then."""
    at = np.asarray(moments, dtype=np.float64)
    time, event = who.time[:, np.newaxis], who.event[:, np.newaxis]
    free = (time > at) | (~event & (time == at))
    return free.astype(np.float64), (event | free).astype(np.float64)


def decreasing(values: ArrayLike, weight: ArrayLike = 1.0) -> Floats:
    """Return the nearest rows that never increase, of rows (n, k) with weights (n, k): each value is the largest over
    its last, of the smallest over its first, of the weighted means of what lies between (Barlow et al. 1972)."""
    all_rows = np.asarray(values, dtype=np.float64)
    rises = (np.diff(all_rows, axis=1) > 0).any(axis=1)
    rows = all_rows[rises]
    weights = np.broadcast_to(np.asarray(weight, dtype=np.float64), all_rows.shape)[rises]
    size = rows.shape[1]
    total, mass = (np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0))) for each in (rows * weights, weights))
    first, last = np.triu_indices(size)
    between = np.full((len(rows), size, size), np.inf)
    between[:, first, last] = (total[:, last + 1] - total[:, first]) / (mass[:, last + 1] - mass[:, first])
    least = np.minimum.accumulate(between, axis=1)  # over the first, up to each value
    least[:, *np.tril_indices(size, -1)] = -np.inf
    found = all_rows.copy()
    found[rises] = least.max(axis=2)
    return found


def solve(
    features: ArrayLike,
    known: tuple[Floats, Floats],
    sparse: float,
    ridge: float,
    begin: Floats | None = None,
    exact: float = EXACT,
    rounds: int = ROUNDS,
) -> Floats:
    """Return [intercept; B] (d + 1, k) of the problem above, by ADMM.

    Args:
        features: (n, d), best of mean 0 and SD 1.
        known: Y and W, as ``targets`` gives them.
        sparse, ridge: λ₁ and λ₂, not negative.
        begin: a first guess.
        exact: largest change of any number in the last round.
        rounds: that it ends after, where the change is at most ``ROUGH`` then.

    Raises:
        MedtlError: it does not converge, as where features are not finite.
    """
    table = np.insert(np.asarray(features, dtype=np.float64), 0, 1, axis=1)
    truth, weight = known
    beta = np.zeros((table.shape[1], truth.shape[1])) if begin is None else begin.copy()
    pull = 0.1  # ADMM's ρ of curves
    pull_rows = pull * len(table)  # and of rows, as long as the features are of SD 1
    curves, rows = decreasing(table @ beta).clip(0), beta.copy()
    off_curve, off_rows = np.zeros_like(curves), np.zeros_like(rows)
    gram, penalised = table.T @ table, np.arange(len(beta)) > 0
    inverse = np.linalg.inv(pull * gram + np.diag(pull_rows + 2 * ridge * penalised))
    for _ in range(rounds):
        beta = inverse @ (pull * (table.T @ (curves - off_curve)) + pull_rows * (rows - off_rows))
        fitted, before = table @ beta, (curves, rows)
        wanted = (weight * truth + pull * (fitted + off_curve)) / (weight + pull)
        curves = decreasing(wanted, weight + pull).clip(0)
        moved = beta + off_rows
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        kept = np.clip(1 - sparse / pull_rows / np.where(length > 0, length, 1), 0, 1)
        rows = np.where(penalised[:, np.newaxis], kept * moved, moved)
        off_curve += fitted - curves
        off_rows += beta - rows
        gap = max(_size(fitted - curves), _size(beta - rows), _size(curves - before[0]), _size(rows - before[1]))
        if gap < exact:
            return rows
        if not math.isfinite(gap):
            break
    if not gap < ROUGH:
        raise MedtlError(f"MTLSA does not converge in {rounds:,} rounds: take fewer features, or a larger ridge")
    return rows


def _size(table: Floats) -> float:
    return float(np.abs(table).max())


def largest(features: ArrayLike, known: tuple[Floats, Floats]) -> float:
    """Return the smallest λ₁ that leaves no feature, as long as the curve of all patients never increases."""
    truth, weight = known
    mean = (weight * truth).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
    return float(np.linalg.norm(np.asarray(features).T @ (weight * (truth - mean)), axis=1).max())


def fit_mtlsa(
    features: ArrayLike, who: Followed, ridge: float = 0.01, inner: int = 3, count: int = MOMENTS, seed: int = 0
) -> Mtlsa:
    """Return a model whose λ₁ is chosen among shares 1 to 0.01 of the largest, by the mean C-index of inner folds.

    Args:
        features: (n, d) of training patients, of mean 0 and SD 1.
        who: their times and events.
        ridge: λ₂.
        inner: folds, with as many events in each.
        count: of moments: quantiles of the times of events.
        seed: of the folds.

    Raises:
        MedtlError: nobody had the event, or it does not converge.
    """
    table = np.asarray(features, dtype=np.float64)
    if not who.event.any():
        raise MedtlError("MTLSA: no training patient had the event")
    moments = np.unique(np.quantile(who.time[who.event], np.linspace(0, 1, count + 2)[1:-1]))
    fold = stratified(who, inner, seed)
    scores = np.zeros(len(LARGEST_SHARES))
    for own in range(inner):
        train, rest = fold != own, fold == own
        _, path = _path(table[train], Followed(who.time[train], who.event[train]), moments, ridge)
        held = Followed(who.time[rest], who.event[rest])
        models = [Mtlsa(moments, each[1:], each[0]) for each in path]
        scores += np.nan_to_num([c_index_harrell(held, model.risk(table[rest])) for model in models], nan=0.5)
    shares, path = _path(table, who, moments, ridge, int(scores.argmax()) + 1)
    found = solve(table, targets(who, moments), float(shares[-1]), ridge, path[-1], PATH_EXACT)
    return Mtlsa(moments, found[1:], found[0])


def stratified(who: Followed, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold (n,) of each patient, with as many events in each."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(who.time), dtype=np.int64)
    for seen in (True, False):
        places = rng.permutation(np.flatnonzero(who.event == seen))
        fold[places] = np.arange(len(places)) % folds
    return fold


def _path(
    table: Floats, who: Followed, moments: Floats, ridge: float, steps: int = len(LARGEST_SHARES)
) -> tuple[Floats, list[Floats]]:
    """λ₁, and [intercept; B] of each, every one begun where the one before has ended."""
    known = targets(who, moments)
    shares = LARGEST_SHARES[:steps] * largest(table, known)
    found: list[Floats] = []
    for sparse in shares:
        before = found[-1] if found else None
        found.append(solve(table, known, float(sparse), ridge, before, PATH_EXACT, PATH_ROUNDS))
    return shares, found
