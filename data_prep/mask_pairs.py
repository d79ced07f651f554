"""Public sets of pictures with masks whose file names say everything: which mask is whose, who it is, and its split."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep import masked
from data_prep.masked import Mask, Row
from data_prep.work import Rejected, Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import below


@dataclass(frozen=True)
class Pairs:
    """How the files of a set are named. Patterns are looked for in the path below the download, whatever the case.

    Attributes:
        picture: its group ``key`` is what picture and masks share; its group ``patient`` is the patient, else the key.
        masks: pattern with the same group, and what such a file shows (its ``file`` is empty); one of each is needed.
        split: path of a picture to the split that the publisher (or custom) fixed, empty where it is dealt; None where
            all are.
        anew: whether pictures are written as PNG, because training does not read them as they are.
    """

    picture: re.Pattern[str]
    masks: tuple[tuple[re.Pattern[str], Mask], ...]
    split: Callable[[str], str] | None = None
    anew: bool = False


def find(card: DatasetCard, pairs: Pairs, raw: Path) -> Source:
    """Return the work of a download: its pictures, each with its masks; what has no partner is named.

    Raises:
        UsageError: it holds no picture of the set.
    """
    tree = below(raw)
    rejected = [Rejected(*one) for one in tree.refused]
    pictures: dict[str, str] = {}
    patients: dict[str, str] = {}
    masks: dict[str, dict[int, str]] = defaultdict(dict)
    for file in sorted(one.name for one in tree.files):
        found = [(place, pattern.search(file)) for place, (pattern, _) in enumerate(pairs.masks)]
        shown = [(place, match["key"].lower()) for place, match in found if match]
        picture = pairs.picture.search(file)
        if shown:
            place, key = shown[0]
            masks[key].setdefault(place, file)
        elif picture and picture["key"].lower() in pictures:
            rejected.append(Rejected(file, f"{pictures[picture['key'].lower()]} has the same name"))
        elif picture:
            pictures[picture["key"].lower()] = file
            patients[picture["key"].lower()] = picture.groupdict().get("patient") or picture["key"].lower()
    rows = []
    for key, file in sorted(pictures.items()):
        own = masks.pop(key, {})
        if len(own) < len(pairs.masks):
            rejected.append(Rejected(file, "has no mask" if not own else "has not all of its masks"))
            continue
        layers = tuple(what._replace(file=own[place]) for place, (_, what) in enumerate(pairs.masks))
        split = pairs.split(file) if pairs.split else ""
        rows.append(Row(file, layers, patients[key], split, name=Path(file).stem if pairs.anew else ""))
    rejected += [Rejected(file, "is a mask without its picture") for own in masks.values() for file in own.values()]
    if not rows and not rejected:
        raise UsageError(f"{raw} holds no picture of {card.name}: expected {card.layout}")
    return masked.source(card.name, raw, rows, rejected, card.classes)


def command_of(card: DatasetCard, pairs: Pairs, test_fraction: float | None = None) -> Callable[..., None]:
    """Return the command of a set; arguments as of ``masked.command_of``."""
    return masked.command_of(card, partial(find, card, pairs), test_fraction)
