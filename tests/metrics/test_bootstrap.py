"""Intervals by resampling patients, against simulation, a plain bootstrap and hand-made limits."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from medtl.metrics import bootstrap, classification, delong, registry, weighted
from medtl.metrics.classification import one_side
from medtl.metrics.registry import split_of


def of_positive(
    labels: NDArray, scores: NDArray, patients: Sequence[str] | NDArray, threshold: float = 0.5, **more: Any
) -> bootstrap.Intervals:
    """Intervals of two classes told from the side of class 1, of its scores (n,)."""
    return bootstrap.intervals(one_side(labels, scores, 1, threshold, np.asarray(patients)), **more)


def of_all(labels: NDArray, probabilities: NDArray, patients: NDArray, level: float = 0.95) -> bootstrap.Intervals:
    return bootstrap.intervals(split_of(labels, probabilities, patients), level)


def pictures(random: np.random.Generator, patients: int, each: int, shift: float) -> tuple[NDArray, NDArray, NDArray]:
    """Labels, scores and patients: binormal, images of one patient correlated by 0.7, as many of each class."""
    label = np.arange(patients) % 2
    own = random.normal(size=(patients, 1)) * math.sqrt(0.7)
    scores = shift * label[:, None] + own + random.normal(size=(patients, each)) * math.sqrt(0.3)
    return np.repeat(label, each), scores.ravel(), np.repeat(np.arange(patients), each)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Patients with three alike images each: intervals over images would cover far less often."""
    random, shift, draws = np.random.default_rng(1), 1.5, 1000
    truth = {"accuracy": norm.cdf(shift / 2), "sensitivity": norm.cdf(shift / 2), "auc": norm.cdf(shift / math.sqrt(2))}
    covered, by_images = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for draw in range(draws):
        labels, scores, patients = pictures(random, 160, 3, shift)
        found = of_positive(labels, scores, patients, shift / 2, seed=draw, replicates=400)
        for name, value in truth.items():
            covered[name] += found[name][0] <= value <= found[name][1]
        if draw < 200:
            found = of_positive(labels, scores, np.arange(480), shift / 2, seed=draw, replicates=400)
            for name, value in truth.items():
                by_images[name] += found[name][0] <= value <= found[name][1]
    for name in truth:
        assert 0.93 <= covered[name] / draws <= 0.97, (name, covered)
        assert by_images[name] / 200 < 0.88, (name, by_images)


def test_area_interval_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(5)
    labels, scores, patients = pictures(random, 60, 2, 1.0)
    rows = [np.flatnonzero(patients == p) for p in range(60)]
    plain = []
    for _ in range(2000):
        drawn = np.concatenate([rows[p] for p in random.integers(0, 60, 60)])
        own, other = scores[drawn][labels[drawn] == 1], scores[drawn][labels[drawn] == 0]
        plain.append((own[:, None] > other).mean())
    split = one_side(labels, scores, 1, patients=patients)
    drawn = bootstrap.distribution(registry.scorer(split), 60, 4000)["auc"]
    assert bootstrap.percentile(drawn) == pytest.approx(np.percentile(plain, (2.5, 97.5)), abs=0.008)


def test_intervals_of_a_split_enclose_its_scores() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 200)
    probabilities = random.dirichlet(np.ones(3), 200) * 0.6 + np.eye(3)[labels] * 0.4
    patients = np.array([f"set/{p}" for p in random.integers(0, 90, 200)])
    found = of_all(labels, probabilities, patients)
    assert "accuracy_top5" not in found  # of three classes every image would count
    for name, value in registry.of_epoch(split_of(labels, probabilities)).items():
        low, high = found[name]
        least, most = registry.metrics()[name].bounds
        assert least < low < value < high < most
    assert {"ece", "brier", "recall_0", "auc_2"} <= set(found)
    narrow = of_all(labels, probabilities, patients, level=0.5)
    assert found["auc"][0] < narrow["auc"][0] < narrow["auc"][1] < found["auc"][1]
    multi = of_all(np.eye(3)[labels], probabilities, patients)
    assert multi["auc"] == pytest.approx(found["auc"])  # the same rankings of the same draws


def test_repeatable_whatever_the_chunk_and_the_order_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    labels, scores, patients = pictures(random, 30, 2, 1.0)
    first = of_positive(labels, scores, patients)
    order = random.permutation(60)
    again = of_positive(labels[order], scores[order], patients[order])
    assert first.keys() == again.keys()
    assert all(again[name] == pytest.approx(ends, rel=1e-12) for name, ends in first.items())
    monkeypatch.setattr(bootstrap, "CHUNK", 37)
    assert first == of_positive(labels, scores, patients)
    assert first != of_positive(labels, scores, patients, seed=1)


def test_one_patient_has_no_interval() -> None:
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.7])
    assert of_positive(labels, scores, ["a"] * 4) == {}
    found = bootstrap.paired_difference(labels, np.eye(2)[labels], np.eye(2)[1 - labels], ["a"] * 4)
    assert found["accuracy"].value == 1
    assert math.isnan(found["accuracy"].low)
    assert math.isnan(found["accuracy"].p)


def test_a_class_of_two_patients_has_no_interval() -> None:
    """exp(-2) of the replicates miss it, more than lie outside a 95 % interval; of four, exp(-4). DeLong's interval
    covers too little with fewer than four."""
    random = np.random.default_rng(7)
    for few, resampled, ranked in ((2, False, False), (3, True, False), (4, True, True)):
        labels = np.array([1] * few + [0] * (60 - few))
        found = of_positive(labels, random.random(60), np.arange(60))
        assert ("average_precision" in found) is resampled
        assert ("auc" in found) is ranked
        assert ("f1" in found) is resampled
        assert "specificity" in found


