"""What each start reached in its first and in its last epoch, as papers on pretraining print it."""

import math
from collections.abc import Callable

import numpy as np

from medtl.report.arms import Study
from medtl.report.layout import Section
from medtl.report.scores import ScoredArm, Scores
from medtl.report.settings import settings_of
from medtl.report.tables import Column, by_start, metric_column, set_name
from medtl.report.words import number

LOSS, ACCURACY, LIKELIHOOD = "train_loss", "val_accuracy", "val_log_likelihood"
Pick = Callable[[np.ndarray], float]


def epochs(study: Study, scored: Scores) -> Section:
    """Return the section: loss and accuracy of the first epoch, losses of the last, best accuracy on validation, and
    accuracy on the scored split; empty but for classifications whose history tells their accuracy, and for a design
    with settings, which would give a line for each."""
    shown = {key: arm for key, arm in scored.items() if not arm.arm.runs[0].record.is_probe}
    told = study.kind == "classification" and any(math.isfinite(_mean(arm, ACCURACY, max)) for arm in shown.values())
    if not told or settings_of(study):
        return Section("epochs", "First and last epochs")
    columns = [
        _column("Training loss, first epoch", LOSS, _first),
        _column("Validation accuracy, first epoch", ACCURACY, _first),
        _column("Training loss, last epoch", LOSS, _last),
        _column("Validation loss, last epoch", LIKELIHOOD, _last, -1),
        _column("Validation accuracy, best epoch", ACCURACY, max),
        metric_column("accuracy", f"Accuracy, {set_name(study)}"),
    ]
    caption = "Loss and accuracy by epoch, means over trainings."
    notes = [
        "Losses are means over images; where a paper adds up a batch, its losses are this times the batch size.",
        "Validation loss: mean negative log-likelihood, without class weights. Validation accuracy of the best epoch "
        "is the highest of many, and optimistic.",
    ]
    return Section("epochs", "First and last epochs", tables=[by_start(study, shown, caption, columns, notes)])


def _column(title: str, name: str, pick: Pick, sign: int = 1) -> Column:
    return Column(title, lambda arm: number(sign * _mean(arm, name, pick)))


def _first(values: np.ndarray) -> float:
    return float(values[0])


def _last(values: np.ndarray) -> float:
    return float(values[-1])


def _mean(arm: ScoredArm, name: str, pick: Pick) -> float:
    """Mean over the trainings that recorded a column; NaN where none did."""
    found = []
    for run in arm.arm.runs:
        values = run.history.columns.get(name, np.empty(0)) if run.history is not None else np.empty(0)
        values = values[np.isfinite(values)]
        found += [pick(values)] if len(values) else []
    return float(np.mean(found)) if found else math.nan
