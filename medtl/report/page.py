"""From a folder of runs to the parts of a report, in their order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medtl.errors import UsageError
from medtl.metrics import registry
from medtl.metrics.groups import Grouping
from medtl.report import differences, figures, main_table, maps, tables
from medtl.report.arms import Study
from medtl.report.calibration import calibration
from medtl.report.collect import describe_data
from medtl.report.compare import Comparison, compare
from medtl.report.epochs import epochs
from medtl.report.external import external
from medtl.report.facts import facts
from medtl.report.findings import findings
from medtl.report.forest import best_first, forests, less_is_better
from medtl.report.frozen import frozen_and_tuned
from medtl.report.groups import Groups, groups
from medtl.report.layout import Page, Section
from medtl.report.leaks import found_leaks, leaks
from medtl.report.networks import networks
from medtl.report.panels import MOST, heat_maps, segmented_slices
from medtl.report.provenance import provenance, reproduction
from medtl.report.reference import class_counts
from medtl.report.regression import regression
from medtl.report.repeats import over_repeats
from medtl.report.scores import Scores, score, threshold_of
from medtl.report.settings import over_settings
from medtl.report.summary import summary
from medtl.report.survival import survival
from medtl.report.tables import upper
from medtl.report.words import AT_THRESHOLD, listed, metric_name
from medtl.version import __version__
from medtl.writers.masks import COLOUR_NAMES

MOST_CONFUSED = 12  # classes; larger matrices are not readable on a page
MOST_DRAWN = 7  # starts in a drawing, which has no more colours
MOST_ROWS = 8  # that have drawings and matrices of their own


@dataclass(frozen=True, eq=False)
class Results:
    """All figures of a report.

    Attributes:
        study: the runs, sorted.
        scored: each arm, by row and init.
        metric: the one that is compared and drawn.
        baseline: start that the others are compared with; empty where it is absent.
        found: the comparisons.
    """

    study: Study
    scored: Scores
    metric: str
    baseline: str
    found: tuple[Comparison, ...]


@dataclass(frozen=True)
class Wishes:
    """What a report shows beside what it always does.

    Attributes:
        groupings: patients are told apart by these.
        of_image: ``group`` of each image.
        facts: what the runs know of the things that a manuscript must say.
    """

    groupings: Sequence[Grouping] = ()
    of_image: Groups = field(default_factory=dict)
    facts: bool = False


def evaluate(study: Study, baseline: str | None, metric: str | None) -> Results:
    """Score all runs and compare the starts.

    Args:
        study: the runs, sorted.
        baseline: a start; None for random where there is one.
        metric: of the main table, or another that the runs define; None for AUC, accuracy or mean IoU, the first of
            them that is defined.

    Raises:
        UsageError: there is no such start or metric.
    """
    if baseline is not None and baseline not in study.inits:
        raise UsageError(f"--baseline {baseline}: the runs start from {', '.join(study.inits)}")
    known = tables.shown_metrics(study)
    scored = {key: score(arm, study.patients, study.positive) for key, arm in study.arms.items()}
    told = {name for arm in scored.values() for member in arm.members for name in member.values}
    asked = (*known, *(name for name in registry.metrics() if name in told and name not in known))
    if metric is not None and metric not in asked:
        raise UsageError(f"--metric {metric} is not one of {', '.join(asked)}")
    if metric is None:
        preferred = [m for m in ("iou_mean", *known) if m in known]
        defined = (m for m in preferred if any(math.isfinite(arm.value(m)) for arm in scored.values()))
        metric = next(defined, preferred[0])
    chosen = baseline or ("random" if "random" in study.inits else "")
    # Dice follows from IoU, case by case
    organs = [name for name in known if name.split("_")[0] == metric.split("_")[0]]
    # the mean over one organ is that organ, and no second comparison
    compared = organs if study.kind == "segmentation" and len(organs) > 2 else (metric,)
    found = compare(study, scored, chosen, compared) if chosen else ()
    return Results(study, scored, metric, chosen, found)


def page(results: Results, title: str | None, wishes: Wishes | None = None) -> Page:
    """Return the report's parts; a part that has nothing to show is left out."""
    study, metric, scored = results.study, results.metric, results.scored
    wishes = wishes or Wishes()
    first = study.found.runs[0]
    checked = leaks(study)
    drawn = to_draw(results)
    sections = [
        summary(study, scored, results.found, results.baseline, metric, found_leaks(checked)),
        _main(results),
        _paired(results),
        frozen_and_tuned(study, results.scored, metric),
        Section("absent", "Runs that are not counted", tables=[tables.absent(study)] if study.found.absent else []),
        over_settings(study, scored, metric, results.baseline),
        maps.over_settings(study, results.baseline),
        epochs(study, scored),
        networks(study, scored),
        regression(study, scored),
        survival(study, scored),
        findings(study, scored),
        external(study, scored),
        groups(study, scored, wishes.groupings, wishes.of_image, _told_apart(results)),
        _roc(study, scored, drawn),
        _learning(study, drawn, metric),
        _confusion(study, drawn),
        calibration(study, scored, drawn),
        _gradcam(study),
        _overlays(study),
        _size(results),
        *([_facts(results, wishes)] if wishes.facts else []),
        provenance(study),
        checked,
        reproduction(study, results.baseline, metric),
    ]
    kept = [s for s in sections if s.paragraphs or s.items or s.tables or s.figures or s.code or s.forests]
    warning = ""
    if study.split != "test" and not first.record.external:
        warning = (
            f"There is no test split: every figure is of the {tables.set_name(study)}, on which the best epoch was "
            "chosen, and therefore optimistic."
        )
    return Page(
        title=title or title_of(study),
        subtitle=f"{describe_data(first)}; {tables.sizes(study)} in the {tables.set_name(study)}",
        phantom=study.sample_data,
        warning=warning,
        sections=kept,
        foot=f"Made with medtl {__version__}. Research software: not for clinical use.",
    )


