"""A finished run as its folder tells it: what a release needs to know, or one line that says why it cannot be
released."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl.errors import MedtlError, UsageError
from medtl.files import read_object
from medtl.networks.registry import DECODERS
from medtl.places import bundle_folders
from medtl.runs import record as records
from medtl.runs.earlier import command_line
from medtl.runs.record import Data, Preprocessing, RunRecord
from medtl.weights.card import Architecture, InputContract, SegmentationArchitecture, VolumeContract

CLASSIFIER, SEGMENTER = "build_classifier", "build_segmenter"
FILES = (records.FILE_NAME, "model.pt", "metrics.json")
NEEDED = ("data", "recipe", "seed", "versions", "network", "task")


@dataclass(frozen=True)
class FinishedRun:
    """A run folder.

    Attributes:
        folder: where it lies.
        record: its run.json.
        metrics: its metrics.json.
        source: folder of the bundle that trained it.
        data: what it was trained on.
        network: the definition that it trained, as values.
    """

    folder: Path
    record: RunRecord
    metrics: Mapping[str, float]
    source: Path
    data: Data
    network: Mapping[str, Any]


def read_run(folder: Path) -> FinishedRun:
    """Return a run that has ended well.

    Raises:
        UsageError: no run folder, or its bundle cannot be found.
        MedtlError: a file is damaged, or the run did not finish, or its record says too little.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected a run that holds {', '.join(FILES)}")
    for name in FILES:
        if not (folder / name).is_file():
            raise UsageError(f"{folder} holds no {name}; expected a finished training run")
    record, metrics = records.read(folder), read_object(folder / "metrics.json")
    if record.status != records.FINISHED:
        raise MedtlError(f"{folder} is a run with status {record.status!r}; only a finished run can be released")
    for key in NEEDED:
        if getattr(record, key) in (None, {}):
            raise MedtlError(f"{folder / records.FILE_NAME} has no {key!r}; expected the record of a training run")
    source = source_of(record, folder / records.FILE_NAME)
    return FinishedRun(folder, record, metrics, source, record.data or Data(), record.network or {})


def source_of(record: RunRecord, where: Path) -> Path:
    """Return the folder of the bundle that a run.json names: that of its command, else of ``bundles/``.

    Raises:
        UsageError: it is in none of these places.
    """
    name = record.bundle.name
    files, _ = command_line(record.command)
    for folder in (*(Path(file).parent.parent for file in files[:1]), *bundle_folders()):
        if folder.resolve().name == name and (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    raise UsageError(
        f"{where} names the bundle {name!r}, which is in no bundles/ folder; run this where bundles/{name} is"
    )


def is_segmentation(run: FinishedRun) -> bool:
    """Return whether a run trained a segmentation network of ours."""
    return str(run.network.get("_target_")).endswith(f".{SEGMENTER}")


def of_pictures(run: FinishedRun) -> bool:
    """Return whether a segmentation was trained on pictures; slices of volumes are of a sequence."""
    return is_segmentation(run) and run.record.recipe.get("sequence") is None


def architecture(run: FinishedRun) -> Architecture:
    """Return the network that a run trained.

    Raises:
        MedtlError: it is no network of ours, or the record does not say how it was made.
    """
    target = str(run.network.get("_target_"))
    if not target.endswith((f".{CLASSIFIER}", f".{SEGMENTER}")):
        raise MedtlError(
            f"{run.folder}: {run.record.bundle.name} trains {target}, and only classifiers and segmenters of medtl are"
            " released"
        )
    known = ("backbone", "in_channels", "image_size", "num_classes")
    more = ("output_stride", "decoder", "auxiliary") if is_segmentation(run) else ()
    for key in (*known, *more):
        if key not in run.network:
            raise MedtlError(f"{run.folder / records.FILE_NAME} does not say the network's {key}")
    found = {key: run.network[key] for key in known}
    if not more:
        return Architecture(**found)
    found["image_size"] = run.record.recipe.get("patch_size") or found["image_size"]
    stride, decoder, auxiliary = (run.network[key] for key in more)
    title = DECODERS.find(str(decoder)).title
    return SegmentationArchitecture(
        **found, network=title, output_stride=stride, decoder=decoder, auxiliary=bool(auxiliary)
    )


def input_contract(run: FinishedRun, in_channels: int) -> InputContract:
    """Return how a run prepared its pictures: packed once at training size, or each by transforms.

    Raises:
        MedtlError: in another way than a released bundle's configs can state.
    """
    found = run.record.preprocessing
    if found is None:
        raise MedtlError(f"{run.folder} does not say how its pictures were prepared, and a released bundle must")
    if found.problem:
        raise MedtlError(f"{run.folder} {found.problem}")
    _check_channels(run, found, in_channels)
    common: dict[str, Any] = {
        "file_channels": found.channels,
        "resize": found.resize,
        "rounded": found.rounded,
        "scale": found.scale,
        "mean": found.mean,
        "std": found.std,
    }
    if found.percentiles is None or of_pictures(run):
        return InputContract(**common)
    return VolumeContract(**common, percentiles=found.percentiles)


def _check_channels(run: FinishedRun, found: Preprocessing, in_channels: int) -> None:
    volumes = is_segmentation(run) and not of_pictures(run)
    allowed = (1,) if volumes else (1, 3)
    widths = {len(found.mean), len(found.std)}
    if found.channels not in allowed or in_channels % found.channels or widths != {in_channels}:
        told = "; a segmentation of volumes is released for grey slices" if volumes else ""
        what = "slices" if volumes else "pictures"
        raise MedtlError(
            f"{run.folder}: {what} of {found.channels} channel(s), {len(found.mean)} means and {len(found.std)}"
            f" deviations do not give a network's {in_channels} channels{told}"
        )
