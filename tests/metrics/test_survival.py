"""Scores of risks against hand-counted pairs, scipy and, where they are installed, the libraries of the field."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from medtl.errors import MedtlError
from medtl.metrics import survival
from medtl.metrics.survival import Followed, followed

# Freireich et al. 1963, weeks of remission: 6-mercaptopurine, then placebo
DRUG = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
DRUG_SEEN = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def drawn(seed: int, n: int = 60) -> tuple[Followed, np.ndarray]:
    """Months with many ties, a third censored, and risks of which some are equal."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1)
    time = np.ceil(rng.exponential(10 * np.exp(-risk)))
    return followed(time, rng.random(n) < 0.67), risk


def counted(who: Followed, risk: np.ndarray, ties: float) -> float:
    """C-index by counting pairs; with ``ties`` above 0 as Harrell counts."""
    right = pairs = 0.0
    for i, j in itertools.permutations(range(len(risk)), 2):
        same = bool(ties) and who.time[i] == who.time[j] and not who.event[j]
        if who.event[i] and (who.time[i] < who.time[j] or same):
            pairs += 1
            right += 1 if risk[i] > risk[j] else ties if risk[i] == risk[j] else 0
    return right / pairs


def test_pairs_counted_by_hand() -> None:
    who = followed([1, 2, 2, 3], [1, 1, 0, 1])
    # equation 4: (0,1) (0,2) (0,3) (1,3); risks 3 > 2, 3 = 3, 3 > 1, 2 > 1
    assert survival.c_index(who, [3, 2, 3, 1]) == 3 / 4
    # Harrell: (1,2) too, where 2 < 3, and the tie counts half
    assert survival.c_index_harrell(who, [3, 2, 3, 1]) == 3.5 / 5


@pytest.mark.parametrize("seed", range(3))
def test_c_indices_are_those_of_counting(seed: int) -> None:
    who, risk = drawn(seed)
    assert survival.c_index(who, risk) == pytest.approx(counted(who, risk, 0))
    assert survival.c_index_harrell(who, risk) == pytest.approx(counted(who, risk, 0.5))


def test_a_higher_risk_is_an_earlier_event() -> None:
    who = followed([1, 2, 3], [1, 1, 1])
    for score in (survival.c_index, survival.c_index_harrell, survival.c_index_ipcw):
        assert (score(who, [3, 2, 1]), score(who, [1, 2, 3])) == (1, 0)
    assert survival.c_index(who, [1, 1, 1]) == 0
    assert survival.c_index_harrell(who, [1, 1, 1]) == 0.5


def test_without_censoring_the_weights_are_alike() -> None:
    who, risk = drawn(0)
    whole = Followed(who.time, np.ones_like(who.event))
    assert survival.c_index_ipcw(whole, risk) == pytest.approx(survival.c_index_harrell(whole, risk))


def test_a_pair_is_weighted_by_the_censoring_before_it() -> None:
    who = followed([1, 2, 3, 4], [1, 0, 1, 0])
    # nobody is censored at 1; at 2 one of three is, so the pair (2, 3) weighs (3/2)² = 9/4
    assert survival.censoring(who).at([1, 3]) == pytest.approx([1, 2 / 3])
    assert survival.c_index_ipcw(who, [4, 3, 1, 2]) == pytest.approx(3 / (3 + 9 / 4))


def test_kaplan_meier_is_the_published_curve_and_scipys() -> None:
    who = followed(DRUG, DRUG_SEEN)
    curve = survival.kaplan_meier(who)
    weeks = [6, 7, 10, 13, 16, 22, 23]
    assert curve.at(weeks).round(4) == pytest.approx([0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482])
    assert curve.at([0, 5.9]) == pytest.approx([1, 1])
    data = stats.CensoredData.right_censored(who.time, ~who.event)
    assert curve.survival == pytest.approx(stats.ecdf(data).sf.probabilities)


def test_log_rank_is_the_published_one_and_scipys() -> None:
    who = followed([*DRUG, *PLACEBO], [*DRUG_SEEN, *[1] * 21])
    group = np.arange(42) < 21
    chi2, p = survival.log_rank(who, group)
    assert chi2 == pytest.approx(16.79, abs=0.01)
    halves = [stats.CensoredData.right_censored(who.time[own], ~who.event[own]) for own in (group, ~group)]
    other = stats.logrank(*halves)
    assert (chi2, p) == pytest.approx((other.statistic**2, other.pvalue))
    assert math.isnan(survival.log_rank(who, np.ones(42, bool))[1])


def test_an_interval_holds_its_value_and_one_of_chance_holds_a_half() -> None:
    who, risk = drawn(1, 200)
    found = survival.intervals(who, risk, replicates=400)
    for name, value in survival.scores(who, risk).items():
        if name in found:
            assert found[name][0] < value < found[name][1]
    assert found.keys() == {"c_index", "c_index_harrell", "c_index_ipcw"}
    assert found["c_index"][0] > 0.6
    noise = np.random.default_rng(9).permutation(risk)
    low, high = survival.intervals(who, noise, replicates=400)["c_index_harrell"]
    assert low < 0.5 < high


def test_folds_are_compared_within_themselves() -> None:
    who = followed([1, 2, 3, 4], [1, 1, 1, 1])
    value, _, _ = survival.c_index_within(who, [2, 1, 20, 10], [0, 0, 1, 1])
    assert value == 1
    assert survival.c_index(who, [2, 1, 20, 10]) < 1


@pytest.mark.parametrize(("time", "event"), [([0, 1], [1, 1]), ([1, 2], [1, 2]), ([1], [1, 0]), ([math.nan], [1])])
def test_what_is_no_follow_up_is_refused(time: list[float], event: list[int]) -> None:
    with pytest.raises(MedtlError, match=r"time|event"):
        followed(time, event)
