"""Official weights into the cache: downloaded or copied, whole or not at all, only with the right hash. No torch."""

import difflib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from medtl.cards import BACKBONE_CARDS, WEIGHTS_SOURCES, WeightsSource
from medtl.datalist import file_hash
from medtl.errors import MedtlError, UsageError
from medtl.writers.atomic import replacing

NAMED = ("imagenet", "cpmid", "mini")
CHUNK = 1 << 20
SECONDS = 30  # without a byte
NETWORK_FAULTS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def source_of(init: str, backbone: str) -> WeightsSource:
    """Where named weights of a backbone are published.

    Raises:
        UsageError: there is no such name or backbone, or nobody publishes them.
    """
    for word, value, known in (("weights", init, NAMED), ("--backbone", backbone, tuple(BACKBONE_CARDS))):
        if value not in known:
            raise UsageError(f"{word} {value}: expected one of {', '.join(known)}{did_you_mean(value, known)}")
    found = [source for source in WEIGHTS_SOURCES if (source.init, source.backbone) == (init, backbone)]
    if not found:
        raise UsageError(f"weights {init} of {backbone} have no download; {how_to_get(init, backbone)}")
    return found[0]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A suggestion to put behind an error; empty where nothing is alike."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def official_name(source: WeightsSource) -> str:
    """The file's name at its maker's."""
    return PurePosixPath(source.url).name


def how_to_get(init: str, backbone: str) -> str:
    """What to do where named weights are not at hand, in words."""
    sources = [source for source in WEIGHTS_SOURCES if (source.init, source.backbone) == (init, backbone)]
    if sources:
        command = f"medtl weights {init} --backbone {backbone}"
        name = official_name(sources[0])
        return (
            f"get them with: {command}; offline: download {sources[0].url} elsewhere, then: {command} --from {name},"
            f" or put {name} into the folder that $MEDTL_WEIGHTS names"
        )
    if init == "cpmid":
        return (
            f"train bundles/cpmid_{backbone} on CPMID (its images may not be redistributed, so no weights are), then"
            f" put its model.pt as {backbone}_cpmid.pt into the folder that $MEDTL_WEIGHTS names"
        )
    return (
        f"medtl brings those of resnet18 alone; put the bundle medtl_{init}_{backbone}, or its zip, into the folder"
        " that $MEDTL_WEIGHTS names, or pretrain by bundles/medtl_mini_resnet18 with --backbone and start from that run"
    )


def install(source: WeightsSource, folder: Path, given: Path | None = None) -> tuple[Path, str]:
    """Put a source's file into ``folder`` as ``<backbone>_<init>.<suffix>``.

    Args:
        source: what to get.
        folder: made where it is missing.
        given: a copy at hand, used instead of the network.

    Returns:
        The file and its SHA-256. One that is there already and has the right hash is left alone. A download that
        broke off is continued by the next call.

    Raises:
        UsageError: no file ``given``. MedtlError: the network fails, or the file is another one.
    """
    target = folder / f"{source.backbone}_{source.init}{PurePosixPath(source.url).suffix}"
    if target.is_file() and (digest := file_hash(target)).startswith(source.sha256):
        return target, digest
    if given is not None:
        if not given.is_file():
            raise UsageError(f"--from {given}: no such file; expected {official_name(source)} from {source.url}")
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


def _checked(path: Path, source: WeightsSource, what: str) -> str:
    digest = file_hash(path)
    if not digest.startswith(source.sha256):
        raise MedtlError(
            f"{what} is not {official_name(source)}: its SHA-256 is {digest[:16]}…, expected {source.sha256}…"
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
