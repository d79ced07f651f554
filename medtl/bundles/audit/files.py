"""The files of a bundle's folder: each of a kind that runs nothing, or unreviewed."""

import ast
import os
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from medtl.bundles.audit.finding import Finding
from medtl.bundles.audit.reviewed import reviewed
from medtl.limits import check_growth

MOST_FILES = 20_000
# texts and pictures: nothing that is called by a config on the list runs anything in them
PLAIN = (
    *(".md", ".txt", ".rst", ".csv", ".tsv", ".gitignore", ".gitattributes", ".gitkeep", ".cff", ".bib"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".nii", ".nii.gz", ".dcm"),
)
NAMES = ("license", "notice", "sha256sums", "readme", "changelog")
READ_ELSEWHERE = (".json", ".yaml", ".yml", ".conf", ".ini", ".cfg")
# what a file of a plain kind does not begin with: zip, pickle, NumPy, programs, scripts, archives
OTHER = (
    b"PK",
    b"\x80",
    b"\x93NUMPY",
    b"\x7fELF",
    b"MZ",
    b"#!",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\x1f\x8b",
    b"BZh",
)
PYTHON = (".py", ".pyc", ".pyo", ".pyd", ".so", ".pyw", ".pyx", ".ipynb")
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".p", ".joblib", ".dill", ".npy", ".npz")
TORCHSCRIPT = (".ts",)
MOST_CODE = 2**24  # bytes of TorchScript's text
OPERATORS = ("torch", "ops", "aten", "prim")  # packages of operators
OWN, FOREIGN = "__torch__", "__torch__.torch.classes"  # of the text's own classes; of those written in C++
# calls in TorchScript that are no operators: casts, and what its own classes define
CASTS = frozenset(
    {"annotate", "unchecked_cast", "uninitialized", "getattr", "range", "len", "float", "int", "bool", "str"}
)


@dataclass
class Tree:
    """What is in a folder.

    Attributes:
        files: path within the bundle to the file, links within the bundle among them.
        unreviewed: files of other kinds, links that leave, special files.
        notes: links within the bundle, folders that are passed over.
        weights: files of weights, with their kind.
        leaves: whether something leads out of the folder, so that nothing else may walk through it.
    """

    files: dict[str, Path] = field(default_factory=dict)
    unreviewed: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    weights: list[Finding] = field(default_factory=list)
    leaves: bool = False


def tree(root: Path, listed: frozenset[str]) -> Tree:
    """Look through a bundle's folder without following a link out of it.

    Args:
        root: the folder.
        listed: the files whose hashes the bundle states and that have them.
    """
    found = Tree()
    base = root.resolve()
    waiting = [base]
    while waiting:
        for entry in sorted(os.scandir(waiting.pop(0)), key=lambda each: each.name):
            path = Path(entry.path)
            name = path.relative_to(base).as_posix()
            if entry.name == ".git" and entry.is_dir(follow_symlinks=False):
                found.notes.append(Finding(name, "", "git's own folder is passed over; its hooks run with git"))
            elif entry.is_symlink():
                _link(found, base, path, name)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                found.files[name] = path
            else:
                found.unreviewed.append(Finding(name, "", "is neither file nor folder nor link"))
                found.leaves = True
        if len(found.files) > MOST_FILES:
            found.unreviewed.append(
                Finding("", "", f"there are more than {MOST_FILES:,} files; the others were not seen")
            )
            break
    for name, path in found.files.items():
        kind, why = _judged(path, name, name in listed)
        if why:
            found.unreviewed.append(Finding(name, "", why))
        elif kind:
            found.weights.append(Finding(name, "", kind))
    return found


def _link(found: Tree, base: Path, path: Path, name: str) -> None:
    """Take a link for the file that it leads to, if that is in the bundle."""
    target = os.readlink(path)
    try:
        inside = path.resolve().is_relative_to(base)
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        found.unreviewed.append(Finding(name, f"-> {target}", "is a link that leads out of the bundle"))
        found.leaves = True
    else:
        found.notes.append(Finding(name, f"-> {target}", "is a link"))
        if path.is_file():
            found.files[name] = path


