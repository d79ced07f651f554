"""What can be measured. Each metric is defined once, in ``METRICS`` of a file of this folder or of ``FOLDER/metrics/``
of a folder that $MEDTL_PLUGINS names; what scores, resamples, chooses an epoch or prints asks here."""

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medtl import plugins
from medtl.errors import UsageError
from medtl.metrics import contours
from medtl.metrics.weighted import Scorer, by_patient, called_positive

Kind = Literal["single_label", "multi_label", "positive", "regression"]
CLASSES: tuple[Kind, ...] = ("single_label", "multi_label", "positive")  # labels of classes, not numbers
KINDS: tuple[Kind, ...] = (*CLASSES, "regression")
KIND_OF_TASK: dict[str, Kind] = {
    "classification": "single_label",
    "multilabel": "multi_label",
    "regression": "regression",
}
DEFINES = re.compile(rb"^METRICS\b", re.MULTILINE)
NAME = re.compile(r"[a-z][a-z0-9_]*(?<!_lo)(?<!_hi)")


@dataclass(frozen=True, eq=False)
class Split:
    """What a network said about one split.

    Attributes:
        labels: (n,) class indices, or (n, n_classes) of 0 and 1 where an image has any number of classes; of a
            regression (n,) floating-point numbers.
        probabilities: (n, n_classes), 0..1; with class indices rows add up to 1. Of a regression (n, 1) predictions.
        patient: (n,) index 0..count-1 of each image's patient.
        count: number of patients.
        network: (n,) index of the network that predicted each image, of folds put together; None for one. Rankings
            compare images of one network only, for another's probabilities may lie higher or lower as a whole.
        positive: index of the class from whose side a two-class problem is told; None for all classes.
        threshold: with ``positive``, the probability from which on (inclusive) an image is called positive.
    """

    labels: NDArray
    probabilities: NDArray[np.floating]
    patient: NDArray[np.int64]
    count: int
    network: NDArray[np.int64] | None = None
    positive: int | None = None
    threshold: float = 0.5

    @property
    def kind(self) -> Kind:
        """Return what each image's label is."""
        if self.labels.ndim == 2:
            return "multi_label"
        if self.labels.dtype.kind == "f":
            return "regression"
        return "single_label" if self.positive is None else "positive"

    @property
    def truth(self) -> NDArray:
        """Return (n,) class indices; (n,) bool, of the positive class or not; or (n, n_classes) bool."""
        if self.labels.ndim == 2:
            return np.asarray(self.labels > 0.5)
        return self.labels if self.positive is None else np.asarray(self.labels == self.positive)

    @property
    def answers(self) -> NDArray:
        """Return what the network says, in the form of ``truth``."""
        if self.labels.ndim == 2:
            return np.asarray(self.probabilities >= 0.5)
        if self.positive is None:
            return self.probabilities.argmax(axis=1)
        return called_positive(self.probabilities[:, self.positive], self.threshold)

    @property
    def one_against_rest(self) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
        """Return (n, c) which image is of each class, and its (n, c) score of it; c is 1 with a positive class."""
        if self.positive is not None:
            return self.truth[:, np.newaxis], self.probabilities[:, [self.positive]]
        if self.labels.ndim == 2:
            return self.truth, self.probabilities
        return self.labels[:, np.newaxis] == np.arange(self.probabilities.shape[1]), self.probabilities


