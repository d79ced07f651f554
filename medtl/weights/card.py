"""What weights are, as a released bundle's card.json says it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from medtl.errors import MedtlError
from medtl.files import parse_json


@dataclass(frozen=True)
class Architecture:
    """Which network weights belong to.

    Attributes:
        backbone: name of the trunk.
        in_channels: of its input.
        image_size: in pixels; the side of its square input.
        num_classes: logits.
    """

    backbone: str
    in_channels: int
    image_size: int
    num_classes: int


@dataclass(frozen=True)
class SegmentationArchitecture(Architecture):
    """Which segmentation network weights belong to; its image size is that of the squares it was trained on, and its
    classes count the background.

    Attributes:
        network: its name in prose, such as "DeepLabV3".
        output_stride: pixels of the image to one of the trunk's last map.
        decoder: a name of ``registry.DECODERS``.
        auxiliary: the weights hold an auxiliary head, which only training uses.
    """

    network: str
    output_stride: int
    decoder: str
    auxiliary: bool


@dataclass(frozen=True)
class InputContract:
    """What must be done to a picture before the network sees it.

    Attributes:
        file_channels: 1, the picture is read as 8-bit grey and repeated to the network's channels, or 3, as RGB.
        resize: how it is brought to the network's size: interpolation mode, aspect ratio not kept; for a segmentation
            kept, with black around.
        rounded: the resized values are rounded to whole numbers, as pictures packed for training are.
        scale: what its values are divided by, to lie in 0..1.
        mean, std: subtracted and divided by after that, a channel.
    """

    file_channels: int
    resize: str
    rounded: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def value_range(self) -> tuple[float, float]:
        """Return the least and the largest value that the network can see."""
        ends = [(end - mean) / std for end in (0.0, 1.0) for mean, std in zip(self.mean, self.std, strict=True)]
        return min(ends), max(ends)


@dataclass(frozen=True)
class VolumeContract(InputContract):
    """What must be done to a volume before the network sees its slices: grey between two percentiles, then as to a
    picture, but fitted into a square with the aspect ratio kept and black around.

    Attributes:
        percentiles: of the volume's non-zero voxels; shown as 0 and 255.
    """

    percentiles: tuple[float, ...]


@dataclass(frozen=True)
class WeightsCard:
    """What weights are: enough to use them rightly, and to doubt them rightly. It is a released bundle's card.json.

    Attributes:
        name, version: of the bundle.
        architecture: the network.
        classes: class names in index order.
        task: "classification" (one choice among the classes: softmax), "multilabel" (each is a yes-or-no answer by
            itself: sigmoid), "regression" (the output is the number that the only class names) or "segmentation".
        input: how a picture becomes the network's input.
        dtype: "float32" or "float16", as stored.
        data: what they were trained on: name, sample (phantoms, not patients), entries a split, licence, sha256.
        start: what the training started from: init, licence …; empty where that was not recorded.
        metrics: ``<split>_<metric>`` with its 95 % interval as ``_lo`` and ``_hi``.
        recipe: hyperparameters by id.
        seed: of the training.
        source: name and version of the bundle that trained them.
        versions: of the software.
        sha256: of each weight file, by its path in the bundle.
        licence: that of the images and, where known, that of the weights which the training started from.
        citation: one line.
        intended_use: and what they are not for.
    """

    name: str
    version: str
    architecture: Architecture
    classes: tuple[str, ...]
    task: str
    input: InputContract
    dtype: str
    data: Mapping[str, Any]
    start: Mapping[str, Any]
    metrics: Mapping[str, float]
    recipe: Mapping[str, Any]
    seed: int
    source: Mapping[str, str]
    versions: Mapping[str, str]
    sha256: Mapping[str, str]
    licence: str
    citation: str
    intended_use: str

    def to_json(self) -> str:
        """Return it as text; the same card gives the same bytes."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "WeightsCard":
        """Read what ``to_json`` wrote.

        Raises:
            MedtlError: it is not JSON, or something is missing or unknown; says what.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            raise MedtlError(f"a weights card is not valid JSON: {error}") from None
        if isinstance(content, dict) and "multilabel" in content:  # of earlier versions
            content["task"] = _task(content)
        _check_keys(content, cls, "")
        what, pixels = content["architecture"], content["input"]
        network = SegmentationArchitecture if isinstance(what, dict) and "decoder" in what else Architecture
        contract = VolumeContract if isinstance(pixels, dict) and "percentiles" in pixels else InputContract
        _check_keys(what, network, "architecture: ")
        _check_keys(pixels, contract, "input: ")
        try:
            numbers = [key for key in ("mean", "std", "percentiles") if key in pixels]
            pixels = pixels | {key: tuple(map(float, pixels[key])) for key in numbers}
            parts = {"architecture": network(**what), "input": contract(**pixels)}
            return cls(**{**content, **parts, "classes": tuple(map(str, content["classes"]))})
        except (TypeError, ValueError) as error:
            raise MedtlError(f"a weights card has a value of the wrong kind: {error}") from None


def _task(content: dict[str, Any]) -> str:
    """The task of a card that says no more than whether the labels are several."""
    several = bool(content.pop("multilabel"))
    what = content.get("architecture")
    if isinstance(what, dict) and "decoder" in what:
        return "segmentation"
    return "multilabel" if several else "classification"


def _check_keys(content: Any, kind: type, where: str) -> None:
    """Raise MedtlError unless ``content`` has exactly the fields of the dataclass ``kind``."""
    wanted = [field.name for field in fields(kind)]
    found = content if isinstance(content, dict) else {}
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        told = f"has no {missing[0]!r}" if missing else f"has an unknown {unknown[0]!r}"
        raise MedtlError(f"a weights card {where}{told}; expected {', '.join(wanted)}")
