"""Areas and their standard errors against published figures, the definitions of 1988 and 1997, and simulation."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from medtl.metrics import bootstrap, delong, registry
from medtl.metrics.classification import one_side


@pytest.fixture(scope="module")
def asah() -> dict[str, NDArray]:
    """113 patients with a subarachnoid haemorrhage (Turck et al. 2010), the example data of the R package pROC:
    outcome, WFNS grade, and S100β and NDKA in µg/l."""
    with (Path(__file__).parent / "asah.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in ("wfns", "s100b", "ndka")}
    return {"poor": np.array([row["outcome"] == "Poor" for row in rows]), **columns}


# the figures below are those that pROC's own tests expect (tests/testthat: test-var.R, test-cov.R, test-ci.auc.R,
# test-roc.test.R, and its manual for the areas)
def test_published_areas_and_covariance(asah: dict[str, NDArray]) -> None:
    scores = np.stack([asah["wfns"], asah["ndka"], asah["s100b"]])
    areas, covariance = delong.auc_covariance(asah["poor"], scores)
    assert areas == pytest.approx([0.8236789, 0.611957994579946, 0.7313686], abs=5e-8)
    expected = [
        [0.00146991470882363, -0.000532967856762438, 0.00119615567376754],
        [-0.000532967856762438, 0.0031908105493913, -0.000756164938056579],
        [0.00119615567376754, -0.000756164938056579, 0.00266868245717244],
    ]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)


def test_published_interval(asah: dict[str, NDArray]) -> None:
    found = delong.auc_interval(asah["poor"], asah["ndka"], method="wald")
    assert (found.low, found.value, found.high) == pytest.approx(
        (0.501244999271703, 0.611957994579946, 0.722670989888189), rel=1e-12
    )


@pytest.mark.parametrize(
    ("first", "second", "z", "p", "low", "high"),
    [
        ("wfns", "s100b", 2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
        ("wfns", "ndka", 2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
        ("ndka", "s100b", -1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
    ],
)
def test_published_paired_tests(
    asah: dict[str, NDArray], first: str, second: str, z: float, p: float, low: float, high: float
) -> None:
    found = delong.paired_test(asah["poor"], asah[first], asah[second])
    assert (found.z, found.p, found.low, found.high) == pytest.approx((z, p, low, high), rel=1e-9)
    assert found.value == found.first - found.second


def test_a_hand_made_case() -> None:
    """Positives 3, 5, 5; negatives 1, 3. Won by each positive: 3/4, 1, 1; lost to the positives by each negative: 1,
    5/6. So the area is 11/12 and the variance (1/36 + 1/144 + 1/144) / 2 / 3 + (1/144 + 1/144) / 1 / 2."""
    labels, scores = np.array([1, 1, 1, 0, 0]), np.array([3.0, 5, 5, 1, 3])
    area, variance = delong.auc_variance(labels, scores)
    assert area == pytest.approx(11 / 12)
    assert variance == pytest.approx((1 / 36 + 2 / 144) / 6 + (2 / 144) / 2)


def by_definition(positive: NDArray, scores: NDArray, patients: NDArray) -> tuple[list[float], NDArray[np.float64]]:
    """Obuchowski 1997, sections 2 and 3, image by image; DeLong et al. 1988 where each patient has one image."""

    def wins(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    k, names = len(scores), sorted(set(patients))
    m, n = int(positive.sum()), int((~positive).sum())
    areas, ups, downs = [], [], []
    for row in scores:
        own, other = row[positive], row[~positive]
        areas.append(sum(wins(x, y) for x in own for y in other) / (m * n))
        v10 = [sum(wins(x, y) for y in other) / n for x in own]
        v01 = [sum(wins(x, y) for x in own) / m for y in other]
        ups.append([sum(v - areas[-1] for v, p in zip(v10, patients[positive], strict=True) if p == c) for c in names])
        downs.append(
            [sum(v - areas[-1] for v, p in zip(v01, patients[~positive], strict=True) if p == c) for c in names]
        )
    i, i10, i01 = len(names), len(set(patients[positive])), len(set(patients[~positive]))
    covariance = np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            s10 = i10 / ((i10 - 1) * m) * sum(a * b for a, b in zip(ups[r], ups[s], strict=True))
            s01 = i01 / ((i01 - 1) * n) * sum(a * b for a, b in zip(downs[r], downs[s], strict=True))
            s11 = i / (i - 1) * sum(a * b for a, b in zip(ups[r], downs[s], strict=True))
            s11_turned = i / (i - 1) * sum(a * b for a, b in zip(ups[s], downs[r], strict=True))
            covariance[r, s] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return areas, covariance


@given(st.integers(0, 10**6), st.integers(4, 30), st.booleans())
def test_ranks_give_what_the_definitions_give(seed: int, images: int, clustered: bool) -> None:
    random = np.random.default_rng(seed)
    positive = np.array([True, True, False, False, *(random.random(images - 4) < 0.4)])
    scores = random.integers(0, 6, (2, images)).astype(float)  # many ties
    patients = np.arange(images)
    if clustered:
        patients[4:] = random.integers(0, images, images - 4)
    areas, covariance = by_definition(positive, scores, patients)
    found, varying = delong.auc_covariance(positive, scores, patients if clustered else None)
    np.testing.assert_allclose(found, areas, atol=1e-12)
    np.testing.assert_allclose(varying, covariance, atol=1e-12)
    if not clustered:
        np.testing.assert_allclose(delong.auc_covariance(positive, scores, patients)[1], varying, atol=1e-12)


def test_invariances() -> None:
    random = np.random.default_rng(0)
    positive, scores = random.random(80) < 0.3, random.normal(size=80)
    area, variance = delong.auc_variance(positive, scores)
    for labels, other, expected in (
        (positive, np.exp(scores), area),
        (positive, -scores, 1 - area),
        (~positive, scores, 1 - area),
        (positive[::-1], scores[::-1], area),
    ):
        assert delong.auc_variance(labels, other) == pytest.approx((expected, variance))


def test_clustered_error_is_that_of_the_patient_bootstrap() -> None:
    random = np.random.default_rng(3)
    label = np.tile([0, 0, 1, 1], (150, 1))  # both classes within a patient
    scores = label + random.normal(size=(150, 1)) + random.normal(size=(150, 4)) * 0.5
    patients = np.repeat(np.arange(150), 4)
    labels, flat = label.ravel(), scores.ravel()
    found = delong.auc_interval(labels, flat, patients)
    low, high = bootstrap.intervals(one_side(labels, flat, 1, 0.5, patients))["auc"]
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    # within a patient the classes are easier to tell apart: here clustering makes the error smaller
    assert found.se < 0.8 * delong.auc_interval(labels, flat).se


def test_coverage_and_size() -> None:
    """Intervals of an area of 0.9 on 156 images cover it 95 times in 100, and of two equally good models one in twenty
    pairs is told apart."""
    random, draws = np.random.default_rng(4), 2000
    shift = norm.ppf(0.9) * math.sqrt(2)
    labels = np.arange(156) < 42
    covered, found_different = 0, 0
    for _ in range(draws):
        shared = shift * labels + random.normal(size=156) * math.sqrt(0.5)
        first, second = (shared + random.normal(size=156) * math.sqrt(0.5) for _ in range(2))
        each = delong.auc_interval(labels, first)
        covered += each.low <= 0.9 <= each.high
        found_different += delong.paired_test(labels, first, second).p < 0.05
    assert 0.935 <= covered / draws <= 0.965
    assert 0.035 <= found_different / draws <= 0.065


def test_coverage_with_several_images_a_patient() -> None:
    random, draws, covered, by_images = np.random.default_rng(5), 1000, 0, 0
    truth, label = norm.cdf(1.5 / math.sqrt(2)), np.arange(100) % 2
    labels, patients = np.repeat(label, 3), np.repeat(np.arange(100), 3)
    for _ in range(draws):
        scores = (1.5 * label + random.normal(size=100) * math.sqrt(0.7)).repeat(3)
        scores += random.normal(size=300) * math.sqrt(0.3)
        each, naive = delong.auc_interval(labels, scores, patients), delong.auc_interval(labels, scores)
        covered += each.low <= truth <= each.high
        by_images += naive.low <= truth <= naive.high
    assert 0.93 <= covered / draws <= 0.97
    assert by_images / draws < 0.88


def test_what_has_no_interval() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    perfect = delong.auc_interval(labels, labels.astype(float))
    assert (perfect.value, perfect.se) == (1, 0)
    assert math.isnan(perfect.low)
    # all scores alike: half of the pairs are won, and nothing varies
    for method in ("logit", "wald"):
        tied = delong.auc_interval(labels, np.full(6, 0.3), method=method)
        assert (tied.value, tied.se) == (0.5, 0)
        assert math.isnan(tied.low)
        assert math.isnan(tied.high)
    single = delong.auc_interval(np.array([0, 0, 0, 1]), np.array([1.0, 2, 3, 2.5]))
    assert single.value == pytest.approx(2 / 3)
    assert math.isnan(single.se)
    assert math.isnan(single.high)
    one_patient = delong.auc_interval(labels, np.array([1.0, 3, 2, 2, 3, 5]), ["a", "b", "c", "d", "d", "d"])
    assert math.isnan(one_patient.se)
    assert math.isnan(delong.auc_interval(np.zeros(4), np.arange(4.0)).value)
    with pytest.raises(ValueError, match=r"^scores hold NaN$"):
        delong.auc_interval(labels, np.full(6, np.nan))


def test_a_contrast_of_several_areas_follows_from_their_published_covariance(asah: dict[str, NDArray]) -> None:
    scores = np.stack([asah["wfns"], asah["ndka"], asah["s100b"]])
    found = delong.contrast(asah["poor"], scores, (0.5, -1.0, 0.5))
    # areas and covariance as pROC prints them (see above); the sums by hand
    assert found.first == pytest.approx((0.8236789 + 0.7313686) / 2, abs=5e-8)
    assert found.second == pytest.approx(0.611957994579946, rel=1e-12)
    variance = 0.00146991470882363 / 4 + 0.0031908105493913 + 0.00266868245717244 / 4
    variance += 0.000532967856762438 + 0.00119615567376754 / 2 + 0.000756164938056579
    assert found.se == pytest.approx(variance**0.5, rel=1e-9)
    assert found.p == pytest.approx(2 * norm.sf(found.value / found.se), rel=1e-9)
    alone = delong.contrast(asah["poor"], scores[1:2], (1.0,))
    wald = delong.auc_interval(asah["poor"], asah["ndka"], method="wald")
    assert (alone.value, alone.low, alone.high) == pytest.approx((wald.value, wald.low, wald.high), rel=1e-12)


def test_models_that_never_differ() -> None:
    labels, scores = np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.3, 0.4, 0.2, 0.0, 0.8])
    same = delong.paired_test(labels, scores, scores**2)  # the same order
    assert (same.value, same.se, same.z, same.p) == (0, 0, 0, 1)
    opposite = delong.paired_test(labels, labels.astype(float), 1.0 - labels)
    assert opposite.value == 1
    assert math.isnan(opposite.p)


@pytest.mark.parametrize("method", ["logit", "wald"])
def test_interval_stays_inside_and_widens_with_the_level(method: str) -> None:
    random = np.random.default_rng(6)
    labels = np.arange(24) < 8
    scores = labels * 3 + random.normal(size=24)
    usual, wide = (delong.auc_interval(labels, scores, level=level, method=method) for level in (0.95, 0.99))  # type: ignore[arg-type]
    assert 0 <= wide.low < usual.low < usual.value < usual.high <= wide.high <= 1


@pytest.mark.parametrize("each", [1, 3])
def test_the_mean_of_several_areas_varies_as_the_patient_bootstrap_says(each: int) -> None:
    random = np.random.default_rng(9)
    labels = np.repeat(np.arange(150) % 3, each)
    own = np.repeat(random.normal(size=(150, 3)), each, axis=0)
    scores = np.eye(3)[labels] + own * 0.8 + random.normal(size=(150 * each, 3)) * 0.6
    patients = np.repeat(np.arange(150), each)
    positive = labels[:, None] == np.arange(3)
    found = delong.mean_area_interval(positive, scores, patients)
    areas = [delong.auc_interval(positive[:, c], scores[:, c], patients) for c in range(3)]
    assert found.value == pytest.approx(np.mean([area.value for area in areas]))
    drawn = bootstrap.distribution(registry.scorer(registry.split_of(labels, scores, patients)), 150)["auc"]
    assert found.se == pytest.approx(drawn.std(), rel=0.08)
    assert found.se < np.mean([area.se for area in areas])
    one = delong.mean_area_interval(positive[:, :1], scores[:, :1], patients)
    assert (one.value, one.se, one.low, one.high) == pytest.approx(
        (areas[0].value, areas[0].se, areas[0].low, areas[0].high)
    )


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    random = np.random.default_rng(10)
    scores, labels = random.normal(size=(60, 3)), np.arange(60) % 2
    positive = labels[:, None] == np.arange(3)
    found = delong.mean_area_interval(positive, scores)
    assert found.value == pytest.approx(np.mean([delong.auc_variance(positive[:, c], scores[:, c])[0] for c in (0, 1)]))
    assert math.isfinite(found.low)
    assert math.isnan(delong.mean_area_interval(np.ones((60, 1), bool), scores[:, :1]).value)
    assert math.isnan(delong.mean_area_interval(positive[:, :1], -labels[:, None].astype(float)).low)


def test_the_usual_interval_is_the_logits_and_walds_is_symmetric(asah: dict[str, NDArray]) -> None:
    area, variance = delong.auc_variance(asah["poor"], asah["ndka"])
    usual = delong.auc_interval(asah["poor"], asah["ndka"])
    wald = delong.auc_interval(asah["poor"], asah["ndka"], method="wald")
    assert usual.se == wald.se == pytest.approx(math.sqrt(variance))
    half = norm.ppf(0.975) * math.sqrt(variance) / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + side * half))) for side in (-1, 1)]
    assert (usual.low, usual.high) == pytest.approx(tuple(ends), rel=1e-9)
    assert wald.high - area == pytest.approx(area - wald.low)
    assert usual.high - area != pytest.approx(area - usual.low, rel=1e-3)
    assert delong.auc_interval(asah["poor"].astype(int), asah["ndka"], method="logit") == usual


def test_the_paired_test_takes_the_images_of_a_patient_together() -> None:
    random = np.random.default_rng(12)
    patients = np.repeat(np.arange(20), 3)
    positive = np.repeat(np.arange(20) % 2 == 0, 3)
    shared = positive + np.repeat(random.normal(size=20), 3)
    first, second = (shared + random.normal(size=60) * scale for scale in (0.3, 1.0))
    areas, covariance = by_definition(positive, np.stack([first, second]), patients)
    se = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = delong.paired_test(positive, first, second, list(map(str, patients)))
    assert (found.value, found.se, found.z) == pytest.approx((areas[0] - areas[1], se, (areas[0] - areas[1]) / se))
    assert found.se != pytest.approx(delong.paired_test(positive, first, second).se, rel=0.01)
    wide = delong.paired_test(positive, first, second, patients, level=0.99)
    half = norm.ppf(0.995) * se  # neither end is cut off
    assert (wide.low, wide.high) == pytest.approx((found.value - half, found.value + half))


def test_the_interval_of_a_difference_ends_at_one() -> None:
    """Two images of each class: areas of 1 and 1/4."""
    labels, first, second = np.array([0, 0, 1, 1]), np.array([0.0, 1, 2, 3]), np.array([3.0, 1, 2, 0])
    found, turned = delong.paired_test(labels, first, second), delong.paired_test(labels, second, first)
    assert (found.value, found.high, turned.low) == (0.75, 1.0, -1.0)
    assert found.low == pytest.approx(-turned.high)
    assert -1 < found.low < 0.75


def spread_by_definition(
    positive: NDArray, scores: NDArray, patients: NDArray
) -> tuple[float, float, NDArray[np.float64], float]:
    """Area, variance, what each patient adds to the area, and Welch and Satterthwaite's degrees of freedom."""
    (area,), covariance = by_definition(positive, scores[np.newaxis], patients)
    names, own, other = sorted(set(patients)), scores[positive], scores[~positive]

    def won(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    sides = []
    for values, whose in (
        ([np.mean([won(x, y) for y in other]) for x in own], patients[positive]),
        ([np.mean([won(x, y) for x in own]) for y in other], patients[~positive]),
    ):
        added = [sum(v - area for v, p in zip(values, whose, strict=True) if p == name) / len(values) for name in names]
        sides.append((np.array(added), len(set(whose))))
    parts = [(n / (n - 1) * float((added**2).sum()), n - 1) for added, n in sides]
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / each for part, each in parts)
    return area, float(covariance[0, 0]), sides[0][0] + sides[1][0], freedom


