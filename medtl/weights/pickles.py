"""Tensors out of pickles that also name code: whole networks, training programs' arguments. None of the code is run.

Python's unpickler does nothing by itself but call what a file names. Here it finds, of all names, those few of torch
that put tensors together; every other class becomes an inert stand-in that keeps what is handed to it, every other call
is refused. Nothing is imported.
"""

import io
import pickle
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import torch

from medtl.errors import MedtlError

REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
# called for values that nobody needs here: a stand-in answers
ANSWERED = re.compile(
    r"functools\.partial|torch\.(device|Size)|torch\.torch_version\.\w+|pathlib\.\w+|datetime\.\w+|uuid\.UUID"
    r"|collections\.(defaultdict|Counter)|_codecs\.encode|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)"
    r"|numpy\.(dtype|ndarray)|builtins\.(set|frozenset|complex|bytearray)"
)
# what names no program, only numbers and containers
PLAIN = re.compile(
    r"torch\.\w+|torch\.(_utils|_tensor|storage|serialization|nn\.parameter)\.\w+|torch\.torch_version\.\w+"
    r"|collections\.\w+|numpy\.[\w.]+|_codecs\.encode|builtins\.\w+"
)
HARMLESS_BUILTINS = ("set", "frozenset", "complex", "bytearray", "list", "dict", "tuple", "object", "slice", "range")
# modules of which no file of weights has any use
HOSTILE = re.compile(
    r"(os|nt|posix|sys|subprocess|shutil|socket|runpy|importlib|ctypes|pickle|_pickle|marshal|code|codeop|pty|platform"
    r"|asyncio|multiprocessing|threading|signal|webbrowser|pdb|bdb|timeit|profile|cProfile|trace|types|inspect|operator"
    r"|builtins|urllib|http|ftplib|smtplib|requests|tempfile|glob|torch\.(hub|jit|package|utils)|pip|site|venv|ensurepip)"
    r"(\.|$)"
)
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
FORBIDDEN = {"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4", "PERSID", "INST", "OBJ"}
PICKLES = 5  # of the format before the zip: its mark, version, system, object, keys
UNREADABLE = "is not a readable file of tensors: it is damaged, cut short or of another kind"
DEEPEST = 100  # modules in modules


class Refused(Exception):
    """A pickle wants something done that no file of weights needs."""


class Kind(type):
    """The class of all stand-ins: calling one is what a hostile file does."""

    path: str

    def __call__(cls, *words: Any, **named: Any) -> Any:
        if not ANSWERED.fullmatch(cls.path):
            raise Refused(f"calls {cls.path}")
        return cls.__new__(cls)  # type: ignore[call-overload]


class Inert(metaclass=Kind):
    """What stands for an object of a class that is not imported.

    Attributes:
        held: its state, as the file has it.
    """

    path = ""
    dump_patches = False  # torch asks the classes of old files for it

    def __new__(cls, *words: Any, **named: Any) -> "Inert":
        made = object.__new__(cls)
        made.held = {}
        return made

    held: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Mapping):
                self.held.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Leave out what the file puts into a mapping of an unknown kind."""

    def append(self, value: Any) -> None:
        """Leave out what the file puts into a list of an unknown kind."""

    def extend(self, values: Any) -> None:
        """Leave out what the file puts into a list of an unknown kind."""


class Allowed:
    """A function of torch's that may be called, and nothing else be done with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *words: Any) -> Any:
        return self._function(*words)

    def __setstate__(self, state: Any) -> NoReturn:
        raise Refused("changes a function of torch")


def _new(kind: Any, *_: Any) -> Any:
    """Return an object of a class without its state, as old pickles make one."""
    if not isinstance(kind, Kind):
        raise Refused("makes an object of what is no class")
    return kind.__new__(kind)  # type: ignore[call-overload]


def _plain_tensor(data: Any, *_: Any) -> Any:
    """Return what a parameter holds."""
    return data


class Unpickler(pickle.Unpickler):
    """Python's, which finds nothing but what is allowed here."""

    def find_class(self, module: str, name: str) -> Any:
        path = path_of(module, name)
        if module == "torch._utils" and name in REBUILD:
            return Allowed(_plain_tensor if "parameter" in name else getattr(torch._utils, name))
        if path == "collections.OrderedDict":
            return OrderedDict
        if path == "builtins.set":
            return set
        if path == "copyreg._reconstructor":
            return Allowed(_new)
        if refused(path):
            raise Refused(f"names {path}")
        return Kind(name, (Inert,), {"path": path})


