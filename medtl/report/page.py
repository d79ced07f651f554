"""From a folder of runs to the parts of a report, in their order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medtl import __version__
from medtl.errors import UsageError
from medtl.report import figures, main_table, tables
from medtl.report.arms import Study
from medtl.report.collect import describe_data
from medtl.report.compare import Comparison, compare
from medtl.report.frozen import frozen_and_tuned
from medtl.report.layout import Field, Group, Page, Section, Table
from medtl.report.leaks import found_leaks, leaks
from medtl.report.panels import MOST, heat_maps, segmented_slices
from medtl.report.provenance import provenance, reproduction
from medtl.report.reference import class_counts
from medtl.report.scores import ScoredArm, score
from medtl.report.summary import summary
from medtl.report.words import listed, metric_name, number, span
from medtl.writers.masks import COLOUR_NAMES

MOST_CONFUSED = 12  # classes; larger matrices are not readable on a page


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
    scored: Mapping[tuple[str, str], ScoredArm]
    metric: str
    baseline: str
    found: tuple[Comparison, ...]


def evaluate(study: Study, baseline: str | None, metric: str | None) -> Results:
    """Score all runs and compare the starts.

    Args:
        study: the runs, sorted.
        baseline: a start; None for random where there is one.
        metric: of the main table; None for AUC, accuracy or mean IoU, the first of them that is defined.

    Raises:
        UsageError: there is no such start or metric.
    """
    if baseline is not None and baseline not in study.inits:
        raise UsageError(f"--baseline {baseline}: the runs start from {', '.join(study.inits)}")
    known = tables.shown_metrics(study)
    if metric is not None and metric not in known:
        raise UsageError(f"--metric {metric} is not one of {', '.join(known)}")
    scored = {key: score(arm, study.patients, study.positive) for key, arm in study.arms.items()}
    if metric is None:
        preferred = [m for m in ("iou_mean", *known) if m in known]
        defined = (m for m in preferred if any(math.isfinite(arm.value(m)) for arm in scored.values()))
        metric = next(defined, preferred[0])
    chosen = baseline or ("random" if "random" in study.inits else "")
    organs = [
        name for name in known if name.split("_")[0] == metric.split("_")[0]
    ]  # Dice follows from IoU, case by case
    compared = organs if study.kind == "segmentation" else (metric,)
    found = compare(study, scored, chosen, compared) if chosen else ()
    return Results(study, scored, metric, chosen, found)


def page(results: Results, title: str | None) -> Page:
    """The report's parts; a part that has nothing to show is left out."""
    study, metric = results.study, results.metric
    first = study.found.runs[0]
    checked = leaks(study)
    sections = [
        summary(study, results.scored, results.found, results.baseline, metric, found_leaks(checked)),
        _main(results),
        _paired(results),
        frozen_and_tuned(study, results.scored, metric),
        Section("absent", "Runs that are not counted", tables=[tables.absent(study)] if study.found.absent else []),
        _roc(results),
        _learning(results),
        _confusion(results),
        _calibration(results),
        _gradcam(study),
        _overlays(study),
        _size(results),
        provenance(study),
        checked,
        reproduction(study, results.baseline, metric),
    ]
    kept = [s for s in sections if s.paragraphs or s.items or s.tables or s.figures or s.code]
    warning = ""
    if study.split != "test":
        warning = (
            f"There is no test split: every figure is of the {tables.set_name(study)}, on which the best epoch was "
            "chosen, and therefore optimistic."
        )
    return Page(
        title=title or f"{first.data.name}: comparison of starts"
        if len(study.inits) > 1
        else title or f"{first.data.name}: results",
        subtitle=f"{describe_data(first)}; {tables.sizes(study)} in the {tables.set_name(study)}",
        phantom=study.sample_data,
        warning=warning,
        sections=kept,
        foot=f"Made with medtl {__version__}. Research software: not for clinical use.",
    )


def _main(results: Results) -> Section:
    study, scored = results.study, results.scored
    drawn = figures.overview(study, scored, results.metric)
    shown = main_table.results(study, scored, results.found)
    counts = [table] if (table := class_counts(study)) else []
    caption = (
        f"{_upper(metric_name(results.metric))} by start: mean with its 95 % interval; small dots are single trainings."
    )
    return Section("results", "Results", [caption], tables=[*shown, *counts], figures=drawn, figures_first=True)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _paired(results: Results) -> Section:
    title = f"Compared with {results.baseline or 'a baseline'}"
    if results.found:
        return Section("comparison", title, tables=[tables.comparisons(results.study, results.found, results.baseline)])
    if not results.baseline:
        inits = listed(results.study.inits)
        why = (
            f"No run starts from random weights, and no --baseline was named (there are: {inits}); nothing is compared."
        )
    else:
        why = "There is no other start on the same data to compare it with."
    return Section("comparison", title, [why])


