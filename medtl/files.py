"""Files that are either whole or absent, and the tables and JSON in them.

Everything is written under a temporary name beside the target, then renamed. Names of files and classes reach our
tables from outside: a field that a spreadsheet would run as a formula is written with a leading apostrophe, which
``read_csv`` takes off again.
"""

import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medtl.errors import MedtlError

TEMPORARY_SUFFIX = ".medtl-part"
OWNERS_FILE, OWNERS_FOLDER = 0o600, 0o700  # modes of what names patients or shows them
LONGEST_NAME = 255  # bytes, of nearly every file system
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet runs; with apostrophes, so that reading undoes writing
QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")
LOCK_POLL = 0.2  # seconds
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", re.ASCII)


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


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock of a file that one of several processes makes; the system frees it when its holder dies.

    Args:
        path: of the file; the lock lies beside it.
        doing: what another process does that is waited for, such as "packs".
    """
    lock = FileLock(path.with_suffix(".lock"), mode=OWNERS_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if os.environ.get("RANK", "0") == "0":
            print(f"waiting for another process that {doing} {path}", file=sys.stderr, flush=True)
        lock.acquire(poll_interval=LOCK_POLL)
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written below ``folder``."""
    for part in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` to ``path`` atomically; where it is ``private``, for its owner's eyes only."""
    with replacing(path) as part:
        if private:
            part.touch(mode=OWNERS_FILE)
        part.write_bytes(content)


def write_text(path: Path, content: str, *, private: bool = False) -> None:
    """Write UTF-8 text with Unix line ends to ``path`` atomically; a byte of a file's name that is no UTF-8 as an
    escape (``\\udce9``), which JSON reads back as it was."""
    write_bytes(path, content.encode("utf-8", errors="backslashreplace"), private=private)


def private_folder(path: Path) -> Path:
    """Return a folder that its owner alone may enter, made with those above it where it is absent."""
    path.mkdir(mode=OWNERS_FOLDER, parents=True, exist_ok=True)
    with suppress(OSError):  # a disk without modes, or another's folder
        path.chmod(OWNERS_FOLDER)
    return path


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented by one space and ended by a line break; what JSON cannot hold as its text."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the header first, to ``path`` atomically, as ``csv_text`` gives them."""
    write_text(path, csv_text(rows))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV with Unix line ends; text that a spreadsheet would run as a formula begins with an
    apostrophe, unless it is a number."""
    return "".join(f"{_csv_line(row)}\n" for row in rows)


def _csv_line(row: Sequence[object]) -> str:
    text = io.StringIO()
    # csv quotes a field with a carriage return only where that belongs to the line's end
    csv.writer(text, lineterminator="\r\n").writerow([_inert(field) for field in row])
    return text.getvalue().removesuffix("\r\n")


def _inert(field: object) -> object:
    runs = isinstance(field, str) and FORMULA.match(field) and not NUMBER.fullmatch(field)
    return f"'{field}" if runs else field


def read_text(path: Path) -> str:
    """Return the UTF-8 text of a file.

    Raises:
        MedtlError: it cannot be read; the line names it.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MedtlError(f"{path} is not text in UTF-8: {error}") from None
    except OSError as error:
        raise MedtlError(f"{path} cannot be read: {error.strerror or error}") from None


def parse_json(text: str | bytes) -> Any:
    """Return what JSON holds.

    Raises:
        ValueError: it is not JSON, or is nested more deeply than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        MedtlError: it cannot be read or is not JSON; the line names it and the place.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise MedtlError(f"{path} is not valid JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, if that is an object.

    Raises:
        MedtlError: it cannot be read, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise MedtlError(f"{path} holds no JSON object")
    return content


def read_csv(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, the header first, without the apostrophes that ``write_csv`` puts before
    formulas, and without the mark that spreadsheets put before all of it; empty for an empty file.

    Raises:
        MedtlError: it cannot be read, or is no table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [[_plain(field) for field in row] for row in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MedtlError(f"{path} is not a table: {error}") from None
    except OSError as error:
        raise MedtlError(f"{path} cannot be read: {error.strerror or error}") from None


def _plain(field: str) -> str:
    return field[1:] if QUOTED_FORMULA.match(field) else field


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by the names of its columns.

    Raises:
        MedtlError: it cannot be read, is no table, or a row has more or fewer fields than the header.
    """
    header, *lines = read_csv(path) or [[]]
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise MedtlError(f"{path} line {number} has not the {len(header)} columns of its header")
    return [dict(zip(header, line, strict=True)) for line in lines]


def columns_of(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> list[Sequence[object]]:
    """Return a table for ``write_csv`` from rows by name: the names, then each row's fields in their order, blank
    where a row has none."""
    return [names, *([row.get(name, "") for name in names] for row in rows)]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_in_one_line(what: str, variable: str, folder: Path) -> Iterator[None]:
    """Tell in one line that a disk refuses what is kept in a folder, and which variable names another folder.

    Raises:
        MedtlError: the disk refuses.
    """
    try:
        yield
    except OSError as error:
        raise MedtlError(
            f"the {what} cannot be kept in {folder}: {error.strerror or error}; set ${variable} to a folder with room"
        ) from None