def title_of(study: Study) -> str:
    """Return the title of a report that is given none: the data set, what is compared, and the published design that
    was followed, with what takes the place of its networks."""
    what = "comparison of starts" if len(study.inits) > 1 else "results"
    designs = {str(grid["protocol"]): grid.get("substitutes") for grid in study.found.grids if grid.get("protocol")}
    followed = [
        name + (f" with substitutes for its networks ({', '.join(map(str, others))})" if others else "")
        for name, others in designs.items()
    ]
    return f"{study.found.runs[0].data.name}: {what}" + (f", protocol {listed(followed)}" if followed else "")


def to_draw(results: Results) -> Scores:
    """Return the arms that drawings and matrices show: all, or of many starts the highest of each row and the baseline,
    and of many rows those with the highest start."""
    kept: Scores = {}
    for row in results.study.rows:
        arms = {key: arm for key, arm in results.scored.items() if key[0] == row}
        order = best_first(arms, results.metric)
        if len(order) > MOST_DRAWN:
            base = [key for key in order if key[1] == results.baseline]
            order = [*base, *(key for key in order if key not in base)][:MOST_DRAWN]
        kept = {**kept, **{key: arm for key, arm in arms.items() if key in order}}
    rows = list(dict.fromkeys(row for row, _ in best_first(kept, results.metric)))[:MOST_ROWS]
    return {key: arm for key, arm in kept.items() if key[0] in rows}


def _of_many(study: Study, drawn: Scores) -> str:
    """Which starts and rows are shown, where not all are."""
    rows = {row for row, _ in drawn}
    said = (
        f" Shown are the {MOST_ROWS} of {len(study.rows)} rows with the highest start."
        if len(rows) < len(study.rows)
        else ""
    )
    if len(drawn) < sum(key[0] in rows for key in study.arms):
        said += f" Shown are the {MOST_DRAWN} highest starts of each row, the baseline among them."
    return said


def _legend(study: Study, drawn: Scores) -> Sequence[str]:
    there = [init for init in study.inits if any(key[1] == init for key in drawn)]
    return there if len(study.inits) > 1 else ()


def _main(results: Results) -> Section:
    study, scored = results.study, results.scored
    name = upper(metric_name(results.metric))
    first = "lowest" if less_is_better(results.metric) else "highest"
    caption = f"{name} by start, {first} first: mean with its 95 % interval; small dots are single trainings."
    counts = [table] if (table := class_counts(study)) else []
    repeated = over_repeats(study, scored, results.metric)
    shown = [*main_table.results(study, scored, results.found), *repeated, *counts]
    return Section("results", "Results", [caption], tables=shown, forests=forests(study, scored, results.metric))


def _paired(results: Results) -> Section:
    title = f"Compared with {results.baseline or 'a baseline'}"
    if results.found:
        table = differences.comparisons(results.study, results.found, results.baseline)
        return Section("comparison", title, tables=[table])
    if results.baseline:
        return Section("comparison", title, ["There is no other start on the same data to compare it with."])
    inits = listed(results.study.inits)
    why = f"No run starts from random weights, and no --baseline was named (there are: {inits}); nothing is compared."
    return Section("comparison", title, [why])


