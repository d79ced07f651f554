"""How far age, gender and grade alone order survival: the line that any feature of a slide has to beat.

    python -m data_prep tcga_survival --table CSV --out DATA
    python benchmarks/survival_covariates.py --dataset_dir DATA [--methods cox,random_forest,gradient_boosting,coxnet]

Cox's model (Efron's ties, a ridge of 0.001 on standardised covariates), fitted on all folds but one and asked for the
risks of that one; or a model of ``medtl.survival.baselines``, on the same covariates. Prints C-indices of equation 4
over pairs of one fold, with 95 % intervals by patient: of each diagnosis alone, of both together, and of both over
pairs of one grade only.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.metrics.survival import c_index_within, followed
from medtl.survival.bags import bag_of
from medtl.survival.baselines import BASELINES, fit_baseline
from medtl.survival.cox import fit_cox

RIDGE = 0.001
COX = "cox"


def risks(table: NDArray, time: NDArray, event: NDArray, fold: NDArray, method: str = COX) -> NDArray[np.float64]:
    """Return each patient's risk (n,) by the model of the other folds, from covariates (n, d)."""
    found = np.zeros(len(table))
    for own in np.unique(fold):
        train = fold != own
        spread = table[train].std(axis=0)
        scaled = (table - table[train].mean(axis=0)) / np.where(spread > 0, spread, 1)
        if method == COX:
            found[~train] = scaled[~train] @ fit_cox(scaled[train], time[train], event[train], RIDGE)
        else:
            risk = fit_baseline(method, scaled[train], followed(time[train], event[train]))
            found[~train] = risk(scaled[~train])
    return found


def rows(listed: DataList, method: str = COX) -> list[str]:
    """Return the table's lines of a method, in Markdown."""
    lines = []
    diagnoses = sorted({entry["group"]["diagnosis"] for entry in listed.training})
    for diagnosis in diagnoses:
        own = [entry for entry in listed.training if entry["group"]["diagnosis"] == diagnosis]
        lines.append(_row(listed, own, diagnosis, method))
    if len(diagnoses) > 1:
        lines.append(_row(listed, listed.training, "together", method))
        lines.append(_row(listed, listed.training, "together, pairs of one grade", method, by_grade=True))
    return lines


def _row(listed: DataList, entries: Sequence[Entry], title: str, method: str, by_grade: bool = False) -> str:
    table = np.concatenate([bag_of(listed, entry) for entry in entries]).astype(np.float64)
    time, event, fold = (np.array([entry[key] for entry in entries]) for key in ("time", "event", "fold"))
    risk = risks(table, time, event, fold, method)
    group = [f"{entry['fold']} {entry['group']['grade'] if by_grade else ''}" for entry in entries]
    value, low, high = c_index_within(followed(time, event), risk, group)
    return f"| {method} | {title} | {len(entries):,} | {event.sum():,} | {value:.3f} | {low:.3f}–{high:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="what data_prep tcga_survival wrote")
    parser.add_argument("--methods", default=COX, help=f"comma-separated: {', '.join((COX, *BASELINES))}")
    asked = parser.parse_args()
    print("| method | patients | n | events | C-index | 95 % interval |\n|---|---|---|---|---|---|")
    listed = datalist.read(asked.dataset_dir)
    for method in asked.methods.split(","):
        print("\n".join(rows(listed, method)), flush=True)


if __name__ == "__main__":
    main()
