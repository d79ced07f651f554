"""Read the configs of a bundle as text, and find in them what an id leads to."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from medtl.bundles.audit.references import split

SUFFIXES = (".json", ".yaml", ".yml")
MOST_BYTES = {".json": 4 * 2**20, ".yaml": 2**18, ".yml": 2**18}  # PyYAML reads slowly
MOST_VALUES = 100_000  # a YAML file of a few lines can stand for more than any memory holds,
DEEPEST = 200  # and for itself within itself
FILE_OF_MACRO = re.compile(r"\.(?:json|yaml|yml)(?=::|$)", re.IGNORECASE)
Id = tuple[str, ...]


class UnreadableError(ValueError):
    """Why a config cannot be read."""


def content(path: Path) -> Any:
    """Return what a config file holds, read as MONAI reads it.

    Raises:
        UnreadableError: it is damaged, too large, names a key twice, or holds what a safe reader refuses.
    """
    suffix = path.suffix.lower()
    if (size := path.stat().st_size) > MOST_BYTES[suffix]:
        raise UnreadableError(f"has {size:,} bytes; at most {MOST_BYTES[suffix]:,} are read")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_unique) if suffix == ".json" else yaml.safe_load(text)
    except UnreadableError:
        raise
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"is no plain YAML: {' '.join(str(error).split())}") from None
    except (OSError, ValueError, TypeError) as error:
        raise UnreadableError(f"cannot be read: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UnreadableError(f"names {key!r} twice; a reader may miss the one that counts")
        found[key] = value
    return found


def flat(value: Any) -> Iterator[tuple[Id, Any]]:
    """Yield every value of a config with its id, containers before what is in them, in the file's order.

    Keys that reach into another value (``a#_target_``, ``+a::0``) give the id that they reach.

    Raises:
        UnreadableError: there are too many values, as of YAML that refers to itself.
    """
    waiting: list[tuple[Id, Any]] = [((), value)]
    count = 0
    while waiting:
        place, current = waiting.pop()
        count += 1
        if count > MOST_VALUES or len(place) > DEEPEST:
            raise UnreadableError(f"stands for more than {MOST_VALUES:,} values, or for some {DEEPEST} levels deep")
        yield place, current
        if isinstance(current, dict):
            waiting += [((*place, *split(str(key).removeprefix("+"))), each) for key, each in reversed(current.items())]
        elif isinstance(current, list | tuple):
            waiting += [((*place, str(number)), each) for number, each in reversed([*enumerate(current)])]


class Values:
    """What all configs of a bundle have at an id: several things where one config changes another."""

    def __init__(self) -> None:
        self._at: dict[Id, list[Any]] = defaultdict(list)
        self._below: dict[Id, set[str]] = defaultdict(set)

    def add(self, id_: Id, value: Any) -> None:
        """Note a value of a config."""
        self._at[id_].append(value)
        for length in range(len(id_)):
            self._below[id_[:length]].add(id_[length])

    def at(self, id_: Id) -> list[Any]:
        """Return what stands at an id; empty where nothing does."""
        return self._at.get(id_, [])

    def below(self, id_: Id) -> set[str]:
        """Return the names of what stands one level below an id, however it was written."""
        return self._below.get(id_, set())

    def under(self, id_: Id) -> Iterator[tuple[Id, Any]]:
        """Yield the plain values at an id and below it, each with its own id."""
        yield from ((id_, value) for value in self.at(id_) if not isinstance(value, dict | list))
        for part in sorted(self.below(id_)):
            yield from self.under((*id_, part))


def macro(text: str) -> tuple[bool, Id]:
    """Return whether ``%file::id`` names a file, and the id."""
    plain = text[1:].replace("#", "::")
    return bool(FILE_OF_MACRO.search(plain)), tuple(split(plain))
