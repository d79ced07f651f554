"""A finished run as its folder tells it: what a release needs to know, or one line that says why it cannot be
released."""

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl.bundle.overrides import command_line
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.catalogue import bundle_folders
from medtl.errors import MedtlError, UsageError
from medtl.networks.registry import DECODERS
from medtl.weights.card import Architecture, InputContract, SegmentationArchitecture, VolumeContract

CLASSIFIER, SEGMENTER = "build_classifier", "build_segmenter"
PACKED_LOADER, PACKED_NORMALISATION = "PackedLoader", "normalisation"
PACKING = re.compile(r"\$packed\.pack\(@data, @validate#split, @image_size(, workers=[^,]*)?\)")
SLICING = re.compile(r"\$slices\.pack\(@data, @validate#split, @image_size(, workers=[^,]*)?\)")
PERCENTILES = (0.5, 99.5)  # of an MR volume; what data preparation and inference take
FILES = ("run.json", "model.pt", "metrics.json")
# what the configs of a released bundle can state: transforms by name with the arguments that must hold
STAGES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("LoadPictured", {}),
    ("Resized", {}),
    ("ScaleIntensityRanged", {"a_min": 0, "b_min": 0, "b_max": 1}),
    ("RepeatChanneld", {}),
    ("NormalizeIntensityd", {"channel_wise": True}),
    ("EnsureTyped", {}),
)


@dataclass(frozen=True)
class FinishedRun:
    """A run folder.

    Attributes:
        folder: where it lies.
        record: its run.json.
        metrics: its metrics.json.
        source: folder of the bundle that trained it.
        config: the merged configs and overrides that it ran with.
    """

    folder: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, float]
    source: Path
    config: Mapping[str, Any]


def read_run(folder: Path) -> FinishedRun:
    """Read a run that has ended well.

    Raises:
        UsageError: no run folder, or its bundle cannot be found.
        MedtlError: a file is damaged, or the run did not finish.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected a run that holds {', '.join(FILES)}")
    for name in FILES:
        if not (folder / name).is_file():
            raise UsageError(f"{folder} holds no {name}; expected a finished training run")
    record, metrics = (_json(folder / name) for name in ("run.json", "metrics.json"))
    if record.get("status") != "finished":
        raise MedtlError(f"{folder} is a run with status {record.get('status')!r}; only a finished run can be released")
    for key in ("bundle", "data", "recipe", "seed", "versions"):
        if key not in record:
            raise MedtlError(f"{folder / 'run.json'} has no {key!r}; expected the record of a training run")
    source = source_of(record, folder / "run.json")
    config = record.get("config") or _json(source / "configs" / "train.json")
    return FinishedRun(folder, record, metrics, source, _with_nested(config))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MedtlError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise MedtlError(f"{path} holds no JSON object")
    return content


def source_of(record: Mapping[str, Any], where: Path) -> Path:
    """The folder of the bundle that a run.json names: that of its command, else of ``bundles/``.

    Raises:
        UsageError: it is in none of these places.
    """
    name = str(record["bundle"].get("name"))
    line = command_line([str(word) for word in record.get("command", [])])
    folders = [path.parent.parent for path in line.config_files[:1]] if line else []
    for folder in (*folders, *bundle_folders()):
        if folder.resolve().name == name and (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    raise UsageError(
        f"{where} names the bundle {name!r}, which is in no bundles/ folder; run this where bundles/{name} is"
    )


def _with_nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with overrides such as ``network_def#backbone`` put in their places; their values, which came as words
    of a command line, read as JSON where they are."""
    result = json.loads(json.dumps({key: value for key, value in config.items() if not re.search("#|::", key)}))
    for key, word in config.items():
        *outer, last = re.split("#|::", key)
        place = result
        for part in outer:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if outer:
            place[int(last) if isinstance(place, list) else last] = _literal(word)
    return result


def _literal(word: Any) -> Any:
    try:
        return json.loads(word) if isinstance(word, str) else word
    except ValueError:
        return word


def is_segmentation(run: FinishedRun) -> bool:
    """Whether a run trained a segmentation network of ours."""
    return str(run.config.get("network_def", {}).get("_target_")).endswith(f".{SEGMENTER}")


def architecture(run: FinishedRun) -> Architecture:
    """The network that a run trained.

    Raises:
        MedtlError: it is no network of ours.
    """
    definition = run.config.get("network_def", {})
    if is_segmentation(run):
        return _segmenter(run, definition)
    if not str(definition.get("_target_")).endswith(f".{CLASSIFIER}"):
        name = run.record["bundle"].get("name")
        raise MedtlError(
            f"{run.folder}: {name} trains {definition.get('_target_')}, and only classifiers and segmenters of medtl"
            " are released"
        )
    known = (("backbone", None), ("in_channels", 3), ("image_size", 224))
    found = {key: _argument(run, definition.get(key, usual)) for key, usual in known}
    return Architecture(**found, num_classes=len(run.record["data"]["classes"]))


def _segmenter(run: FinishedRun, definition: Mapping[str, Any]) -> SegmentationArchitecture:
    """The segmentation network as a run's config builds it."""
    known = (("backbone", None), ("in_channels", 3), ("output_stride", 8), ("decoder", "deeplabv3"))
    found = {key: _argument(run, definition.get(key, usual)) for key, usual in known}
    auxiliary = definition.get("auxiliary", False)
    if isinstance(auxiliary, str):  # an expression of the auxiliary loss's weight
        auxiliary = float(_argument(run, "@auxiliary") or 0) > 0
    return SegmentationArchitecture(
        **found,
        image_size=int(_argument(run, "@image_size")),
        num_classes=1 + len(run.record["data"]["classes"]),
        network=DECODERS.find(str(found["decoder"])).title,
        auxiliary=bool(auxiliary),
    )


