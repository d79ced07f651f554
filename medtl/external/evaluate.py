"""``medtl evaluate``: a run's network on another data set, as a run folder that reports set beside the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medtl import datalist
from medtl.data.packed import pack
from medtl.datalist import SHORT_NAMES, DataList, Entry
from medtl.entries import owner
from medtl.errors import MedtlError, UsageError, tell
from medtl.external.unseen import check_unseen
from medtl.files import file_hash
from medtl.handlers.results import finite
from medtl.handlers.scored import Scored, write_scored
from medtl.metrics import registry
from medtl.metrics.ignite import Predictions
from medtl.metrics.registry import split_of
from medtl.runs import record as records
from medtl.runs.classifier import Classifier, few
from medtl.runs.facts import data_of, device_name, now, versions
from medtl.runs.folder import OTHER_RUN, problem_of
from medtl.runs.record import FINISHED, RunRecord
from medtl.runs.settled import Settled, fixed_by
from medtl.threads import cores

FOLDER = "external"
ALL = "all"
NOTHING_CHOSEN = "an external data set, on which nothing was chosen"


def evaluate_run(
    run: Path,
    dataset_dir: Path,
    split: str = "test",
    out: Path | None = None,
    trained_on: Path | None = None,
    workers: int | None = None,
) -> str:
    """Predict another data set with a run's network, and write predictions.csv, metrics.json and run.json of that.

    Nothing is chosen on it: the classes, the threshold, the temperature and the conformal quantile are the run's, the
    latter two from its validation split.

    Args:
        run: folder of a finished run of a classification or a regression that holds its weights.
        dataset_dir: a data_prep output with the run's classes, in any order.
        split: train, val or test of it, or all.
        out: the folder; by default ``external/<data set>_<split>`` in the run's.
        trained_on: the run's own data list, where it has moved since.
        workers: processes that read pictures; None for as many as there are cores.

    Returns:
        What came out, in one line.

    Raises:
        UsageError: there is no such run, data set or split, its classes are others, or ``out`` holds another run.
        MedtlError: the run has seen these pictures, or one of them cannot be read.
    """
    listed = datalist.read(dataset_dir)
    classifier = Classifier.of_run(run)
    record = records.read(run)
    short = ALL if split == ALL else next((s for long, s in SHORT_NAMES.items() if split in (long, s)), "")
    if not short:
        raise UsageError(f"--split {split} is not one of {', '.join((*SHORT_NAMES.values(), ALL))}")
    asked = chosen(in_order_of(listed, classifier), short)
    place = out or run / FOLDER / f"{listed.name}_{short}"
    if problem := problem_of(place):
        hint = "; it may be this validation, made already" if problem == OTHER_RUN else ""
        raise UsageError(f"--out {place} {problem}{hint}")
    count = cores() if workers is None else workers
    leaks = check_unseen(record, asked, trained_on, max(1, count))
    settled = fixed_by(run, record)
    found = _scored(classifier, asked, short, count, settled)
    metrics = write_scored(place, asked, [found], settled.threshold, intervals=True)
    about = {
        "trained_on": {"name": record.data.name, "sha256": record.data.sha256} if record.data else {},
        "run_predictions_sha256": file_hash(run / "predictions.csv") if (run / "predictions.csv").is_file() else "",
        "weights_sha256": classifier.sha256,
        "classes_of_the_list": list(listed.classes),
        "leaks": leaks,
        **settled.as_record(),
    }
    replace(_record(record, listed, classifier, short), external=about, metrics=finite(metrics)).write(place)
    return _line(metrics, asked, short, place)


def in_order_of(listed: DataList, classifier: Classifier) -> DataList:
    """Return a data list with its labels in a classifier's order of the classes; another order is said.

    Raises:
        UsageError: it has other classes, or of another kind.
    """
    ours, theirs = classifier.classes, listed.classes
    where = f"--dataset_dir {listed.folder}"
    task = classifier.task
    if listed.task != task:
        raise UsageError(f"{where} is for {listed.task}; the run is of {task}")
    if classifier.is_regression and ours != theirs:
        raise UsageError(f"{where} has numbers of {few(theirs)}; the run predicts {few(ours)}")
    for kind, names in (
        ("lacks the class", [n for n in ours if n not in theirs]),
        ("has the unknown class", [n for n in theirs if n not in ours]),
    ):
        if names:
            raise UsageError(
                f"{where} {kind} {', '.join(names)}; the run tells {few(ours, 12)}, the list {few(theirs, 12)}"
            )
    if ours == theirs:
        return listed
    tell(f"classes: the list's order is {few(theirs, 12)}; labels are read in the run's, {few(ours, 12)}")
    places = [theirs.index(name) for name in ours]

    def mapped(entries: list[Entry]) -> list[Entry]:
        return [
            {
                **each,
                "label": [each["label"][p] for p in places] if task == "multilabel" else places.index(each["label"]),
            }
            for each in entries
        ]

    training, validation, test = (mapped(getattr(listed, name)) for name in datalist.SPLITS)
    return replace(listed, classes=ours, positive="", training=training, validation=validation, test=test)


def chosen(listed: DataList, short: str) -> DataList:
    """Return a data list whose test split is what is to be predicted, and which has no other.

    Raises:
        UsageError: that split is empty.
    """
    entries = [entry for _, entry in listed] if short == ALL else listed.split(short)
    if not entries:
        there = [s for long, s in SHORT_NAMES.items() if getattr(listed, long)]
        raise UsageError(f"--split {short}: {listed.folder} has no such entries, only {', '.join(there)} (or all)")
    return replace(listed, training=[], validation=[], test=entries)


def _scored(classifier: Classifier, asked: DataList, short: str, workers: int, settled: Settled) -> Scored:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier.network.to(device)
    pictures = pack(asked, "test", classifier.image_size, channels=classifier.channels, workers=workers)
    answers = classifier.predict(pictures.images)
    if not np.isfinite(answers).all():
        raise MedtlError(f"the run's network gives values that are not numbers (NaN) on {asked.folder}")
    labels = pictures.labels.numpy()
    positive = settled.threshold.positive if settled.threshold else None
    values = registry.of_epoch(split_of(labels, answers), positive)
    metrics = {f"{short}_{name}": value for name, value in values.items()}
    return Scored(short, asked.test, Predictions(np.arange(len(labels)), labels, answers), metrics)


def _record(record: RunRecord, listed: DataList, classifier: Classifier, short: str) -> RunRecord:
    """The run's own record, of another data list."""
    positive = record.data.positive if record.data else ""
    data = replace(data_of(listed), classes=classifier.classes, training_images={}, positive=positive)
    return RunRecord(
        status=FINISHED,
        bundle=record.bundle,
        overrides={key: value for key, value in record.overrides.items() if "#" in key},
        task=record.task,
        network=record.network,
        preprocessing=record.preprocessing,
        start=record.start,
        data=data,
        recipe=record.recipe,
        seed=record.seed,
        versions=versions(),
        device=device_name("cuda" if torch.cuda.is_available() else "cpu"),
        started=now(),
        threshold=record.threshold,
        test=NOTHING_CHOSEN,
        evaluated_split=short,
    )


def _line(metrics: dict[str, float], asked: DataList, short: str, place: Path) -> str:
    images, patients = len({entry["image"] for entry in asked.test}), len({owner(entry) for entry in asked.test})
    parts = [f"{asked.name}, {images:,} images of {patients:,} patients"]
    for name in ("auc", "accuracy", "sensitivity_at_threshold", "specificity_at_threshold", "mae", "r2"):
        value = metrics.get(f"{short}_{name}", float("nan"))
        if np.isfinite(value):
            ends = [metrics.get(f"{short}_{name}{end}") for end in ("_lo", "_hi")]
            shown = "" if None in ends else f" ({ends[0]:.3f} to {ends[1]:.3f})"
            parts.append(f"{name.replace('_', ' ')} {value:.3f}{shown}")
    return f"{'; '.join(parts)}; in {place}; not for clinical use"
