"""Scores of predicted risks where some patients are still alive: C-indices, Kaplan-Meier's curve, the log-rank test.

Everywhere a higher risk means an earlier event. ``time`` is in any unit, above 0; ``event`` is true where the event was
seen and false where the patient was last seen without it (censored).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from medtl.errors import MedtlError
from medtl.metrics.bootstrap import REPLICATES, distribution, percentile
from medtl.metrics.weighted import Scorer, divide

TITLES = {"c_index": "C-index", "c_index_harrell": "Harrell's C-index", "c_index_ipcw": "Uno's C-index (IPCW)"}
TIED = 1e-8  # risks that are closer are one risk, as in scikit-survival
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Followed:
    """When each of n patients was last seen, and whether with the event.

    Attributes:
        time: (n,), above 0.
        event: (n,) bool.
    """

    time: Floats
    event: NDArray[np.bool_]


def followed(time: ArrayLike, event: ArrayLike) -> Followed:
    """Return times (n,) and events (n,), numbers 0 and 1 or bool, as they are used here.

    Raises:
        MedtlError: they are of different lengths, a time is not above 0, or an event is neither 0 nor 1.
    """
    times, events = np.asarray(time, dtype=np.float64), np.asarray(event)
    if times.ndim != 1 or times.shape != events.shape:
        raise MedtlError(f"time of shape {times.shape} and event of shape {events.shape}: expected (n,) of each")
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise MedtlError("time: expected finite numbers above 0")
    if not np.isin(events, (0, 1)).all():
        raise MedtlError("event: expected 0 (censored) or 1 (seen)")
    return Followed(times, events.astype(bool))


def c_index(who: Followed, risk: ArrayLike) -> float:
    """Return the C-index of equation 4 of Wen et al. 2021: of all pairs in which i had the event and j was seen
    longer, the share in which i has the higher risk. Equal risks count as wrong. NaN without such a pair."""
    return _whole(_eq4(who, _risks(who, risk)), len(who.time))


def c_index_harrell(who: Followed, risk: ArrayLike) -> float:
    """Return Harrell's C-index: equal risks count half, and one who had the event when the other was last seen without
    it makes a pair, too (Harrell, Lee and Mark 1996). NaN without a pair."""
    return _whole(_harrell(who, _risks(who, risk)), len(who.time))


def c_index_ipcw(who: Followed, risk: ArrayLike, reference: Followed | None = None) -> float:
    """Return Uno's C-index, each pair weighted by the inverse squared probability of not being censored until the
    earlier time, so that it does not depend on the censoring (Uno et al. 2011).

    Args:
        who: the patients.
        risk: (n,).
        reference: whose censoring is taken, usually the training patients; None for ``who``. Events after everybody of
            it was censored are left out.
    """
    return _whole(_ipcw(who, _risks(who, risk), reference or who), len(who.time))


@dataclass(frozen=True, eq=False)
class Curve:
    """A step function: at ``time`` (u,), ascending, ``at_risk`` (u,) patients and from then on ``survival`` (u,)."""

    time: Floats
    at_risk: NDArray[np.int64]
    survival: Floats

    def at(self, time: ArrayLike) -> Floats:
        """Return the survival at times of any shape, 1 before the first and the last value after the last."""
        place = np.searchsorted(self.time, np.asarray(time, dtype=np.float64), side="right")
        return np.concatenate([[1.0], self.survival])[place]


def kaplan_meier(who: Followed) -> Curve:
    """Return Kaplan and Meier's estimate (1958) of the probability of being without the event."""
    time, at_risk, died, _ = _table(who)
    return Curve(time, at_risk, np.cumprod(1 - np.divide(died, at_risk, dtype=np.float64)))


def censoring(who: Followed) -> Curve:
    """Return Kaplan and Meier's estimate of the probability of not being censored; of equal times events come first."""
    time, at_risk, died, lost = _table(who)
    left = at_risk - died
    share = np.divide(lost, left, out=np.zeros(len(time), np.float64), where=left > 0)
    return Curve(time, left, np.cumprod(1.0 - share))


def log_rank(who: Followed, group: ArrayLike) -> tuple[float, float]:
    """Return chi-squared (one degree of freedom) and p of the log-rank test between two groups (Mantel 1966).

    Args:
        who: the patients.
        group: (n,) bool.

    Returns:
        NaN for both where a group is empty or nobody had the event.
    """
    first = np.asarray(group, dtype=bool)
    observed = expected = variance = 0.0
    for moment in np.unique(who.time[who.event]):
        there, dying = who.time >= moment, (who.time == moment) & who.event
        n, n1, d = there.sum(), (there & first).sum(), dying.sum()
        observed += (dying & first).sum()
        expected += d * n1 / n
        if n > 1:
            variance += d * (n1 / n) * (1 - n1 / n) * (n - d) / (n - 1)
    if variance <= 0:
        return math.nan, math.nan
    statistic = (observed - expected) ** 2 / variance
    return float(statistic), float(chi2.sf(statistic, 1))


