"""The first seconds of a segmentation run: which sequence and fold of a data list are meant, and what cannot be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from medtl import datalist
from medtl.bundles import begin
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.data.slices import cases_of
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError, tell
from medtl.metrics import segmentation
from medtl.runs import record as records
from medtl.runs.trained import card_of
from medtl.transforms import components

AUTO = "auto"
FAVOURITE = "T1DUAL-in"  # the CPMID paper trains on T1-weighted cases
ONLY_LIVER = "CT"  # on which CHAOS marks the liver alone: every other organ would be learnt as background
BACKGROUND = "background"
SAVES = ("nifti", "dicom_png", "dicom_seg")


@dataclass(frozen=True)
class TrainedCases:
    """How a segmentation's weights were trained; what nothing says is the usual.

    Attributes:
        backbone: its name.
        image_size: of the squares, in pixels.
        patch_size: of the squares that were drawn from larger pictures, 0 for whole pictures.
        output_stride, decoder, auxiliary: of the network; ``auxiliary`` is the weight of that head's loss.
        sequence: its name, or ``auto``.
        fold: that was validated on.
        postprocess: of the masks.
        mean, std: of the input's normalisation, for values 0..1.
        classes: names in index order, without the background; empty where nothing says.
        channels: of the pictures, 1 (grey) or 3.
    """

    backbone: str = "resnet18"
    image_size: int = 256
    patch_size: int = 0
    output_stride: int = 8
    decoder: str = "deeplabv3"
    auxiliary: float = 0.0
    sequence: str = AUTO
    fold: int | None = None
    postprocess: str = "none"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    classes: tuple[str, ...] = ()
    channels: int = 1


def sequence_in(dataset_dir: str, sequence: str = AUTO) -> str | None:
    """Return the sequence that a run uses.

    Args:
        dataset_dir: a data_prep output.
        sequence: its name; ``auto`` takes T1 in-phase where there is any, else the only MR sequence there is.

    Returns:
        Its name; None where the data list names no sequences.

    Raises:
        UsageError: there is no such sequence, ``auto`` has a choice or none, or it is CT.
    """
    listed = _read(dataset_dir)
    there = sorted({entry["sequence"] for _, entry in listed if "sequence" in entry})
    if not there and sequence == AUTO:
        return None
    trainable = [name for name in there if name != ONLY_LIVER]
    where = f"--dataset_dir {dataset_dir} holds {', '.join(there) or 'no sequences'}"
    if sequence == ONLY_LIVER:
        raise UsageError("--sequence CT: on CT only the liver is marked, so the other organs would be background")
    if sequence != AUTO:
        if sequence not in trainable:
            raise UsageError(f"--sequence {sequence}: {where}")
        return sequence
    if FAVOURITE in trainable:
        return FAVOURITE
    if len(trainable) != 1:
        what = "name one: --sequence NAME" if trainable else "expected an MR sequence (on CT only the liver is marked)"
        raise UsageError(f"{where}; {what}")
    return trainable[0]


def default_fold(dataset_dir: str) -> int | None:
    """Return the fold that is validated on where none is named: the first of a data list without validation entries."""
    listed = _read(dataset_dir)
    folds = sorted({entry["fold"] for entry in listed.training if "fold" in entry})
    return folds[0] if folds and not listed.validation else None


def fold_of(trained: TrainedCases, dataset_dir: str) -> int | None:
    """Return the fold to evaluate on: the one that the weights were validated on, where the data list has it."""
    listed = _read(dataset_dir)
    dealt = any(entry.get("fold") == trained.fold for entry in listed.training if "fold" in entry)
    return trained.fold if dealt else default_fold(dataset_dir)


def _read(dataset_dir: str) -> DataList:
    try:
        return datalist.read(Path(str(dataset_dir)))
    except UsageError as error:
        raise UsageError(f"--dataset_dir {error}") from None


def data(
    dataset_dir: str,
    organs: Sequence[str] | None,
    sequence: str | None,
    fold: int | None = None,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> DataList:
    """Return one sequence of a data list, if it suits the bundle.

    Args:
        dataset_dir: a data_prep output.
        organs: the bundle's names in index order; None takes any.
        sequence: its name; None takes all entries.
        fold: of the training entries, taken as validation.
        train_fraction: share of the training patients that is kept.
        seed: of the draw of that share.

    Raises:
        UsageError: it does not suit.
        MedtlError: a patient or case lies in several splits.
    """
    listed = begin.data(dataset_dir, organs, ["segmentation"], fold=fold)
    if sequence is not None:
        listed = replace(
            listed,
            training=[entry for entry in listed.training if entry.get("sequence") == sequence],
            validation=[entry for entry in listed.validation if entry.get("sequence") == sequence],
            test=[entry for entry in listed.test if entry.get("sequence") == sequence],
        )
    listed = datalist.with_fraction(listed, train_fraction, seed)
    _check_apart(listed)
    return listed


def _check_apart(listed: DataList) -> None:
    """Refuse a patient, or slices of one case, in two splits."""
    where: dict[tuple[str, str], str] = {}
    for split, entry in listed:
        for key in ("patient", "case"):
            if key not in entry:
                continue
            name = (key, str(entry[key]))
            if where.setdefault(name, split) != split:
                raise MedtlError(
                    f"{listed.folder / datalist.FILE_NAME} has {key} {name[1]} in {where[name]} and in {split}:"
                    " slices of one person may not be split"
                )


def announce(listed: DataList, sequence: str | None, fold: int | None) -> None:
    """Say on the first process which cases are used."""
    if idist.get_rank():
        return
    parts = [
        f"{len(cases_of(listed.split(split)))} {split} ({len(listed.split(split)):,} slices)"
        for split in datalist.SHORT_NAMES.values()
        if listed.split(split)
    ]
    which = f"sequence {sequence}" if sequence else "all sequences"
    tell(f"cases: {which}{'' if fold is None else f', fold {fold}'}: {', '.join(parts)}")


def check_metric(key_metric: str, organs: Sequence[str]) -> None:
    """Refuse a key metric that will not be there when the first epoch is over."""
    known = segmentation.key_metrics(organs)
    if key_metric not in known:
        raise UsageError(f"--key_metric {key_metric} is not one of {', '.join(known)}")


def check_batch(batch_size: int) -> None:
    """Refuse single pictures: batch norm of pooled features, which most decoders have, needs two."""
    world = idist.get_world_size()
    if isinstance(batch_size, int) and batch_size // world < 2:
        raise UsageError(f"--batch_size {batch_size}: a segmentation trains on at least 2 pictures per process")


def check_postprocess(postprocess: str) -> None:
    """Refuse a post-processing of an unknown name."""
    components.check(postprocess)


def saves(save: str | Sequence[str]) -> tuple[str, ...]:
    """Return the formats of a comma-separated list, which the command line makes a sequence of.

    Raises:
        UsageError: one of them is none of ``SAVES``.
    """
    words = tuple(word.strip() for word in (save.split(",") if isinstance(save, str) else map(str, save)))
    for word in words:
        if word not in SAVES:
            raise UsageError(f"--save {','.join(words)}: expected of {', '.join(SAVES)}, comma-separated")
    return words


def beside(weights: str) -> TrainedCases:
    """Return what ``run.json`` beside weights, or the card of their bundle, says of how they were trained; the usual
    where there is neither.

    Raises:
        MedtlError: it is there and cannot be read.
    """
    folder = records.folder_of(Path(str(weights)))
    if (folder / records.FILE_NAME).is_file():
        run = records.read(folder)
        mean, std = run.normalisation
        listed = {"classes": run.data.classes, "channels": run.data.channels} if run.data else {}
        return _trained({**run.recipe, "mean": mean, "std": std, **listed})
    card = card_of(Path(str(weights)))
    if card is None:
        return _trained({})
    organs = card.classes[1:] if card.classes[:1] == (BACKGROUND,) else card.classes
    listed = {"classes": organs, "channels": card.input.file_channels}
    return _trained({**card.recipe, "mean": card.input.mean, "std": card.input.std, **listed})


def _trained(said: Mapping[str, Any]) -> TrainedCases:
    names = {field.name for field in fields(TrainedCases)}
    return TrainedCases(**{name: value for name, value in said.items() if name in names and value is not None})
