"""What two configs say differently, value by value: whether a run may go on, and whether a cell is the one asked for.

No torch: grids read it.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# where things lie (what they hold is compared by hash), and how often a run is saved
PLACES = ("dataset_dir", "output_dir", "bundle_root", "resume", "save_interval", "tracking_uri")
PATH_SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt", ".ts", ".bin")


@dataclass(frozen=True)
class Change:
    """A value that two configs have otherwise.

    Attributes:
        id_: its id, nested ones joined by ``#``.
        was, now: the value in each; None where it is not there.
    """

    id_: str
    was: Any
    now: Any


def leaves(config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return each value of a config by its id, nested ones joined by ``#``; lists are taken whole.

    Args:
        config: unevaluated.
        overrides: id to the value that takes the place of what the config has there.
    """
    found = _flat(config, "")
    for id_, value in (overrides or {}).items():
        whole = next(
            (
                known
                for known, held in found.items()
                if isinstance(held, list) and id_ != known and within(id_, [known])
            ),
            None,
        )
        if whole is not None:
            found |= {whole: _replaced(found[whole], id_.removeprefix(f"{whole}#").split("#"), value)}
            continue
        found = {known: other for known, other in found.items() if not within(known, [id_])} | _flat({id_: value}, "")
    return found


def changes(
    was: Mapping[str, Any], now: Mapping[str, Any], apart: Iterable[str] = (), hashed: bool = False
) -> list[Change]:
    """Return what differs, sorted by id. The same value in other words (``"3"``, 3.0) is no change.

    Args:
        was, now: values by id, as of ``leaves``.
        apart: ids that may differ, with all that is nested in them, besides ``PLACES``.
        hashed: the hash of the start's file is compared, so that the file may lie elsewhere.
    """
    passed_over = (*PLACES, *apart)
    found = [Change(id_, literal(was.get(id_)), literal(now.get(id_))) for id_ in sorted({*was, *now})]
    return [
        each
        for each in found
        if each.was != each.now and not within(each.id_, passed_over) and not (hashed and _moved(each))
    ]


def within(id_: str, others: Iterable[str]) -> bool:
    """Return whether an id is one of others, or nested in one."""
    return any(id_ == other or id_.startswith(f"{other}#") for other in others)


def literal(value: Any) -> Any:
    """Return text as the Python literal that it spells (``"3"`` and ``"3.0"`` are 3), other text and values as they
    are."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def is_path(init: str) -> bool:
    """Return whether an init names a file or folder and not a kind of start (random, imagenet, …)."""
    return "/" in init or init.endswith(PATH_SUFFIXES)


def _replaced(held: Any, places: list[str], value: Any) -> Any:
    """Return a copy of a list with another value at a place within it; the same one where there is no such place."""
    if not places:
        return value
    key: Any = int(places[0]) if isinstance(held, list) and places[0].isdecimal() else places[0]
    if isinstance(held, list):
        inside = isinstance(key, int) and key < len(held)
        return [_replaced(each, places[1:], value) if inside and n == key else each for n, each in enumerate(held)]
    return {**held, key: _replaced(held.get(key), places[1:], value)} if isinstance(held, dict) else held


def _moved(change: Change) -> bool:
    return change.id_ == "init" and is_path(str(change.was)) and is_path(str(change.now))


def _flat(config: Mapping[str, Any], before: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        inner = value if isinstance(value, dict) and value else None
        found |= {f"{before}{key}": value} if inner is None else _flat(inner, f"{before}{key}#")
    return found