def _judged(path: Path, name: str, listed: bool) -> tuple[str, str]:
    """Return what a file of weights is, and why a file is unreviewed; empty texts for a plain one."""
    lower = name.lower()
    with path.open("rb") as file:
        start = file.read(64)
    if lower.endswith(PYTHON):
        return "", "is code that comes with the bundle: read it"
    if lower.endswith(CHECKPOINTS):
        return _checkpoint(path, listed)
    if lower.endswith(TORCHSCRIPT):
        return _torchscript(path, listed)
    if lower.endswith(".safetensors"):
        return _safetensors(path)
    plain = lower.endswith((*PLAIN, *READ_ELSEWHERE)) or lower.rsplit("/")[-1] in NAMES
    if not plain:
        return "", "is a file of a kind that is not on the list"
    if start.startswith(OTHER) and not (start.startswith(b"\x1f\x8b") and lower.endswith(".nii.gz")):
        return "", "is something else than its name says"
    return "", ""


def _safetensors(path: Path) -> tuple[str, str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return f"{len(file.keys()):,} plain tensors (safetensors)", ""
    except (SafetensorError, OSError) as error:
        return "", f"is not a readable safetensors file: {' '.join(str(error).split())}"


def _checkpoint(path: Path, listed: bool) -> tuple[str, str]:
    """Judge a file of torch, which is a pickle: plain tensors whose hash the bundle states pass."""
    if not listed:
        return "", "is a pickle or may hold one, and neither SHA256SUMS nor card.json states its hash"
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        _check_members(path)
        foreign = get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # torch raises many kinds for what it did not write
        return "", f"is a pickle that torch does not read as weights: {' '.join(str(error).split())}"
    if foreign:
        return "", f"holds code ({', '.join(sorted(foreign))}), which would run when it is loaded"
    return "plain tensors (torch)", ""


def _torchscript(path: Path, listed: bool) -> tuple[str, str]:
    """Judge a network as code of torch's own interpreter: its operators must be on the list."""
    if not listed:
        return "", "is code of TorchScript, and neither SHA256SUMS nor card.json states its hash"
    try:
        _check_members(path)
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".py")]
            if not members:
                return "", "is no TorchScript: it holds no code"
            if sum(info.file_size for info in members) > MOST_CODE:
                return "", "holds more code than is read"
            calls = {call for info in members for call in _calls(archive.read(info).decode("utf-8"))}
    except Exception as error:  # damaged zips and texts raise many kinds
        return "", f"is no readable TorchScript: {' '.join(str(error).split())}"
    if foreign := sorted(calls - reviewed().operators):
        return "", f"calls operators that are not on the list ({', '.join(foreign)})"
    return "TorchScript: code that runs when the network is used", ""


def _check_members(path: Path) -> None:
    """Raise BadFileError where a packed member of a zip grows beyond all reason; other files have no members."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                check_growth(info.compress_size, info.file_size)


def _calls(source: str) -> set[str]:
    """Return the operators that TorchScript's text calls, and what it hands on of the packages that hold them (``f =
    torch`` calls any operator by ``f``): not its own classes, methods and functions."""
    found: set[str] = set()
    called: set[ast.AST] = set()
    inner: set[ast.AST] = set()  # ast.walk shows what is around a node before it
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called.add(node.func)
        elif isinstance(node, ast.Attribute):
            inner.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name not in CASTS and not name.lstrip("_").isdecimal():  # numbered: a function of the text itself
                found.add(name)
        elif isinstance(node, ast.Attribute | ast.Name) and node not in inner:
            name = ast.unparse(node)
            package = name.split(".")[0]
            if package in OPERATORS or (package == OWN and (name in (OWN, f"{OWN}.torch") or name.startswith(FOREIGN))):
                found.add(name if node in called else f"{name}, handed on")
    return found
