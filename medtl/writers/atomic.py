"""Files that are either whole or absent: written under a temporary name beside the target, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY_SUFFIX = ".medtl-part"
LONGEST_NAME = 255  # bytes, of nearly every file system


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any error.

    A killed process never leaves half a file under ``path``. With ``durable`` not even a power cut does: the content
    reaches the disk before the name does, which costs milliseconds a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        yield part
        if durable:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say whose write failed
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder beside ``path``; rename it to ``path`` on success, remove it on any error.

    ``path`` must be absent, or an empty folder, by the end. What a killed process left half-made stays beside it under
    a name of its own, never under ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    part.mkdir()
    try:
        yield part
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A temporary name for a file or folder, no longer than file systems take."""
    end = f".{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    start = os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - len(end) - 1])
    return path.with_name(f".{start}{end}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with Unix line ends to ``path`` atomically; a byte of a file's name that is no UTF-8 as an
    escape (``\\udce9``), which JSON reads back as it was."""
    write_bytes(path, content.encode("utf-8", errors="backslashreplace"))


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written below ``folder``."""
    for part in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
