"""Whether a bundle is whole: its files, its metadata against the schema, and its configs' ids, all defined and all
read."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

from medtl.bundles.known_ids import READ
from medtl.files import parse_json
from medtl.weights.archive import CARD, SUMS, verify

REQUIRED_FILES = ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/metadata.json", "configs/logging.conf")
# each is run as one config: later files override earlier ones
COMBINATIONS = (
    ("train.json",),
    ("train.json", "per_image.json"),
    ("train.json", "multi_gpu_train.json"),
    ("train.json", "evaluate.json"),
    ("inference.json",),
)
FACADE = "$import medtl.bundles.facade as facade"
READ_BY_MONAI = {"imports", "initialize", "run", "finalize", "bundle_root"}
REFERENCE = re.compile(r"@([A-Za-z_][\w#]*)")


def schema() -> dict[str, Any]:
    """Return the JSON schema of a bundle's metadata.json, kept here so that it can be verified without a network."""
    return json.loads(files("medtl.bundles").joinpath("metadata_schema.json").read_text(encoding="utf-8"))


def problems_of_bundle(folder: Path) -> tuple[str, list[str]]:
    """Check a bundle without running anything of it.

    Returns:
        What was checked in words, and one line a problem.
    """
    problems = [f"{name} is missing" for name in REQUIRED_FILES if not (folder / name).is_file()]
    configs: dict[str, dict[str, Any]] = {}
    all_parsed = True
    for path in sorted((folder / "configs").glob("*.json")):
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            problems.append(f"configs/{path.name} line {error.lineno} column {error.colno}: {error.msg}")
            all_parsed = False
            continue
        except (OSError, ValueError) as error:
            problems.append(f"configs/{path.name} cannot be read: {error}")
            all_parsed = False
            continue
        if isinstance(content, dict):
            configs[path.name] = content
        else:
            problems.append(f"configs/{path.name} is not an object of ids")
    metadata = configs.pop("metadata.json", None)
    if metadata is not None:
        problems += problems_of_metadata(metadata)
    combinations = [names for names in COMBINATIONS if all(name in configs for name in names)]
    problems += [problem for names in combinations for problem in _undefined(merged(configs, names), names)]
    if all_parsed:  # an unreadable config may be the one that reads an id
        problems += unread_ids(configs)
    problems += verify(folder)
    if (folder / CARD).is_file() and not (folder / SUMS).is_file() and "multi_gpu_train.json" not in configs:
        problems.append(f"{SUMS} is missing: a released bundle has one")  # a recipe with weights has a card alone
    return f"bundle of {len(configs)} configs", list(dict.fromkeys(problems))


def problems_of_metadata(metadata: dict[str, Any]) -> list[str]:
    """Return what the schema says against a metadata.json."""
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(metadata)
    return [
        f"configs/metadata.json {'#'.join(map(str, error.path)) or 'top level'}: {error.message}" for error in errors
    ]


def merged(configs: dict[str, dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return configs as MONAI merges them: a later id replaces an earlier one, ``a#b`` reaches into ``a``."""
    result: dict[str, Any] = {}
    for name in names:
        for key, value in configs[name].items():
            *outer, last = key.replace("::", "#").split("#")
            place = result
            for part in outer:
                inner = place.get(part)
                place[part] = dict(inner) if isinstance(inner, dict) else {}
                place = place[part]
            place[last] = value
    return result


def references(value: Any) -> Iterator[str]:
    """Yield every ``@id`` in a config value, however deep."""
    if isinstance(value, str):
        yield from REFERENCE.findall(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def _undefined(config: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    problems = []
    for reference in sorted(set(references(config))):
        if not reference.startswith("_meta_") and not resolves(config, reference):
            problems.append(f"{' + '.join(names)}: @{reference} names no id")
    return problems


def resolves(config: Any, reference: str) -> bool:
    """Return whether a config has an id, looked up as MONAI does: ``a#b`` in ``a``, ``a#0`` in a list."""
    for part in reference.split("#"):
        if isinstance(config, dict) and part in config:
            config = config[part]
        elif isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        else:
            return False
    return True


def unread_ids(configs: dict[str, dict[str, Any]]) -> list[str]:
    """Return top-level ids that nothing reads in any of the combinations they belong to: knobs connected to nothing."""
    read: dict[str, set[str]] = {name: set() for name in configs}
    for names in COMBINATIONS:
        if all(name in configs for name in names):
            config = merged(configs, names)
            seen = {reference.split("#")[0] for reference in references(config)}
            if FACADE in str(config.get("imports")):
                seen |= READ
            for name in names:
                read[name] |= seen
    return [
        f"configs/{name}: nothing reads the id {key!r}"
        for name, config in configs.items()
        if any(name in names for names in COMBINATIONS)
        for key in config
        if key.split("#")[0].split("::")[0] not in read[name] | READ_BY_MONAI and not key.startswith("_")
    ]
