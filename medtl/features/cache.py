"""Features as one float16 array, computed once and memory-mapped ever after.

``<key>.npy`` holds the features (n, width), ``<key>.json`` what is known of how they came to be, with their checksum.
While they are computed, whole blocks of rows are appended to ``<key>.blocks``, each behind its size and its own
checksum: a process that is killed loses the block that it was computing, and the next one goes on behind the last whole
one. The blocks are always the same, and so are the bytes in the end.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError
from medtl.files import disk_in_one_line, locked, private_folder, read_object, replacing, write_json
from medtl.places import private_cache

FORMAT = 1
HEAD = np.dtype([("rows", "<u4"), ("width", "<u4"), ("crc32", "<u4"), ("seconds", "<f8")])

Block = tuple[NDArray[np.float16], float]  # rows (b, width), and the seconds that they took


@dataclass(frozen=True, eq=False)
class Stored:
    """Features that lie in the cache.

    Attributes:
        values: (n, width), float16, mapped into memory.
        seconds: that computing them took, of all attempts together.
        facts: what else their maker said of them.
        path: of the file.
    """

    values: NDArray[np.float16]
    seconds: float
    facts: Mapping[str, Any]
    path: Path


def features_folder() -> Path:
    """Return ``features`` in medtl's cache."""
    return private_cache("features")


def key_of(named: Mapping[str, Any]) -> str:
    """Return 32 hex digits that name features by all that they depend on: SHA-256 of it as JSON, with the format."""
    return hashlib.sha256(json.dumps({"format": FORMAT, **named}, sort_keys=True).encode()).hexdigest()[:32]


def kept(
    path: Path, rows: int, make: Callable[[int], Iterator[Block]], facts: Callable[[], Mapping[str, Any]]
) -> Stored:
    """Return features from the cache, computed if they are not there; of several processes one computes them.

    Args:
        path: ``<key>.npy``.
        rows: n, how many there are, at least 1.
        make: gives the blocks from a row on; the rows of a block do not depend on where it was begun.
        facts: what is to be known of them later, asked for when all are computed.

    Raises:
        MedtlError: the cache cannot be written, or what it holds is damaged; names the file.
    """
    with disk_in_one_line("features", "XDG_CACHE_HOME", path.parent):
        found = read(path)
        if found is None:
            private_folder(path.parent)
            with locked(path, "computes"):
                found = read(path)  # another process may have computed them meanwhile
                if found is None:
                    _compute(path, rows, make, facts)
                    found = read(path)
    if found is None or len(found.values) != rows:
        raise MedtlError(f"{path} does not hold the features of {rows:,} pictures; delete it, they are computed again")
    return found


def read(path: Path) -> Stored | None:
    """Return what a file of the cache holds; None where there is none.

    Raises:
        MedtlError: it is not what was written there.
    """
    if not path.is_file():
        return None
    try:
        card = read_object(path.with_suffix(".json"))
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        whole = zlib.crc32(np.ascontiguousarray(values).data) == card["crc32"]
        stored = Stored(values, float(card["seconds"]), card["facts"], path)
    except (MedtlError, ValueError, KeyError, TypeError, EOFError):
        whole = False
    if not whole:
        raise MedtlError(f"{path} is damaged; delete it, the features will be computed again")
    return stored


def _compute(
    path: Path, rows: int, make: Callable[[int], Iterator[Block]], facts: Callable[[], Mapping[str, Any]]
) -> None:
    blocks = path.with_suffix(".blocks")
    with open(blocks, "a+b") as file:
        there = [values for values, _ in _whole_blocks(file)]
        begun = sum(map(len, there))
        for values, seconds in make(begun) if begun < rows else ():
            content = np.ascontiguousarray(values, np.float16)
            head = np.array((*content.shape, zlib.crc32(content.data), seconds), HEAD)
            file.write(head.tobytes() + content.tobytes())
            file.flush()
        found = list(_whole_blocks(file))
    values, seconds = np.concatenate([block for block, _ in found]), math.fsum(took for _, took in found)
    told = {"crc32": zlib.crc32(values.data), "seconds": round(seconds, 3), "facts": dict(facts())}
    write_json(path.with_suffix(".json"), told)
    with replacing(path, durable=True) as part, open(part, "wb") as output:
        np.save(output, values, allow_pickle=False)
    blocks.unlink()


def _whole_blocks(file: BinaryIO) -> Iterator[Block]:
    """The blocks of a file from its start on, up to the first that is not whole, at which the file is cut off."""
    file.seek(0)
    while True:
        place = file.tell()
        head = file.read(HEAD.itemsize)
        if len(head) == HEAD.itemsize:
            rows, width, crc32, seconds = np.frombuffer(head, HEAD)[0].tolist()
            content = file.read(2 * rows * width) if rows * width else b""
            if rows and len(content) == 2 * rows * width and zlib.crc32(content) == crc32:
                yield np.frombuffer(content, np.float16).reshape(rows, width), seconds
                continue
        file.truncate(place)
        file.seek(0, os.SEEK_END)
        return
