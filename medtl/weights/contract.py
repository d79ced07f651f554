"""How the images were normalised that weights were trained on, and their licence: what the files beside them say."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import MedtlError, UsageError
from medtl.files import parse_json
from medtl.networks.registry import Backbone, Published, backbone_of
from medtl.weights.archive import CARD, opened
from medtl.weights.read import read_state_dict
from medtl.weights.sources import SOURCES, Source, by_file

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
XRAYS = ((0.5, 0.5, 0.5), (1 / 2048,) * 3)
NOT_STATED = "not stated"
# what a repository of one model calls its weights, and the files beside them that may say how pictures are normalised
ALONE = ("model", "pytorch_model", "open_clip_pytorch_model", "open_clip_model")
SETTINGS = ("preprocessor_config.json", "open_clip_config.json", "config.json")
IN_BOTTLENECK = "downsample_in_bottleneck"  # of transformers' ResNetConfig
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
Neighbours = list[tuple[str, dict[str, Any]]]
# names in a layout, what most weights of it expect, and the sentence that says so; the first that is found counts
USUAL: tuple[tuple[str, Normalization, str], ...] = (
    (r"op_threshs", XRAYS, "values -1024..1024 are assumed, as torchxrayvision's networks expect"),
    (r"visual\.trunk\.", CLIP, "CLIP's mean and SD are assumed, as open_clip's networks expect"),
    (
        r"\bls1\.gamma|layer_scale1\.lambda1",
        IMAGENET,
        "ImageNet's mean and SD are assumed, as DINOv2 expects; RAD-DINO has its own (--init raddino)",
    ),
    (r"decoder_pos_embed|mask_token", IMAGENET, "ImageNet's mean and SD are assumed, as masked autoencoders expect"),
    (
        r"patch_embed\.proj(ection)?\.|patch_embeddings\.projection\.",
        HALF,
        "mean and SD 0.5 are assumed, as most ViTs of timm, Hugging Face and MMPretrain expect; DeiT, MAE and DINO"
        " expect ImageNet's",
    ),
)


@dataclass(frozen=True)
class Contract:
    """What weights expect and allow.

    Attributes:
        mean, std: of the input's channels, for values 0..1.
        licence: as stated by the weights' maker, or "not stated".
        assumed: a sentence where nobody states mean and SD; empty where somebody does.
        trained_on: names of the data sets, as data lists name themselves; of a mix also its parts. Empty where unknown.
        bgr: the file's first convolution takes blue, green, red; mean and SD are of red, green, blue all the same.
        classes: names of the classes of its head, as its card says; empty where unknown.
        architecture: the network's name, as settings of its library say; empty where unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    assumed: str = ""
    trained_on: tuple[str, ...] = ()
    bgr: bool = False
    classes: tuple[str, ...] = ()
    architecture: str = ""


def settings_of(path: Path, option: str) -> Contract:
    """Return what the files beside weights state, whichever network they belong to; without mean and SD where none
    does.

    Raises:
        MedtlError: such a file is there and cannot be read.
    """
    neighbours = _neighbours(path, option)
    stated, licence, is_bgr = _stated(neighbours)
    mean, std = stated or ((), ())
    classes, architecture = _described(neighbours)
    return Contract(mean, std, licence or NOT_STATED, "", _trained_on(neighbours), is_bgr, classes, architecture)


def _described(neighbours: Neighbours) -> tuple[tuple[str, ...], str]:
    """The names of classes and of the network in a card, a run's record or a library's settings."""
    for _, content in neighbours:
        data, model = content.get("data"), content.get("model_cfg")
        classes = content.get("classes") or (data.get("classes") if isinstance(data, dict) else None) or ()
        labels = content.get("id2label")
        if not classes and isinstance(labels, dict):
            classes = tuple(labels.values())
        vision = model.get("vision_cfg") if isinstance(model, dict) else None
        name = content.get("architecture") or (vision.get("timm_model_name") if isinstance(vision, dict) else "")
        if classes or name:
            listed = tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()
            return listed, name if isinstance(name, str) else ""
    return (), ""