def scores(who: Followed, risk: ArrayLike, reference: Followed | None = None) -> dict[str, float]:
    """Return ``c_index``, ``c_index_harrell`` and ``c_index_ipcw`` of a split, and ``logrank_p`` between those above
    the median of its risks and the others. Arguments as of ``c_index_ipcw``."""
    risks = _risks(who, risk)
    found = scorer(who, risks, reference=reference)(np.ones((1, len(risks))))
    halves = log_rank(who, risks > np.median(risks)) if len(risks) else (math.nan, math.nan)
    return {name: float(value[0]) for name, value in found.items()} | {"logrank_p": halves[1]}


def intervals(
    who: Followed,
    risk: ArrayLike,
    reference: Followed | None = None,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, tuple[float, float]]:
    """Return the percentile intervals of the C-indices, the n patients (one risk each) drawn with replacement.

    Args:
        who, risk, reference: as of ``c_index_ipcw``; the reference stays as it is.
        level: of confidence.
        seed: of the draws.
        replicates: number of draws.

    Returns:
        Score to (low, high), without those that are not defined.
    """
    risks = _risks(who, risk)
    if len(risks) < 2:
        return {}
    drawn = distribution(scorer(who, risks, reference=reference), len(risks), replicates, seed)
    found = {name: percentile(values, level) for name, values in drawn.items()}
    return {name: ends for name, ends in found.items() if not math.isnan(ends[0])}


def c_index_within(who: Followed, risk: ArrayLike, group: ArrayLike) -> tuple[float, float, float]:
    """Return the C-index of equation 4 over the pairs of which both are of one group, with its 95 % interval by
    patient: of folds, because the risks of two networks cannot be ordered, or of grades, to leave out what these tell.

    Args:
        who: all patients.
        risk: (n,).
        group: (n,) of each patient, numbers or words.
    """
    count, found = len(who.time), scorer(who, risk, group)
    drawn = distribution(found, count, REPLICATES)["c_index"]
    return (float(found(np.ones((1, count)))["c_index"][0]), *percentile(drawn))


def scorer(who: Followed, risk: ArrayLike, group: ArrayLike | None = None, reference: Followed | None = None) -> Scorer:
    """Return what gives the three C-indices (``TITLES``) for any weights of the patients.

    Args:
        who, risk, reference: as of ``c_index_ipcw``.
        group: (n,) of each patient, pairs of whom are of one group; None for all pairs.
    """
    risks = _risks(who, risk)
    same = np.ones((1, 1)) if group is None else np.asarray(group)[:, np.newaxis] == np.asarray(group)
    pairs = {
        "c_index": _eq4(who, risks),
        "c_index_harrell": _harrell(who, risks),
        "c_index_ipcw": _ipcw(who, risks, reference or who),
    }
    return _of_pairs({name: (credit * same, weight * same) for name, (credit, weight) in pairs.items()})


def _risks(who: Followed, risk: ArrayLike) -> Floats:
    risks = np.asarray(risk, dtype=np.float64)
    if risks.shape != who.time.shape or not np.isfinite(risks).all():
        raise MedtlError(f"risk of shape {risks.shape}: expected {who.time.shape} finite numbers")
    return risks


def _table(who: Followed) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Different times (u,), ascending, with how many are at risk, had the event and were censored then."""
    time, place = np.unique(who.time, return_inverse=True)
    died = np.bincount(place, weights=who.event, minlength=len(time)).astype(np.int64)
    lost = np.bincount(place, weights=~who.event, minlength=len(time)).astype(np.int64)
    return time, np.cumsum((died + lost)[::-1])[::-1], died, lost


Pairs = tuple[Floats, Floats]  # (n, n) credit, and (n, n) weight, of i before j


def _eq4(who: Followed, risk: Floats) -> Pairs:
    pairs = who.event[:, np.newaxis] & (who.time[:, np.newaxis] < who.time)
    return (pairs & (risk[:, np.newaxis] > risk)).astype(np.float64), pairs.astype(np.float64)


def _harrell(who: Followed, risk: Floats) -> Pairs:
    earlier, same = who.time[:, np.newaxis] < who.time, who.time[:, np.newaxis] == who.time
    pairs = who.event[:, np.newaxis] & (earlier | (same & ~who.event))
    above = risk[:, np.newaxis] - risk
    credit = np.where(np.abs(above) <= TIED, 0.5, above > 0)
    return pairs * credit, pairs.astype(np.float64)


def _ipcw(who: Followed, risk: Floats, reference: Followed) -> Pairs:
    kept = censoring(reference).at(who.time)
    weight = np.divide(1.0, kept**2, out=np.zeros_like(kept), where=kept > 0)[:, np.newaxis]
    credit, pairs = _harrell(who, risk)
    return credit * weight, pairs * weight


def _of_pairs(pairs: dict[str, Pairs]) -> Scorer:
    """Return a scorer: a pair counts as often as both of its patients were drawn, multiplied."""

    def score(times: Floats) -> dict[str, Floats]:
        return {
            name: divide(((times @ credit) * times).sum(axis=1), ((times @ weight) * times).sum(axis=1))
            for name, (credit, weight) in pairs.items()
        }

    return score


def _whole(pairs: Pairs, count: int) -> float:
    return float(_of_pairs({"": pairs})(np.ones((1, count)))[""][0])
