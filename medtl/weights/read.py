"""Weight files of other people's making, read without running anything in them."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, load_file

from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.weights import keras, pickles
from medtl.weights.archive import CARD, SUMS, check_sum, opened, sums_of, sums_on_card
from medtl.weights.layouts import KERAS

StateDict = dict[str, torch.Tensor]
# where training programs keep the network; of a student and its teacher the teacher is the one to use
NESTED = (
    "state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "teacher", "student",
    "backbone", "encoder", "model_ema", "state_dict_ema", "ema_state_dict", "ema", "params", "weights",
)  # fmt: skip
WEIGHTS_IN_BUNDLE = ("model.safetensors", "model.pt")
# what files that are no weights begin with
STRANGERS = (
    (b"<!DOCTYPE", "is a web page, not weights: the download failed"),
    (b"<html", "is a web page, not weights: the download failed"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not weights: get the file itself (git lfs pull)"),
)
SHOWN = 3
MOST_HEADER = 100 * 2**20  # bytes of a safetensors header
DEEPEST = 10  # mappings around a state dict; one that holds itself has no end


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        state: names and tensors.
        told: sentences on what was chosen among several state dicts in the file, and on code in it; mostly empty.
        code: classes and functions of programs that the file names; none of them was imported or run.
        library: whose names and arithmetic it has: "Keras", or empty for PyTorch's files.
    """

    state: StateDict
    told: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    library: str = ""


def read_state_dict(path: Path, option: str = "--weights") -> StateDict:
    """Return the names and tensors that ``read_checkpoint`` finds."""
    return read_checkpoint(path, option).state


def read_checkpoint(path: Path, option: str = "--weights") -> Checkpoint:
    """Return the tensors of a ``.pt``, ``.pth``, ``.safetensors`` or Keras's ``.h5`` file, or of a bundle or its zip.

    Where the bundle has SHA256SUMS, the weights must match it. Of a zip only they are read, into memory.

    Args:
        path: the file or bundle.
        option: the argument that errors name.

    Raises:
        UsageError: no such file. MedtlError: damaged, or something else than names and tensors.
    """
    if path.suffix == ".zip" and path.is_file():
        return _of_zip(path, option)
    if path.is_dir():
        found = [path / "models" / name for name in WEIGHTS_IN_BUNDLE if (path / "models" / name).is_file()]
        if not found:
            raise UsageError(f"{option} {path} holds no models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
        path = found[0]
    if path.absolute().parent.name == "models" and path.is_file():
        bundle = path.absolute().parents[1]
        where, sums = (SUMS, sums) if (sums := sums_of(bundle)) else (CARD, sums_on_card(bundle))
        if sums:
            shown = path.parent.parent if path.parent.name == "models" else bundle
            check_sum(f"models/{path.name}", file_hash(path), sums, f"{option} {shown}", where)
    if not path.is_file():
        raise UsageError(
            f"{option} {path}: no such file; expected .pt or .safetensors weights, or a bundle with models/"
        )
    return _tensors(path, path.name, f"{option} {path}")


def _of_zip(path: Path, option: str) -> Checkpoint:
    """The weights of a bundle's zip, matched with its SHA256SUMS where it has them."""
    with opened(path, option=option) as archive:
        found = [name for name in (f"models/{name}" for name in WEIGHTS_IN_BUNDLE) if name in archive.files]
        if not found:
            raise UsageError(f"{option} {path} holds no models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
        content = archive.read(found[0])
        if sums := archive.sums():
            check_sum(found[0], hashlib.sha256(content).hexdigest(), sums, archive.name)
    return _tensors(io.BytesIO(content), found[0], f"{option} {path}: {found[0]}")


def _tensors(source: Path | io.BytesIO, name: str, where: str) -> Checkpoint:
    """Return names and tensors of one file's content; nothing in it is run.

    Args:
        source: the file, or its bytes.
        name: its name, which says the format.
        where: what errors name.
    """
    start = _start(source)
    for mark, what in STRANGERS:
        if start.lower().startswith(mark.lower()):
            raise MedtlError(f"{where} {what}")
    if name.endswith(".safetensors") or _is_safetensors(start):
        try:
            state = load_file(source) if isinstance(source, Path) else load(source.getvalue())
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise MedtlError(f"{where} is not a readable safetensors file: {_first_line(error)}") from None
        return Checkpoint(_check_numbers(state, where))
    if start.startswith(keras.MARK):
        return Checkpoint(_check_numbers(keras.read(source, where), where), library=KERAS)
    _refuse_compressed(source, where)
    code: tuple[str, ...] = ()
    try:
        with warnings.catch_warnings(action="ignore"):  # of old pickle protocols
            content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds, for damaged files and for those that also hold code
        content, code = pickles.load(source, where)
    state, told = _innermost(content, where)
    if code:
        more = f" and {len(code) - SHOWN} more" if len(code) > SHOWN else ""
        told = (*told, f"code in the file was not run ({', '.join(code[:SHOWN])}{more})")
    return Checkpoint(_check_numbers(state, where), told, code)


def _start(source: Path | io.BytesIO) -> bytes:
    """Return the first bytes of a file."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:64]
    with open(source, "rb") as file:
        return file.read(64)


def _is_safetensors(start: bytes) -> bool:
    """Return whether a file begins as safetensors do, whatever its name says: the header's length, then JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < MOST_HEADER


def _refuse_compressed(source: Path | io.BytesIO, where: str) -> None:
    """Raise MedtlError for a file that would grow in memory: torch.save stores, it never compresses."""
    try:
        with zipfile.ZipFile(source) as archive:
            packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                packed = []  # TorchScript, which is refused as such
    except (zipfile.BadZipFile, OSError, ValueError):
        packed = []  # the format before the zip, or damaged: torch says so
    if packed:
        raise MedtlError(f"{where} holds compressed parts (first {packed[0]}), which torch.save never writes")
    if isinstance(source, io.BytesIO):
        source.seek(0)


def _innermost(content: Any, where: str) -> tuple[StateDict, tuple[str, ...]]:
    """Return the state dict in a checkpoint, and a sentence where there are several."""
    told: list[str] = []
    content = _as_mapping(content)
    depth = 0
    while isinstance(content, Mapping) and not _are_tensors(content):
        depth += 1
        if depth > DEEPEST:
            raise MedtlError(f"{where} holds mappings within mappings, more than {DEEPEST} deep")
        content = {key: _as_mapping(value) for key, value in content.items()}
        held = [key for key, value in content.items() if isinstance(value, Mapping) and _has_tensors(value)]
        inner = [key for key in NESTED if isinstance(content.get(key), Mapping) and content[key]]
        # a training's settings may have such a name, too
        chosen = next((key for key in inner if _reaches_tensors(content[key])), next(iter(inner), None))
        if chosen is None:
            keys = ", ".join(map(str, list(content)[:8]))
            raise MedtlError(
                f"{where} holds no plain state dict (names and tensors) under a name that is known; its keys: {keys}."
                f" Known are {', '.join(NESTED)}"
            )
        others = [str(key) for key in held if key != chosen]
        if others:
            told.append(f"taken from {chosen!r}; the file also holds {', '.join(map(repr, others))}, left out")
        content = content[chosen]
    if not isinstance(content, Mapping) or not content:
        raise MedtlError(f"{where} holds no plain state dict (names and tensors)")
    return {str(name): tensor for name, tensor in content.items()}, tuple(told)


def _as_mapping(content: Any) -> Any:
    """Return the tensors of a network that was saved as a whole; anything else as it is."""
    return pickles.tensors_of(content) or content if isinstance(content, pickles.Inert) else content


def _are_tensors(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in content.values())


def _has_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) for value in content.values())


