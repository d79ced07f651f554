"""Slope and survival at a horizon: by hand, against the fitted Cox model, and where risks are too extreme."""

import math

import numpy as np
import pytest

from medtl.metrics import survival_calibration as calibration
from medtl.metrics.survival import followed, kaplan_meier
from medtl.survival.cox import fit_cox


def test_by_hand() -> None:
    who = followed([1, 2, 3], [1, 1, 0])
    # equal hazards: 1/3 at time 1, 1/2 at time 2
    assert calibration.expected(who, [7, 7, 7], 2) == pytest.approx(math.exp(-1 / 3 - 1 / 2))
    assert calibration.expected(who, [7, 7, 7], 0.5) == pytest.approx(1)
    assert calibration.horizon_of(who) == 1.5
    assert math.isnan(calibration.slope(who, [1, 1, 1]))
    assert math.isnan(calibration.slope(who, [3, 2, 1]))  # in perfect order it has no end


def drawn(n: int = 400) -> tuple:
    rng = np.random.default_rng(0)
    risk = rng.normal(size=n)
    time, censored = rng.exponential(np.exp(-risk)), rng.exponential(3, n)
    return followed(np.minimum(time, censored), time <= censored), risk


def test_the_slope_is_coxs_coefficient_and_halves_when_risks_are_doubled() -> None:
    who, risk = drawn()
    found = calibration.slope(who, risk)
    assert found == pytest.approx(fit_cox(risk[:, np.newaxis], who.time, who.event)[0], abs=1e-4)
    assert found == pytest.approx(1, abs=0.15)
    assert calibration.slope(who, 2 * risk + 3) == pytest.approx(found / 2, abs=1e-4)
    assert calibration.slope(who, -risk) == pytest.approx(-found, abs=1e-4)


def test_thirds_agree_where_the_size_is_right_and_not_where_it_is_too_extreme() -> None:
    who, risk = drawn()
    right = calibration.thirds(who, risk, 0.5)
    assert [third.patients for third in right] == [134, 133, 133]
    assert all(third.expected == pytest.approx(third.observed, abs=0.1) for third in right)
    assert right[0].expected > right[1].expected > right[2].expected
    extreme = calibration.thirds(who, 4 * risk, 0.5)
    assert max(abs(third.expected - third.observed) for third in extreme) > 0.15
    assert np.mean(calibration.expected(who, risk, 0.5)) == pytest.approx(float(kaplan_meier(who).at(0.5)), abs=0.03)
    assert math.isnan(calibration.thirds(who, risk, 1e9)[0].observed)  # nobody is followed so long


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 1, 3, 2)])
def test_nobody_is_followed_beyond_a_censored_last_one_whatever_the_order(order: tuple[int, ...]) -> None:
    """Two were last seen at 3, one with the event: what comes after is not known; where both had it, it is 0."""
    time, event = [1, 2, 3, 3, *[9] * 6], [1, 1, 1, 0, *[0] * 6]
    places, risk = [*order, *range(4, 10)], [0] * 4 + [1] * 3 + [2] * 3
    for last, expected in ((0, math.nan), (1, 0.0)):
        event[3] = last
        who = followed([time[k] for k in places], [event[k] for k in places])
        assert calibration.thirds(who, risk, 5)[0].observed == pytest.approx(expected, nan_ok=True)
