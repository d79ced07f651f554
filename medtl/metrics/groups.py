"""Groups of patients, such as women and men or those under 40, in which a figure is told apart."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError

UNSAID = "not said"
FEWEST = 20  # patients of a group; of fewer no figure is shown


@dataclass(frozen=True)
class Grouping:
    """What patients are grouped by.

    Attributes:
        key: in ``group`` of a data list's entries.
        edges: of a number: rising values from which on, inclusive, the next group begins; empty for words.
    """

    key: str
    edges: tuple[float, ...] = ()

    def names(self, values: Sequence[Any]) -> NDArray[np.str_]:
        """Return (n,) the group of each value; "not said" where it is None or empty.

        Raises:
            UsageError: there are edges, and a value is no number.
        """
        return np.array([self._name(value) for value in values], dtype=np.str_)

    def order(self, names: NDArray[np.str_]) -> list[str]:
        """Return the groups that occur: by rising number, or by name; those that nothing is said of last."""
        ranks = {name: place for place, name in enumerate(self._ranges())}
        return sorted(set(names.tolist()), key=lambda name: (name == UNSAID, ranks.get(name, 0), name))

    def _name(self, value: Any) -> str:
        if value is None or value == "":
            return UNSAID
        if not self.edges:
            return str(value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise UsageError(f"--groups {self.key}: {value!r} is no number, and {self.key} has limits")
        return self._ranges()[sum(number >= edge for edge in self.edges)]

    def _ranges(self) -> list[str]:
        if not self.edges:
            return []
        shown = [f"{edge:g}" for edge in self.edges]
        between = [f"{low} to below {high}" for low, high in itertools.pairwise(shown)]
        return [f"under {shown[0]}", *between, f"{shown[-1]} and over"]


def parse(text: str) -> tuple[Grouping, ...]:
    """Return the groupings of words such as ``sex,age:40:65,site``.

    Raises:
        UsageError: a key is missing or named twice, or limits are no rising numbers.
    """
    found: list[Grouping] = []
    for word in (part.strip() for part in text.split(",")):
        key, *limits = (part.strip() for part in word.split(":"))
        try:
            edges = tuple(float(limit) for limit in limits)
        except ValueError:
            edges = (math.nan,)
        if not key or not all(math.isfinite(edge) for edge in edges) or list(edges) != sorted(set(edges)):
            raise UsageError(f"--groups {word}: expected a word such as sex, or a number's with limits, age:40:65")
        if key in (each.key for each in found):
            raise UsageError(f"--groups names {key} twice")
        found.append(Grouping(key, edges))
    return tuple(found)


def values_of(groups: Mapping[str, Mapping[str, Any]], names: Sequence[str], key: str) -> list[Any]:
    """Return (n,) a key's value of each image, None where nothing is said.

    Args:
        groups: image to its ``group``.
        names: (n,) images.
        key: such as ``sex``.
    """
    return [groups.get(name, {}).get(key) for name in names]
