"""Two models, and two ways of training, compared."""

import math

import numpy as np
import pytest
from scipy import stats

from medtl.metrics import bootstrap, classification, delong, paired
from medtl.metrics.compare import across_seeds, compare_models


def models(n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n)
    right = np.eye(n_classes)[labels]
    first, second = (random.dirichlet(np.ones(n_classes), n) * (1 - s) + right * s for s in (0.4, 0.1))
    return labels, first, second


def test_two_classes_by_delong() -> None:
    labels, first, second = models(120, 2, 0)
    found = compare_models(labels, first, second, np.arange(120), replicates=500)
    test = delong.paired_test(labels, first[:, 1], second[:, 1])
    assert found.auc_method == "DeLong"
    assert (found.auc.value, found.auc.low, found.auc.p) == (test.value, test.low, test.p)
    alone = paired.mcnemar(labels, first.argmax(axis=1), second.argmax(axis=1))
    assert (found.discordance.first_only, found.discordance.second_only) == (alone.first_only, alone.second_only)
    assert found.accuracy.p == found.discordance.p == pytest.approx(alone.p)
    one, other = (classification.single_label(labels, p)["accuracy"] for p in (first, second))
    assert found.accuracy.value == pytest.approx(one - other)
    assert found.accuracy.value * 120 == pytest.approx(found.discordance.first_only - found.discordance.second_only)
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_several_images_a_patient() -> None:
    labels, first, second = models(60, 2, 1)
    rows, patients = np.repeat(np.arange(60), 2), np.repeat([f"set/{p}" for p in range(60)], 2)
    once = compare_models(labels, first, second, np.arange(60), replicates=500)
    found = compare_models(labels[rows], first[rows], second[rows], patients, replicates=500)
    assert found.auc_method == "DeLong, clustered"
    # every image twice is no more evidence
    assert found.accuracy.p == pytest.approx(once.accuracy.p)
    assert (found.auc.value, found.auc.se) == pytest.approx((once.auc.value, once.auc.se))


def test_more_classes_by_bootstrap() -> None:
    labels, first, second = models(150, 3, 2)
    found = compare_models(labels, first, second, np.arange(150), replicates=500, seed=3)
    assert found.auc_method == "bootstrap"
    assert (
        found.auc == bootstrap.paired_difference(labels, first, second, np.arange(150), seed=3, replicates=500)["auc"]
    )
    assert found.auc.p < 0.01


def test_seeds_are_a_paired_t_test() -> None:
    first, second = np.array([0.81, 0.84, 0.79, 0.86]), np.array([0.80, 0.79, 0.78, 0.80])
    found = across_seeds(first, second)
    oracle = stats.ttest_rel(first, second)
    ends = oracle.confidence_interval(0.95)
    assert (found.value, found.pairs) == (pytest.approx(0.0325), 4)
    assert (found.p, found.low, found.high) == pytest.approx((oracle.pvalue, ends.low, ends.high))
    assert math.isnan(found.both_low)
    both = across_seeds(first, second, patients_se=0.02)
    assert both.both_low < both.low < both.high < both.both_high
    total = found.sd**2 / 4 + 0.02**2
    freedom = total**2 / ((found.sd**2 / 4) ** 2 / 3)
    assert both.both_high - both.value == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(total))


def test_patients_alone_count_where_seeds_do_not_differ() -> None:
    found = across_seeds([0.9, 0.8], [0.8, 0.7], patients_se=0.05)
    assert math.isnan(found.low)
    assert (found.both_low, found.both_high) == pytest.approx((0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05), abs=1e-4)


def test_one_pair_says_nothing_of_training() -> None:
    found = across_seeds([0.9], [0.8], patients_se=0.05)
    assert (found.value, found.pairs) == (pytest.approx(0.1), 1)
    assert all(math.isnan(each) for each in (found.sd, found.low, found.p, found.both_low, found.both_p))


@pytest.mark.parametrize(("first", "second"), [([], []), ([0.9, 0.8], [0.7]), (0.9, 0.8)])
def test_seeds_must_come_in_pairs(first: object, second: object) -> None:
    with pytest.raises(ValueError, match="pairs"):
        across_seeds(first, second)  # type: ignore[arg-type]


def test_the_combined_interval_covers_a_new_test_split_and_new_trainings() -> None:
    """Five trainings of each of two equally good ways, on 200 patients; a training is lucky or not as a whole."""
    random, covered, by_seeds, draws = np.random.default_rng(4), 0, 0, 1000
    for _ in range(draws):
        hard = random.normal(size=(2, 1, 200)) * 0.5 + random.normal(size=200)  # each way has its own hard patients
        right = hard + random.normal(size=(2, 5, 1)) * 0.15 + random.normal(size=(2, 5, 200)) * 0.5 < 1
        difference = (right[0].astype(float) - right[1]).mean(axis=0)
        found = across_seeds(*right.mean(axis=2), patients_se=difference.std(ddof=1) / math.sqrt(200))
        covered += found.both_low <= 0 <= found.both_high
        by_seeds += found.low <= 0 <= found.high
    assert 0.94 <= covered / draws <= 0.995
    assert by_seeds / draws < 0.93


@pytest.mark.parametrize(("patients", "trainings"), [(5, 5), (8, 5), (10, 3), (40, 5)])
def test_it_covers_with_few_patients_too(patients: int, trainings: int) -> None:
    random, covered, too_narrow, draws = np.random.default_rng(5), 0, 0, 2000
    for _ in range(draws):
        gaps = random.normal(size=patients) + random.normal(size=(trainings, 1)) * 0.3
        gaps = gaps + random.normal(size=(trainings, patients)) * 0.5
        per_training, per_patient = gaps.mean(axis=1), gaps.mean(axis=0)
        se = per_patient.std() / math.sqrt(patients)  # what a bootstrap of infinitely many replicates gives
        found = across_seeds(per_training, np.zeros(trainings), se, patients)
        covered += found.both_low <= 0 <= found.both_high
        plain = across_seeds(per_training, np.zeros(trainings), se)
        too_narrow += plain.both_low <= 0 <= plain.both_high
    assert 0.94 <= covered / draws <= 0.985
    assert too_narrow < covered
    assert patients > 20 or too_narrow / draws < 0.935
