"""Records of medtl before it recorded task, network and preprocessing: what they say elsewhere, put where it belongs.

Nothing is guessed from figures or from a config's wording; what such a record does not say stays unsaid.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

LITERALS = ("@", "$", "%")
NO_OVERRIDES = ("config_file", "meta_file", "logging_file", "tracking", "args_file", "run_id", "init_id", "final_id")
SEGMENTER = "build_deeplabv3"
# how the bundles of these versions prepared validation pictures, word for word
PACKED = "$packed.pack(@data, @validate#split, @image_size, workers=@num_workers)"
SLICES = "$slices.pack(@data, @validate#split, @image_size, workers=@num_workers)"
NORMALISATION, LOADERS = "medtl.transforms.batch.normalisation", (".PackedLoader", ".SliceLoader")


def brought_up(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run.json as this version writes it; one that is already is returned as it is."""
    config, recipe = content.get("config"), content.get("recipe")
    if "task" in content or not isinstance(config, dict) or not isinstance(recipe, dict):
        return dict(content)
    command = content.get("command")
    files, overrides = command_line(command if isinstance(command, list) else [])
    within = {key.replace("::", "#"): _literal(word) for key, word in config.items() if re.search("#|::", key)}
    config = nested(config)
    found = {**content, "config": config, "config_files": [PurePath(file).name for file in files]}
    found["overrides"] = within | overrides
    task = _task(content.get("metrics"), config)
    network = _network(config, recipe, content.get("data"), task)
    if task:
        found["task"] = task
    if network:
        found["network"] = network
    preprocessing = _preprocessing(config, recipe, content)
    if preprocessing:
        found["preprocessing"] = preprocessing
    return found


def command_line(words: Sequence[Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the config files and the overrides of a ``monai.bundle run`` command line, read as python-fire does."""
    found: dict[str, Any] = {}
    for number, word in enumerate(words):
        match = re.match(r"--?([A-Za-z_][^=]*)(?:=(.*))?$", str(word), re.DOTALL)
        if match:
            following = str(words[number + 1]) if number + 1 < len(words) else ""
            alone = not following or re.match("--?[A-Za-z_]", following)  # which means True
            value = match[2] if match[2] is not None else "True" if alone else following
            found[match[1].replace("-", "_").replace("::", "#")] = _literal(value)
    named = found.get("config_file", [])
    files = [str(file) for file in named] if isinstance(named, list | tuple) else [str(named)]
    return files, {key: value for key, value in found.items() if key not in NO_OVERRIDES}


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with overrides such as ``network_def#backbone`` put in their places, and their values, which
    came as words of a command line, read."""
    result = json.loads(json.dumps({key: value for key, value in config.items() if not re.search("#|::", key)}))
    for key, word in config.items():
        *outer, last = re.split("#|::", key)
        place = result
        try:
            for part in outer:
                place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
            if outer:
                place[int(last) if isinstance(place, list) else last] = _literal(word)
        except (AttributeError, IndexError, TypeError, ValueError):
            continue  # it reaches into what is no longer there
    return result


def _literal(word: Any) -> Any:
    try:
        return ast.literal_eval(word) if isinstance(word, str) else word
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word


def _task(metrics: Any, config: Mapping[str, Any]) -> str | None:
    """By the network that was built and by the metrics' names: each scorer has its own."""
    if _target(config).endswith(f".{SEGMENTER}"):
        return "segmentation"
    names = set(metrics) if isinstance(metrics, dict) else set()
    if not _target(config) or not any(name.startswith("val_") for name in names):
        return None
    return "classification" if "val_f1_macro" in names else "multilabel"


def _target(config: Mapping[str, Any]) -> str:
    network = config.get("network_def")
    return str(network.get("_target_", "")) if isinstance(network, dict) else ""


def _network(config: Mapping[str, Any], recipe: Mapping[str, Any], data: Any, task: str | None) -> dict[str, Any]:
    """The network's arguments as values, where config and recipe give them."""
    target = _target(config)
    if not target:
        return {}
    usual = {"in_channels": 3, "image_size": recipe.get("image_size")}
    if target.endswith(f".{SEGMENTER}"):
        usual |= {"output_stride": 8, "decoder": "deeplabv3", "auxiliary": False}
    found = {**usual, **config["network_def"]}
    for key, value in found.items():
        if isinstance(value, str) and value.startswith("@"):
            found[key] = recipe.get(value[1:], _literal(config.get(value[1:])))
    if isinstance(found.get("auxiliary"), str):  # an expression of the auxiliary loss's weight
        found["auxiliary"] = float(recipe.get("auxiliary") or 0) > 0
    classes = data.get("classes") if isinstance(data, dict) else None
    if isinstance(classes, list):
        found["num_classes"] = len(classes) + (task == "segmentation")
    return {key: value for key, value in found.items() if not str(value).startswith(LITERALS)}


def _preprocessing(config: Mapping[str, Any], recipe: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """What packed pictures went through, where the config is that of a bundle; nothing where it was changed."""
    validate = config.get("validate")
    if not isinstance(validate, dict) or not str((validate.get("dataloader") or {}).get("_target_")).endswith(LOADERS):
        return {}
    with_masks = validate.get("dataset") == SLICES
    batch = validate.get("normalization") or {}
    batch = batch.get("images", {}) if with_masks else batch
    if (not with_masks and validate.get("packed") != PACKED) or batch.get("_target_") != NORMALISATION:
        return {}
    start, data = content.get("start") or {}, content.get("data") or {}
    moments = {key: batch[key] if isinstance(batch.get(key), list) else start.get(key) for key in ("mean", "std")}
    if not all(moments.values()) or not isinstance(recipe.get("image_size"), int):
        return {}
    found = {**moments, "image_size": recipe["image_size"], "channels": data.get("channels", 1)}
    if with_masks:
        found |= {"by": "slices", "resize": "bilinear", "percentiles": [0.5, 99.5]}
    return found
