"""The threshold of a two-class problem, chosen on validation and kept for the test split.

A threshold t calls an image positive if its score is t or more. Between two neighbouring scores all thresholds do the
same; the middle is taken, so that rounding of a stored score does not flip an answer.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError, UsageError

RULE = re.compile(r"(sensitivity|specificity):([0-9.]+)")


@dataclass(frozen=True)
class Threshold:
    """An operating point of a two-class problem.

    Attributes:
        positive: index of the class whose probability is compared with it.
        positive_class: its name.
        rule: how it is chosen on validation.
        value: probability from which on an image counts as positive; None as long as it is not chosen.
    """

    positive: int
    positive_class: str
    rule: str
    value: float | None = None

    def as_record(self) -> dict[str, Any]:
        """Return it as run.json holds it."""
        return asdict(self)


def parse_rule(rule: str) -> tuple[str, float]:
    """Split a rule into its name and its target.

    Args:
        rule: ``youden``, ``sensitivity:0.95`` or ``specificity:0.95`` (any share above 0, up to 1).

    Returns:
        ("youden", 0.0), ("sensitivity", 0.95) …

    Raises:
        UsageError: it is none of these.
    """
    match = RULE.fullmatch(rule)
    try:
        if rule == "youden":
            return rule, 0.0
        if match and 0 < float(match[2]) <= 1:
            return match[1], float(match[2])
    except ValueError:
        pass
    raise UsageError(f"--threshold_rule {rule} is not youden, sensitivity:0.95 or specificity:0.95 (a share 0..1)")


def choose_threshold(labels: NDArray, scores: NDArray[np.floating], rule: str) -> float:
    """Return the threshold that a rule picks. Choose it on validation, never on the split that is reported.

    Args:
        labels: (n,) true where the image is of the positive class.
        scores: (n,) probability of the positive class, 0..1.
        rule: ``youden``: largest sensitivity + specificity (Youden 1950), of equals the one with the most sensitivity.
            ``sensitivity:S``: the fewest false alarms with a sensitivity of at least S.
            ``specificity:S``: the most sensitivity with a specificity of at least S.

    Returns:
        Finite, at least 0, and at most the next number above 1 (nothing is called positive).

    Raises:
        UsageError: no such rule.
        MedtlError: one class has no image.
        ValueError: a score is outside 0..1.
    """
    name, target = parse_rule(rule)
    positive, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("scores must be probabilities, 0..1")
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        raise MedtlError(f"no threshold by {rule}: validation has {ups} positive and {downs} negative images")
    thresholds = _candidates(np.unique(values))
    found = ups - np.searchsorted(np.sort(values[positive]), thresholds)
    left = np.searchsorted(np.sort(values[~positive]), thresholds)
    # in whole images, for 0.95 * 20 is a little more than 19 in floating point
    if name == "youden":
        best = np.argmax(found * downs + left * ups)
    elif name == "sensitivity":
        best = np.flatnonzero(found >= _at_least(target, ups))[-1]
    else:
        best = np.flatnonzero(left >= _at_least(target, downs))[0]
    return float(thresholds[best])


def _candidates(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One threshold below, between and above the distinct scores, rising."""
    between = (values[:-1] + values[1:]) / 2
    between = np.where(between > values[:-1], between, values[1:])  # neighbours in floating point have no middle
    top = (values[-1] + 1) / 2
    top = top if top > values[-1] else np.nextafter(values[-1], np.inf)
    return np.concatenate([[values[0] / 2], between, [top]])


def _at_least(share: float, count: int) -> int:
    return int(np.ceil(round(share * count, 9)))
