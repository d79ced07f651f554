"""What lies in medtl's caches, of which data set, and how it goes away. Caches hold patients' data: packed pictures,
and features made of them.

Beside a cached file lies ``NAME.about.json``: the data set's name and the hash of its first picture, by which the files
of one data set are found again, and what the pictures' files looked like when they were compared with their hashes.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medtl import datalist
from medtl.datalist import Entry
from medtl.errors import MedtlError
from medtl.files import read_object, write_text

# of a file: size in bytes, times of the last modification and of the last change of any kind in ns; None where absent
Stamp = tuple[int, ...] | None
ABOUT = ".about.json"
BESIDE = (ABOUT, ".lock")
WEIGHTS = "weights"  # downloads of public weights, which --clear leaves alone
SAMPLE = "sample-"


@dataclass(frozen=True)
class About:
    """What is known of a cached file.

    Attributes:
        data_set: name of the data list that it was made of.
        first: SHA-256 of the first picture in it.
        stamps: of the pictures' files, when they were last compared with their hashes.
    """

    data_set: str
    first: str
    stamps: tuple[Stamp, ...] = ()


@dataclass(frozen=True)
class Cached:
    """One thing in the cache.

    Attributes:
        path: the file, or the folder of a built-in sample.
        name: its place within the cache.
        size: in bytes.
        data_set: the name of the data set that it was made of; empty where that is not known.
        first: SHA-256 of the first picture in it; empty where that is not known.
    """

    path: Path
    name: str
    size: int
    data_set: str = ""
    first: str = ""


def describe(path: Path, name: str, entries: Sequence[Entry], stamps: Sequence[Stamp] = ()) -> None:
    """Write beside a cached file of which data set it is, for its owner's eyes only.

    Args:
        path: the cached file.
        name: of the data list.
        entries: what the file was made of; at least one.
        stamps: of their pictures; empty where nobody compares them.
    """
    content = {"data_set": name, "first": entries[0]["sha256"], "stamps": list(stamps)}
    write_text(_beside(path, ABOUT), json.dumps(content) + "\n", private=True)


def about(path: Path) -> About | None:
    """Return what ``describe`` wrote beside a cached file; None where nothing can be read."""
    try:
        content = read_object(_beside(path, ABOUT))
        stamps = tuple(None if one is None else tuple(map(int, one)) for one in content["stamps"])
        return About(str(content["data_set"]), str(content["first"]), stamps)
    except (MedtlError, KeyError, TypeError, ValueError, IndexError):
        return None


def cached(folders: Sequence[Path]) -> list[Cached]:
    """Return what lies in some cache folders, by place: files, and each built-in sample as one."""
    found = []
    for root in folders:
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if inside.parts[0].startswith(SAMPLE):
                if len(inside.parts) == 1:
                    found.append(Cached(path, str(inside), _size(path), "built-in samples"))
            elif path.is_file() and not path.name.endswith(BESIDE):
                told = about(path)
                found.append(
                    Cached(path, str(inside), path.stat().st_size, told.data_set, told.first)
                    if told
                    else Cached(path, str(inside), path.stat().st_size)
                )
    return found


def of_data_set(things: Sequence[Cached], folder: Path) -> list[Cached]:
    """Return those that were made of a prepared folder's pictures.

    Raises:
        UsageError: the folder holds no data list. MedtlError: it cannot be read.
    """
    hashes = {entry["sha256"] for _, entry in datalist.read(folder)}
    return [one for one in things if one.first and one.first in hashes]


def is_weights(one: Cached) -> bool:
    """Return whether it is a file of downloaded weights, which shows no patient."""
    return Path(one.name).parts[0] == WEIGHTS


def clear(things: Sequence[Cached]) -> None:
    """Delete them, and what lies beside them."""
    for one in things:
        if one.path.is_dir():
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            one.path.unlink(missing_ok=True)
            for suffix in BESIDE:
                _beside(one.path, suffix).unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
