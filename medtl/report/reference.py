"""What a figure of a report must be held against: an answer without a look at the image, how many images of each class
there are, and starts that name one class only."""

import numpy as np
from numpy.typing import NDArray

from medtl.metrics import registry
from medtl.metrics.registry import Split
from medtl.metrics.survival import TITLES
from medtl.report.arms import Study
from medtl.report.layout import Table
from medtl.report.regression import of_mean
from medtl.report.scores import ScoredArm
from medtl.report.tables import of_words
from medtl.runs.predictions import Sample

ONE_CLASS = "one class only"
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def of_majority(study: Study) -> tuple[str, dict[str, float]]:
    """Return the name of an answer without a look at an image, and its metrics: every image is given the shares of the
    classes, so that the commonest one is named. Empty for a segmentation."""
    if study.kind == "segmentation":
        return "", {}
    if study.kind == "survival":
        return "risks drawn at random", dict.fromkeys(TITLES, 0.5)
    sample = whole_split(study)
    if study.kind == "regression":
        return of_mean(sample)
    positive = _positives(sample.labels, len(study.classes))
    shares = np.tile(positive.mean(axis=0), (len(sample.labels), 1))
    images = np.arange(len(sample.labels))
    values = registry.told(Split(sample.labels, shares, images, len(images)), study.positive)
    if study.kind == "multilabel":
        return "shares of the findings", values
    return f"majority class ({study.classes[int(shares[0].argmax())]})", values


def whole_split(study: Study) -> Sample:
    """Return every image of the scored split once, as some training predicted it."""
    samples = [member.sample for arm in study.arms.values() for member in arm.members]
    return max(samples, key=lambda sample: len(sample.names))


def class_counts(study: Study) -> Table | None:
    """Return the table of images a class and split; None where images have no classes."""
    if study.kind in ("segmentation", "regression", "survival"):
        return None
    counts: dict[str, list[int] | None] = {}
    run = study.found.runs[0]
    known = run.data.training_images
    if known and not study.pooled:
        counts["train"] = [int(known.get(name, 0)) for name in study.classes]
    for split, sample in ({} if study.pooled else run.splits).items():
        counts[split] = _positives(sample.labels, len(study.classes)).sum(axis=0).tolist()
    if study.pooled:
        counts[study.split] = _positives(whole_split(study).labels, len(study.classes)).sum(axis=0).tolist()
    several = " An image of several findings counts for each." if study.kind == "multilabel" else ""
    caption = f"Images of each class and split, of {run.name}.{several}"
    rows = [
        ("pooled validation folds" if study.pooled else SPLITS.get(split, split), *(f"{size:,}" for size in each or ()))
        for split, each in counts.items()
    ]
    return of_words(caption, ("split", *study.classes), rows, len(study.classes), compact=True)


def one_class_only(study: Study, arm: ScoredArm) -> str:
    """Return in words that trainings of a start answer one class whatever the image shows; empty where none does.

    A split of one class says nothing of this.
    """
    if study.kind != "classification" or len(np.unique(whole_split(study).labels)) < 2:
        return ""
    alone = sum(len(np.unique(scored.member.sample.values.argmax(axis=1))) == 1 for scored in arm.members)
    if not alone:
        return ""
    return ONE_CLASS if alone == len(arm.members) else f"{alone} of {len(arm.members)} trainings {ONE_CLASS}"


def _positives(labels: NDArray[np.int64], n_classes: int) -> NDArray[np.bool_]:
    return np.asarray(labels > 0.5 if labels.ndim == 2 else labels[:, np.newaxis] == np.arange(n_classes))
