"""Forest, boosting and Coxnet: a planted risk is found in other patients, and a higher one is an earlier event."""

import sys

import numpy as np
import pytest

from medtl.errors import UsageError
from medtl.metrics.survival import Followed, c_index, followed
from medtl.survival.baselines import BASELINES, fit_baseline


def drawn() -> tuple[np.ndarray, Followed]:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(240, 5))
    time, censored = rng.exponential(np.exp(-1.5 * table[:, 0])), rng.exponential(3, 240)
    return table, followed(np.minimum(time, censored), time <= censored)


@pytest.mark.full
@pytest.mark.parametrize("name", BASELINES)
def test_a_planted_risk_is_found(name: str) -> None:
    pytest.importorskip("sksurv", reason="scikit-survival is not installed")
    table, who = drawn()
    train = np.arange(240) < 140
    risk = fit_baseline(name, table[train], Followed(who.time[train], who.event[train]))
    assert c_index(Followed(who.time[~train], who.event[~train]), risk(table[~train])) > 0.7


def test_a_baseline_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    table, who = drawn()
    with pytest.raises(UsageError, match="forest"):
        fit_baseline("forest", table, who)
    monkeypatch.setitem(sys.modules, "sksurv", None)
    with pytest.raises(UsageError, match=r"medtl\[survival\]"):
        fit_baseline("coxnet", table, who)