def path_of(module: str, name: str) -> str:
    """Return the full name of a class or function, by its module's name of today."""
    return f"{PYTHON_2.get(module, module)}.{name}"


def refused(path: str) -> bool:
    """Return whether the mere name of a function or class makes a file hostile."""
    outside = path not in {f"builtins.{name}" for name in HARMLESS_BUILTINS}
    return outside and HOSTILE.match(path) is not None


def load(source: Path | io.BytesIO, where: str) -> tuple[Any, tuple[str, ...]]:
    """Return what a file of ``torch.save`` holds, with stand-ins for objects of all classes that are not torch's.

    Args:
        source: the file, or its bytes; the zip of today or the format before it.
        where: what errors name.

    Returns:
        The content, and the names of the classes and functions of other programs in it.

    Raises:
        MedtlError: it is damaged, TorchScript, or wants something run; names it.
    """
    try:
        names = scan(source)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        reader = SimpleNamespace(Unpickler=Unpickler, load=_load, __name__="medtl")
        with warnings.catch_warnings(action="ignore"):  # of source code that old files bring along
            content = torch.load(source, map_location="cpu", pickle_module=reader, weights_only=False)
    except Refused as error:
        raise MedtlError(
            f"{where} holds code that {error}, which no weights need: refused, and nothing of it was run"
        ) from None
    except MedtlError as error:
        raise MedtlError(f"{where} {error}") from None
    except Exception:  # torch raises many kinds for damaged files
        raise MedtlError(
            f"{where} is not a readable file of tensors: it is damaged, cut short or of another kind"
        ) from None
    return content, names


def _load(file: Any, **named: Any) -> Any:
    return Unpickler(file, **named).load()


def scan(source: Path | io.BytesIO) -> tuple[str, ...]:
    """Return the names of other programs' classes and functions in a file of ``torch.save``, unpickling nothing.

    Raises:
        Refused: an instruction that torch.save never writes, or a name that no weights need.
        MedtlError: TorchScript, a tar file, or no pickle.
    """
    found: dict[str, None] = {}
    for stream in _streams(source):
        strings: list[str] = []
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if code.name in FORBIDDEN:
                raise Refused(f"has the instruction {code.name}")
            if code.name.endswith("PUT") and int(argument or 0) > count:  # the unpickler makes room for as many
                raise Refused(f"has the instruction {code.name} {argument}")
            if isinstance(argument, str):
                strings = [*strings[-1:], argument]
            if code.name in ("GLOBAL", "STACK_GLOBAL"):
                words = str(argument).split(" ", 1) if code.name == "GLOBAL" else strings
                module, name = [*words, "", ""][:2]
                path = path_of(module, name)
                if refused(path):
                    raise Refused(f"names {path}")
                if not PLAIN.fullmatch(path):
                    found[path] = None
    return tuple(found)


def _streams(source: Path | io.BytesIO) -> Iterator[Any]:
    """Return the pickles of a file, each at its start.

    Raises:
        MedtlError: there are none.
    """
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.count("/") <= 1]
            if any(name.endswith("constants.pkl") for name in names):
                raise MedtlError("is a TorchScript program, not weights: expected the state_dict() of its network")
            main = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            if len(main) != 1:
                raise MedtlError("is a zip, but none of torch.save")
            yield io.BytesIO(archive.read(main[0]))
        return
    if tarfile.is_tarfile(source if isinstance(source, Path) else io.BytesIO(source.getvalue())):
        raise MedtlError("is of torch's first format (a tar file), which is not read: save it anew with an old torch")
    with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()) as file:
        for _ in range(PICKLES):
            yield file


def tensors_of(module: Inert) -> dict[str, torch.Tensor]:
    """Return the tensors of a network by their names, as its own ``state_dict`` would; empty for another object."""
    return dict(_walk(module, "", ()))


def _walk(module: Inert, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    if id(module) in above or len(above) > DEEPEST:
        return
    passing = module.held.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for name, tensor in _items(module.held.get(part)):
            if isinstance(tensor, torch.Tensor) and not (part == "_buffers" and name in passing):
                yield f"{prefix}{name}", tensor.detach()
    for name, inner in _items(module.held.get("_modules")):
        if isinstance(inner, Inert):
            yield from _walk(inner, f"{prefix}{name}.", (*above, id(module)))


def _items(found: Any) -> list[tuple[Any, Any]]:
    return list(found.items()) if isinstance(found, Mapping) else []