@pytest.mark.parametrize("count", [42, 14, 2])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_interval_of_a_mean_of_areas_is_that_of_its_definition(classes: int, count: int) -> None:
    random = np.random.default_rng(13)
    clustered, patients = count < 42, np.repeat(np.arange(count), 42 // count)
    labels = random.integers(0, 3, 42)
    positive = (labels[:, np.newaxis] == np.arange(3))[:, :classes]
    scores = positive + random.normal(size=(42, classes))
    each = [spread_by_definition(positive[:, c], scores[:, c], patients) for c in range(classes)]
    covariance = [
        [one[1] if r == s else count / (count - 1) * float((one[2] * other[2]).sum()) for s, other in enumerate(each)]
        for r, one in enumerate(each)
    ]
    area, se = float(np.mean([one[0] for one in each])), math.sqrt(np.mean(covariance))
    quantile = student.ppf(0.975, min(one[3] for one in each)) if clustered else norm.ppf(0.975)
    centre, half = math.log(area / (1 - area)), quantile * se / (area * (1 - area))
    found = delong.mean_area_interval(positive, scores, list(map(str, patients)) if clustered else None)
    assert (found.value, found.se) == pytest.approx((area, se))
    ends = tuple(1 / (1 + math.exp(-(centre + side * half))) for side in (-1, 1))
    assert (found.low, found.high) == pytest.approx(ends)


def test_two_patients_of_a_class_have_their_share_in_the_degrees_of_freedom() -> None:
    """Positive images of patients a and b, negative ones of c, d and e, two each. By hand, in quarters of an area:
    a's images win 5/6 and 1/2 of the pairs and b's 1 and 1, so the area is 5/6; of what the positive patients add,
    (4/3 - 5/3) / 4 and (2 - 5/3) / 4, the squares sum to 1/72, twice that over 1 degree of freedom is 1/36. The
    negative ones lose 3/4, 1/2; 1, 3/4; 1, 1: they add (5/4 - 5/3) / 6, (7/4 - 5/3) / 6 and (2 - 5/3) / 6, whose
    squares sum to 7/864, 3/2 of it over 2 degrees of freedom is 7/576."""
    positive, patients = np.arange(10) < 4, np.array(list("aabbccddee"))
    scores = np.array([7.0, 4, 9, 8, 5, 7.5, 3, 6, 1, 2])
    up, down = 1 / 36, 7 / 576
    freedom = (up + down) ** 2 / (up**2 / 1 + down**2 / 2)
    assert 1 < freedom < 3
    found = delong.auc_interval(positive, scores, patients)
    assert found.value == pytest.approx(5 / 6)
    half = student.ppf(0.975, freedom) * found.se / (5 / 36)
    ends = tuple(1 / (1 + math.exp(-(math.log(5) + side * half))) for side in (-1, 1))
    assert (found.low, found.high) == pytest.approx(ends)
    _, variance, _, defined = spread_by_definition(positive, scores, patients)
    assert (found.se, freedom) == pytest.approx((math.sqrt(variance), defined))
    assert delong.auc_interval(positive.astype(int), scores, patients) == found


def test_classes_of_no_image_and_of_every_image_are_left_out_of_a_mean() -> None:
    random = np.random.default_rng(14)
    positive, scores = random.random((30, 4)) < 0.5, random.normal(size=(30, 4))
    positive[:, 1], positive[:, 3] = True, False
    found = delong.mean_area_interval(positive, scores)
    assert found == delong.mean_area_interval(positive[:, ::2], scores[:, ::2])
    assert found.low < found.value < found.high


@pytest.mark.filterwarnings("error")  # no mean of nothing is taken
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_area(label: int) -> None:
    areas, covariance = delong.auc_covariance(np.full(4, label), np.arange(8).reshape(2, 4))
    assert (areas.shape, covariance.shape) == ((2,), (2, 2))
    assert np.isnan(areas).all()
    assert np.isnan(covariance).all()
