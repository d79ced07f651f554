"""How much of each list enters a mix: limits a class, numbers a source, equal shares, classes left out."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum

from medtl.datalist import Entry
from medtl.errors import UsageError


class Shares(StrEnum):
    """How much of each list enters."""

    ALL = "all"
    EQUAL = "equal"


def shared(lists: Sequence[Sequence[Entry]], samples: int, equal: bool, seed: int) -> list[tuple[Entry, ...]]:
    """Return at most so many entries of each list.

    Args:
        lists: the entries of each.
        samples: most entries of each, 0 for all.
        equal: of each as many as the one with the fewest has.
        seed: of the choice.
    """
    fewest = min(map(len, lists)) if equal else 0
    wanted = min((number for number in (samples, fewest) if number), default=0)
    return [drawn(entries, wanted, seed) if wanted else tuple(entries) for entries in lists]


def limited(entries: Sequence[Entry], limits: int | Mapping[str, int], seed: int) -> tuple[Entry, ...]:
    """Return at most so many entries of each class, in their order: every patient's first, then every patient's
    second …

    Args:
        entries: with class names as labels.
        limits: for every class the same, or by class.
        seed: of the choice.
    """
    taken: Counter[tuple[str, str]] = Counter()
    ranked: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    order = [hashlib.sha256(f"{seed} {entry['patient']} {entry['image']}".encode()).hexdigest() for entry in entries]
    for place in sorted(range(len(entries)), key=lambda place: order[place]):
        entry = entries[place]
        ranked[entry["label"]].append((taken[entry["patient"], entry["label"]], order[place], place))
        taken[entry["patient"], entry["label"]] += 1
    kept = {
        place
        for label, ranks in ranked.items()
        for _, _, place in sorted(ranks)[: limits if isinstance(limits, int) else limits[label]]
    }
    return tuple(entry for place, entry in enumerate(entries) if place in kept)


def drawn(entries: Sequence[Entry], count: int, seed: int) -> tuple[Entry, ...]:
    """Return at most ``count`` entries, their classes in the proportions that they have; every class keeps one where
    ``count`` allows it.

    Args:
        entries: with class names as labels.
        count: at least 1.
        seed: of the choice.
    """
    if len(entries) <= count:
        return tuple(entries)
    there = Counter(entry["label"] for entry in entries)
    exact = {label: number * count / len(entries) for label, number in there.items()}
    limits = {label: max(int(share), int(count >= len(there))) for label, share in exact.items()}
    # what rounding left over goes to the largest remainders; what the rare ones took comes from the commonest
    for label in sorted(exact, key=lambda label: (int(exact[label]) - exact[label], label)):
        if sum(limits.values()) < count:
            limits[label] += 1
    while sum(limits.values()) > count:
        limits[max(limits, key=lambda label: (limits[label], label))] -= 1
    return limited(entries, limits, seed)


def without(entries: Sequence[Entry], names: Sequence[str]) -> tuple[Entry, ...]:
    """Return the entries of other classes.

    Args:
        entries: with labels ``part/class``.
        names: ``class`` (of every part) or ``part/class``.
    """
    return tuple(entry for entry in entries if not {entry["label"], _own(entry["label"])} & set(names))


def check_names(names: Sequence[str], labels: Sequence[str]) -> None:
    """Raise UsageError for a class that no list has: a mistyped one would let the target's class in.

    Args:
        names: of --drop_class.
        labels: ``part/class`` of all lists.
    """
    known = {*labels, *map(_own, labels)}
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise UsageError(f"--drop_class {wrong}: no list has such a class; there are {', '.join(sorted(set(labels)))}")


def _own(label: str) -> str:
    """A class without the part's name before it."""
    return label.partition("/")[2]
