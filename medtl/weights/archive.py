"""Bundles of other people's making: unpacked without trusting the archive, and compared with the hashes they came with.

A zip is only a list of claims. Each member's name, kind and size is checked before anything is written, and the size
again on the stream itself; what fails leaves nothing behind. No torch.
"""

import hashlib
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.files import file_hash, read_text, replacing_folder
from medtl.limits import check_growth
from medtl.weights.card import WeightsCard

MAX_BYTES = 4 * 2**30
MAX_ENTRIES = 1000
SUMS = "SHA256SUMS"
CARD = "card.json"
CHUNK = 2**20
DRIVE = re.compile(r"^[A-Za-z]:")
SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
ENCRYPTED = 0x1
LONGEST_PART = 255  # bytes; the limit of common file systems
# what zipfile and zlib raise on bytes that are no zip
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)


@dataclass(frozen=True)
class Archive:
    """The members of a zip, all of them checked.

    Attributes:
        zip: open for reading.
        files: path within the bundle (without the one folder that holds everything, if there is one) to the member.
        name: the zip's, for errors.
        max_bytes: what all members may have together.
    """

    zip: zipfile.ZipFile
    files: dict[str, zipfile.ZipInfo]
    name: str
    max_bytes: int

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a member's bytes, piece by piece, at most as many as its header promised.

        Raises:
            MedtlError: damaged, or longer than it said; names it.
        """
        info, done = self.files[path], 0
        try:
            with self.zip.open(info) as file:
                while piece := file.read(CHUNK):
                    done += len(piece)
                    if done > min(info.file_size, self.max_bytes):
                        raise MedtlError(f"{self.name}: {path} is longer than the archive says")
                    yield piece
        except DAMAGE as error:
            raise MedtlError(f"{self.name}: {path} is damaged: {error}") from None

    def read(self, path: str) -> bytes:
        """Return a member as a whole."""
        return b"".join(self.stream(path))

    def sums(self) -> dict[str, str]:
        """Return what its SHA256SUMS says; empty where it has none."""
        return parse_sums(self.read(SUMS), f"{self.name}: {SUMS}") if SUMS in self.files else {}


@contextmanager
def opened(path: Path, max_bytes: int = MAX_BYTES, option: str = "") -> Iterator[Archive]:
    """Open a zip whose every member has a harmless name, kind and size.

    Args:
        path: the zip.
        max_bytes: of all members together, uncompressed.
        option: the argument that errors name.

    Raises:
        UsageError: no such file. MedtlError: no zip, or one that is refused; names the first offending member.
    """
    name = f"{option} {path}".strip()
    if not path.is_file():
        raise UsageError(f"{name}: no such file; expected a bundle's .zip")
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise MedtlError(f"{name} is not a readable zip: {error}") from None
    with archive:
        yield Archive(archive, _checked(archive.infolist(), name, path.stat().st_size, max_bytes), name, max_bytes)


def _checked(members: list[zipfile.ZipInfo], name: str, size: int, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Path within the bundle to member, of files alone.

    Raises:
        MedtlError: a member that may not be unpacked, or too many or too large ones.
    """
    if len(members) > MAX_ENTRIES:
        raise MedtlError(f"{name} has {len(members):,} entries; a bundle has at most {MAX_ENTRIES:,}")
    if (total := sum(info.file_size for info in members)) > max_bytes:
        raise MedtlError(f"{name} would unpack to {total:,} bytes; at most {max_bytes:,} are allowed")
    try:
        check_growth(size, total)
    except BadFileError as error:
        raise MedtlError(f"{name} {error}") from None
    seen: dict[str, bool] = {}
    for info in members:
        if fault := _fault(info):
            raise MedtlError(f"{name}: the member {info.orig_filename!r} {fault}")
        path = _folded(info.filename)
        if path in seen:
            raise MedtlError(f"{name}: two members are called {info.orig_filename!r}")
        seen[path] = info.is_dir()
    for path in seen:
        for parent in PurePosixPath(path).parents:
            if seen.get(str(parent)) is False:
                raise MedtlError(f"{name}: {str(parent)!r} is both a file and a folder")
    files = {info.filename: info for info in members if not info.is_dir()}
    if not files:
        raise MedtlError(f"{name} holds no file")
    base = {file.split("/")[0] for file in files}
    if len(base) == 1 and all("/" in file for file in files):
        return {file.partition("/")[2]: info for file, info in files.items()}
    return files


