"""Files that hold weights, or that say so: plain tensors, or something that would run when it is loaded."""

import ast
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open

from medtl.bundles.strangers.pickles import Pickle, read_pickles
from medtl.errors import BadFileError
from medtl.limits import check_growth

PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".p", ".bin", ".joblib", ".dill", ".ts")
PLAIN_PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".dill")  # meant for pickle.load, which runs what they hold
MOST_PICKLE_BYTES = 256 * 2**20
MOST_HEADER_BYTES = 2**16
MOST_MEMBERS = 100_000
MOST_PICKLES = 1000
OLD_TORCH = 0x1950A86A20F9469CFC6C  # the number that torch.save's format before the zip begins with
OLD_TORCH_PICKLES = 5  # that number, a version, the system, the objects, the storages; then raw bytes
TORCHSCRIPT_GLOBALS = ("__torch__.", "torch.jit._pickle.")
# what the operators of TorchScript can do to the disk
TORCHSCRIPT_REACHES = frozenset({"save", "from_file", "load", "_load_from_file"})
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, KeyError)
TENSORS = "plain tensors"


def looked_at(path: Path, start: bytes, name: str) -> tuple[str, list[str]] | None:
    """What a file that may hold weights is, and what speaks against it.

    Args:
        path: the file.
        start: its first bytes.
        name: its name in the bundle; the suffix says what it is taken for.

    Returns:
        The kind in words, and faults; None where the file is nothing of the sort.
    """
    suffix = Path(name).suffix.lower()
    readers: list[tuple[bool, Callable[[Path, str], tuple[str, list[str]]]]] = [
        (suffix == ".safetensors", _safetensors),
        (start.startswith(b"PK\x03\x04") or suffix in (".zip", ".npz"), _zip),
        (start.startswith(b"\x93NUMPY") or suffix == ".npy", _array),
        (suffix in PICKLED or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")), _pickle),
    ]
    for applies, reader in readers:
        if applies:
            try:
                return reader(path, suffix)
            except DAMAGE as error:
                return "unreadable", [f"cannot be read: {error}"]
    return None


def _safetensors(path: Path, suffix: str) -> tuple[str, list[str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return f"{len(file.keys()):,} {TENSORS} (safetensors)", []
    except (SafetensorError, OSError) as error:
        return "safetensors", [f"is not a readable safetensors file: {' '.join(str(error).split())}"]


def _array(path: Path, suffix: str) -> tuple[str, list[str]]:
    with path.open("rb") as file:
        return "a NumPy array", _array_faults(file)


def _array_faults(file: io.BufferedIOBase) -> list[str]:
    """Of an array, that it holds objects, which NumPy would unpickle."""
    version = npy.read_magic(file)
    _, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    return ["is an array of objects: a pickle, which runs when it is loaded"] if dtype.hasobject else []


def _pickle(path: Path, suffix: str) -> tuple[str, list[str]]:
    if (size := path.stat().st_size) > MOST_PICKLE_BYTES and suffix in PLAIN_PICKLES:
        return "a pickle", [f"is a pickle of {size:,} bytes; at most {MOST_PICKLE_BYTES:,} are looked into"]
    with path.open("rb") as file:
        found = list(read_pickles(file, 1))
        old = found[0].first == OLD_TORCH
        found += [] if not found[0].whole else read_pickles(file, OLD_TORCH_PICKLES - 1 if old else MOST_PICKLES)
    if not old:
        return "a pickle", _pickle_faults(found) or ["is a pickle that torch did not write: it runs when it is loaded"]
    return f"{TENSORS} (torch's old format)", _pickle_faults(found)


def _pickle_faults(found: list[Pickle]) -> list[str]:
    """What pickles do beyond holding tensors."""
    foreign = list(dict.fromkeys(name for each in found for name in each.foreign))
    faults = [f"holds code ({', '.join(foreign)}), which would run when it is loaded"] if foreign else []
    if others := sorted({opcode for each in found for opcode in each.opcodes}):
        faults.append(f"does what no file of tensors does ({', '.join(others)})")
    if not all(each.whole for each in found):
        faults.append("is damaged, cut short or no weights at all; whoever loads it runs it as far as it goes")
    return faults


def _zip(path: Path, suffix: str) -> tuple[str, list[str]]:
    """A file of torch, an archive of arrays, or any other zip, which is not unpacked."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) > MOST_MEMBERS or len(set(names)) < len(names):
            return "a zip", ["has members of one name, or too many of them"]
        if suffix == ".npz":
            return "NumPy arrays", [
                f"{name} {fault}" for name in names for fault in _array_faults(_first_bytes(archive, name))
            ]
        if any(name.endswith("/constants.pkl") for name in names):
            return _torchscript(archive, names)
        pickled = [name for name in names if name.endswith(".pkl")]
        if any(name.endswith("/data.pkl") for name in pickled):
            found = [each for name in pickled for each in _pickles_of(archive, name)]
            return f"{TENSORS} (torch)", _pickle_faults(found)
    return "a zip", ["is an archive within the bundle: unpack it and check what is in it"]


def _torchscript(archive: zipfile.ZipFile, names: list[str]) -> tuple[str, list[str]]:
    """TorchScript: code, which torch's own interpreter runs when the network is used."""
    found = [each for name in names if name.endswith(".pkl") for each in _pickles_of(archive, name)]
    foreign = [name for each in found for name in each.foreign if not name.startswith(TORCHSCRIPT_GLOBALS)]
    faults = [f"holds code of Python ({', '.join(dict.fromkeys(foreign))})"] if foreign else []
    for name in names:
        if name.endswith(".py"):
            faults += [f"{name.partition('/')[2]} {reach}" for reach in _reaches(_member(archive, name))]
    return "TorchScript: code that runs when the network is used", list(dict.fromkeys(faults))


def _reaches(source: bytes) -> list[str]:
    """What TorchScript's text does to the disk, or that it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ["cannot be parsed"]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [ast.unparse(call) for call in calls if isinstance(call, ast.Attribute)]
    reaching = [
        name for name in names if name.startswith(("torch.", "ops.")) and name.split(".")[-1] in TORCHSCRIPT_REACHES
    ]
    return [f"calls {name}, which opens files" for name in dict.fromkeys(reaching)]


def _pickles_of(archive: zipfile.ZipFile, name: str) -> list[Pickle]:
    return list(read_pickles(io.BytesIO(_member(archive, name)), MOST_PICKLES))


def _first_bytes(archive: zipfile.ZipFile, name: str) -> io.BytesIO:
    with archive.open(name) as file:
        return io.BytesIO(file.read(MOST_HEADER_BYTES))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes.

    Raises:
        ValueError: there are too many of them.
    """
    info = archive.getinfo(name)
    try:
        check_growth(info.compress_size, info.file_size, freely=MOST_HEADER_BYTES)
    except BadFileError as error:
        raise ValueError(f"{name} {error}") from None
    with archive.open(info) as file:
        content = file.read(MOST_PICKLE_BYTES + 1)
    if len(content) > MOST_PICKLE_BYTES:
        raise ValueError(f"{name} has more than {MOST_PICKLE_BYTES:,} bytes")
    return content