def _legend(study: Study) -> Sequence[str]:
    return study.inits if len(study.inits) > 1 else ()


def _roc(results: Results) -> Section:
    study = results.study
    if study.kind == "segmentation":
        return Section("roc", "ROC curves")
    drawn = figures.roc(study, results.scored)
    several = any(len(arm.arm.runs) > 1 for arm in results.scored.values())
    text = "Thin lines are single trainings, the thick one their mean at equal specificity." if several else ""
    if len(study.classes) > figures.CLASS_PANELS:
        text += f" With {len(study.classes)} classes only their mean is drawn."
    shown = [tables.per_class(study, results.scored)] if len(study.classes) > 2 and drawn else []
    paragraphs = [text.strip()] if text and drawn else []
    legend = _legend(study) if drawn else ()
    columns = max(1, len(drawn) // len(study.rows))
    return Section(
        "roc",
        "ROC curves",
        paragraphs,
        [],
        shown,
        drawn,
        legend,
        figures_first=True,
        columns=columns if columns > 1 else 3,
    )


def _learning(results: Results) -> Section:
    study = results.study
    drawn = figures.learning(study, results.scored, results.metric)
    if not drawn:
        return Section("learning", "Learning curves")
    text = "Thin lines are single trainings, the thick one their mean, as far as all of them go."
    return Section("learning", "Learning curves", [text], [], [], drawn, _legend(study), columns=2)


def _confusion(results: Results) -> Section:
    study = results.study
    if study.kind != "classification":
        return Section("confusion", "Confusion matrices")
    if len(study.classes) > MOST_CONFUSED:
        why = f"{len(study.classes)} classes are too many for matrices on a page; see the AUC of each class above."
        return Section("confusion", "Confusion matrices", [why])
    text = (
        "Rows are the true classes and add up to 100 %, columns the answers; beneath each share the number of "
        "predictions, summed over the trainings of an arm (an image counts once for each)."
    )
    return Section("confusion", "Confusion matrices", [text], tables=tables.confusion(study, results.scored))


def _calibration(results: Results) -> Section:
    study = results.study
    if study.kind != "classification":
        return Section("calibration", "Calibration")
    header = [Field("start", left=True), Field("ECE"), Field("Brier score")]
    rows: list[Sequence[Field] | Group] = []
    for row in study.rows:
        rows.append(Group(row))
        for init in study.inits:
            if (row, init) in results.scored:
                found = [results.scored[row, init].estimate(name) for name in ("ece", "brier")]
                fields = [Field(number(each.value), span(each.low, each.high)) for each in found]
                rows.append([Field(init, init=init, left=True), *fields])
    scale = "0 to 1" if len(study.classes) == 2 else "0 to 2, summed over classes"
    notes = [
        "ECE: expected calibration error, the mean gap between the probability of the answer and the share that is "
        "right, in 15 bins of equal width; on few images it is above 0 even for a perfect network.",
        f"Brier score: squared error of the probabilities ({scale}). Means over trainings, intervals as in the main "
        "table; smaller is better.",
    ]
    text = "A well calibrated network lies on the grey line. All trainings of a start are taken together."
    drawn = figures.reliability(study, results.scored)
    table = Table("Calibration of the probabilities.", header, rows, notes)
    return Section("calibration", "Calibration", [text], [], [table], drawn, _legend(study), figures_first=True)


def _gradcam(study: Study) -> Section:
    drawn, all_ = heat_maps(study)
    if not drawn:
        return Section("gradcam", "Grad-CAM")
    text = "Drawn by medtl explain. Such maps show what drives an answer, not that it is right."
    if all_ > MOST:
        text += f" {MOST} of {all_} panels are shown."
    return Section("gradcam", "Grad-CAM", [text], figures=drawn)


def _overlays(study: Study) -> Section:
    drawn, all_ = segmented_slices(study)
    if not drawn:
        return Section("overlays", "Slices")
    organs = [str(name).replace("_", " ") for name in study.found.runs[0].data.classes]
    colours = ", ".join(f"{organ} {colour}" for organ, colour in zip(organs, COLOUR_NAMES, strict=False))
    text = "Of each case the slice with the most organ: alone, with the ground truth, with the prediction"
    text += f" ({colours})." if len(organs) <= len(COLOUR_NAMES) else "."
    if all_ > MOST:
        text += f" {MOST} of {all_} slices are shown."
    return Section("overlays", "Slices", [text], figures=drawn, columns=2)


def _size(results: Results) -> Section:
    drawn = figures.training_size(results.study, results.scored, results.metric)
    if not drawn:
        return Section("size", "Results by training size")
    name = _upper(metric_name(results.metric))
    text = f"{name} by share of the training patients; bands are the 95 % intervals of the main table."
    return Section("size", "Results by training size", [text], [], [], drawn, _legend(results.study))
