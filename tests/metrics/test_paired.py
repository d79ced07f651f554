"""Paired tests and Holm's correction against statsmodels, scipy and enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test
from scipy.stats import wilcoxon as scipy_wilcoxon
from statsmodels.stats.contingency_tables import mcnemar as oracle
from statsmodels.stats.multitest import multipletests

from medtl.metrics import paired


def cells(both: int, first_only: int, second_only: int, neither: int) -> tuple[np.ndarray, ...]:
    """Labels and two predictions with these counts of right images."""
    first = np.repeat([0, 0, 1, 1], (both, first_only, second_only, neither))
    second = np.repeat([0, 1, 0, 1], (both, first_only, second_only, neither))
    return np.zeros(len(first), int), first, second


@given(*[st.integers(0, 30)] * 4)
def test_mcnemar_is_that_of_statsmodels(a: int, b: int, c: int, d: int) -> None:
    split = cells(a, b, c, d)
    table = [[a, b], [c, d]]
    found = paired.mcnemar(*split)
    assert (found.first_only, found.second_only) == (b, c)
    assert found.p == pytest.approx(oracle(table, exact=True).pvalue)
    one_each = paired.mcnemar(*split, patients=np.arange(a + b + c + d))
    assert one_each.p == pytest.approx(found.p)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_whole_patients_are_flipped(surplus: list[int]) -> None:
    first = np.concatenate([np.repeat([1, 0], (max(-s, 0), max(s, 0))) for s in surplus] + [[0, 1]])
    patients = np.concatenate([np.full(abs(s), p) for p, s in enumerate(surplus)] + [[0, 0]])
    labels = np.zeros(len(first), int)
    # the last two images, both of the first patient, cancel
    found = paired.mcnemar(labels, first, 1 - first, patients)
    sums = [
        sum(sign * s for sign, s in zip(signs, surplus, strict=True))
        for signs in itertools.product((1, -1), repeat=len(surplus))
    ]
    expected = np.mean([abs(total) >= abs(sum(surplus)) for total in sums])
    assert found.p == pytest.approx(expected)


def test_flipping_is_a_permutation_test() -> None:
    surplus = np.array([3, -1, 2, 2, 1, -2, 4])
    expected = permutation_test(
        (surplus, -surplus), lambda x, y: np.mean(x - y), permutation_type="samples", vectorized=False
    )
    assert paired._flipped(surplus) == pytest.approx(expected.pvalue)


def test_alike_images_of_few_patients_prove_less() -> None:
    labels, first, second = cells(40, 24, 6, 10)
    assert paired.mcnemar(labels, first, second).p < 0.002
    patients = np.arange(80) // 6
    assert paired.mcnemar(labels, first, second, patients).p > 0.02


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    found = paired.holm(p_values)
    assert (found >= p_values).all()
    assert (found <= 1).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).random(count).round(1) ** 4  # with ties
    np.testing.assert_allclose(paired.holm(p_values), multipletests(p_values, method="holm")[1])


def test_holm_by_hand_and_without_what_was_not_tested() -> None:
    np.testing.assert_allclose(paired.holm([0.01, math.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert len(paired.holm([])) == 0


def test_wilcoxon() -> None:
    random = np.random.default_rng(0)
    first = random.random(20)
    second = first + random.normal(0.05, 0.1, 20)
    assert paired.wilcoxon(first, second) == scipy_wilcoxon(first, second).pvalue
    missing = np.append(first, [np.nan, 0.5]), np.append(second, [0.1, np.nan])
    assert paired.wilcoxon(*missing) == paired.wilcoxon(first, second)
    assert paired.wilcoxon(first, first) == 1
    assert math.isnan(paired.wilcoxon(np.array([np.nan]), np.array([0.5])))
