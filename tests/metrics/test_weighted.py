"""Scores with weights are the scores of repeated images, and rankings behave as rankings must."""

import math

import numpy as np
import oracle_scores as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medtl.metrics import ranking, weighted
from medtl.metrics.classification import one_side
from medtl.metrics.registry import Split, scorer

Drawn = tuple[NDArray, NDArray, NDArray, NDArray]


@st.composite
def splits(draw: st.DrawFn, n_classes: int = 3) -> Drawn:
    """Labels, probabilities full of ties, patients 0..count-1 of each image, and how often each patient is drawn."""
    images = draw(st.integers(1, 25))
    count = draw(st.integers(1, images))
    patient = np.array(
        [*range(count), *draw(st.lists(st.integers(0, count - 1), min_size=images - count, max_size=images - count))]
    )
    labels = np.array(draw(st.lists(st.integers(0, n_classes - 1), min_size=images, max_size=images)))
    raw = draw(
        st.lists(st.lists(st.integers(1, 5), min_size=n_classes, max_size=n_classes), min_size=images, max_size=images)
    )
    probabilities = np.array(raw) / np.array(raw).sum(axis=1, keepdims=True)
    times = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any))
    return labels, probabilities, patient, np.array(times)


def lost(expected: dict[str, float], whole: NDArray, rows: NDArray) -> dict[str, float]:
    """The expected scores, but no mean over classes where the repetition lacks one that the split has (of rankings:
    lacks all its images, or all others); ``whole`` (n, n_classes) tells which image has which class."""
    part = whole[rows]
    absent = (whole.any(axis=0) & ~part.any(axis=0)).any()
    flat = (whole.any(axis=0) & ~whole.all(axis=0) & (~part.any(axis=0) | part.all(axis=0))).any()
    over_classes = {"class_weighted_accuracy": absent, "f1_macro": absent, "auc": flat, "average_precision": flat}
    return {name: math.nan if over_classes.get(name) else value for name, value in expected.items()}


def same(found: dict[str, NDArray], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, nan_ok=True), name


@given(splits())
def test_single_label_weights_are_repetitions(drawn: Drawn) -> None:
    labels, probabilities, patient, times = drawn
    rows = np.repeat(np.arange(len(labels)), times[patient])
    found = scorer(Split(labels, probabilities, patient, len(times)))(times[None].astype(float))
    whole = labels[:, np.newaxis] == np.arange(3)
    same(found, lost(oracle.single_label(labels[rows], probabilities[rows]), whole, rows))
    same(found, oracle.calibration(labels[rows], probabilities[rows]))
    recalls = oracle.recalls(labels[rows], probabilities[rows].argmax(axis=1), 3)
    same(found, {f"recall_{c}": value for c, value in enumerate(recalls)})


@given(splits())
def test_multi_label_weights_are_repetitions(drawn: Drawn) -> None:
    _, probabilities, patient, times = drawn
    labels = (np.roll(probabilities, 1, axis=0) > 0.35).astype(np.float32)
    rows = np.repeat(np.arange(len(labels)), times[patient])
    found = scorer(Split(labels, probabilities, patient, len(times)))(times[None].astype(float))
    same(found, lost(oracle.multi_label(labels[rows], probabilities[rows]), labels > 0.5, rows))


@given(splits(n_classes=2), st.sampled_from([0, 1]), st.sampled_from([0.3, 0.5, 0.75]))
def test_binary_weights_are_repetitions(drawn: Drawn, positive: int, threshold: float) -> None:
    labels, probabilities, patient, times = drawn
    scores = probabilities[:, positive]
    rows = np.repeat(np.arange(len(labels)), times[patient])
    told = Split(labels, probabilities, patient, len(times), None, positive, threshold)
    found = scorer(told)(times[None].astype(float))
    expected = oracle.binary(labels[rows], scores[rows], positive, threshold)
    assert set(found) == set(expected)
    whole = labels[:, np.newaxis] == np.arange(2)
    same(found, lost(expected, whole, rows))


