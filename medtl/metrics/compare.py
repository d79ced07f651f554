"""Two models on one test split, and two ways of training over several seeds: differences with what is known of their
chance. docs/statistics.md says in words what each interval covers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medtl.metrics import delong, paired
from medtl.metrics.bootstrap import REPLICATES, Difference, paired_difference


@dataclass(frozen=True)
class Comparison:
    """Two trained models on the same images; the training's own chance is in none of it.

    Attributes:
        accuracy: difference with the patient bootstrap's interval, and McNemar's exact p (of whole patients where one
            has several images).
        discordance: how many images only one model got right.
        auc: difference, interval and p.
        auc_method: "DeLong" (two classes), "DeLong, clustered" (the same where patients have several images) or
            "bootstrap" (more classes: the mean of one against the rest).
    """

    accuracy: Difference
    discordance: paired.Discordance
    auc: Difference
    auc_method: str


@dataclass(frozen=True)
class SeedComparison:
    """Two ways of training, several trainings each, paired by seed (and fold).

    Attributes:
        value: mean of first minus second.
        sd: standard deviation of the pairs' differences; NaN with one pair.
        pairs: how many.
        low, high, p: from the trainings' chance alone, on these very patients: t with pairs - 1 degrees of freedom.
        both_low, both_high, both_p: from the trainings' and the patients' chance; NaN where the latter is not given.
    """

    value: float
    sd: float
    pairs: int
    low: float
    high: float
    p: float
    both_low: float
    both_high: float
    both_p: float


def compare_models(
    labels: NDArray[np.int64],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    patients: Sequence[str] | NDArray,
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare accuracy and AUC of two models on the same images.

    Args:
        labels: (n,) class indices.
        first, second: (n, n_classes) probabilities, rows adding up to 1.
        patients: (n,) whose image each is.
        level: of confidence.
        seed: of the bootstrap's draws.
        replicates: number of draws.

    Returns:
        First minus second.
    """
    drawn = paired_difference(labels, first, second, patients, level=level, seed=seed, replicates=replicates)
    whose = np.asarray(patients, dtype=str)
    discordance = paired.mcnemar(labels, first.argmax(axis=1), second.argmax(axis=1), whose)
    raw = drawn["accuracy"]
    accuracy = Difference(raw.value, raw.se, raw.low, raw.high, discordance.p)
    if first.shape[1] != 2:
        return Comparison(accuracy, discordance, drawn["auc"], "bootstrap")
    alone = len(np.unique(whose)) == len(whose)
    test = delong.paired_test(labels == 1, first[:, 1], second[:, 1], None if alone else whose, level)
    auc = Difference(test.value, test.se, test.low, test.high, test.p)
    return Comparison(accuracy, discordance, auc, "DeLong" if alone else "DeLong, clustered")


def across_seeds(
    first: Sequence[float] | NDArray[np.float64],
    second: Sequence[float] | NDArray[np.float64],
    patients_se: float | None = None,
    patients: float = math.inf,
    level: float = 0.95,
) -> SeedComparison:
    """Return the difference of a score between two ways of training.

    Args:
        first, second: (pairs,) the score of each training, the same seed (and fold) in the same place.
        patients_se: standard error of the mean difference by drawing patients, with the trainings as they are:
            ``bootstrap.paired_difference`` of (n_trainings, n, n_classes) probabilities gives it. Its square and
            sd² / pairs add up; the degrees of freedom are Welch and Satterthwaite's. What trainings and patients do to
            each other is in both terms, so the interval is a little too wide rather than too narrow.
        patients: n, how many were drawn from, 2 or more. The bootstrap's variance lacks the factor n / (n - 1), and has
            n - 1 degrees of freedom: with few patients that matters.
        level: of confidence.

    Returns:
        With one pair the trainings' chance is not known: only the value. Where all pairs differ by the same, that
        is taken at its word only if patients_se is given.

    Raises:
        ValueError: the two are not equally long, or empty.
    """
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if np.shape(first) != np.shape(second) or gaps.ndim != 1 or not len(gaps):
        raise ValueError("scores must come in pairs, one a seed")
    count, value = len(gaps), float(gaps.mean())
    sd = float(gaps.std(ddof=1)) if count > 1 else math.nan
    from_seeds = sd**2 / count
    seeds = _t_interval(value, from_seeds, count - 1, level)
    both = (math.nan,) * 3
    if patients_se is not None and count > 1:
        from_patients = patients_se**2 / (1 - 1 / patients)
        total = from_seeds + from_patients
        spent = from_seeds**2 / (count - 1) + from_patients**2 / (patients - 1)
        both = _t_interval(value, total, total**2 / spent if spent > 0 else math.inf, level)
    return SeedComparison(value, sd, count, *seeds, *both)


def _t_interval(value: float, variance: float, freedom: float, level: float) -> tuple[float, float, float]:
    """Low, high and two-sided p; NaN where there is no spread to go by."""
    if not variance > 1e-24:
        return math.nan, math.nan, math.nan
    se = math.sqrt(variance)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * se
    return value - half, value + half, float(2 * stats.t.sf(abs(value) / se, freedom))
