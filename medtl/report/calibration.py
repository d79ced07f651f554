"""Whether probabilities can be believed: as they are, after temperature scaling, and as sets with a promise. What is
fitted is fitted on each training's own validation split."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import registry, weighted
from medtl.metrics.conformal import ALPHA, covered
from medtl.metrics.registry import Split
from medtl.metrics.temperature import with_temperature
from medtl.metrics.weighted import Scorer
from medtl.report import figures
from medtl.report.arms import Arm, Member, Study
from medtl.report.layout import Field, Section, Table
from medtl.report.scores import ScoredArm, Scores, places_of, score_by
from medtl.report.tables import Column, by_start, metric_column
from medtl.report.words import number
from medtl.runs.settled import Settled, settle

NAMES = {"ece": "ECE", "brier": "Brier score", "nll": "NLL"}


def calibration(study: Study, scored: Scores, drawn: Scores) -> Section:
    """Return the section; empty but for a classification.

    Args:
        study: the runs.
        scored: all arms.
        drawn: the arms that figures show.
    """
    if study.kind != "classification":
        return Section("calibration", "Calibration")
    fitted = {key: _settled(study, arm.arm) for key, arm in scored.items()}
    fitted = {key: each for key, each in fitted.items() if each}
    legend = study.inits if len(study.inits) > 1 else ()
    return Section(
        "calibration",
        "Calibration",
        ["A well calibrated network lies on the grey line. All trainings of a start are taken together."],
        tables=[_table(study, scored, fitted), *([_sets(study, scored, fitted)] if fitted else [])],
        figures=figures.reliability(study, drawn),
        legend=[init for init in legend if any(key[1] == init for key in drawn)],
        figures_first=True,
    )


def _settled(study: Study, arm: Arm) -> list[Settled]:
    """What each training's validation split fixes; nothing where that split itself is scored, or one has none."""
    if study.split == "val" or not all("val" in run.splits for run in arm.runs):
        return []
    return [settle(member.runs[0].splits["val"]) for member in arm.members]


def _table(study: Study, scored: Scores, fitted: Mapping[tuple[str, str], list[Settled]]) -> Table:
    after = {key: _rescaled(study, scored[key].arm, fitted[key]) for key in fitted}

    def later(name: str) -> Column:
        return Column(
            f"{NAMES[name]} after", lambda arm: after[_key(arm)].estimate(name) if _key(arm) in after else "–"
        )

    def temperature(arm: ScoredArm) -> Field:
        found = [each.temperature or 1.0 for each in fitted.get(_key(arm), ())]
        ends = f"{min(found):.2f}–{max(found):.2f}" if len(found) > 1 else ""
        return Field(number(float(np.exp(np.mean(np.log(found)))), 2) if found else "–", ends)

    columns = [metric_column(name, title) for name, title in NAMES.items()]
    if after:
        columns += [Column("temperature", temperature), *(later(name) for name in NAMES)]
    scale = "0 to 1" if len(study.classes) == 2 else "0 to 2, summed over classes"
    notes = [
        "ECE: expected calibration error, the mean gap between the probability of the answer and the share that is "
        "right, in 15 bins of equal width; on few images it is above 0 even for a perfect network.",
        f"Brier score: squared error of the probabilities ({scale}). NLL: mean negative logarithm of the true "
        "class's probability. Means over trainings, intervals as in the main table; smaller is better.",
    ]
    if after:
        notes.append(
            "After: the logits divided by a temperature that fits each training's validation split best (of several "
            "trainings the geometric mean and the range). Above 1 the network was too sure. Answers stay as they are."
        )
    return by_start(study, scored, "Calibration of the probabilities.", columns, notes)


def _key(arm: ScoredArm) -> tuple[str, str]:
    return arm.arm.row, arm.arm.init


def _rescaled(study: Study, arm: Arm, fitted: list[Settled]) -> ScoredArm:
    members = []
    for member, each in zip(arm.members, fitted, strict=True):
        values = with_temperature(member.sample.values, each.temperature or 1.0)
        members.append(replace(member, sample=replace(member.sample, values=values)))
    known = registry.metrics()

    def scorer(member: Member, place: Mapping[str, int]) -> Scorer:
        sample = member.sample
        split = Split(sample.labels, sample.values, places_of(member, place), len(place))
        return registry.scorer(split, [known[name] for name in NAMES])

    return score_by(replace(arm, members=tuple(members)), study.patients, scorer)


def _sets(study: Study, scored: Scores, fitted: Mapping[tuple[str, str], list[Settled]]) -> Table:
    """How often the sets hold the true class, and how large they are."""
    found = {key: sets_of(scored[key].arm, study.patients, each) for key, each in fitted.items()}
    shown = {"coverage": "holds the class", "one": "one class", "empty": "empty"}
    columns = [Column(title, lambda arm, name=name: found[_key(arm)].estimate(name)) for name, title in shown.items()]  # type: ignore[misc]
    columns.insert(1, Column("classes a set", lambda arm: number(found[_key(arm)].value("size"), 2)))
    notes = [
        "Split-conformal sets, each fixed on its training's validation split with patients as the units: of new "
        f"patients from the same source, a random image's set is to hold its class {1 - ALPHA:.0%} of the time or "
        "more. All figures count each patient once.",
        "The epoch was chosen on the same validation split, which may cost a little of that; other sources are not "
        "promised anything.",
    ]
    known = {key: arm for key, arm in scored.items() if key in found}
    return by_start(
        study, known, f"Sets of classes that are to hold the true one {1 - ALPHA:.0%} of the time.", columns, notes
    )


def sets_of(arm: Arm, patients: tuple[str, ...], fitted: list[Settled]) -> ScoredArm:
    """Return an arm scored by its conformal sets: ``coverage``, ``size``, and the shares of sets with ``one`` class and
    ``empty``, means over patients of the means over their images."""
    quantiles = {
        member.name: np.inf if each.quantile is None else each.quantile
        for member, each in zip(arm.members, fitted, strict=True)
    }

    def scorer(member: Member, place: Mapping[str, int]) -> Scorer:
        right, sizes = covered(member.sample.labels, member.sample.values, quantiles[member.name])
        columns = {"coverage": right, "size": sizes, "one": sizes == 1, "empty": sizes == 0}
        whose = places_of(member, place)
        own = np.unique(whose)
        each = {name: _by_patient(values.astype(np.float64), whose)[own] for name, values in columns.items()}
        return weighted.means(each, own, len(place))

    return score_by(arm, patients, scorer)


def _by_patient(values: NDArray[np.float64], whose: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.bincount(whose, values) / np.maximum(np.bincount(whose), 1)
