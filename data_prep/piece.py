"""One piece of work on its way: made aside, recorded, then renamed into place, so that even a killed run leaves no
image that no record names."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.work import Done, Rejected, Source, Work
from medtl.datalist import Entry
from medtl.errors import MedtlError
from medtl.files import parse_json, write_text

FORMAT = 1  # of records and images; raise it when the same raw file gives other bytes
PROGRESS = ".progress"  # folder of the records, below the output folder


@dataclass
class Piece:
    """One piece of work, where its result is recorded, and the result once there is one."""

    work: Work
    record: Path
    fingerprint: str
    done: Done | None


# a source, its pieces that are not done yet and the output folder → each piece with its result, as they finish
DoAll = Callable[[Source, Sequence[Piece], Path], Generator[tuple[Piece, Done], None, None]]


def do(source: Source, piece: Piece, out: Path, wanted: Callable[[], bool] | None = None) -> Done:
    """Do one piece aside, record it, then rename its images into place: a record whose images are not all there is
    not taken for finished.

    Args:
        source: what it belongs to; its works are not looked at.
        piece: what to do.
        out: output folder.
        wanted: asked when the piece is made; if it says no, nothing of it is kept.

    Raises:
        MedtlError: it is not wanted any more.
    """
    aside = piece.record.with_name(f"{piece.record.stem}.{secrets.token_hex(4)}")
    try:
        done = source.process(piece.work, source.raw, aside)
        if wanted and not wanted():
            raise MedtlError("the run that wanted this piece is over")
        _record(piece.record, piece.fingerprint, done)
        for image in sorted(images(done.entries)):
            (out / image).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / image, out / image)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return done


def fingerprint(source: Source, work: Work) -> str:
    """Return a text that changes with the raw files (size and time of change), what the tables say about them, the
    options and the format of the output."""
    files = [(path.name, *_size_and_time(path)) for path in work.files]
    content = [FORMAT, source.name, dict(source.options), work.payload, files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _size_and_time(path: Path) -> tuple[int, int] | tuple[None, None]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # absent, or a name that no file can have
        return None, None
    return status.st_size, status.st_mtime_ns


def recall(record: Path, key: str, out: Path) -> Done | None:
    """Return a finished piece's result, if its record is whole and current and all its images are there."""
    try:
        content = parse_json(record.read_text(encoding="utf-8"))
        done = Done(content["entries"], [Rejected(*row) for row in content["rejected"]])
        named = images(done.entries)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return done if content.get("fingerprint") == key and all((out / path).is_file() for path in named) else None


def images(entries: Sequence[Entry]) -> set[str]:
    """Return every file below the output folder that these entries name."""
    return {entry[key] for entry in entries for key in ("image", "mask", "features") if key in entry}


def _record(record: Path, key: str, done: Done) -> None:
    rows = [(row.file, row.reason) for row in done.rejected]
    write_text(record, json.dumps({"fingerprint": key, "entries": done.entries, "rejected": rows}) + "\n", private=True)
