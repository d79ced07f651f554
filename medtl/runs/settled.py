"""What a run fixed on its own validation split, and what another data set must not change."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl.metrics.conformal import ALPHA, fit_quantile
from medtl.metrics.operating_point import Threshold
from medtl.metrics.temperature import fit_temperature
from medtl.runs.predictions import Sample, read_predictions
from medtl.runs.record import RunRecord


@dataclass(frozen=True)
class Settled:
    """What is fixed.

    Attributes:
        threshold: the operating point of two classes, without a value where none was chosen; None where no class is
            the positive one.
        temperature: that fits the probabilities to validation; None without a validation split.
        quantile: of conformal sets that miss with a chance of ``ALPHA``; None without a validation split, or where an
            image has several classes.
        images: of the validation split.
    """

    threshold: Threshold | None = None
    temperature: float | None = None
    quantile: float | None = None
    images: int = 0

    def as_record(self) -> dict[str, Any]:
        """Return what run.json holds of it beside the threshold."""
        if self.temperature is None:
            return {}
        found: dict[str, Any] = {"temperature": self.temperature, "validation_images": self.images}
        if self.quantile is not None:  # JSON knows no infinity
            found |= {"alpha": ALPHA, "quantile": self.quantile if math.isfinite(self.quantile) else None}
        return found


def fixed_by(run: Path, record: RunRecord) -> Settled:
    """Return what a run's validation split fixes.

    Args:
        run: its folder.
        record: its run.json, which names its classes.

    Raises:
        MedtlError: its predictions.csv is damaged.
    """
    table = run / "predictions.csv"
    classes = record.data.classes if record.data else ()
    validated = read_predictions(table, classes, record.task).get("val") if table.is_file() else None
    return settle(validated, threshold_of(record))


def threshold_of(record: RunRecord) -> Threshold | None:
    """Return the operating point of a run, without a value where it chose none; None where it names no class of two
    positive."""
    if record.threshold:
        return Threshold(**record.threshold)
    classes, named = record.data.classes if record.data else (), record.positive_class
    return Threshold(classes.index(named), named, "") if len(classes) == 2 and named in classes else None


def settle(validated: Sample | None, threshold: Threshold | None = None) -> Settled:
    """Return what the predictions of a validation split fix; nothing but the threshold without any, or of numbers."""
    if validated is None or validated.kind == "regression":
        return Settled(threshold)
    temperature = fit_temperature(validated.labels, validated.values)
    quantile = None
    if validated.kind == "classification":
        quantile = fit_quantile(validated.labels, validated.values, validated.patients)
    return Settled(threshold, temperature, quantile, len(set(validated.images)))