def _fault(info: zipfile.ZipInfo) -> str:
    """Why a member may not be unpacked; empty when it may."""
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if any(ord(character) < 32 for character in name) or "\\" in name:
        return "has a control character or a backslash in its name"
    if name.startswith("/"):
        return "has an absolute path"
    if DRIVE.match(name):
        return "names a drive"
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder, or has an empty part in its path"
    if any(len(part.encode("utf-8", "replace")) > LONGEST_PART for part in parts):
        return "has a name longer than a file can have"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in another way than stored or deflated"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    return "is no regular file" if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else ""


def _folded(name: str) -> str:
    """Names that some file system takes for the same, made the same."""
    return unicodedata.normalize("NFC", name.removesuffix("/")).casefold()


def unpack(zip_path: Path, folder: Path, max_bytes: int = MAX_BYTES) -> Path:
    """Unpack a bundle's zip; where it brings SHA256SUMS, every file must be listed there and match.

    Args:
        zip_path: the archive; a single outermost folder in it is left out.
        folder: becomes the bundle; absent or empty.
        max_bytes: of all files together, counted while they are unpacked.

    Returns:
        ``folder``.

    Raises:
        UsageError: no such zip, or the folder holds something.
        MedtlError: the archive is refused, damaged, or does not match its hashes; ``folder`` is as it was.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; nothing was unpacked")
    with opened(zip_path, max_bytes) as archive, replacing_folder(folder) as part:
        sums = archive.sums()
        for path in archive.files:
            target = part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with open(target, "xb") as file:
                for piece in archive.stream(path):
                    digest.update(piece)
                    file.write(piece)
            if sums and path != SUMS:
                check_sum(path, digest.hexdigest(), sums, archive.name)
        if missing := [path for path in sums if path not in archive.files]:
            raise MedtlError(f"{archive.name}: {SUMS} lists {missing[0]}, which is missing")
    return folder


def check_sum(path: str, digest: str, sums: dict[str, str], where: str, by: str = SUMS) -> None:
    """Raise MedtlError unless ``path`` is listed with this hash (``by`` which file)."""
    if path not in sums:
        raise MedtlError(f"{where}: {path} is not listed in {by}")
    if sums[path] != digest:
        raise MedtlError(f"{where}: {path} is damaged: its SHA-256 is not the one in {by}")


def parse_sums(content: bytes, where: str) -> dict[str, str]:
    """Return a mapping from path to SHA-256, from the text that sha256sum writes.

    Raises:
        MedtlError: a line is none; ``where`` is named.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise MedtlError(f"{where} is not text") from None
    found = {}
    for number, line in enumerate(lines, 1):
        match = SUM_LINE.fullmatch(line)
        if match is None:
            raise MedtlError(f"{where} line {number}: expected a SHA-256 and a path")
        found[match[2]] = match[1]
    return found


def sums_of(folder: Path) -> dict[str, str]:
    """Return what ``folder/SHA256SUMS`` says; empty where there is none."""
    path = folder / SUMS
    return parse_sums(path.read_bytes(), str(path)) if path.is_file() else {}


def sums_on_card(folder: Path) -> dict[str, str]:
    """Return the hashes of weights that a bundle's card states; empty where there is no card.

    Raises:
        MedtlError: there is one, and it cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        return dict(WeightsCard.from_json(read_text(path)).sha256)
    except MedtlError as error:
        raise MedtlError(f"{path}: {error}") from None


def verify(folder: Path) -> list[str]:
    """Compare a bundle with the SHA256SUMS that it came with, or one of our own with the hashes on its card.

    Returns:
        One line a file that is missing, changed or, where there is a SHA256SUMS, unlisted (hidden ones aside).
    """
    try:
        sums = sums_of(folder)
        where, listed = (SUMS, sums) if sums else (CARD, sums_on_card(folder))
    except MedtlError as error:
        return [str(error)]
    problems = []
    for path, wanted in listed.items():
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            problems.append(f"{where} lists {path}, which is not in the bundle")
        elif not (folder / path).is_file():
            problems.append(f"{path} is missing, but listed in {where}")
        elif file_hash(folder / path) != wanted:
            problems.append(f"{path} is damaged or changed: its SHA-256 is not the one in {where}")
    if not sums:
        return problems
    present = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    hidden = [path for path in present if any(part.startswith(".") for part in path.split("/"))]
    problems += [f"{path} is not listed in {SUMS}" for path in present if path not in {*sums, *hidden, SUMS}]
    return problems
