"""What there is: data sets, networks and starts by their records, bundles and weights by looking where they are looked
up. No torch, so listing is instant."""

import fnmatch
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from medtl.cards import dataset_cards
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object, read_text
from medtl.networks.registry import BACKBONES, LIBRARIES, backbone_of
from medtl.places import SHIPPED, WEIGHT_SUFFIXES, bundle_folders, cache_folder
from medtl.weights.card import WeightsCard
from medtl.weights.sources import KERAS, SOURCES


def weight_files() -> list[Path]:
    """Return weights in the order in which named inits are looked up: $MEDTL_WEIGHTS, then the bundles, then the cache,
    then what comes with medtl; of the first and the third also released bundles in them, as folders or zip files."""
    own = [Path(os.environ["MEDTL_WEIGHTS"])] if os.environ.get("MEDTL_WEIGHTS") else []
    found = [path for folder in own for path in _weights_under(folder)]
    found += [path for bundle in bundle_folders() for path in sorted((bundle / "models").glob("*"))]
    found += [*_weights_under(cache_folder() / "weights"), *_weights_under(SHIPPED)]
    return [path for path in found if path.suffix in (*WEIGHT_SUFFIXES, KERAS, ".zip") and path.is_file()]


def _weights_under(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("*")), *sorted(folder.glob("*/models/*"))]


def _card(folder: Path) -> dict[str, Any]:
    """``{"card": …}`` of a released bundle, ``{}`` of a recipe, or of one whose card cannot be read."""
    try:
        return {"card": asdict(WeightsCard.from_json(read_text(folder / "card.json")))}
    except MedtlError:
        return {}


def _name(weights: Path) -> str:
    """A bundle's weights go by its name, others by their file's."""
    return weights.parents[1].name if weights.parent.name == "models" else weights.name


def networks_of_libraries(pattern: str) -> list[str]:
    """Return the names of networks of timm, torchvision and Keras that match a pattern; imports the first two.

    Args:
        pattern: of ``library/name``; a word without ``*``, ``?`` or ``[`` matches the names that hold it.
    """
    found = [f"{library.name}/{name}" for library in LIBRARIES.records() for name in library.list()]
    wanted = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    return fnmatch.filter(found, wanted)


def judged(name: str) -> dict[str, Any]:
    """Return what ``--backbone NAME`` says of a library's network: ``refused`` holds the reason, or nothing.

    The network is built without numbers and its shapes are passed through it, which takes about a tenth of a second.
    """
    try:
        card = backbone_of(name)
    except UsageError as error:
        return {"name": name, "title": name, "reference": "", "refused": str(error).rpartition("cannot be used: ")[2]}
    return {"name": name, "title": card.title, "reference": card.reference, "refused": ""}


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return data sets, bundles, networks, starts and weights at hand as plain data, ready for JSON."""
    bundles = []
    for folder in bundle_folders():
        try:
            metadata = read_object(folder / "configs" / "metadata.json")
        except MedtlError:
            metadata = {"description": "its metadata.json cannot be read; see: medtl check " + str(folder)}
        wanted = {key: metadata.get(key, "") for key in ("version", "task", "description")}
        bundles.append({"name": folder.name, "path": str(folder), **wanted, **_card(folder)})
    weights = [{"name": _name(path), "path": str(path), "bytes": path.stat().st_size} for path in weight_files()]
    datasets = [
        {field.name: getattr(card, field.name) for field in fields(card)} | {"published": dict(card.published)}
        for card in dataset_cards().values()
    ]
    networks = [
        {"name": card.name, "title": card.title, "reference": card.reference, "sizes": card.sizes}
        for card in BACKBONES.records()
    ]
    starts = [
        {"name": source.name, "title": source.title, "licence": source.licence, "trained_on": list(source.trained_on)}
        for source in SOURCES.records()
    ]
    return {"datasets": datasets, "bundles": bundles, "networks": networks, "starts": starts, "weights": weights}
