"""Runs sorted for comparison: rows (a backbone, and what else of the recipe differs), columns (the start), seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medtl.errors import MedtlError
from medtl.metrics import contours
from medtl.report.collect import Found, Run
from medtl.report.rows import designs_of, natural, row_labels
from medtl.runs.predictions import Sample, common_split

INITS = ("random", "imagenet", "cpmid", "mini")
FRACTION = "train_fraction"


@dataclass(frozen=True, eq=False)
class Member:
    """One training, or the trainings of one seed with their validation folds put together.

    Attributes:
        name: "seed 0", or "seed 0, fold 2" where folds are not put together.
        sample: what is scored.
        runs: whose it is.
        same: of a probe, those that predict the same to the last digit, as seeds do that draw nothing: they count once.
    """

    name: str
    sample: Sample
    runs: tuple[Run, ...]
    same: "tuple[Member, ...]" = ()

    @property
    def all(self) -> "tuple[Member, ...]":
        """Return it, and those that predict the same."""
        return self, *self.same


@dataclass(frozen=True, eq=False)
class Arm:
    """One row and column of the main table.

    Attributes:
        row: label of the row.
        backbone: of the row.
        init: of the column.
        fraction: share of the training patients that was trained on.
        design: what tells its row from others of its backbone: ids of the recipe, or the bundle, and their values.
        curve: its row without the share of the training patients: arms of one curve differ in nothing else.
        members: in the order of their seeds.
    """

    row: str
    backbone: str
    init: str
    fraction: float
    design: Mapping[str, str]
    curve: str
    members: tuple[Member, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return all its runs."""
        return tuple(run for member in self.members for each in member.all for run in each.runs)

    @property
    def is_probe(self) -> bool:
        """Return whether its runs are heads on frozen features."""
        return self.members[0].runs[0].record.is_probe


