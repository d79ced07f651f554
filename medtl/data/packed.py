"""A split as one uint8 array at training resolution: decoded once, memory-mapped ever after, verified once a process.

``<fingerprint>.u8`` holds the pixels (n, channels, size, size) from its first byte on, then an index in JSON, then the
index's length (8 bytes, little-endian) and a mark. Without the mark at its end a file is not whole. The fingerprint
covers the images' hashes and the format, so what fits is reused and what has changed is packed anew. Before a process
uses it, every chunk is compared with its checksum, and every image with the data list: by its size and times where
these are as they were when its hash was right last (``.about.json`` beside it keeps them), else by its hash.
"""

import errno
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medtl import caches
from medtl.data.sources import are_verified, stamps, verify_sources
from medtl.datalist import DataList, Entry
from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.files import (
    OWNERS_FILE,
    OWNERS_FOLDER,
    TEMPORARY_SUFFIX,
    disk_in_one_line,
    file_hash,
    locked,
    parse_json,
    replacing,
)
from medtl.places import PACKED, cache_folder, packed_folder, private_cache

FORMAT = 1
MARK = b"medtl-u8"
CHUNK_BYTES = 4 * 2**20
FEW_CHUNKS = 4  # below this, starting processes takes longer than the work


@dataclass(frozen=True)
class Packed:
    """A split in memory or mapped into it.

    Attributes:
        images: (n, channels, size, size), uint8.
        labels: class indices (n,), int64, multi-hot vectors (n, n_classes), float32, or numbers (n,), float32.
        path: the file; None for an array that was never written.
    """

    images: NDArray[np.uint8]
    labels: Tensor
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.images)


def pack(
    listed: DataList,
    split: str,
    image_size: int,
    cache_dir: Path | None = None,
    channels: int | None = None,
    workers: int = 0,
) -> Packed:
    """Return the packed pixels of a split, made if they are not there; of several processes one makes them.

    Images become grey or RGB as in ``LoadPictured``, are resized by area as in MONAI's ``Resized(mode="area")`` and
    rounded to whole grey values.

    Args:
        listed: a data list with class labels, one or several an image, or with numbers.
        split: train, val or test.
        image_size: rows and columns.
        cache_dir: where packed files lie; by default ``packed_folder()``.
        channels: 1 (grey, stored once) or 3; by default the data list's.
        workers: decoding processes; 0 decodes in this one.

    Raises:
        UsageError: a mask data set, or a size that cannot be.
        MedtlError: an image that cannot be read or is not the one that the data list names, or a cache that cannot be
            written; names it.
    """
    channels = listed.channels if channels is None else channels
    if listed.task == "segmentation":
        raise UsageError(f"{listed.folder}: masks cannot be packed, only images with class labels or numbers")
    if image_size < 1 or channels not in (1, 3):
        raise UsageError(f"image_size {image_size} must be at least 1, channels {channels} must be 1 or 3")
    entries = listed.absolute(split)
    kind = torch.int64 if listed.task == "classification" else torch.float32
    labels = torch.as_tensor([entry["label"] for entry in entries], dtype=kind)
    shape = (len(entries), channels, image_size, image_size)
    if not entries:
        return Packed(np.zeros(shape, np.uint8), labels)
    path = Path(cache_dir or packed_folder()) / f"{fingerprint(entries, channels, image_size)}.u8"
    with disk_in_one_line("packed images", "MEDTL_PACKED", path.parent):
        if not _is_whole(path):
            _make_folder(path.parent)
            with locked(path, "packs"):
                if not _is_whole(path):  # another process may have made it meanwhile
                    seen = stamps(entries)
                    _make(path, entries, shape, workers)
                    caches.describe(path, listed.name, entries, seen)
        if not are_verified(path, entries):
            verify(path)
            verify_sources(path, listed.name, entries)
        return Packed(np.memmap(path, np.uint8, "c", shape=shape), labels, path)


def fingerprint(entries: Sequence[Entry], channels: int, image_size: int) -> str:
    """Return what names the pixels: 32 hex digits of SHA-256 over the format, the size and the images' hashes in their
    order."""
    digest = hashlib.sha256(f"{FORMAT} {channels} {image_size} {len(entries)}\n".encode())
    for entry in entries:
        digest.update(f"{entry['sha256']}\n".encode())
    return digest.hexdigest()[:32]


def read_index(path: Path) -> dict[str, Any]:
    """Return the index of a packed file: format, shape, chunk (images) and crc32 (one number a chunk).

    Raises:
        MedtlError: the file is not whole.
    """
    tail = len(MARK) + 8
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail))
            end = file.read()
            length = int.from_bytes(end[:8], "little")
            if end[8:] != MARK or length > size - tail:
                raise ValueError
            file.seek(size - tail - length)
            index: dict[str, Any] = parse_json(file.read(length))
        if index["format"] != FORMAT or size != int(np.prod(index["shape"], dtype=np.int64)) + length + tail:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise MedtlError(f"{path} is not a whole packed file; delete it, it will be made again") from None
    return index


def verify(path: Path) -> None:
    """Read a packed file from end to end.

    Raises:
        MedtlError: it is not whole, or a chunk differs from its checksum.
    """
    index = read_index(path)
    images = np.memmap(path, np.uint8, "r", shape=tuple(index["shape"]))
    for number, crc in enumerate(index["crc32"]):
        start = number * index["chunk"]
        if zlib.crc32(images[start : start + index["chunk"]].data) != crc:
            raise MedtlError(f"{path} is damaged from image {start} on; delete it, it will be made again")