def _reaches_tensors(content: Any) -> bool:
    """Return whether a mapping holds tensors, or a mapping that does; each is looked into once, however deep."""
    seen: set[int] = set()
    left = [content]
    while left:
        one = _as_mapping(left.pop())
        if isinstance(one, Mapping) and id(one) not in seen:
            if _has_tensors(one):
                return True
            seen.add(id(one))
            left += one.values()
    return False


def _check_numbers(state: StateDict, where: str) -> StateDict:
    """Return the same tensors.

    Raises:
        MedtlError: one is no plain array, claims more numbers than the file holds, or holds NaN or infinity.
    """
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise MedtlError(f"{where} holds {name}, which is no plain array of numbers")
        claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if claimed > held:
            raise MedtlError(
                f"{where} holds {name} of shape {tuple(tensor.shape)}, which claims {claimed:,} bytes where the file"
                f" holds {held:,} (a repeated tensor): not loaded"
            )
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        raise MedtlError(f"{where} holds NaN or infinite weights in {len(broken)} tensors (first {broken[0]})")
    return state


def _is_finite(tensor: torch.Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.float()  # torch cannot say it of eight bits
    return bool(torch.isfinite(wide).all())


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def disagreements(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """Return what keeps a state dict from being one network's, name by name and shape by shape: the first of each kind
    and how many there are; empty where nothing does."""
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if not (missing or unexpected or shapes):
        return ""
    told = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
    told += [f"{len(unexpected)} unexpected (first {unexpected[0]})"] if unexpected else []
    told += [f"{len(shapes)} of another shape (first {shapes[0]})"] if shapes else []
    return f"of {len(wanted)} tensors {'; '.join(told)}"