def backbone_said(path: Path, option: str) -> str:
    """Return the name of the network that a card or a run's record beside weights says they are of; empty where none
    does."""
    for _, content in _neighbours(path, option):
        for place in ("architecture", "network", "recipe"):
            inner = content.get(place)
            if isinstance(inner, dict) and isinstance(inner.get("backbone"), str):
                return str(inner["backbone"])
    return ""


def of_another(card: Backbone, library: str, path: Path, option: str) -> str:
    """Return why weights whose names and shapes fit a network would compute something else in it; empty where nothing
    says so.

    Args:
        card: the network's record.
        library: whose file it is, as of ``Checkpoint``; the layouts of such a file are for its own networks alone.
        path: as of ``contract_of``.
        option: the argument that errors name.
    """
    said = backbone_said(path, option)
    if said == card.name:
        return ""
    wrong = "so the shapes would fit and the answers would be wrong"
    first = next((name for name, content in _neighbours(path, option) if content.get(IN_BOTTLENECK) is True), "")
    if first and not card.unlike:
        return f"{first} says {IN_BOTTLENECK}: it halves the picture in the first 1 × 1 convolution of a stage, {wrong}"
    if card.unlike and not library:
        whose = f"these weights are of {said}" if said else f"nothing says that these weights are of {card.name}"
        return f"{whose}: {card.unlike}, {wrong}"
    try:
        unlike = backbone_of(said).unlike if said else ""
    except UsageError:  # of a network that is not installed here
        unlike = ""
    return f"these weights are of {said}: {unlike}, {wrong}" if unlike else ""


def contract_of(path: Path, init: str, backbone: str, option: str) -> Contract:
    """Return what is known of weights: from ``card.json`` of their bundle, ``run.json`` of their run, timm's
    ``config.json``, Hugging Face's ``preprocessor_config.json`` or open_clip's ``open_clip_config.json`` beside them,
    else from where they come, by the word or by their maker's own name of the file, else from their layout, said to be
    assumed.

    Args:
        path: a file, a bundle's folder or its zip; it exists.
        init: the name of ``weights.sources`` by which ``path`` was found; empty for a path.
        backbone: whose weights they are.
        option: the argument that errors name.

    Raises:
        MedtlError: such a file is there and cannot be read.
    """
    found = _contract_of(path, init, backbone, option)
    classes, architecture = _described(_neighbours(path, option))
    return replace(found, classes=classes, architecture=architecture)


def _contract_of(path: Path, init: str, backbone: str, option: str) -> Contract:
    """All but what the weights are called."""
    neighbours = _neighbours(path, option)
    seen = _trained_on(neighbours)
    stated, licence, is_bgr = _stated(neighbours)
    source: Source | None
    if init:
        source = SOURCES.find(init)
        known = source.published_as(backbone, path.name) if path.is_file() and path.suffix != ".zip" else None
    else:
        source, known = _by_name(path, backbone, option)
    if source is not None:
        found = _of_source(source, known, backbone)
        licence = licence or found.licence
        seen = seen or found.trained_on
        # settings beside a file say how pictures are scaled; in which order it takes their channels is its maker's word
        is_bgr = is_bgr or found.bgr
        if stated is None and found.mean:
            stated = (found.mean, found.std)
        if stated is not None and not init:
            assumed = f"taken for {source.name} by the name {path.name}: --init {source.name} says so"
            return Contract(*stated, licence or NOT_STATED, "" if neighbours else assumed, seen, is_bgr)
    if stated is not None:
        return Contract(*stated, licence or NOT_STATED, "", seen, is_bgr)
    mean_and_std, assumed = _assumed(path, backbone_of(backbone), option)
    return Contract(*mean_and_std, licence or NOT_STATED, assumed, seen, is_bgr)


def _of_source(source: Source, known: Published | None, backbone: str) -> Contract:
    """What a source's record says of a file; without mean and SD where its layout says them."""
    mean, std = (source.mean, source.std) if known is None or not known.mean else (known.mean, known.std)
    if backbone in source.expects_own and (known is None or not known.mean):
        mean, std = (), ()
    licence = (known.licence if known else "") or source.licence
    return Contract(
        mean, std, licence, "", (known.trained_on if known else ()) or source.trained_on, bool(known and known.bgr)
    )


