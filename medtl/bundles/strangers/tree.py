"""The files of a bundle's folder: which there are, and which of them are more than text and numbers."""

import os
import stat
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from medtl.bundles.strangers.finding import Finding
from medtl.bundles.strangers.judgement import KNOWN_ROOTS

MOST_FILES = 20_000
PYTHON = (".py", ".pyc", ".pyd", ".so", ".pyw")
MACHINE_CODE = {
    b"\x7fELF": "a program or library of machine code (ELF)",
    b"MZ": "a program or library of machine code (Windows)",
    b"\xcf\xfa\xed\xfe": "a program or library of machine code (macOS)",
    b"\xca\xfe\xba\xbe": "a program or library of machine code (macOS, or Java)",
}
PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
PLAIN_WHEN_PACKED = (".nii.gz", ".csv.gz", ".tsv.gz", ".json.gz", ".txt.gz")
SCRIPTS = (".sh", ".bash", ".bat", ".cmd", ".ps1")
ENGINES = (".engine", ".plan", ".trt")
MEANT_FOR_BUNDLES = frozenset({"scripts", "tests", "docs", "configs"})  # also where some package installs one
START = 512  # bytes of a file that tell its kind
TAR = (257, b"ustar")


@dataclass
class Tree:
    """What is in a folder.

    Attributes:
        files: path within the bundle to the file, links within the bundle among them.
        starts: each file's first bytes.
        faults: links that leave, special files, machine code, what cannot be looked into.
        notes: scripts, links and Python that lies there.
        leaves: whether something leads out of the folder, so that nothing else may walk through it.
    """

    files: dict[str, Path] = field(default_factory=dict)
    starts: dict[str, bytes] = field(default_factory=dict)
    faults: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    leaves: bool = False


def tree(root: Path) -> Tree:
    """Look through a bundle's folder without following a link out of it."""
    found = Tree()
    base = root.resolve()
    waiting = [base]
    while waiting:
        folder = waiting.pop(0)
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            name = Path(entry.path).relative_to(base).as_posix()
            if entry.name == ".git" and entry.is_dir(follow_symlinks=False):
                found.notes.append(Finding(name, "", "git's own folder is not looked into; its hooks run with git"))
            elif entry.is_symlink():
                _link(found, base, Path(entry.path), name)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                found.files[name] = Path(entry.path)
            else:
                found.faults.append(Finding(name, "", "is neither file nor folder nor link"))
                found.leaves = True
        if len(found.files) > MOST_FILES:
            found.faults.append(Finding("", "", f"there are more than {MOST_FILES:,} files; the others were not seen"))
            break
    for name, path in found.files.items():
        with path.open("rb") as file:
            found.starts[name] = file.read(START)
        _kind(found, name, found.starts[name])
    return found


def _link(found: Tree, base: Path, path: Path, name: str) -> None:
    """A link counts as the file that it leads to, if that is in the bundle."""
    target = os.readlink(path)
    try:
        inside = path.resolve().is_relative_to(base)
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        found.faults.append(Finding(name, f"-> {target}", "is a link that leads out of the bundle"))
        found.leaves = True
    else:
        found.notes.append(Finding(name, f"-> {target}", "is a link"))
        if path.is_file():
            found.files[name] = path


def _kind(found: Tree, name: str, start: bytes) -> None:
    """What a file is by its first bytes and its suffix, where that matters."""
    suffix = Path(name).suffix.lower()
    code = next((what for magic, what in MACHINE_CODE.items() if start.startswith(magic) and b"\0" in start), "")
    packed = next((what for magic, what in PACKED.items() if start.startswith(magic)), "")
    if start[TAR[0] : TAR[0] + len(TAR[1])] == TAR[1]:
        packed = "tar"
    if code:
        found.faults.append(Finding(name, "", f"is {code}"))
    elif suffix in ENGINES:
        found.faults.append(Finding(name, "", "is compiled for TensorRT: it cannot be looked into"))
    elif packed and not name.lower().endswith(PLAIN_WHEN_PACKED):
        found.faults.append(Finding(name, "", f"is an archive within the bundle ({packed}): it is not looked into"))
    elif suffix in PYTHON:
        found.notes.append(Finding(name, "", "is Python: it runs when something imports it; nothing here reads it"))
    elif suffix in SCRIPTS or start.startswith(b"#!"):
        found.notes.append(Finding(name, "", "is a script: it runs when something starts it; nothing here reads it"))


def shipped_modules(files: dict[str, Path]) -> dict[str, str]:
    """The top-level modules that can be imported once the bundle's folder is on Python's path, to a file of each."""
    found: dict[str, str] = {}
    for name in files:
        first, _, rest = name.partition("/")
        if Path(name).suffix.lower() in PYTHON:
            found.setdefault(first if rest else first.split(".")[0], name)
    return found


@cache
def _taken() -> frozenset[str]:
    """The top-level names that something else has on this machine."""
    return frozenset({*KNOWN_ROOTS, *sys.stdlib_module_names, *packages_distributions()} - MEANT_FOR_BUNDLES)


def shadows(modules: dict[str, str]) -> list[Finding]:
    """Modules of the bundle that take the place of Python's or of an installed package's."""
    why = "has the name of a module of Python or of an installed package, and may be imported in its place"
    return [Finding(file, "", why) for module, file in modules.items() if module in _taken()]