def _make_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter; one of $MEDTL_PACKED that is there stays as it is."""
    if folder == cache_folder() / PACKED:
        private_cache(PACKED)
    folder.mkdir(mode=OWNERS_FOLDER, parents=True, exist_ok=True)


def _is_whole(path: Path) -> bool:
    try:
        read_index(path)
    except (FileNotFoundError, MedtlError):
        return False
    return True


def _make(path: Path, entries: Sequence[Entry], shape: tuple[int, ...], workers: int) -> None:
    for leftover in path.parent.glob(f".{path.name}.*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)  # of a process that was killed: we hold the lock
    chunk = max(1, CHUNK_BYTES // int(np.prod(shape[1:])))
    with replacing(path, durable=True) as part:
        part.touch(mode=OWNERS_FILE)
        with open(part, "wb") as file:
            _reserve(file.fileno(), int(np.prod(shape, dtype=np.int64)))
        checksums = list(_written(_Chunks(entries, shape, chunk, part), workers))
        index = json.dumps({"format": FORMAT, "shape": list(shape), "chunk": chunk, "crc32": checksums}).encode()
        with open(part, "ab") as file:
            file.write(index + len(index).to_bytes(8, "little") + MARK)


def _reserve(descriptor: int, size: int) -> None:
    """Take the room on the disk now, so that a full one is found before the work."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        os.truncate(descriptor, size)  # this system or disk cannot reserve


def _written(chunks: "_Chunks", workers: int) -> Iterator[int]:
    """Write all chunks and give their checksums in order.

    Raises:
        MedtlError: names the first image that cannot be used.
        OSError: the disk.
    """
    workers = workers if len(chunks) >= FEW_CHUNKS else 0
    own = torch.Generator()  # where the set is packed already nothing is drawn either: a seed gives one network
    loader = DataLoader(
        chunks, batch_size=None, num_workers=min(workers, len(chunks)), collate_fn=_as_it_is, generator=own
    )
    for number, (checksum, reason, code) in enumerate(_shown(loader, chunks)):
        if code:
            raise OSError(code, reason)
        if reason:
            raise MedtlError(reason)
        if checksum is None:
            raise AssertionError(f"chunk {number} has neither a checksum nor an error")
        yield checksum


def _as_it_is(item: Any) -> Any:
    return item


def _shown(loader: DataLoader, chunks: "_Chunks") -> Iterator[Any]:
    """The loader's items, behind a progress bar where there is a terminal."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield from loader
        return
    from rich.console import Console
    from rich.progress import track

    what = f"packing {chunks.shape[0]:,} images"
    yield from track(loader, what, total=len(chunks), console=Console(stderr=True), transient=True)


class _Chunks(Dataset):
    """Item k decodes chunk k and writes it to its place in the file: no pixels travel between processes.

    An item is (checksum, reason, code): one of checksum and reason is None; for errors of the disk code is their errno.
    """

    def __init__(self, entries: Sequence[Entry], shape: tuple[int, ...], chunk: int, part: Path) -> None:
        self.files = np.asarray([entry["image"] for entry in entries])  # no Python objects: nothing to copy on fork
        self.hashes = np.asarray([entry["sha256"] for entry in entries])
        self.shape = shape
        self.chunk = chunk
        self.part = part

    def __len__(self) -> int:
        return -(-self.shape[0] // self.chunk)

    def __getitem__(self, number: int) -> tuple[int | None, str | None, int]:
        start = number * self.chunk
        files, hashes = self.files[start : start + self.chunk], self.hashes[start : start + self.chunk]
        pixels = np.empty((len(files), *self.shape[1:]), np.uint8)
        for place, (file, sha256) in enumerate(zip(files, hashes, strict=True)):
            try:
                pixels[place] = _decoded(Path(str(file)), str(sha256), self.shape[1], self.shape[2])
            except (BadFileError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                return None, f"{file} {reason or error}", 0
        try:
            with open(self.part, "r+b") as output:
                output.seek(start * int(np.prod(self.shape[1:])))
                output.write(pixels.data)
        except OSError as error:
            return None, error.strerror, error.errno or errno.EIO
        return zlib.crc32(pixels.data), None, 0


def _decoded(path: Path, sha256: str, channels: int, size: int) -> NDArray[np.uint8]:
    """One image (channels, size, size).

    Raises:
        BadFileError: it cannot be read, or is not the file whose hash is given; the text is the reason alone.
    """
    from medtl.readers.picture import read_picture  # its readers take a while to import

    try:
        same = file_hash(path) == sha256
    except FileNotFoundError:
        raise BadFileError("is missing") from None
    if not same:
        raise BadFileError("is not the file that the data list names (another SHA-256); prepare the data again")
    pixels = read_picture(path, channels=channels)
    planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return resized(np.ascontiguousarray(planes), size)


def resized(planes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize (channels, rows, columns) to (channels, size, size) by area, rounded half to even."""
    if planes.shape[1:] == (size, size):
        return planes
    values = torch.from_numpy(planes.astype(np.float32))[None]
    return torch.nn.functional.interpolate(values, (size, size), mode="area")[0].round().byte().numpy()
