"""The words of a ``medtl compare`` command, read one by one."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from medtl.compare.plan import as_text
from medtl.errors import UsageError
from medtl.runs.changes import literal

T = TypeVar("T", str, int, float)

WORD = re.compile(r"--?([A-Za-z_][^=]*)(?:=(.*))?$", re.DOTALL)


def split_words(words: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """Return the bundle's folder and the ``--id value`` (or ``--id=value``) pairs of a command line.

    Raises:
        UsageError: a value is missing, an id is given twice, or there is more than one word that belongs to none.
    """
    bundle: Path | None = None
    ids: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        match = WORD.match(word)
        if match is None:
            if bundle is not None:
                raise UsageError(f"unexpected word {word!r}: expected one BUNDLE and --id value")
            bundle = Path(word)
            continue
        name, value = match[1].replace("-", "_").replace("::", "#"), match[2]
        if value is None:
            if not rest or WORD.match(rest[0]):
                raise UsageError(f"--{name} needs a value: --{name} value")
            value = rest.pop(0)
        if name in ids:
            raise UsageError(f"--{name} is given twice: {ids[name]} and {value}")
        ids[name] = value
    if bundle is None:
        raise UsageError("which bundle? expected: medtl compare BUNDLE --dataset_dir D …")
    return bundle, ids


def names(option: str, text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list."""
    return _listed(option, text, str, "a comma-separated list")


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers from 0 of a comma-separated list."""

    def number(item: str) -> int:
        if not re.fullmatch(r"[0-9]+", item):
            raise ValueError
        return int(item)

    return _listed(option, text, number, "whole numbers from 0, comma-separated")


def shares(option: str, text: str) -> tuple[float, ...]:
    """Return the numbers above 0 and up to 1 of a comma-separated list."""

    def share(item: str) -> float:
        if not 0 < float(item) <= 1:
            raise ValueError
        return float(item)

    return _listed(option, text, share, "numbers above 0 and up to 1, comma-separated")


def _listed(option: str, text: str, kind: Callable[[str], T], expected: str) -> tuple[T, ...]:
    items: list[T] = []
    for word in text.split(","):
        try:
            if not word.strip():
                raise ValueError
            item = kind(word.strip())
        except ValueError:
            raise UsageError(f"{option} {text}: expected {expected}") from None
        if item in items:
            raise UsageError(f"{option} {text}: {item} stands there twice")
        items.append(item)
    return tuple(items)


def axes(vary: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each id that ``--vary ID=A,B;ID2=…`` (any number of times) names, as text.

    Raises:
        UsageError: a word is not of this form, or an id occurs twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in (part for text in vary for part in text.split(";")):
        id_, equals, values = word.partition("=")
        id_ = id_.strip().removeprefix("--").replace("::", "#")
        if not id_ or not equals:
            raise UsageError(f"--vary {word}: expected ID=A,B, several joined by ';'")
        if id_ in found:
            raise UsageError(f"--vary {word}: {id_} is varied twice")
        found[id_] = tuple(as_text(literal(value)) for value in names(f"--vary {id_}", values))
    return found