def test_a_mean_over_classes_is_never_of_fewer_classes() -> None:
    """A class of two images, never found: without it the mean recall would be 1."""
    labels = np.array([0] * 30 + [1] * 30 + [2] * 2)
    guesses = np.where(labels == 2, 0, labels)
    times = np.ones((2, 62))
    times[1, 60:] = 0
    found = scorer(Split(labels, np.eye(3)[guesses], np.arange(62), 62))(times)
    np.testing.assert_allclose(found["class_weighted_accuracy"], [2 / 3, np.nan])
    np.testing.assert_allclose(found["recall_2"], [0, np.nan])
    np.testing.assert_allclose(found["accuracy"], [60 / 62, 1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_threshold_just_above_one_calls_nothing_positive(kind: type) -> None:
    scores, positive = np.array([0.1, 1.0, 0.3, 1.0], kind), np.array([False, False, True, True])
    above = float(np.nextafter(1.0, 2.0))
    found = scorer(one_side(positive.astype(int), scores, 1, above))(np.ones((1, 4)))
    assert (found["sensitivity"][0], found["specificity"][0]) == (0, 1)
    plain = oracle.binary(positive.astype(int), scores, 1, above)
    assert (plain["sensitivity"], plain["specificity"]) == (0, 1)


def test_a_row_of_weights_does_not_touch_the_others() -> None:
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 3, 40), random.dirichlet(np.ones(3), 40).round(1)
    score = scorer(Split(labels, probabilities, np.arange(40) // 2, 20))
    times = random.integers(0, 3, (7, 20)).astype(float)
    together = score(times)
    for row in range(7):
        for name, values in score(times[row : row + 1]).items():
            assert values[0] == pytest.approx(together[name][row], nan_ok=True), name


def area(positive: NDArray, scores: NDArray) -> float:
    whole = np.ones((1, len(scores)))
    return float(scorer(one_side(positive.astype(int), scores, 1))(whole)["auc"][0])


@given(st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=40), st.randoms())
def test_area_invariances(images: list[tuple[bool, int]], random: object) -> None:
    positive, scores = (np.array(column) for column in zip(*images, strict=True))
    value = area(positive, scores.astype(float))
    if positive.all() or not positive.any():
        assert math.isnan(value)
        return
    assert value == pytest.approx(roc_auc_score(positive, scores))
    assert area(positive, np.exp(scores / 3) - 7) == pytest.approx(value)  # only the order counts
    assert area(~positive, scores.astype(float)) == pytest.approx(1 - value)
    assert area(positive, -scores.astype(float)) == pytest.approx(1 - value)
    order = np.random.default_rng(random.randint(0, 99)).permutation(len(scores))  # type: ignore[attr-defined]
    assert area(positive[order], scores[order].astype(float)) == pytest.approx(value)


def test_means_leave_missing_cases_out() -> None:
    dice = np.array([0.5, np.nan, 0.9, 0.7])
    found = weighted.means({"dice": dice}, np.array([0, 0, 1, 2]), 3)(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found["dice"], [(0.5 + 2 * 0.9) / 3, np.nan])


def test_mean_of_trainings() -> None:
    random = np.random.default_rng(3)
    labels, patient = random.integers(0, 2, 20), np.arange(20)
    scorers = [scorer(Split(labels, random.dirichlet([1, 1], 20), patient, 20)) for _ in range(3)]
    times = random.integers(1, 3, (2, 20)).astype(float)
    expected = np.mean([each(times)["auc"] for each in scorers], axis=0)
    np.testing.assert_allclose(weighted.mean_of(scorers)(times)["auc"], expected)


def test_rankings_do_not_compare_images_of_two_networks() -> None:
    """Two folds, perfect each, whose networks' probabilities lie on different levels."""
    labels, network = np.array([0, 0, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    chance = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])
    probabilities = np.stack([1 - chance, chance], axis=1)
    whole = np.ones((1, 6))
    assert scorer(Split(labels, probabilities, np.arange(6), 6))(whole)["auc"][0] == pytest.approx(8 / 9)
    apart = scorer(Split(labels, probabilities, np.arange(6), 6, network))
    for name in ("auc", "average_precision", "auc_1", "average_precision_0"):
        assert apart(whole)[name][0] == 1
    # a replicate without the second fold's negative image is told by the first fold alone
    assert apart(np.array([[1.0, 1, 1, 0, 1, 1]]))["auc"][0] == 1
    assert math.isnan(apart(np.array([[1.0, 1, 0, 0, 1, 1]]))["auc"][0])


@given(splits(), st.randoms())
def test_several_networks_are_their_pairs_together(drawn: Drawn, random: object) -> None:
    labels, probabilities, patient, times = drawn
    network = np.random.default_rng(random.randint(0, 99)).integers(0, 3, len(labels))  # type: ignore[attr-defined]
    found = scorer(Split(labels, probabilities, patient, len(times), network))(times[None].astype(float))
    ordered = pairs = 0.0
    for k in range(3):
        rows = np.repeat(np.flatnonzero(network == k), times[patient[network == k]])
        ups = labels[rows] == 1
        if ups.any() and not ups.all():
            count = ups.sum() * (~ups).sum()
            ordered += roc_auc_score(ups, probabilities[rows, 1]) * count
            pairs += count
    assert found["auc_1"][0] == pytest.approx(ordered / pairs if pairs else math.nan, nan_ok=True)


def test_one_list_of_all_answers_is_scored_in_pieces_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 4, 30), random.dirichlet(np.ones(4), 30)
    times = random.integers(0, 3, (7, 10)).astype(float)
    split = Split(labels, probabilities, np.arange(30) // 3, 10)
    whole = ranking.pooled(split)(times)
    monkeypatch.setattr(ranking, "ANSWERS_AT_A_TIME", 2 * 120)  # two replicates of 120 answers
    pieces = ranking.pooled(split)(times)
    assert whole.keys() == pieces.keys() == {"auc_micro", "average_precision_micro"}
    for name, values in whole.items():
        assert values.shape == (7,)
        assert pieces[name] == pytest.approx(values)
