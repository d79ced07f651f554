"""Whether the input of a paper costs its ImageNet arms (docs/comparing.md): the cells of two grids of ``medtl compare``
that differ in ``--normalisation`` alone, compared setting by setting.

    medtl compare busi --dataset_dir DATA --protocol radimagenet24 --normalisation own … --out OWN
    medtl compare busi --dataset_dir DATA --protocol radimagenet24 --normalisation paper … --out PAPER
    python benchmarks/input_normalisation.py OWN PAPER

Printed is the AUC of own input less that of the paper's, paired by seed, with the 95 % interval from patients and
trainings together.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.bootstrap import paired_difference
from medtl.metrics.compare import SeedComparison, across_seeds
from medtl.metrics.delong import mean_area_interval
from medtl.report.arms import study
from medtl.report.collect import Run, collect
from medtl.runs.predictions import Sample


def by_setting(folder: Path) -> dict[str, dict[int, Run]]:
    """Return the finished cells of a grid: what is trained (row of its report, and start) to seed to cell."""
    found: dict[str, dict[int, Run]] = defaultdict(dict)
    for (row, init), arm in study(collect(folder)).arms.items():
        for run in arm.runs:
            found[f"{row} from {init}"][run.seed] = run
    return found


def compared(own: Sequence[Sample], other: Sequence[Sample]) -> SeedComparison:
    """Return the difference in AUC between trainings in pairs, all on the same images in the same order."""
    labels, patients = own[0].labels, own[0].patients
    tables = [np.stack([sample.values for sample in side]) for side in (own, other)]
    drawn = paired_difference(labels, tables[0], tables[1], patients)["auc"]
    areas = [[mean_area(labels, values) for values in side] for side in tables]
    return across_seeds(areas[0], areas[1], drawn.se, len(np.unique(patients.astype(str))))


def mean_area(labels: NDArray[np.int64], values: NDArray[np.floating]) -> float:
    """Return the AUC, of several classes the mean of each against the rest."""
    positive = labels[:, np.newaxis] == np.arange(values.shape[1])
    return mean_area_interval(positive, values).value


def main(words: Sequence[str] | None = None) -> int:
    """Print a line for each setting that both grids hold; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("own", type=Path, help="grid with each start's own input")
    parser.add_argument("paper", type=Path, help="the same grid with the paper's input")
    given = parser.parse_args(words)
    own, paper = by_setting(given.own), by_setting(given.paper)
    shared = [name for name in own if name in paper]
    if not shared:
        print("the two grids hold no setting in common", file=sys.stderr)
        return 2
    for name in shared:
        seeds = sorted(own[name].keys() & paper[name].keys())
        sides = [[each[name][seed].splits["test"] for seed in seeds] for each in (own, paper)]
        found = compared(*sides)
        means = [np.mean([mean_area(sample.labels, sample.values) for sample in side]) for side in sides]
        print(
            f"{name}: AUC {means[0]:.3f} with its own input, {means[1]:.3f} with the paper's; difference "
            f"{found.value:+.3f} ({found.both_low:+.3f} to {found.both_high:+.3f}), {len(seeds)} seeds, "
            f"{len(np.unique(sides[0][0].patients.astype(str)))} patients"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