def _argument(run: FinishedRun, value: Any) -> Any:
    """A config's value, or what the recipe says of the id that it refers to."""
    if isinstance(value, str) and value.startswith("@"):
        return run.record["recipe"].get(value[1:], _literal(run.config.get(value[1:])))
    return value


def input_contract(run: FinishedRun, in_channels: int) -> InputContract:
    """How a run prepared its pictures: packed once at training size, or each by transforms.

    Raises:
        MedtlError: in another way than a released bundle's configs can state.
    """
    validate = run.config.get("validate", {})
    if is_segmentation(run):
        return _of_volumes(run, validate, in_channels)
    packed = str(validate.get("dataloader", {}).get("_target_")).endswith(f".{PACKED_LOADER}")
    load, resize, scale, normalise = _packed(run, validate) if packed else _by_transforms(run)
    channels = load.get("channels", 1)
    if isinstance(channels, str):  # an expression of the data list
        channels = run.record["data"].get("channels", 1)
    mean, std = _moments(run, *normalise)
    if channels not in (1, 3) or in_channels % channels or len(mean) != in_channels or len(std) != in_channels:
        raise MedtlError(
            f"{run.folder}: pictures of {channels} channel(s), {len(mean)} means and {len(std)} deviations do not give"
            f" a network's {in_channels} channels"
        )
    return InputContract(
        file_channels=channels,
        resize=str(resize.get("mode", "area")),
        rounded=packed,
        scale=float(scale["a_max"]),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
    )


def _moments(run: FinishedRun, *given: Any) -> tuple[Any, Any]:
    """Mean and SD of each channel: literal in the config, or those that the start's weights expect."""
    start = run.record.get("start") or {}
    usual = (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD))
    mean, std = (
        start.get(name, assumed) if isinstance(value, str) else value
        for (name, assumed), value in zip(usual, given, strict=True)
    )
    return mean, std


def _of_volumes(run: FinishedRun, validate: Mapping[str, Any], in_channels: int) -> VolumeContract:
    """How a segmentation's slices were fitted and normalised."""
    packing, joint = str(validate.get("dataset")), validate.get("normalization", {})
    normalise = joint.get("images", {})
    if not SLICING.fullmatch(packing) or not str(normalise.get("_target_")).endswith(f".{PACKED_NORMALISATION}"):
        raise MedtlError(f"{run.folder} packed its slices by {packing!r}, which a released bundle cannot repeat")
    mean, std = _moments(run, normalise.get("mean", "@"), normalise.get("std", "@"))
    channels = run.record["data"].get("channels", 1)
    if channels != 1 or len(mean) != in_channels or len(std) != in_channels:
        raise MedtlError(
            f"{run.folder}: slices of {channels} channel(s), {len(mean)} means and {len(std)} deviations do not give a"
            f" network's {in_channels} channels; a segmentation is released for grey slices"
        )
    return VolumeContract(
        file_channels=1,
        resize="bilinear",
        rounded=True,
        scale=255.0,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        percentiles=PERCENTILES,
    )


Stages = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], tuple[Any, Any]]


def _packed(run: FinishedRun, validate: Mapping[str, Any]) -> Stages:
    """(load, resize, scale, (mean, SD)) of ``medtl.data.packed``, which resizes by area and rounds."""
    packing, normalise = str(validate.get("packed")), validate.get("normalization", {})
    if not PACKING.fullmatch(packing) or not str(normalise.get("_target_")).endswith(f".{PACKED_NORMALISATION}"):
        raise MedtlError(f"{run.folder} packed its pictures by {packing!r}, which a released bundle cannot repeat")
    return {"channels": "@data"}, {}, {"a_max": 255}, (normalise.get("mean"), normalise.get("std"))


def _by_transforms(run: FinishedRun) -> Stages:
    """(load, resize, scale, (mean, SD)) of the lists ``preprocessing`` and ``normalization``."""
    stages = [*run.config.get("preprocessing", []), *run.config.get("normalization", [])]
    names = [str(stage.get("_target_")).rpartition(".")[2] for stage in stages]
    if names != [name for name, _ in STAGES]:
        wanted = ", ".join(name for name, _ in STAGES)
        raise MedtlError(f"{run.folder} prepared pictures by {', '.join(names) or 'nothing known'}; expected {wanted}")
    for stage, (name, fixed) in zip(stages, STAGES, strict=True):
        for key, value in fixed.items():
            if stage.get(key) != value:
                raise MedtlError(f"{run.folder}: {name} had {key} {stage.get(key)}; a release can only state {value}")
    load, resize, scale, _, normalise, _ = stages
    return load, resize, scale, (normalise["subtrahend"], normalise["divisor"])


def is_multilabel(run: FinishedRun) -> bool:
    """Whether a run's probabilities are independent: those of one choice add up to 1 in every row."""
    path = run.folder / "predictions.csv"
    if is_segmentation(run) or not path.is_file():
        return False
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            total = sum(float(value) for name, value in row.items() if str(name).startswith("prob_"))
            if abs(total - 1) > 1e-3:
                return True
    return False
