"""What a study of areas under the ROC curve will be able to say, before an image is collected: half-width of the
interval, and power of DeLong's test of two models on the same images.

The variance of an area is that of Hanley and McNeil 1982 (their equation 1), whose two probabilities are those of the
binormal model with equal variances instead of their approximation, and it is written for images of one patient that
are alike, as Obuchowski 1997 does for estimates: the sum, over all pairs of comparisons of a positive with a negative
image, of the chance that both come out right, less the square of the area. Two models on the same images vary together
in the same way.
"""

import math
from dataclasses import dataclass

from scipy.stats import multivariate_normal, norm

from medtl.errors import UsageError

ICC = 0.5  # correlation of the scores of two images of one patient, within a class
CORRELATION = 0.5  # of the scores of two models for one image, within a class
LEVEL = 0.95
POWER = 0.8
MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Design:
    """A study.

    Attributes:
        auc: area of the better model, above 0.5 and below 1.
        prevalence: share of positive images, 0..1.
        difference: by which the other model's area is smaller; 0 for one model alone.
        images_per_patient: images of a patient, all of one class.
        icc: correlation of the scores of two images of a patient, within their class, 0..1.
        correlation: of the two models' scores for an image, within its class, 0..1.
        level: of confidence.

    Raises:
        UsageError: a number that cannot be.
    """

    auc: float
    prevalence: float
    difference: float = 0.0
    images_per_patient: int = 1
    icc: float = ICC
    correlation: float = CORRELATION
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not 0.5 < self.auc < 1:
            raise UsageError(f"--auc {self.auc}: expected a number above 0.5 and below 1")
        if not 0 < self.prevalence < 1:
            raise UsageError(f"--prevalence {self.prevalence}: expected a share above 0 and below 1")
        if not 0 <= self.difference < self.auc:
            raise UsageError(f"--difference {self.difference}: expected a number from 0 to below --auc {self.auc}")
        if self.images_per_patient < 1:
            raise UsageError(f"--images-per-patient {self.images_per_patient}: expected a whole number from 1")
        for name in ("icc", "correlation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} {getattr(self, name)}: expected a number from 0 to 1")

    @property
    def quantile(self) -> float:
        """Return the quantile of the standard normal for the level."""
        return float(norm.ppf((1 + self.level) / 2))


@dataclass(frozen=True)
class Outlook:
    """What a study of ``images`` images will say.

    Attributes:
        images, patients, positive: how many.
        half_width: half of the expected interval of the area, on its own scale.
        design_effect: its variance over that of as many images of as many patients.
        difference_half_width: half of the interval of the difference; NaN without a difference.
        power: chance that DeLong's test finds the difference; NaN likewise.
    """

    images: int
    patients: int
    positive: int
    half_width: float
    design_effect: float
    difference_half_width: float
    power: float


def outlook(design: Design, images: int) -> Outlook:
    """Return what a study says with so many images.

    Raises:
        UsageError: there would be fewer than two patients of a class.
    """
    positive = round(images * design.prevalence)
    negative, each = images - positive, design.images_per_patient
    if min(positive, negative) < 2 * each:
        raise UsageError(
            f"--n {images}: {positive} positive and {negative} negative images: fewer than two patients of a class"
        )
    alone = covariance(design.auc, design.auc, positive, negative)
    clustered = covariance(design.auc, design.auc, positive, negative, 1.0, each, design.icc)
    width = power = math.nan
    if design.difference:
        se = math.sqrt(variance_of_difference(design, positive, negative))
        width, power = design.quantile * se, power_of(design.difference, se, design.quantile)
    return Outlook(
        images,
        math.ceil(images / each),
        positive,
        design.quantile * math.sqrt(clustered),
        clustered / alone,
        width,
        power,
    )


def images_for(design: Design, power: float = POWER) -> int:
    """Return the fewest images with which the difference is found with that chance.

    Raises:
        UsageError: there is no difference to find, or ten million would not do.
    """
    if not design.difference:
        raise UsageError("--difference is missing: without one there is no power to reach")
    if not 0 < power < 1:
        raise UsageError(f"--power {power}: expected a number above 0 and below 1")
    rarer = min(design.prevalence, 1 - design.prevalence)
    low = math.ceil(2 * (design.images_per_patient + 1) / rarer)
    high = low
    while outlook(design, high).power < power:
        low, high = high, 2 * high
        if high > MOST_IMAGES:
            raise UsageError(f"--difference {design.difference}: even {MOST_IMAGES:,} images would not find it")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if outlook(design, middle).power >= power else (middle, high)
    return high


def variance_of_difference(design: Design, positive: int, negative: int) -> float:
    """Return the variance of the difference of two areas on the same images."""
    own, other, each = design.auc, design.auc - design.difference, design.images_per_patient
    sizes = positive, negative
    ones = covariance(own, own, *sizes, 1.0, each, design.icc)
    others = covariance(other, other, *sizes, 1.0, each, design.icc)
    both = covariance(own, other, *sizes, design.correlation, each, design.icc)
    return max(ones + others - 2 * both, 1e-15)


def power_of(difference: float, se: float, quantile: float) -> float:
    """Return the chance that a two-sided normal test finds a difference."""
    return float(norm.cdf(difference / se - quantile) + norm.cdf(-difference / se - quantile))


def covariance(
    first: float,
    second: float,
    positive: int,
    negative: int,
    correlation: float = 1.0,
    images_per_patient: int = 1,
    icc: float = 0.0,
) -> float:
    """Return the covariance of the areas of two models on the same images; of one model, its variance.

    Of two comparisons, a positive with a negative image each, the scores' differences correlate by half the sum of how
    their positive and their negative images do: 1 for one image, ``icc`` for two of one patient, 0 for others, and
    ``correlation`` times that between models.

    Args:
        first, second: areas, 0..1.
        positive, negative: images of either class.
        correlation: of the two models' scores for an image, within its class; 1 for one model.
        images_per_patient: images of a patient, all of one class.
        icc: correlation of the scores of two images of a patient, within their class.
    """
    ends = float(norm.ppf(first)), float(norm.ppf(second))
    total = 0.0
    for up, alike_up in _neighbours(positive, images_per_patient, icc):
        for down, alike_down in _neighbours(negative, images_per_patient, icc):
            together = correlation * (alike_up + alike_down) / 2
            total += up * down * (_both(ends, together) - first * second)
    return total / (positive * negative)


def _neighbours(images: int, each: int, icc: float) -> list[tuple[float, float]]:
    """How many images of a class, seen from one of them, are alike by how much: itself, and those of its patient."""
    there = min(each, images)
    return [(1.0, 1.0), (there - 1.0, icc), (float(images - there), 0.0)]


def _both(ends: tuple[float, float], correlation: float) -> float:
    """Chance that two standard normal numbers with a correlation both lie below these ends."""
    if correlation >= 1 - 1e-12:
        return float(norm.cdf(min(ends)))
    if correlation <= 1e-12:
        return float(norm.cdf(ends[0]) * norm.cdf(ends[1]))
    return float(multivariate_normal.cdf(ends, mean=[0, 0], cov=[[1, correlation], [correlation, 1]]))
