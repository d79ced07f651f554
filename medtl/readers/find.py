"""ONE walk of an input folder that accounts for every file below it: used, refused with its reason, or passed over and
counted."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medtl.errors import UsageError
from medtl.readers.itk_volume import data_file
from medtl.readers.kinds import KINDS, kind

# made by systems and servers, never by those who collect images; names with a dot in front are hidden anyway
SYSTEM = {"__macosx", "$recycle.bin", "system volume information", "@eadir", "lost+found"}
HIDDEN = "hidden"
OTHER = "of other kinds"
SPECIAL = "no regular files"
LINKS = "links to folders that are read already"
IMAGELESS = "DICOM without an image"
SHOWN = 4


class File(NamedTuple):
    """A file: where it lies, its name below the input (Unicode NFC, "/" between folders), and the kind of image in it
    (of ``KINDS``; empty where nobody asked)."""

    path: Path
    name: str
    kind: str = ""


class Refused(NamedTuple):
    """A file or folder that cannot be used, by its name below the input, and why."""

    name: str
    reason: str


class Passed(NamedTuple):
    """A file that is passed over, and what it is counted under."""

    name: str
    why: str


@dataclass(frozen=True)
class Tree:
    """Every file below an input, in the order of the names.

    Attributes:
        files: what may be used.
        refused: what cannot even be looked at.
        passed: what is of no use to anybody.
    """

    files: tuple[File, ...] = field(repr=False)
    refused: tuple[Refused, ...] = field(repr=False)
    passed: tuple[Passed, ...] = field(repr=False)


def below(source: Path) -> Tree:
    """Return every file below a folder, or the one file that is named.

    Hidden files and folders, and those of systems (``__MACOSX``, ``.Trash-1000``), are passed over and counted file by
    file. Links to files are files. Links to folders are followed, each folder once and real folders first; one that
    leads back above the input is not.

    Raises:
        UsageError: there is nothing of that name.
    """
    if source.is_file():
        return Tree((File(source, _nfc(source.name)),), (), ())
    if not source.is_dir():
        raise UsageError(f"{source}: no such file or folder")
    walk = _Walk(source)
    return Tree(tuple(sorted(walk.files)), tuple(sorted(walk.refused)), tuple(sorted(walk.passed)))


def images(source: Path, kinds: Collection[str] = tuple(KINDS)) -> Tree:
    """Return the files below an input that hold an image of some kinds (or promise one by name), by their content.

    A file that cannot be opened is refused if its name promises an image or nothing; one of another kind is passed over
    and counted. The data file of a .mhd or .nhdr header is used with its header and not listed.

    Raises:
        UsageError: there is nothing of that name.
    """
    tree = below(source)
    files, refused, passed = [], list(tree.refused), list(tree.passed)
    for file in tree.files:
        try:
            found = kind(file.path)
        except OSError as error:
            refused.append(Refused(file.name, f"cannot be read: {error.strerror or 'it cannot be opened'}"))
            continue
        if found is not None and found in kinds:
            files.append(file._replace(kind=found))
        else:
            passed.append(Passed(file.name, OTHER))
    headers = (file for file in files if file.kind == "itk")
    used = {(PurePosixPath(header.name).parent / data_file(header.path)).as_posix() for header in headers}
    return Tree(tuple(files), tuple(sorted(refused)), tuple(one for one in passed if one.name not in used))


def left_over(
    tree: Tree, used: Iterable[str], named: Iterable[str], why: Callable[[str], str] = lambda name: OTHER
) -> tuple[Passed, ...]:
    """Return what is passed over below an input of which some files are used and some are named.

    Args:
        tree: every file.
        used: names of the files that are used, below the input.
        named: names of the files and folders that rejected.csv names; what lies in such a folder is named with it.
        why: what a file that is neither is counted under, by its name.
    """
    taken, told = {_nfc(name) for name in used}, {_nfc(name).rstrip("/") for name in named}
    rest = [
        file.name
        for file in tree.files
        if file.name not in taken
        and file.name not in told
        and told.isdisjoint(parent.as_posix() for parent in PurePosixPath(file.name).parents)
    ]
    return (*tree.passed, *(Passed(name, why(name)) for name in rest))


def counted(passed: Sequence[Passed]) -> str:
    """Return what is passed over in words, such as ``3 hidden, 2 of other kinds (.csv, .txt)``; empty for nothing."""
    parts = []
    for why, number in Counter(one.why for one in passed).items():
        names = [one.name for one in passed if one.why == why]
        if why == OTHER:
            common = Counter(PurePosixPath(name).suffix.lower() or "without suffix" for name in names).most_common()
            shown = [suffix for suffix, _ in common]
        else:
            shown = names if why == LINKS else []
        more = ", …" if len(shown) > SHOWN else ""
        parts.append(f"{number:,} {why}" + (f" ({', '.join(shown[:SHOWN])}{more})" if shown else ""))
    return ", ".join(parts)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is a system's own."""
    return name.startswith(".") or name.casefold() in SYSTEM


class _Walk:
    """One walk: what was found on it so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[File] = []
        self.refused: list[Refused] = []
        self.passed: list[Passed] = []
        self._links: list[Path] = []
        self._seen: set[tuple[int, int]] = set()
        place = root.resolve()
        above = {_identity(folder) for folder in place.parents}
        self._visit(root)
        while self._links:
            waiting, self._links = sorted(self._links), []
            for link in waiting:
                if _identity(link) in above | self._seen:
                    self.passed.append(Passed(self._name(link), LINKS))
                else:
                    self._visit(link)

    def _name(self, path: Path) -> str:
        return _nfc(path.relative_to(self.root).as_posix())

    def _visit(self, top: Path) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                identity = _identity(folder)
                with os.scandir(folder) as opened:
                    entries = list(opened)
            except OSError as error:
                reason = f"the folder cannot be opened: {error.strerror}"
                self.refused.append(Refused(f"{self._name(folder)}/", reason))
                continue
            if identity in self._seen:
                continue
            self._seen.add(identity)
            waiting += [Path(entry.path) for entry in entries if self._take(entry)]

    def _take(self, entry: os.DirEntry[str]) -> bool:
        """Account for an entry of a folder; True for a folder to go on with."""
        path = Path(entry.path)
        if is_hidden(entry.name):
            self.passed += [Passed(name, HIDDEN) for name in self._all_files(path)]
        elif entry.is_dir(follow_symlinks=False):
            return True
        else:
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                why = "is a link to nothing" if entry.is_symlink() else f"cannot be read: {error.strerror}"
                self.refused.append(Refused(self._name(path), why))
                return False
            if stat.S_ISDIR(mode):
                self._links.append(path)
            elif stat.S_ISREG(mode):
                self.files.append(File(path, self._name(path)))
            else:  # a pipe or socket would never end
                self.passed.append(Passed(self._name(path), SPECIAL))
        return False

    def _all_files(self, path: Path) -> list[str]:
        """Return the names of a hidden file, or of every file in a hidden folder."""
        if path.is_symlink() or not path.is_dir():
            return [self._name(path)]
        return [self._name(Path(parent, name)) for parent, _, names in os.walk(path) for name in names]


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
