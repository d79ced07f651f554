"""Checkpoints on disk: whole or absent, and each with its hash beside it, so that a damaged one is found out.

``epoch_0003.pt`` was saved after epoch 3, ``epoch_0004_batch_00012.pt`` within epoch 4, after its 12th batch. Beside
each lies ``….json`` with its SHA-256 and what is to be known without opening it; it is written last, so that a
checkpoint without it was never finished. Checkpoints hold tensors and plain values only and open with
``weights_only=True``.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import torch

from medtl.errors import MedtlError
from medtl.files import read_object, replacing

NAME = re.compile(r"epoch_(\d+)(?:_batch_(\d+))?\.pt")
PIECE = 4 * 2**20


class _Hashing:
    """A file that hashes what it is given and keeps its first error for later: raised within torch.save, it would come
    out as something else."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Take all of ``data``."""
        if self.error is None:
            self.sha256.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing waits here."""


def write_tensors(state: Mapping[str, Any], path: Path) -> str:
    """Write with ``torch.save``, whole or not at all, and durable before it takes an older file's place.

    A full disk is an OSError that names the file.

    Returns:
        The file's SHA-256.
    """
    with replacing(path, durable=True) as part, open(part, "wb") as file:
        hashing = _Hashing(file)
        torch.save(state, cast(IO[bytes], hashing))
        if hashing.error is not None:
            raise hashing.error
    return hashing.sha256.hexdigest()


def name_of(epoch: int, batch: int | None) -> str:
    """Return the file of a checkpoint within an epoch (from 1), after so many of its batches; None for all of them."""
    return f"epoch_{epoch:04d}.pt" if batch is None else f"epoch_{epoch:04d}_batch_{batch:05d}.pt"


def write(state: Mapping[str, Any], path: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint and, once it is on the disk, what is known of it.

    Args:
        state: tensors and plain values.
        path: its file, named by ``name_of``.
        facts: go into the JSON file beside it.
    """
    path.with_suffix(".json").unlink(missing_ok=True)  # of a file of the same name: its hash would not fit
    sha256 = write_tensors(state, path)
    with replacing(path.with_suffix(".json"), durable=True) as part:
        part.write_text(json.dumps({"sha256": sha256, **facts}) + "\n", encoding="utf-8")
    with suppress(OSError):  # not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove(path: Path) -> None:
    """Take a checkpoint away; half-way through it counts as unfinished."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def found(folder: Path) -> list[Path]:
    """Return all checkpoints of a folder, whole or not, the newest training first."""

    def place(path: Path) -> tuple[int, float]:
        match = NAME.fullmatch(path.name)
        assert match is not None  # only such are listed
        return int(match[1]), float(match[2] or "inf")

    listed = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in listed if NAME.fullmatch(path.name)), key=place, reverse=True)


def facts(path: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint; empty where its JSON file is missing or cannot be read."""
    try:
        return read_object(path.with_suffix(".json"))
    except MedtlError:
        return {}


def problem_of(path: Path) -> str:
    """Return why a checkpoint cannot be relied on; empty where it is what was written. Reads the whole file."""
    known = facts(path)
    if "sha256" not in known:
        return "was not written to its end"
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if digest.hexdigest() == known["sha256"] else "is damaged (its SHA-256 has changed)"


def read(path: Path) -> dict[str, Any]:
    """Return a whole checkpoint's content, tensors on the CPU."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
