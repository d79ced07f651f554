"""Standard errors of areas under the ROC curve, and of their difference on the same images, without resampling.

DeLong, DeLong and Clarke-Pearson 1988, computed with midranks in n log n (Sun and Xu 2014). They take images as
independent; with ``patients`` the images of one patient may be alike (Obuchowski 1997), which gives the same numbers
where each patient has one image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from medtl.metrics.weighted import by_patient

Patients = Sequence[str] | NDArray


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve.

    Attributes:
        value: 0..1.
        se: its standard error.
        low, high: of the interval; NaN where none is defined.
    """

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True)
class AreaDifference:
    """How much one area exceeds another on the same images.

    Attributes:
        first, second: the areas.
        value: first minus second.
        se: its standard error.
        low, high: of the interval, -1..1.
        z: value / se.
        p: two-sided, of no difference.
    """

    first: float
    second: float
    value: float
    se: float
    low: float
    high: float
    z: float
    p: float


def auc_covariance(
    labels: NDArray, scores: NDArray[np.floating], patients: Patients | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas of several scores of the same images, and how they vary together.

    Args:
        labels: (n,) true where the image is of the positive class.
        scores: (k, n), higher is more positive; ties count half.
        patients: (n,) whose image each is; None where no patient has two.

    Returns:
        (k,) areas and their (k, k) covariance. Areas are NaN unless both classes occur, the covariance unless each has
        images of two patients.

    Raises:
        ValueError: a score is not a number.
    """
    positive, table = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if np.isnan(table).any():
        raise ValueError("scores hold NaN")
    k = len(table)
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        return np.full(k, np.nan), np.full((k, k), np.nan)
    outranked, outranking = _placements(positive, table)
    areas = outranked.mean(axis=1)

    patient, count = (np.arange(len(positive)), len(positive)) if patients is None else by_patient(patients)
    up = _by_cluster(outranked - areas[:, np.newaxis], patient[positive], count)
    down = _by_cluster(outranking - areas[:, np.newaxis], patient[~positive], count)
    with_up, with_down = len(np.unique(patient[positive])), len(np.unique(patient[~positive]))
    if with_up < 2 or with_down < 2:
        return areas, np.full((k, k), np.nan)
    # Obuchowski's S10, S01 and S11, already over M², N² and MN
    s10 = with_up / (with_up - 1) * (up @ up.T) / ups**2
    s01 = with_down / (with_down - 1) * (down @ down.T) / downs**2
    s11 = count / (count - 1) * (up @ down.T) / (ups * downs)
    return areas, s10 + s01 + s11 + s11.T


def auc_variance(
    labels: NDArray, scores: NDArray[np.floating], patients: Patients | None = None
) -> tuple[float, float]:
    """Return the area and its variance; arguments as of ``auc_covariance``, but scores (n,)."""
    areas, covariance = auc_covariance(labels, np.asarray(scores)[np.newaxis], patients)
    return float(areas[0]), float(covariance[0, 0])


def auc_interval(
    labels: NDArray,
    scores: NDArray[np.floating],
    patients: Patients | None = None,
    level: float = 0.95,
    method: Literal["logit", "wald"] = "logit",
) -> Area:
    """Return the area with its interval.

    Args:
        labels: (n,) true where the image is of the positive class.
        scores: (n,), higher is more positive.
        patients: (n,) whose image each is; None where no patient has two.
        level: of confidence.
        method: ``logit`` builds the interval on log(A / (1 - A)) with standard error se / (A (1 - A)) and maps it back
            (Pepe 2003, section 5.2): it stays inside 0..1 and covers better near 1; see ``mean_area_interval`` for
            patients with several images. ``wald`` is A ± z se, cut off at 0 and 1, as most software prints it.

    Returns:
        The interval is NaN where the standard error is 0 (an area of exactly 1 says nothing about its uncertainty) or
        not defined.
    """
    positive, table = np.asarray(labels, dtype=bool)[:, np.newaxis], np.asarray(scores)[:, np.newaxis]
    found = mean_area_interval(positive, table, patients, level)
    if method == "logit" or math.isnan(found.low):
        return found
    half = float(norm.ppf((1 + level) / 2)) * found.se
    return Area(found.value, found.se, max(found.value - half, 0.0), min(found.value + half, 1.0))


def mean_area_interval(
    positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    patients: Patients | None = None,
    level: float = 0.95,
) -> Area:
    """Return the mean of the areas of several classes, each against the rest, with its logit interval; of one class
    that of ``auc_interval``.

    Args:
        positive: (n, k) which image is of each class; classes that no image or every image has are left out.
        scores: (n, k), of each class, higher is more positive.
        patients: (n,) whose image each is; None where no patient has two.
        level: of confidence.

    Returns:
        The variance of each area is Obuchowski's; two areas vary together as what each patient adds to both does. With
        several images a patient the normal's quantile gives way to that of t, whose degrees of freedom are Welch and
        Satterthwaite's from the patients with positive and with negative images (of several classes the fewest): the
        normal's covers too little there. The interval is NaN where ``auc_interval`` gives none, of any of the classes.
    """
    wanted = np.flatnonzero(positive.any(axis=0) & ~positive.all(axis=0))
    if not len(wanted):
        return Area(*[math.nan] * 4)
    patient, count = by_patient(np.arange(len(positive)) if patients is None else patients)
    each = [_spread(positive[:, c], np.asarray(scores[:, c], dtype=np.float64), patient, count) for c in wanted]
    added = np.stack([spread.added for spread in each])
    covariance = count / max(count - 1, 1) * (added @ added.T)
    np.fill_diagonal(covariance, [spread.variance for spread in each])
    area = float(np.mean([spread.area for spread in each]))
    freedom = min(spread.freedom for spread in each) if count < len(positive) else math.inf
    return _logit_interval(area, float(covariance.mean()), level, freedom)


def paired_test(
    labels: NDArray,
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    patients: Patients | None = None,
    level: float = 0.95,
) -> AreaDifference:
    """Test two models on the same images, as DeLong does.

    Args:
        labels: (n,) true where the image is of the positive class.
        first, second: (n,) scores, higher is more positive.
        patients: (n,) whose image each is; None where no patient has two.
        level: of confidence.

    Returns:
        Where the two never differ: z 0, p 1 and no interval; where no standard error is defined, or it is 0 although
        the areas differ, z, p and the interval are NaN.
    """
    return contrast(labels, np.stack([first, second]), (1.0, -1.0), patients, level)


def contrast(
    labels: NDArray,
    scores: NDArray[np.floating],
    weights: Sequence[float] | NDArray[np.float64],
    patients: Patients | None = None,
    level: float = 0.95,
) -> AreaDifference:
    """Test a weighted sum of several models' areas on the same images (DeLong 1988, equation 5 with one row of
    contrasts): weights 1/k give the mean area of k models, 1/k and -1/k the difference of two such means. The models
    are taken as they are, so that only the patients' chance is in the standard error.

    Args:
        labels: (n,) true where the image is of the positive class.
        scores: (k, n), higher is more positive.
        weights: (k,), of each area.
        patients: (n,) whose image each is; None where no patient has two.
        level: of confidence.

    Returns:
        ``first`` is the sum of the areas with positive weights, ``second`` that of the others. The rest is as of
        ``paired_test``.
    """
    areas, covariance = auc_covariance(labels, scores, patients)
    each = np.asarray(weights, dtype=np.float64)
    first, second = float(areas @ np.maximum(each, 0)), float(areas @ np.maximum(-each, 0))
    value, variance = first - second, float(each @ covariance @ each)
    se = math.sqrt(max(variance, 0.0)) if not math.isnan(variance) else math.nan
    low = high = z = p = math.nan
    if se > 1e-9:
        z = value / se
        p = float(2 * norm.sf(abs(z)))
        half = float(norm.ppf((1 + level) / 2)) * se
        low, high = max(value - half, -1.0), min(value + half, 1.0)
    elif not math.isnan(se) and abs(value) < 1e-12:
        se, z, p = 0.0, 0.0, 1.0
    return AreaDifference(first, second, value, se, low, high, z, p)


@dataclass(frozen=True, eq=False)
class _Spread:
    """Of one class: its area and variance, what each patient (count,) adds to the area, and degrees of freedom."""

    area: float
    variance: float
    added: NDArray[np.float64]
    freedom: float


def _spread(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], patient: NDArray[np.int64], count: int
) -> _Spread:
    area, variance = auc_variance(positive, scores, patient)
    outranked, outranking = _placements(positive, scores[np.newaxis])
    up = _by_cluster(outranked - area, patient[positive], count)[0] / positive.sum()
    down = _by_cluster(outranking - area, patient[~positive], count)[0] / (~positive).sum()
    sides = [(up, len(np.unique(patient[positive]))), (down, len(np.unique(patient[~positive])))]
    parts = [(n / (n - 1) * float(side @ side), n - 1) for side, n in sides if n > 1]
    spent = sum(part**2 / freedom for part, freedom in parts)
    return _Spread(area, variance, up + down, sum(part for part, _ in parts) ** 2 / spent if spent else math.inf)


def _logit_interval(area: float, variance: float, level: float, freedom: float = math.inf) -> Area:
    """NaN where the variance is 0, or not defined: an area of exactly 1 says nothing about its uncertainty."""
    se = math.sqrt(max(variance, 0.0)) if not math.isnan(variance) else math.nan
    if not se > 1e-12 or not 0 < area < 1:
        return Area(area, se, math.nan, math.nan)
    centre, half = float(logit(area)), float(student.ppf((1 + level) / 2, freedom)) * se / (area * (1 - area))
    return Area(area, se, float(expit(centre - half)), float(expit(centre + half)))


def _placements(
    positive: NDArray[np.bool_], table: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of (k, n) scores: (k, m) share of negative images that each positive one outranks, and (k, n - m) share of
    positive images that outrank each negative one.

    Sun and Xu: how many of the other class an image outranks is its rank among all less its rank among its own.
    """
    ranks, ups = rankdata(table, axis=1), int(positive.sum())
    outranked = (ranks[:, positive] - rankdata(table[:, positive], axis=1)) / (len(positive) - ups)
    return outranked, 1 - (ranks[:, ~positive] - rankdata(table[:, ~positive], axis=1)) / ups


def _by_cluster(values: NDArray[np.float64], patient: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """(k, count) sums over each patient's images of (k, n) values."""
    return np.stack([np.bincount(patient, weights=row, minlength=count) for row in values])
