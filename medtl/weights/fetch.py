"""Official weights into the cache: downloaded or copied, whole or not at all, only with the right hash. No torch."""

import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash, replacing
from medtl.places import WEIGHT_SUFFIXES
from medtl.weights.sources import KERAS, Official, file_stem, how_to_get

SUFFIXES = (*WEIGHT_SUFFIXES, KERAS)  # others, such as .bin and .pth.tar, hold what .pt does
CHUNK = 1 << 20
SECONDS = 30  # without a byte
NETWORK_FAULTS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def install(source: Official, folder: Path, given: Path | None = None) -> tuple[Path, str]:
    """Put an official file into ``folder`` as ``<backbone>_<init>.<suffix>``.

    Args:
        source: what to get, from ``sources.official``.
        folder: made where it is missing.
        given: a copy at hand, used instead of the network; any that fits where the hash is not known.

    Returns:
        The file and its SHA-256. One that is there already and has the right hash is left alone. A download that
        broke off is continued by the next call.

    Raises:
        UsageError: no file ``given``. MedtlError: the network fails, or the file is another one.
    """
    suffix = (given or PurePosixPath(source.url)).suffix.lower()
    target = folder / f"{file_stem(source.backbone)}_{source.init}{suffix if suffix in SUFFIXES else '.pt'}"
    if source.sha256 and target.is_file() and (digest := file_hash(target)).startswith(source.sha256):
        return target, digest
    if given is not None:
        if not given.is_file():
            whose = f"{source.file} from {source.url}" if source.url else f"{source.init}'s file"
            raise UsageError(f"--from {given}: no such file; expected {whose}")
        digest = _checked(given, source, f"--from {given}")
        with replacing(target, durable=True) as part, open(given, "rb") as old, open(part, "wb") as new:
            while chunk := old.read(CHUNK):
                new.write(chunk)
        return target, digest
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{target.name}.download"
    try:
        _continue(source.url, partial)
    except NETWORK_FAULTS as error:
        reason = " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
        raise MedtlError(
            f"{source.url} cannot be downloaded: {reason} (what has come is kept and continued);"
            f" {how_to_get(source.init, source.backbone)}"
        ) from None
    try:
        digest = _checked(partial, source, source.url)
    except MedtlError:
        partial.unlink()
        raise
    os.replace(partial, target)
    return target, digest


def _checked(path: Path, source: Official, what: str) -> str:
    digest = file_hash(path)
    if not digest.startswith(source.sha256):
        raise MedtlError(
            f"{what} is not {source.file}: its SHA-256 is {digest[:16]}…, expected {source.sha256}…"
            " (other weights are used by their path: --init PATH)"
        )
    return digest


def _continue(url: str, partial: Path) -> None:
    """Download what ``partial`` lacks; from the start where the server cannot continue."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing is missing
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        with (
            Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
            open(partial, "ab" if have else "wb") as file,
        ):
            task = progress.add_task(PurePosixPath(url).name, total=total, completed=have)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
    if total is not None and size < total:
        raise http.client.HTTPException(f"broke off after {size:,} of {total:,} bytes")
