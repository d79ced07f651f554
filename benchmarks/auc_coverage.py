"""How often a 95 % interval of one training's AUC holds the true area: DeLong's on the logit scale, which medtl prints,
beside the percentile bootstrap of the same patients, on the same draws.

    python benchmarks/auc_coverage.py [--draws 2000] [--bootstrap-draws 400] [--replicates 400]

Scores are binormal; images of one patient are correlated by 0.7. Prints a Markdown table.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from medtl.metrics import bootstrap, registry
from medtl.metrics.ranking import area_intervals
from medtl.metrics.registry import Split

AREAS = (0.70, 0.80, 0.90, 0.95)
CORRELATION = 0.7


@dataclass(frozen=True)
class Design:
    """One kind of test split.

    Attributes:
        patients: how many.
        positive: how many of them are of the positive class.
        images: of each patient.
    """

    patients: int
    positive: int
    images: int = 1


USUAL = (Design(40, 20), Design(100, 50), Design(156, 42), Design(40, 20, 3), Design(100, 50, 3), Design(156, 42, 3))
FEW = (Design(40, 4), Design(40, 10), Design(156, 15), Design(156, 15, 3))


@dataclass(frozen=True)
class Coverage:
    """Shares of the draws, 0..1.

    Attributes:
        covered: with an interval, that it holds the true area.
        none: without an interval.
    """

    covered: float
    none: float


def draw(random: np.random.Generator, design: Design, area: float) -> Split:
    """Return what a network of this true area might say, told from the second class."""
    label = (np.arange(design.patients) < design.positive).astype(int)
    own = random.normal(size=(design.patients, 1)) * math.sqrt(CORRELATION)
    noise = random.normal(size=(design.patients, design.images)) * math.sqrt(1 - CORRELATION)
    chances = norm.cdf(norm.ppf(area) * math.sqrt(2) * label[:, None] + own + noise).ravel()
    both = np.stack([1 - chances, chances], axis=1)
    patient = np.repeat(np.arange(design.patients), design.images)
    return Split(np.repeat(label, design.images), both, patient, design.patients, positive=1)


def coverage(
    design: Design, area: float, draws: int, resampled: int = 0, replicates: int = 400, seed: int = 0
) -> tuple[Coverage, Coverage]:
    """Return the coverage of DeLong's interval, and of the bootstrap's in the first ``resampled`` of the draws."""
    random, ranked = np.random.default_rng(seed), [registry.metrics()["auc"]]
    found: tuple[list[bool], list[bool]] = ([], [])
    for number in range(draws):
        split = draw(random, design, area)
        ends = [area_intervals(split, 0.95)["auc"]]
        if number < resampled:
            drawn = bootstrap.distribution(registry.scorer(split, ranked), design.patients, replicates, number)
            ends.append(bootstrap.percentile(drawn["auc"]))
        for (low, high), held in zip(ends, found, strict=False):
            if not math.isnan(low):
                held.append(low <= area <= high)
    first, second = (
        Coverage(float(np.mean(held)) if held else math.nan, 1 - len(held) / asked if asked else math.nan)
        for held, asked in zip(found, (draws, resampled), strict=True)
    )
    return first, second


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--bootstrap-draws", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=400)
    asked = parser.parse_args()
    columns = ("patients", "positive", "images each", "true AUC", "DeLong's", "bootstrap's", "DeLong's: none")
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}")
    for design in (*USUAL, *FEW):
        for area in AREAS:
            delong, resampled = coverage(design, area, asked.draws, asked.bootstrap_draws, asked.replicates)
            what = f"{design.patients} | {design.positive} | {design.images} | {area:.2f}"
            print(f"| {what} | {delong.covered:.1%} | {resampled.covered:.1%} | {delong.none:.1%} |", flush=True)


if __name__ == "__main__":
    main()