def split_of(
    labels: NDArray,
    probabilities: NDArray[np.floating],
    patients: Sequence[str] | NDArray | None = None,
    positive: int | None = None,
    threshold: float = 0.5,
) -> Split:
    """Return a ``Split``; ``patients`` (n,) are names, None where no patient has two images."""
    patient, count = by_patient(np.arange(len(labels)) if patients is None else patients)
    return Split(labels, probabilities, patient, count, positive=positive, threshold=threshold)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in metrics.json, ``<split>_<name>``, and in ``--key_metric``.
        title: for people.
        scorer: prepares a split and gives what scores it for any weights of its patients; the result holds ``name``,
            and may hold more. Metrics that share the work share the function. ``of_answers`` and
            ``of_probabilities`` make one of a plain function.
        kinds: of labels it is defined for. "single_label": one class an image, all classes alike; "positive": two
            classes, told from one side; "multi_label": any number of classes an image; "regression": a number an image.
        needs: "answers" changes with a threshold, "probabilities" does not.
        ranks: one class is ranked against the rest, so it is not defined where only one occurs.
        higher_is_better: which end of it is good.
        chooses: whether an epoch may be chosen by it, so that it is scored after each; the others are scored when a run
            ends. None for those of which higher is better.
        tables: kinds of study in whose main table a report shows it; None for all.
        bounds: smallest and largest value that there can be.
        order: place in tables, small first.
        trials: where it is a share of images: which images count, and which of these are right, (n,) bool each. Of a
            share of 0 or 1 resampling knows nothing; it gets an exact bound.
        interval: the interval of a single training, for (split, level), where there is a better one than resampling
            gives: name to (low, high), NaN where none can be said. Names that it leaves out are resampled.
    """

    name: str
    title: str
    scorer: Callable[[Split], Scorer]
    kinds: tuple[Kind, ...] = CLASSES
    needs: Literal["answers", "probabilities"] = "probabilities"
    ranks: bool = False
    higher_is_better: bool = True
    chooses: bool | None = None
    tables: tuple[Kind, ...] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    order: int = 100
    trials: Callable[[Split], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None
    interval: Callable[[Split, float], Mapping[str, tuple[float, float]]] | None = None


def of_answers(name: str, function: Callable[..., float]) -> Callable[[Split], Scorer]:
    """Return a scorer of ``function(truth, answers, sample_weight=weights)``, arrays as of ``Split`` and (n,) weights,
    as scikit-learn's metrics take them. It is called once a replicate."""

    def prepare(split: Split) -> Scorer:
        return _each(name, split, functools.partial(function, split.truth, split.answers))

    return prepare


def of_probabilities(name: str, function: Callable[..., float]) -> Callable[[Split], Scorer]:
    """Return a scorer of ``function(truth, probabilities, sample_weight=weights)``; with a positive class, (n,)
    probabilities of it."""

    def prepare(split: Split) -> Scorer:
        chances = split.probabilities if split.positive is None else split.probabilities[:, split.positive]
        return _each(name, split, functools.partial(function, split.truth, chances))

    return prepare


def _each(name: str, split: Split, function: Callable[..., float]) -> Scorer:
    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {name: np.array([function(sample_weight=row[split.patient]) for row in times], np.float64)}

    return score