def _by_name(path: Path, backbone: str, option: str) -> tuple[Source | None, Published | None]:
    """The source whose record lists a file's name; where others could have called theirs so, its layout must agree."""
    found = by_file(path.name, backbone) if path.is_file() else None
    if found is None:
        return None, None
    if path.name[0].isupper() and path.suffix == ".pt":  # ResNet50.pt may be anybody's
        first = next(iter(read_state_dict(path, option)), "")
        if not re.match(r"(module\.)?backbone\.0\.", first):
            return None, None
    return found


def _assumed(path: Path, card: Backbone, option: str) -> tuple[Normalization, str]:
    """(mean, SD) that weights of this layout mostly expect, and a sentence that says so; empty where it is certain."""
    usual = card.weights.get("imagenet")
    if usual is not None and usual.mean:
        return (usual.mean, usual.std), (
            f"mean and SD of {card.family}'s own weights of this network are assumed: no {CARD} says which"
        )
    names = " ".join(read_state_dict(path, option)) if card.family in ("vit", "densenet", "resnet") else ""
    if card.family == "vit" and "conv_proj." in names:
        return IMAGENET, ""
    for pattern, normalization, words in USUAL:
        if re.search(pattern, names):
            return normalization, f"{words} (a {CARD} beside the file would say)"
    return IMAGENET, f"ImageNet's mean and SD are assumed: no {CARD} says which ones the weights expect"


def _trained_on(neighbours: Neighbours) -> tuple[str, ...]:
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
    return ()


def _stated(neighbours: Neighbours) -> tuple[Normalization | None, str, bool]:
    """(mean, SD), licence and whether channels are blue, green, red, as some file states them; None, "" and False where
    none does."""
    for name, content in neighbours:
        data = content.get("data")
        licence = content.get("licence") or (data.get("licence") if isinstance(data, dict) else "") or ""
        # of a bundle's card, timm's settings, open_clip's, a run's record
        for place in ("input", "pretrained_cfg", "preprocess_cfg", "start"):
            inner = content.get(place)
            if isinstance(inner, dict) and "mean" in inner:
                licence = licence or inner.get("license") or ""  # timm's spelling
                is_bgr = place == "input" and inner.get("channel_order") == "bgr"
                return _numbers(inner, f"{name}: {place}"), str(licence), is_bgr
        if "image_mean" in content or content.get("do_normalize") is False:
            return _of_processor(content, name), str(licence), False
        if licence:
            return None, str(licence), False
    return None, "", False


def _of_processor(content: dict[str, Any], name: str) -> Normalization:
    """(mean, SD) for values 0..1 of Hugging Face's image processor, which scales values 0..255 by a factor first."""
    if content.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3
    factor = content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1.0
    if not isinstance(factor, int | float) or factor <= 0:
        raise MedtlError(f"{name}: rescale_factor is {factor}; expected a positive number, such as 1/255")
    stated = {key: content.get(f"image_{key}") for key in ("mean", "std")}
    listed = {key: [each] if isinstance(each, int | float) else each for key, each in stated.items()}
    scaled = {
        key: [value / (255 * factor) if isinstance(value, int | float) else value for value in values]
        if isinstance(values, list)
        else values
        for key, values in listed.items()
    }
    return _numbers(scaled, name)


def _neighbours(path: Path, option: str) -> Neighbours:
    """The files that may describe weights, most specific first, as (name, content)."""
    if path.is_dir():
        return _read([path / CARD])
    if path.suffix == ".zip":
        with opened(path, option=option) as archive:
            return (
                [(f"{path}: {CARD}", _parsed(archive.read(CARD), f"{path}: {CARD}"))] if CARD in archive.files else []
            )
    parent = path.absolute().parent  # a relative path from within the folder does not name it
    if parent.name == "models" and (parent.parent / CARD).is_file():
        return _neighbours(parent.parent if path.parent.name != "models" else path.parents[1], option)
    candidates = [path.with_name(f"{path.stem}.{CARD}")]
    if path.stem in ALONE:  # a file of another name may share its folder with others
        candidates += [path.with_name(name) for name in (CARD, "run.json", *SETTINGS)]
    if parent.name == "checkpoints":  # of a run, whose record says it of all of them
        candidates.append(parent.parent / "run.json")
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
