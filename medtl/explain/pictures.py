"""Which pictures are explained, and under which names: files that the user named, or a balanced choice of a data
list."""

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medtl.datalist import SHORT_NAMES, DataList, Entry, strata
from medtl.entries import owner
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash
from medtl.readers.find import Refused, counted
from medtl.readers.kinds import KINDS
from medtl.readers.picture import Picture, find_pictures, read_picture
from medtl.readers.raster import read_labels

ENDINGS = sorted((suffix for suffixes in KINDS.values() for suffix in suffixes), key=len, reverse=True)
SLICE = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Item:
    """One picture to explain.

    Attributes:
        path: the file.
        image: its name: relative to the data list, or to what the user named.
        index: slice of a volume, or None.
        label: class index, a multi-hot list, a number of a regression, or None where nobody knows.
        patient: from the data list; the picture's name where it is not from one, or where that knows none.
        split: short name; empty where it is not from a data list.
        mask: the lesion's mask, or None.
        sha256: that the file must have; None takes any.
    """

    path: Path
    image: str
    index: int | None = None
    label: int | float | list[int] | None = None
    patient: str = ""
    split: str = ""
    mask: Path | None = None
    sha256: str | None = None


def from_files(sources: Sequence[Path]) -> tuple[list[Item], list[Refused]]:
    """Return every picture in the files and folders, each once, and every file that cannot be opened.

    Raises:
        UsageError: one of them is not there, or holds no picture.
    """
    found: dict[tuple[Path, int | None], tuple[Path, Picture]] = {}
    rejected: list[Refused] = []
    for source in sources:
        root = (source if source.is_dir() else source.parent).resolve()
        for picture in _found(source, rejected):
            found.setdefault((picture.path.resolve(), picture.index), (root, picture))
    names = _told_apart(list(found.values()))
    pictures = [picture for _, picture in found.values()]
    return [Item(p.path, name, p.index, patient=name) for p, name in zip(pictures, names, strict=True)], rejected


def _told_apart(found: Sequence[tuple[Path, Picture]]) -> list[str]:
    """Each picture's name within the folder that the user named, behind as few of the folders above as tell all
    apart."""
    for depth in itertools.count():
        above = ["/".join(root.parts[1:][-depth:]) if depth else "" for root, _ in found]
        names = [f"{folder}/{picture.name}".lstrip("/") for folder, (_, picture) in zip(above, found, strict=True)]
        if len(set(names)) == len(names) or all(len(root.parts) <= depth for root, _ in found):
            break
    return names


def _found(source: Path, rejected: list[Refused]) -> tuple[Picture, ...]:
    try:
        there = find_pictures(source)
    except UsageError as error:
        raise UsageError(str(error).removeprefix("--input ")) from None
    rejected += there.refused
    for note in there.notes:
        tell(f"note: {note}")
    if there.passed:
        tell(f"passed over: {counted(there.passed)}")
    return there.pictures


def from_list(listed: DataList, split: str, number: int, seed: int = 0) -> list[Item]:
    """Return entries of a split: of each class, or each quarter of a regression's numbers, in turn one, drawn by
    ``seed``, so that a larger ``number`` only adds to a smaller one.

    Args:
        listed: the data list.
        split: any of a split's names.
        number: how many, as far as there are so many; 0 takes all.
        seed: of the draw.

    Raises:
        UsageError: no such split, or nothing in it.
    """
    entries = listed.split(split)
    if not entries:
        raise UsageError(f"{listed.folder} has no entries in its {split} split")
    short = next(short for long, short in SHORT_NAMES.items() if split in (long, short))
    groups: dict[int, list[int]] = defaultdict(list)
    kinds = strata(entries)
    for place in random.Random(seed).sample(range(len(entries)), len(entries)):
        groups[next(iter(kinds[place]), -1)].append(place)
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*(groups[key] for key in sorted(groups))))
    chosen = [place for place in rounds if place is not None]
    return [_item(listed, entries[place], short) for place in sorted(chosen[: number or None])]


def _item(listed: DataList, entry: Entry, split: str) -> Item:
    return Item(
        path=listed.folder / entry["image"],
        image=entry["image"],
        label=entry["label"],
        patient=owner(entry),
        split=split,
        mask=listed.folder / entry["mask"] if entry.get("mask") else None,
        sha256=entry["sha256"],
    )


def with_hashes(items: Sequence[Item]) -> tuple[list[Item], list[Refused]]:
    """Return the items with their files' hashes, and every file that is not there or not the listed one."""
    found, rejected = [], []
    for item in items:
        try:
            sha256 = file_hash(item.path)
        except OSError as error:
            rejected.append(Refused(item.image, f"cannot be read: {error.strerror}"))
            continue
        if item.sha256 in (None, sha256):
            found.append(replace(item, sha256=sha256))
        else:
            rejected.append(Refused(item.image, "is not the file that the data list names (another SHA-256)"))
    return found, rejected


def read(item: Item, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Return the picture as ``read_picture`` gives it, and its mask.

    Raises:
        BadFileError: one of them cannot be read; the text is the reason alone.
    """
    return read_picture(item.path, item.index, channels), read_mask(item.mask) if item.mask else None


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a lesion mask (rows, columns): True wherever the file is not 0.

    Raises:
        BadFileError: it cannot be read (as of ``read_labels``), or has channels.
    """
    try:
        values = read_labels(path, by_index=True)
    except BadFileError as error:
        raise BadFileError(f"has a mask that {error}") from None
    if values.ndim != 2:
        raise BadFileError(f"has a mask with {values.shape[2]} channels; expected one")
    return values > 0


def panel_names(items: Sequence[Item], suffix: str, taken: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return a file name without extension for each picture: its own where no other picture has it, else its path with
    dashes, else with a number.

    Args:
        items: whose ``sha256`` is known.
        suffix: put behind each.
        taken: file name to (image, sha256) of what lies in the folder already.
    """
    there = {name.casefold(): whose for name, whose in taken.items()}
    levels = [[_slug(shape(item.image)) + suffix for item in items] for shape in (_stem, _without_suffix, str)]
    counts = [Counter(name.casefold() for name in level) for level in levels]
    names: list[str] = []
    for place, item in enumerate(items):
        whose = (item.image, str(item.sha256))
        numbered = (f"{levels[-1][place]}-{number}" for number in itertools.count(2))
        unique = (
            level[place] for level, count in zip(levels, counts, strict=True) if count[level[place].casefold()] == 1
        )
        name = next(n for n in itertools.chain(unique, numbered) if there.get(n.casefold(), whose) == whose)
        there[name.casefold()] = whose
        names.append(name)
    return names


def _stem(image: str) -> str:
    return PurePosixPath(_without_suffix(image)).name


def _without_suffix(image: str) -> str:
    """``a/b.nii.gz#7`` to ``a/b#007``."""
    path, mark, index = image.rpartition("#") if SLICE.search(image) else (image, "", "")
    ending = next((each for each in ENDINGS if path.lower().endswith(each)), "")
    return f"{path[: len(path) - len(ending)]}{mark}{index:0>3}" if mark else path[: len(path) - len(ending)]


def _slug(name: str) -> str:
    """Letters, digits, dots, dashes and underlines only."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip("-.") or "picture"
