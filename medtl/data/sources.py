"""Whether the pictures that a packed file was made of are still those of the data list: looked at once a process, and
cheaply, by size and times first.

A file's time of modification can be set back, as ``touch``, ``rsync`` and archives do. The time of its last change of
any kind (``st_ctime``) cannot: so a picture that was edited is read again even where its size and its time of
modification are as before.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from medtl import caches
from medtl.datalist import Entry
from medtl.errors import MedtlError
from medtl.files import file_hash

_verified: set[tuple[Path, int]] = set()


def stamps(entries: Sequence[Entry]) -> list[caches.Stamp]:
    """Return size and times of each picture; None for one that is not there."""
    return [_stamp(entry["image"]) for entry in entries]


def are_verified(path: Path, entries: Sequence[Entry]) -> bool:
    """Return whether this process has verified a packed file, and neither it nor a picture has changed since."""
    return _state(path, stamps(entries)) in _verified


def verify_sources(path: Path, name: str, entries: Sequence[Entry]) -> None:
    """Compare the pictures with the data list; only those whose size or one of whose times is another than when
    their hash was right last are read.

    Args:
        path: the packed file, beside which sizes and times are kept.
        name: of the data list.
        entries: the pictures, with absolute paths.

    Raises:
        MedtlError: a picture is missing or is not the one that the data list names.
    """
    seen = stamps(entries)
    told = caches.about(path)
    known = told.stamps if told and len(told.stamps) == len(entries) else [None] * len(entries)
    changed = [entry for entry, now, before in zip(entries, seen, known, strict=True) if now is None or now != before]
    for entry in changed:
        try:
            same = file_hash(Path(entry["image"])) == entry["sha256"]
        except FileNotFoundError:
            raise MedtlError(f"{entry['image']} is missing; prepare the data again") from None
        if not same:
            raise MedtlError(
                f"{entry['image']} is not the file that the data list names (another SHA-256): it was replaced after"
                " the images were packed; prepare the data again"
            )
    if changed:
        with suppress(OSError):  # a cache that may only be read
            caches.describe(path, name, entries, seen)
    _verified.add(_state(path, seen))


def _stamp(image: str) -> caches.Stamp:
    try:
        status = os.stat(image)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _state(path: Path, seen: Sequence[caches.Stamp]) -> tuple[Path, int]:
    return path, hash((_stamp(str(path)), *seen))