@dataclass(frozen=True, eq=False)
class Study:
    """What a report is about.

    Attributes:
        found: all runs.
        split: short name of the split that is scored.
        pooled: validation folds of a seed are scored together.
        kind: "classification", "multilabel", "regression", "segmentation" or "survival".
        classes: names in index order; for a segmentation the columns.
        positive: index of the positive class of two, else None.
        positive_named: whether the runs name it.
        rows, inits: labels in the order of the table.
        arms: by row and init.
        patients: everybody in the split, sorted.
        images: number of different images (or cases) in the split.
    """

    found: Found
    split: str
    pooled: bool
    kind: str
    classes: tuple[str, ...]
    positive: int | None
    positive_named: bool
    rows: tuple[str, ...]
    inits: tuple[str, ...]
    arms: Mapping[tuple[str, str], Arm]
    patients: tuple[str, ...]
    images: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return all seeds."""
        return tuple(sorted({run.seed for run in self.found.runs}))

    @property
    def seeds_alike(self) -> bool:
        """Return whether seeds of a probe gave the same predictions, and count once."""
        return any(member.same for arm in self.arms.values() for member in arm.members)

    @property
    def sample_data(self) -> bool:
        """Return whether the images are the built-in phantoms."""
        return any(bool(run.data.sample) for run in self.found.runs)

    @property
    def unit(self) -> str:
        """Return what a row of predictions is."""
        return {"segmentation": "case", "survival": "patient"}.get(self.kind, "image")


def study(found: Found) -> Study:
    """Sort the runs.

    Raises:
        MedtlError: two runs claim one place, or they cannot be scored on one split.
    """
    runs = found.runs
    split = _split(runs)
    pooled = split == "val" and any(run.fold is not None for run in runs)
    if pooled and any(run.fold is None for run in runs):
        lone = next(run for run in runs if run.fold is None)
        raise MedtlError(
            f"{lone.name} names no fold and other runs do: their validation splits differ; report them apart"
        )
    designs = designs_of(runs)
    rows = row_labels(runs, designs)
    curves = row_labels(runs, {name: {k: v for k, v in own.items() if k != FRACTION} for name, own in designs.items()})
    by_arm: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_arm[rows[run.name], run.init].append(run)
    alike = _of_one_kind(runs, split)
    arms = {}
    for (row, init), own in by_arm.items():
        members = _members(row, init, [alike[run.name] for run in own], split, pooled)
        first, fraction = own[0], float(own[0].record.recipe.get(FRACTION) or 1.0)
        arms[row, init] = Arm(row, first.backbone, init, fraction, designs[first.name], curves[first.name], members)
    samples = [member.sample for arm in arms.values() for member in arm.members]
    _check_agreement(arms.values())
    positive, named = _positive(runs, samples[0])
    order = sorted({*rows.values()}, key=natural)
    return Study(
        found=found,
        split=split,
        pooled=pooled,
        kind=samples[0].kind,
        classes=samples[0].columns,
        positive=positive,
        positive_named=named,
        rows=tuple(order),
        inits=tuple(sorted({run.init for run in runs}, key=_init_order)),
        arms={(row, init): arms[row, init] for row, init in sorted(arms, key=lambda k: (order.index(k[0]), k[1]))},
        patients=tuple(sorted({str(p) for sample in samples for p in sample.patients})),
        images=len({name for sample in samples for name in sample.images}),
    )


def _of_one_kind(runs: Sequence[Run], split: str) -> dict[str, Run]:
    """Runs by name. What not all segmentations have measured of contours, as those of an earlier medtl, is left out."""
    if any(run.splits[split].kind != "segmentation" for run in runs):
        return {run.name: run for run in runs}
    common = set.intersection(*(set(run.splits[split].columns) for run in runs))

    def kept(sample: Sample) -> Sample:
        return sample.only([name for name in sample.columns if name in common or not contours.of_column(name)])

    return {run.name: replace(run, splits={**run.splits, split: kept(run.splits[split])}) for run in runs}


def _init_order(init: str) -> tuple[int, str]:
    return (INITS.index(init) if init in INITS else len(INITS), init)


def _split(runs: Sequence[Run]) -> str:
    if (split := common_split([run.splits for run in runs])) is not None:
        return split
    without = next(run.name for run in runs if "test" not in run.splits)
    having = next((run.name for run in runs if "test" in run.splits), "")
    raise MedtlError(f"{having} and {without} share no split in their predictions.csv; report them apart")


def _members(row: str, init: str, runs: Sequence[Run], split: str, pooled: bool) -> tuple[Member, ...]:
    places: dict[tuple[int, int | None], Run] = {}
    for run in sorted(runs, key=lambda run: (run.seed, -1 if run.fold is None else run.fold)):
        other = places.setdefault((run.seed, run.fold), run)
        if other is not run:
            which = "" if run.fold is None else f", fold {run.fold}"
            raise MedtlError(
                f"{other.name} and {run.name} are both {row} from {init} with seed {run.seed}{which}: "
                "which of them counts? Leave one out of the folder"
            )
    members = []
    if pooled:
        for seed in dict.fromkeys(seed for seed, _ in places):
            own = tuple(run for (s, _), run in places.items() if s == seed)
            members.append(Member(f"seed {seed}", _pool(own, split), own))
    else:
        for (seed, fold), run in places.items():
            name = f"seed {seed}" if fold is None else f"seed {seed}, fold {fold}"
            members.append(Member(name, run.splits[split], (run,)))
    return tuple(_once(members) if runs[0].record.is_probe else members)


def _once(members: Sequence[Member]) -> list[Member]:
    """The members that differ in what is scored, each with those that are the same."""
    found: dict[tuple[object, ...], list[Member]] = defaultdict(list)
    for member in members:
        sample = member.sample
        arrays = (array.tobytes() for array in (sample.patients, sample.labels, sample.values))
        found[sample.columns, sample.names, *arrays].append(member)
    return [replace(first, same=tuple(others)) for first, *others in found.values()]


def _pool(runs: Sequence[Run], split: str) -> Sample:
    """The validation folds of one seed, one below the other."""
    samples = [run.splits[split] for run in runs]
    where: dict[str, Run] = {}
    for run, sample in zip(runs, samples, strict=True):
        for name in set(sample.images):
            if name in where:
                raise MedtlError(f"{name} is validated by {where[name].name} and {run.name}: folds must not overlap")
            where[name] = run
    if len({sample.columns for sample in samples}) > 1:
        raise MedtlError(f"{runs[0].name} and its other folds score different columns")
    return Sample(
        tuple(name for sample in samples for name in sample.names),
        tuple(name for sample in samples for name in sample.images),
        np.concatenate([sample.patients for sample in samples]),
        np.concatenate([sample.labels for sample in samples]),
        np.concatenate([sample.values for sample in samples]),
        samples[0].columns,
        np.repeat(np.arange(len(samples)), [len(sample.names) for sample in samples]),
    )


def _check_agreement(arms: Any) -> None:
    """An image has one label and one patient in all prediction files."""
    known: dict[str, tuple[str, bytes, str]] = {}
    columns: dict[tuple[str, ...], str] = {}
    for arm in arms:
        for member in arm.members:
            columns[member.sample.columns] = member.runs[0].name
            rows = zip(member.sample.names, member.sample.patients, member.sample.labels, strict=True)
            for name, patient, label in rows:
                truth = (str(patient), label.tobytes())
                before = known.setdefault(name, (*truth, member.runs[0].name))
                if before[:2] != truth:
                    raise MedtlError(f"{before[2]} and {member.runs[0].name} disagree about label or patient of {name}")
    if len(columns) > 1:
        raise MedtlError(f"{' and '.join(list(columns.values())[:2])} score different columns; report them apart")


def _positive(runs: Sequence[Run], sample: Sample) -> tuple[int | None, bool]:
    """Index of the positive class of two, and whether the runs name it; by default it is the second."""
    if sample.kind != "classification" or len(sample.columns) != 2:
        return None, False
    named = {run.record.positive_class for run in runs} - {""}
    if len(named) > 1:
        raise MedtlError(f"the runs take different classes as positive: {', '.join(sorted(named))}")
    if named and next(iter(named)) in sample.columns:
        return sample.columns.index(next(iter(named))), True
    return 1, False