def _told_apart(results: Results) -> list[str]:
    """The metrics of groups: the one that is compared and, of two classes, both sides at the operating point."""
    study = results.study
    if study.positive is None:
        return [results.metric]
    members = [member for arm in study.arms.values() for member in arm.members]
    suffix = AT_THRESHOLD if all(threshold_of(member) is not None for member in members) else ""
    return list(dict.fromkeys((results.metric, f"sensitivity{suffix}", f"specificity{suffix}")))


def _roc(study: Study, scored: Scores, drawn: Scores) -> Section:
    made = figures.roc(study, drawn) if study.kind not in ("segmentation", "regression", "survival") else []
    if not made:
        return Section("roc", "ROC curves")
    several = any(sum(len(each.member.runs) for each in arm.members) > 1 for arm in scored.values())
    text = "Thin lines are single trainings, the thick one their mean at equal specificity." if several else ""
    if len(study.classes) > figures.CLASS_PANELS:
        text += f" With {len(study.classes)} classes only their mean is drawn."
    text = (text + _of_many(study, drawn)).strip()
    columns = len(made) // len({row for row, _ in drawn})
    return Section(
        "roc",
        "ROC curves",
        [text] if text else [],
        tables=[tables.per_class(study, scored)] if study.kind == "classification" and len(study.classes) > 2 else [],
        figures=made,
        legend=_legend(study, drawn),
        figures_first=True,
        columns=columns if columns > 1 else 3,
    )


def _learning(study: Study, drawn: Scores, metric: str) -> Section:
    made = figures.learning(study, drawn, metric)
    if not made:
        return Section("learning", "Learning curves")
    text = "Thin lines are single trainings, the thick one their mean, as far as all of them go."
    text += _of_many(study, drawn)
    columns = max(1, len(made) // len({row for row, _ in drawn}))
    return Section("learning", "Learning curves", [text], figures=made, legend=_legend(study, drawn), columns=columns)


def _confusion(study: Study, drawn: Scores) -> Section:
    if study.kind != "classification":
        return Section("confusion", "Confusion matrices")
    if len(study.classes) > MOST_CONFUSED:
        why = f"{len(study.classes)} classes are too many for matrices on a page; see the AUC of each class above."
        return Section("confusion", "Confusion matrices", [why])
    text = (
        "Rows are the true classes and add up to 100 %, columns the answers; beneath each share the number of "
        "predictions, summed over the trainings of an arm (an image counts once for each)."
    )
    text += _of_many(study, drawn)
    return Section("confusion", "Confusion matrices", [text], tables=tables.confusion(study, drawn))


def _gradcam(study: Study) -> Section:
    drawn, all_ = heat_maps(study)
    if not drawn:
        return Section("gradcam", "Grad-CAM")
    text = "Drawn by medtl explain. Such maps show what drives an answer, not that it is right."
    if all_ > MOST:
        text += f" {MOST} of {all_} panels are shown."
    return Section("gradcam", "Grad-CAM", [text], figures=drawn)


def _overlays(study: Study) -> Section:
    drawn, note = segmented_slices(study)
    if not drawn:
        return Section("overlays", "Slices")
    organs = [str(name).replace("_", " ") for name in study.found.runs[0].data.classes]
    colours = ", ".join(f"{organ} {colour}" for organ, colour in zip(organs, COLOUR_NAMES, strict=False))
    text = "Of each case the slice with the most of the classes: alone, with the ground truth, with the prediction"
    text += f" ({colours})." if len(organs) <= len(COLOUR_NAMES) else "."
    return Section("overlays", "Slices", [f"{text} {note}".rstrip()], figures=drawn, columns=2)


def _size(results: Results) -> Section:
    made = figures.training_size(results.study, results.scored, results.metric)
    if not made:
        return Section("size", "Results by training size")
    name = upper(metric_name(results.metric))
    text = f"{name} by share of the training patients; bands are the 95 % intervals of the main table."
    legend = _legend(results.study, results.scored)
    return Section("size", "Results by training size", [text], figures=made, legend=legend)


def _facts(results: Results, wishes: Wishes) -> Section:
    splits = results.study.found.runs[0].splits
    patients: Mapping[str, int] = {name: len(set(map(str, sample.patients))) for name, sample in splits.items()}
    methods = listed(list(dict.fromkeys(each.method for each in results.found)))
    compared = f"paired, {methods}, p after Holm over {len(results.found)}" if results.found else ""
    return facts(results.study, patients, [grouping.key for grouping in wishes.groupings], compared)
