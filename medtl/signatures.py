"""What is remembered of a picture to know it again: hashes of its file and of its pixels, a perceptual hash, and its
fine structure at a small size."""

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from medtl.datalist import FILE_NAME, SURVIVAL, DataList
from medtl.errors import BadFileError, MedtlError
from medtl.readers.picture import read_picture

SIDE = 64  # of the small image
SIGMA = 1.0  # of the blur that is taken away from it, in its pixels: what is left is edges, not the body's outline
LEAST_DETAIL = 1.0  # standard deviation of what is left, in grey levels; with less there is nothing to compare
STEPS = 16  # of the stored detail, a standard deviation; 127 / 16 = 8 standard deviations fit into a byte
TOO_FEW_FOR_WORKERS = 500
FILES_A_TASK = 64


@dataclass(frozen=True)
class Signature:
    """One picture.

    Attributes:
        sha256: of the file.
        pixels: SHA-256 of the size and the decoded 8-bit grey, so that a copy with other metadata or compression
            without loss has the same; empty where all pixels are alike.
        phash: 64 bits (perceptual hash: the signs, around their median, of the 8 × 8 lowest frequencies of the picture
            at 32 × 32 pixels), 0 where there is no detail.
        detail: int8 (64 × 64,), the picture at 64 × 64 pixels less its own blur, 16 steps a standard deviation; zeros
            where there is no detail.
    """

    sha256: str
    pixels: str
    phash: int
    detail: NDArray[np.int8]


@dataclass(frozen=True)
class Listed:
    """The pictures of one data list, each image once a part of the list, side by side with their signatures.

    Attributes:
        name: what messages call the list.
        parts: (n,) split of each, with its fold where there are folds.
        images, patients: (n,) as in the list.
        sha256, pixels: (n,) see Signature.
        phashes: (n,) uint64.
        details: (n, 4096) int8.
    """

    name: str
    parts: tuple[str, ...]
    images: tuple[str, ...]
    patients: tuple[str, ...]
    sha256: tuple[str, ...]
    pixels: tuple[str, ...]
    phashes: NDArray[np.uint64]
    details: NDArray[np.int8]


def sign(path: Path) -> Signature:
    """Return the signature of one picture file.

    Raises:
        BadFileError: it cannot be read; the text is the reason alone.
    """
    grey = read_picture(path)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    if grey.min() == grey.max():
        return Signature(content, "", 0, np.zeros(SIDE * SIDE, np.int8))
    pixels = hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).hexdigest()
    detail = fine_structure(grey)
    return Signature(content, pixels, perceptual_hash(grey) if detail.any() else 0, detail)


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """Return ``imagehash.phash`` of (rows, columns) grey, first bit highest."""
    from imagehash import phash

    return int(str(phash(Image.fromarray(grey))), 16)


def fine_structure(grey: NDArray[np.uint8]) -> NDArray[np.int8]:
    """See ``Signature.detail``: invariant to brightness, contrast and size, proportions included."""
    from scipy.ndimage import gaussian_filter

    image = Image.fromarray(grey)
    smaller = min(image.size) >= SIDE
    small = np.asarray(
        image.resize((SIDE, SIDE), Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR), dtype=np.float32
    )
    detail = small - gaussian_filter(small, SIGMA)
    detail -= detail.mean()
    spread = float(detail.std())
    if spread < LEAST_DETAIL:
        return np.zeros(SIDE * SIDE, np.int8)
    return np.clip(np.rint(detail * (STEPS / spread)), -127, 127).astype(np.int8).reshape(-1)


def sign_list(listed: DataList, name: str, workers: int = 1) -> Listed:
    """Sign every picture that a data list names.

    Args:
        listed: the data list.
        name: for messages.
        workers: processes; 1 works in this one.

    Raises:
        MedtlError: a picture is missing or cannot be read; names it.
    """
    signed, unreadable = sign_readable(listed, name, workers)
    for image, reason in unreadable.items():
        raise MedtlError(f"{listed.folder / image} {reason}")
    return signed


def sign_readable(listed: DataList, name: str, workers: int = 1) -> tuple[Listed, dict[str, str]]:
    """Sign every picture that a data list names and that can be read.

    Args:
        listed: the data list.
        name: for messages.
        workers: processes; 1 works in this one.

    Returns:
        The signatures, and why there is none: image, as the list names it, to reason.
    """
    if listed.task == SURVIVAL:
        raise MedtlError(f"{listed.folder / FILE_NAME} lists features, not pictures: their look cannot be compared")
    rows = list(dict.fromkeys((_part(split, entry), entry["image"], entry["patient"]) for split, entry in listed))
    images = sorted({image for _, image, _ in rows})
    found = _sign_all([listed.folder / image for image in images], name, workers)
    signatures: dict[str, Signature] = {}
    unreadable: dict[str, str] = {}
    for image, signature in zip(images, found, strict=True):
        if isinstance(signature, str):
            unreadable[image] = signature
        else:
            signatures[image] = signature
    rows = [row for row in rows if row[1] in signatures]
    own = [signatures[image] for _, image, _ in rows]
    signed = Listed(
        name=name,
        parts=tuple(part for part, _, _ in rows),
        images=tuple(image for _, image, _ in rows),
        patients=tuple(patient for _, _, patient in rows),
        sha256=tuple(signature.sha256 for signature in own),
        pixels=tuple(signature.pixels for signature in own),
        phashes=np.array([signature.phash for signature in own], dtype=np.uint64),
        details=np.array([signature.detail for signature in own], dtype=np.int8).reshape(len(own), SIDE * SIDE),
    )
    return signed, unreadable


def _part(split: str, entry: dict) -> str:
    return f"{split}, fold {entry['fold']}" if "fold" in entry else split


def _sign_all(paths: Sequence[Path], name: str, workers: int) -> Iterator[Signature | str]:
    """Signatures in order; a reason where there is none."""
    if workers == 1 or len(paths) < TOO_FEW_FOR_WORKERS:
        yield from _tracked(map(_sign, paths), len(paths), name)
        return
    context = multiprocessing.get_context("forkserver")  # not fork: the progress bar's thread may hold a lock
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts) as pool:
        try:
            yield from _tracked(pool.map(_sign, paths, chunksize=FILES_A_TASK), len(paths), name)
        except BrokenProcessPool:
            raise MedtlError(f"{name}: a worker died (out of memory?); try fewer --workers") from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _tracked(results: Iterable[Signature | str], total: int, name: str) -> Iterable[Signature | str]:
    """With a bar on a terminal, and silence in a log."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(results, f"looking at {escape(name)}", total=total, console=console, transient=True, disable=hidden)


def _ignore_interrupts() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _sign(path: Path) -> Signature | str:
    try:
        return sign(path)
    except BadFileError as error:
        return str(error)
