"""The configs of a bundle as text: what in them MONAI would call, evaluate or read."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medtl.bundles.strangers.references import split

SUFFIXES = (".json", ".yaml", ".yml")
MOST_BYTES = {".json": 4 * 2**20, ".yaml": 2**18, ".yml": 2**18}  # PyYAML reads slowly
MOST_VALUES = 100_000  # a YAML file of a few lines can stand for more than any memory holds,
DEEPEST = 200  # and for itself within itself
SPECIAL = frozenset({"_target_", "_requires_", "_disabled_", "_desc_", "_mode_"})
FILE_OF_MACRO = re.compile(r"(.*\.(?:json|yaml|yml))(?=::|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One value of a config.

    Attributes:
        file: the config, as its place is told: without ``configs/``.
        id: the parts of its id.
        value: as the file has it.
        arguments: of a ``_target_``, what is given beside it.
    """

    file: str
    id: tuple[str, ...]
    value: Any
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.file}: {'#'.join(self.id)}"


class UnreadableError(ValueError):
    """Why a config cannot be read."""


def content(path: Path) -> tuple[Any, list[str]]:
    """A config file as MONAI reads it, and the keys that stand in it twice (MONAI takes the last).

    Raises:
        UnreadableError: it is damaged, too large, or holds what a safe reader refuses.
    """
    suffix = path.suffix.lower()
    if (size := path.stat().st_size) > MOST_BYTES[suffix]:
        raise UnreadableError(f"has {size:,} bytes; at most {MOST_BYTES[suffix]:,} are looked into")
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                twice.append(key)
            found[key] = value
        return found

    try:
        text = path.read_text(encoding="utf-8")
        return (json.loads(text, object_pairs_hook=unique) if suffix == ".json" else yaml.safe_load(text)), twice
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"is no plain YAML: {' '.join(str(error).split())}") from None
    except (OSError, ValueError, TypeError) as error:
        raise UnreadableError(f"cannot be read: {error}") from None


def items(file: str, value: Any) -> Iterator[Item]:
    """Every text of a config, however deep, and every ``_target_``, in the file's order.

    Raises:
        UnreadableError: there are too many values, as of YAML that refers to itself.
    """
    waiting: list[tuple[tuple[str, ...], Any, dict[str, Any]]] = [((), value, {})]
    count = 0
    while waiting:
        place, current, arguments = waiting.pop()
        count += 1
        if count > MOST_VALUES or len(place) > DEEPEST:
            raise UnreadableError(f"stands for more than {MOST_VALUES:,} values, or for some {DEEPEST} levels deep")
        if isinstance(current, str) or place[-1:] == ("_target_",):
            yield Item(file, place, current, arguments)
        if isinstance(current, dict):
            given = {str(key): inner for key, inner in current.items() if key not in SPECIAL}
            for key, inner in reversed(current.items()):
                own = split(str(key).removeprefix("+"))  # an id that reaches into another, as in a#_target_
                waiting.append(((*place, *own), inner, given if key == "_target_" else {}))
        elif isinstance(current, list | tuple):
            waiting += [((*place, str(number)), inner, {}) for number, inner in reversed([*enumerate(current)])]


def found(value: Any, id_: list[str]) -> Any:
    """What a config has at an id; None where there is nothing. Keys that are ids (``a#b``) count."""
    for number, part in enumerate(id_):
        if isinstance(value, dict):
            for length in range(len(id_), number, -1):
                for sign in ("::", "#"):
                    if length - number > 1 and (key := sign.join(id_[number:length])) in value:
                        return found(value[key], id_[length:])
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def macro(text: str) -> tuple[str, list[str]]:
    """The file (empty for the config itself) and the id that ``%file::id`` names."""
    plain = text[1:].replace("#", "::")
    match = FILE_OF_MACRO.search(plain)
    if match is None:
        return "", split(plain)
    rest = plain.rsplit(match[1], 1)[1].removeprefix("::")
    return match[1], split(rest) if rest else []