def metrics() -> dict[str, Metric]:
    """Return all metrics by name, in the order of tables.

    Raises:
        UsageError: a file of $MEDTL_PLUGINS cannot be imported, or its METRICS are none.
    """
    found: dict[str, Metric] = {}
    for module in (*_own(), *plugins.modules("metrics")):
        for metric in _defined(module):
            if metric.name in found:
                raise UsageError(f"{module.__file__}: there is a metric {metric.name} already; choose another name")
            found[metric.name] = metric
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def of_kind(kind: Kind) -> list[Metric]:
    """Return the metrics that are defined for a kind of labels."""
    return [metric for metric in metrics().values() if kind in metric.kinds]


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the metrics by which an epoch of this kind may be chosen."""
    return tuple(each.name for each in of_kind(kind) if _chooses(each))


def _chooses(metric: Metric) -> bool:
    return metric.higher_is_better if metric.chooses is None else metric.chooses


def sided(metric: Metric) -> bool:
    """Return whether of two classes a metric is told from the side of the positive one: what only that class gives a
    meaning, and rankings, since the average precisions of the two differ. The others are told of both classes alike."""
    return "positive" in metric.kinds and (metric.ranks or "single_label" not in metric.kinds)


def sides(split: Split, positive: int | None = None) -> list[tuple[Split, list[Metric]]]:
    """Return how a split is told: of two classes in two parts, those metrics that are ``sided`` from the positive
    class's side. All that prints a metric asks here, so that it is one figure everywhere.

    Args:
        split: without a positive class of its own.
        positive: index of it, of two; None where none is named. Rankings are then told from the second, and what only a
            positive class gives a meaning is left out.
    """
    if split.kind != "single_label" or split.probabilities.shape[1] != 2:
        return [(split, of_kind(split.kind))]
    told = [each for each in of_kind("positive") if sided(each)]
    if positive is None:
        told = [each for each in told if "single_label" in each.kinds]
    alike = [each for each in of_kind("single_label") if not sided(each)]
    return [(split, alike), (replace(split, positive=1 if positive is None else positive), told)]


def lower_is_better(name: str) -> bool:
    """Return whether the smaller of two values of a metric, or of a column of a segmentation's predictions, is the
    better one; of what is neither it is not."""
    known = metrics().get(name) or contours.of_column(name)
    return known is not None and not known.higher_is_better


def bounds(name: str) -> tuple[float, float]:
    """Return the smallest and largest value that a metric, or a column of a segmentation's predictions, can have; of
    what is neither 0 and 1: a share."""
    known = metrics().get(name) or contours.of_column(name)
    return known.bounds if known else (0.0, 1.0)


def scorer(split: Split, wanted: Iterable[Metric] | None = None) -> Scorer:
    """Return what scores a split for any weights of its patients.

    Args:
        split: of one network, or of folds put together.
        wanted: metrics; None for all that the split's kind defines.
    """
    asked = of_kind(split.kind) if wanted is None else list(wanted)
    others = metrics().keys() - {metric.name for metric in asked}
    prepared = [prepare(split) for prepare in dict.fromkeys(metric.scorer for metric in asked)]

    def score(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {name: found for each in prepared for name, found in each(times).items() if name not in others}

    return score


def scorer_of_sides(split: Split, positive: int | None = None) -> Scorer:
    """Return what scores all metrics of a split as ``sides`` tells them; arguments as there."""
    parts = [scorer(part, wanted) for part, wanted in sides(split, positive)]
    return lambda times: {name: found for each in parts for name, found in each(times).items()}


def values(split: Split, wanted: Iterable[Metric] | None = None) -> dict[str, float]:
    """Return the scores of a split, NaN where one is not defined; arguments as of ``scorer``."""
    asked = of_kind(split.kind) if wanted is None else list(wanted)
    found = scorer(split, asked)(np.ones((1, split.count)))
    return {metric.name: float(found[metric.name][0]) for metric in asked}


def told(split: Split, positive: int | None = None) -> dict[str, float]:
    """Return the scores of a split as ``sides`` tells them, NaN where one is not defined; arguments as there."""
    return {name: found for part, wanted in sides(split, positive) for name, found in values(part, wanted).items()}


def of_epoch(split: Split, positive: int | None = None) -> dict[str, float]:
    """Return those of ``told`` by which an epoch may be chosen."""
    return {
        name: found
        for part, wanted in sides(split, positive)
        for name, found in values(part, [each for each in wanted if _chooses(each)]).items()
    }


@functools.cache
def _own() -> tuple[ModuleType, ...]:
    """The modules of this folder that define metrics; the others are not imported, some need an engine."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(
        importlib.import_module(f"medtl.metrics.{path.stem}") for path in paths if DEFINES.search(path.read_bytes())
    )


def _defined(module: ModuleType) -> tuple[Metric, ...]:
    given = getattr(module, "METRICS", () if hasattr(module, "CASE_METRICS") else None)
    if not isinstance(given, tuple) or not all(isinstance(each, Metric) for each in given):
        raise UsageError(f"{module.__file__}: expected METRICS = (Metric(…), …)")
    for metric in given:
        if not NAME.fullmatch(metric.name) or not metric.kinds or not set(metric.kinds) <= set(KINDS):
            raise UsageError(
                f"{module.__file__}: metric {metric.name!r} of {metric.kinds}; expected a name of small letters, digits"
                f" and underscores that ends in neither _lo nor _hi, and kinds of {', '.join(KINDS)}"
            )
    return given
