"""How the images were normalised that weights were trained on, and their licence: what the files beside them say."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import MedtlError
from medtl.files import parse_json
from medtl.networks.registry import backbone_of
from medtl.weights.archive import CARD, opened
from medtl.weights.read import read_state_dict
from medtl.weights.sources import SOURCES

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
NOT_STATED = "not stated"
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
Neighbours = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Contract:
    """What weights expect and allow.

    Attributes:
        mean, std: of the input's channels, for values 0..1.
        licence: as stated by the weights' maker, or "not stated".
        assumed: a sentence where nobody states mean and SD; empty where somebody does.
        trained_on: names of the data sets, as data lists name themselves; of a mix also its parts. Empty where unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    assumed: str = ""
    trained_on: tuple[str, ...] = ()


def contract_of(path: Path, init: str, backbone: str, option: str) -> Contract:
    """What is known of weights: from ``card.json`` of their bundle, ``run.json`` of their run or timm's
    ``config.json`` beside them, else from where they come, else ImageNet's mean and SD, said to be assumed.

    Args:
        path: a file, a bundle's folder or its zip; it exists.
        init: the name of ``weights.sources`` by which ``path`` was found; empty for a path.
        backbone: whose weights they are.
        option: the argument that errors name.

    Raises:
        MedtlError: such a file is there and cannot be read.
    """
    neighbours = _neighbours(path, option)
    return replace(_normalised(path, init, backbone, option, neighbours), trained_on=_trained_on(neighbours, init))


def _normalised(path: Path, init: str, backbone: str, option: str, neighbours: Neighbours) -> Contract:
    """All but what they were trained on."""
    stated, licence = _stated(neighbours)
    if init:
        source = SOURCES.find(init)
        licence = licence or source.licence
        official = source.published(backbone)
        if stated is None and official is not None and official.mean:
            stated = (official.mean, official.std)
        elif stated is None and backbone not in source.expects_own:
            stated = (source.mean, source.std)
    if stated is not None:
        return Contract(*stated, licence or NOT_STATED)
    card = backbone_of(backbone)
    usual = card.weights.get("imagenet")
    if usual is not None and usual.mean:
        assumed = f"mean and SD of {card.family}'s own weights of this network are assumed: no {CARD} says which"
        return Contract(usual.mean, usual.std, licence or NOT_STATED, assumed)
    if card.family == "vit":
        names = " ".join(read_state_dict(path, option))
        if "conv_proj." in names:
            return Contract(*IMAGENET, licence or NOT_STATED)
        if "patch_embed.proj." in names or "patch_embed.projection." in names:
            assumed = (
                "mean and SD 0.5 are assumed, as most ViTs of timm and MMPretrain expect; DeiT, MAE and DINO expect"
                f" ImageNet's (a {CARD} or timm's config.json beside the file would say)"
            )
            return Contract(*HALF, licence or NOT_STATED, assumed)
    assumed = f"ImageNet's mean and SD are assumed: no {CARD} says which ones the weights expect"
    return Contract(*IMAGENET, licence or NOT_STATED, assumed)


def _trained_on(neighbours: Neighbours, init: str) -> tuple[str, ...]:
    """The names of data sets in a card or a run's record, with those that its own start had seen. The classes of a mix
    begin with the names of its parts, which are those that its maker gave them; its entries name their sources."""
    for _, content in neighbours:
        data = content.get("data")
        if isinstance(data, dict) and isinstance(data.get("name"), str):
            classes = content.get("classes") or data.get("classes") or []
            parts = {str(name).partition("/")[0] for name in classes if "/" in str(name)}
            start = content.get("start")
            before = start.get("trained_on") if isinstance(start, dict) else None
            return tuple(sorted({data["name"], *parts, *map(str, data.get("sources") or ()), *map(str, before or ())}))
    return SOURCES.find(init).trained_on if init else ()


def _stated(neighbours: Neighbours) -> tuple[Normalization | None, str]:
    """(mean, SD) and licence as some file states them; None and "" where none does."""
    for name, content in neighbours:
        data = content.get("data")
        licence = content.get("licence") or (data.get("licence") if isinstance(data, dict) else "") or ""
        # of a bundle's card, timm's settings, a run's record
        for place in ("input", "pretrained_cfg", "start"):
            inner = content.get(place)
            if isinstance(inner, dict) and "mean" in inner:
                licence = licence or inner.get("license") or ""  # timm's spelling
                return _numbers(inner, f"{name}: {place}"), str(licence)
        if licence:
            return None, str(licence)
    return None, ""


def _neighbours(path: Path, option: str) -> Neighbours:
    """The files that may describe weights, most specific first, as (name, content)."""
    if path.is_dir():
        return _read([path / CARD])
    if path.suffix == ".zip":
        with opened(path, option=option) as archive:
            return (
                [(f"{path}: {CARD}", _parsed(archive.read(CARD), f"{path}: {CARD}"))] if CARD in archive.files else []
            )
    if path.parent.name == "models" and (path.parents[1] / CARD).is_file():
        return _neighbours(path.parents[1], option)
    candidates = [path.with_name(f"{path.stem}.{CARD}")]
    if path.stem == "model":  # a file of another name may share its folder with others
        candidates += [path.with_name(name) for name in (CARD, "run.json", "config.json")]
    return _read(candidates)


def _read(paths: list[Path]) -> Neighbours:
    return [(str(path), _parsed(path.read_bytes(), str(path))) for path in paths if path.is_file()]


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = parse_json(content)
    except ValueError as error:
        raise MedtlError(f"{name} is not readable JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise MedtlError(f"{name} is not a JSON object")
    return parsed


def _numbers(content: dict[str, Any], name: str) -> Normalization:
    """mean and std of three channels; one number stands for all three."""
    found = []
    for key, lowest in (("mean", 0.0), ("std", math.ulp(0.0))):
        values = content.get(key)
        if not isinstance(values, list) or len(values) not in (1, 3) or not all(_is_share(v, lowest) for v in values):
            raise MedtlError(f"{name}.{key} is {values}; expected three numbers for values 0..1")
        found.append(tuple(float(value) for value in values) * (3 // len(values)))
    return found[0], found[1]


def _is_share(value: object, lowest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= 1
