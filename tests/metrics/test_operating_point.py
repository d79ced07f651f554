"""Thresholds against every possible threshold."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from medtl.errors import MedtlError, UsageError
from medtl.metrics.operating_point import choose_threshold, parse_rule

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.7, 0.25, 0.6, 0.8, 0.9])


def rates(labels: np.ndarray, scores: np.ndarray, threshold: float) -> tuple[float, float]:
    called = scores >= threshold
    return called[labels == 1].mean(), (~called)[labels == 0].mean()


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("sensitivity:0.75", 0.45),
        ("sensitivity:0.76", 0.225),
        ("sensitivity:1", 0.225),
        ("specificity:0.75", 0.45),
        ("specificity:1", 0.75),
    ],
)
def test_by_hand(rule: str, threshold: float) -> None:
    assert choose_threshold(LABELS, SCORES, rule) == pytest.approx(threshold)


def test_youden_by_hand() -> None:
    labels, scores = np.append(LABELS, [1, 0, 0]), np.append(SCORES, [0.65, 0.55, 0.56])
    assert choose_threshold(labels, scores, "youden") == pytest.approx((0.56 + 0.6) / 2)  # 4 of 5 and 5 of 6


def test_of_equals_the_one_with_the_most_sensitivity() -> None:
    """1 + 0.5, 0.75 + 0.75 and 0.5 + 1."""
    assert choose_threshold(LABELS, SCORES, "youden") == pytest.approx(0.225)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=40),
    st.sampled_from(
        ["youden", "sensitivity:0.95", "sensitivity:0.5", "specificity:0.95", "specificity:1", "specificity:0.3"]
    ),
)
def test_no_threshold_is_better(images: list[tuple[bool, int]], rule: str) -> None:
    labels, scores = (np.array(column) for column in zip(*images, strict=True))
    labels, scores = labels.astype(int), scores / 10
    assume(0 < labels.sum() < len(labels))
    threshold = choose_threshold(labels, scores, rule)
    assert np.isfinite(threshold)
    sensitivity, specificity = rates(labels, scores, threshold)
    name, target = parse_rule(rule)
    # scikit-learn's first threshold is infinite: nothing is called positive
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    if name == "youden":
        assert sensitivity + specificity == pytest.approx((tpr + 1 - fpr).max())
    elif name == "sensitivity":
        assert sensitivity >= target
        assert 1 - specificity == pytest.approx(fpr[tpr >= target].min())
    else:
        assert specificity >= target
        assert sensitivity == pytest.approx(tpr[1 - fpr >= target - 1e-12].max())


def test_rounded_scores_are_called_the_same() -> None:
    """predictions.csv holds seven digits of a float32."""
    random = np.random.default_rng(0)
    scores = random.random(300).astype(np.float32)
    labels = random.random(300) < scores
    stored = np.array([float(f"{score:.7g}") for score in scores])
    for rule in ("youden", "sensitivity:0.9", "specificity:0.9"):
        threshold = choose_threshold(labels, scores, rule)
        assert ((scores >= threshold) == (stored >= threshold)).all()


def test_floating_point_asks_for_no_extra_image() -> None:
    """0.7 of 10 is 7 images, though 0.7 * 10 may be more than 7 in floating point, and 19 of 20 are 0.95."""
    for share, count in ((0.7, 10), (0.95, 20), (0.55, 100), (0.57, 100)):
        scores = np.linspace(0.1, 0.9, count)
        labels = np.append(np.ones(count), 0)
        threshold = choose_threshold(labels, np.append(scores, 0.0), f"sensitivity:{share}")
        assert (scores >= threshold).sum() == round(share * count)


@pytest.mark.parametrize(
    ("labels", "scores", "called"),
    [
        ([1, 0], [1.0, 1.0], 0),  # one score for all, at the upper end: only calling nothing positive is specific
        ([1, 0], [0.0, 0.0], 0),
        ([1, 0], [np.nextafter(0.5, 1), 0.5], 1),  # no number lies between
    ],
)
def test_ends_and_neighbours(labels: list[int], scores: list[float], called: int) -> None:
    threshold = choose_threshold(np.array(labels), np.array(scores), "specificity:1")
    assert np.isfinite(threshold)
    assert (np.array(scores) >= threshold).sum() == called
    everything = choose_threshold(np.array(labels), np.array(scores)[::-1], "sensitivity:1")
    assert (np.array(scores) >= everything).sum() == 2


@pytest.mark.parametrize(
    "rule",
    ["yuden", "sensitivity", "sensitivity:", "sensitivity:0", "specificity:1.2", "sensitivity:1.2.3", "specificity:-1"],
)
def test_an_unknown_rule_is_told_in_one_line(rule: str) -> None:
    with pytest.raises(UsageError, match=r"--threshold_rule .* is not youden") as caught:
        parse_rule(rule)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_chosen() -> None:
    with pytest.raises(MedtlError, match="0 positive and 3 negative"):
        choose_threshold(np.zeros(3), np.array([0.1, 0.2, 0.3]), "youden")
    with pytest.raises(ValueError, match=r"0\.\.1"):
        choose_threshold(np.array([0, 1]), np.array([-2.0, 3.0]), "youden")
    with pytest.raises(ValueError, match=r"0\.\.1"):
        choose_threshold(np.array([0, 1]), np.array([np.nan, 0.5]), "youden")
