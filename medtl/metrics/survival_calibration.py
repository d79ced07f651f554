"""Whether risks are right in size and not only in order: expected and observed survival at a horizon.

A log hazard ratio says nothing of time by itself. The baseline hazard is taken from the scored patients (Breslow 1972),
so that expected survival is right on average; what is tested is whether high and low risks lie as far apart as they
should. The slope says the same in one number: Cox's coefficient of the risk, 1 where its size is right, below 1 where
risks are too extreme, as after overfitting.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from medtl.metrics.survival import Followed, kaplan_meier

Floats = NDArray[np.float64]
STEEPEST = 20.0


@dataclass(frozen=True)
class Third:
    """Patients of similar risk: how many, with how many events until the horizon, and their survival there, expected
    (mean of the model's) and observed (Kaplan and Meier's; NaN where nobody is followed as long)."""

    patients: int
    events: int
    expected: float
    observed: float


def slope(who: Followed, risk: ArrayLike) -> float:
    """Return Cox's coefficient of the risk (n,) as the only covariate; NaN where all are equal, nobody had the event,
    or the risk orders the events perfectly."""
    risks = np.asarray(risk, dtype=np.float64)
    if not who.event.any() or np.ptp(risks) == 0:
        return math.nan
    scale = float(risks.std())
    scaled = (risks - risks.mean()) / scale

    def loss(factor: float) -> float:
        hazard = np.exp(factor * scaled)
        return float(np.log(_at_risk(who, hazard)[who.event]).sum() - factor * scaled[who.event].sum())

    found = minimize_scalar(loss, bounds=(-STEEPEST, STEEPEST), method="bounded", options={"xatol": 1e-7})
    return math.nan if abs(found.x) > 0.99 * STEEPEST else float(found.x) / scale


def expected(who: Followed, risk: ArrayLike, horizon: float) -> Floats:
    """Return (n,) probabilities of being without the event at the horizon: exp(−H exp(risk)), H being Breslow's
    cumulative baseline hazard of these patients."""
    risks = np.asarray(risk, dtype=np.float64)
    hazard = np.exp(risks - risks.max())  # a factor that the baseline takes back
    counted = who.event & (who.time <= horizon)
    return np.exp(-(1 / _at_risk(who, hazard)[counted]).sum() * hazard)


def horizon_of(who: Followed) -> float:
    """Return the usual horizon: the median time of events; NaN without any."""
    return float(np.median(who.time[who.event])) if who.event.any() else math.nan


def thirds(who: Followed, risk: ArrayLike, horizon: float) -> list[Third]:
    """Return the patients in thirds of their risk, lowest first; of fewer than three patients, none."""
    risks = np.asarray(risk, dtype=np.float64)
    if len(risks) < 3:
        return []
    told, found = expected(who, risks, horizon), []
    for own in np.array_split(np.argsort(risks, kind="stable"), 3):
        some = Followed(who.time[own], who.event[own])
        last = some.time.max()
        known = last >= horizon or bool(some.event[some.time == last].all())  # all with the event: it stays 0
        observed = float(kaplan_meier(some).at(horizon)) if known else math.nan
        events = int((some.event & (some.time <= horizon)).sum())
        found.append(Third(len(own), events, float(told[own].mean()), observed))
    return found


def _at_risk(who: Followed, hazard: Floats) -> Floats:
    """(n,) sum of the hazards of all who are seen at least as long as each patient."""
    order = np.argsort(-who.time, kind="stable")
    total = np.cumsum(hazard[order])
    last = np.searchsorted(-who.time[order], -who.time, side="right") - 1
    return total[last]