def test_a_mean_over_classes_has_no_interval_from_fewer_classes() -> None:
    labels = np.array([0] * 30 + [1] * 30 + [2] * 2)
    found = of_all(labels, np.eye(3)[np.where(labels == 2, 0, labels)], np.arange(62))
    assert {"accuracy", "f1_weighted"} <= set(found)
    assert not {"class_weighted_accuracy", "f1_macro", "auc"} & set(found)


def test_a_perfect_share_has_the_exact_bound() -> None:
    labels = np.array([0] * 30 + [1] * 20)
    found = of_positive(labels, labels * 0.8 + 0.1, np.arange(50) // 2)
    for name, patients in (("accuracy", 25), ("sensitivity", 10), ("specificity", 15)):
        exact = binomtest(patients, patients).proportion_ci(method="exact")
        assert found[name] == pytest.approx((exact.low, exact.high))
    assert not {"auc", "average_precision"} & set(found)  # 1 in every replicate
    wrong = of_all(labels, np.eye(2)[1 - labels], np.arange(50))
    exact = binomtest(0, 50).proportion_ci(method="exact")
    assert wrong["accuracy"] == pytest.approx((exact.low, exact.high))


def test_the_interval_of_an_area_is_delongs_by_patient() -> None:
    random = np.random.default_rng(8)
    labels, scores, patients = pictures(random, 40, 2, 1.0)
    chances = 1 / (1 + np.exp(-scores))
    area = delong.auc_interval(labels, chances, patients)
    assert of_positive(labels, chances, patients)["auc"] == pytest.approx((area.low, area.high))
    whole = of_all(labels, np.stack([1 - chances, chances], axis=1), patients)
    assert whole["auc"] == whole["auc_1"] == pytest.approx((area.low, area.high))
    assert whole["auc"] == pytest.approx(whole["auc_0"])
    other = delong.auc_interval(labels, chances, patients, level=0.8)
    assert of_positive(labels, chances, patients, level=0.8)["auc"] == pytest.approx((other.low, other.high))


def test_paired_difference_uses_the_pairing() -> None:
    random = np.random.default_rng(8)
    labels, scores, patients = pictures(random, 200, 1, 1.5)
    near = scores + random.normal(size=200) * 0.05
    both = [np.stack([1 - p, p], axis=1) for p in (norm.cdf(scores - 0.75), norm.cdf(near - 0.75))]
    found = bootstrap.paired_difference(labels, *both, patients)["auc"]
    alone = of_all(labels, both[0], patients)["auc"]
    assert found.value == pytest.approx(roc_auc_score(labels, scores) - roc_auc_score(labels, near))
    assert found.low < found.value < found.high
    assert found.high - found.low < (alone[1] - alone[0]) / 4
    assert found.se == pytest.approx((found.high - found.low) / 3.92, rel=0.1)
    swapped = bootstrap.paired_difference(labels, *both[::-1], patients)["auc"]
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert swapped.p == found.p


def test_paired_p_agrees_with_its_interval_and_is_uniform_without_a_difference() -> None:
    random, small = np.random.default_rng(9), 0
    for draw in range(300):
        labels = random.integers(0, 2, 80)
        probabilities = [random.random(80) * 0.7 + labels * 0.3 for _ in range(2)]
        both = [np.stack([1 - p, p], axis=1) for p in probabilities]
        found = bootstrap.paired_difference(labels, *both, np.arange(80), seed=draw, replicates=200)["auc"]
        small += found.p < 0.05
        if abs(found.p - 0.05) > 0.02:
            assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert 0.02 <= small / 300 <= 0.10


def test_the_same_model_twice_does_not_differ() -> None:
    random = np.random.default_rng(10)
    labels, probabilities = random.integers(0, 3, 50), random.dirichlet(np.ones(3), 50)
    found = bootstrap.paired_difference(labels, probabilities, probabilities, np.arange(50))
    for name, each in found.items():
        if name == "accuracy_top5":  # not defined for three classes
            continue
        assert (each.value, each.p) == (0, 1)
        assert math.isnan(each.low)


def test_trainings_are_averaged_and_thresholds_kept_apart() -> None:
    random = np.random.default_rng(11)
    labels, patients = random.integers(0, 2, 60), np.arange(60)
    first, second = (random.dirichlet([1, 1], (2, 60)) for _ in range(2))
    sides = [
        weighted.mean_of([registry.scorer(one_side(labels, p[:, 1], 1, t, patients)) for p in trainings])
        for trainings, t in ((first, 0.3), (second, 0.6))
    ]
    found = bootstrap.paired(*sides, 60)
    for name in registry.names("positive"):
        one, other = (
            np.mean([classification.binary(labels, p[:, 1], 1, t)[name] for p in trainings])
            for trainings, t in ((first, 0.3), (second, 0.6))
        )
        assert found[name].value == pytest.approx(one - other)
    multi = bootstrap.paired_difference(np.eye(2)[labels], first, second, patients)
    assert set(registry.names("multi_label")) <= set(multi)


def test_any_mean_of_cases_can_be_resampled() -> None:
    dice = np.random.default_rng(12).random(80)
    drawn = bootstrap.distribution(weighted.means({"dice": dice}, np.arange(80), 80), 80)["dice"]
    low, high = bootstrap.percentile(drawn)
    assert (high - low) / 2 == pytest.approx(1.96 * dice.std() / math.sqrt(80), rel=0.1)


def test_two_thousand_replicates_of_five_thousand_images_take_seconds() -> None:
    random = np.random.default_rng(13)
    labels, probabilities = random.integers(0, 3, 5000), random.dirichlet(np.ones(3), 5000)
    start = time.perf_counter()
    of_all(labels, probabilities, random.integers(0, 3000, 5000))
    assert time.perf_counter() - start < 20  # about one second alone on the machine
