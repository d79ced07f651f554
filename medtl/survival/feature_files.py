"""Files of features as other programs write them: .npz, .npy, .pt (CLAM) and .h5 (CLAM, TRIDENT).

What a header claims is compared with the bytes that are there before memory is asked for.
"""

import math
import pickle
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.limits import check_growth
from medtl.readers.npz import MOST_HEADER, open_npz, read_array, read_array_header
from medtl.writers.features import PATIENT

Bag = NDArray[np.float32]  # (instances, width)
# what damaged and foreign files make numpy, zipfile, torch and h5py raise
UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, TypeError, LookupError, AttributeError, SyntaxError),
    *(tokenize.TokenError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)
KEYS = ("features", "feats")  # of CLAM and TRIDENT; of a file with one array only, any


def read_bag(path: Path, init: str = "") -> Bag:
    """Return the features (instances, width) of a file.

    Args:
        path: .npz, .npy, .pt (a tensor, or a dictionary of tensors; nothing of it is run) or .h5 (needs h5py), with one
            array or one named ``features``: (instances, width), (1, instances, width) or, of a single one, (width,).
        init: start whose features are wanted of a file that has those of several, by name; empty for the only ones.

    Raises:
        BadFileError: it cannot be read, claims more than it holds, or holds something else, or a value that is no
            number.
    """
    if path.suffix not in READERS:
        raise BadFileError(f"is no file of features; expected {', '.join(READERS)}")
    try:
        found = np.asarray(READERS[path.suffix](path, init))
    except BadFileError:
        raise
    except ImportError:
        raise BadFileError("needs h5py to be read: pip install h5py") from None
    except UNREADABLE as error:
        first = (str(error).replace(str(path), path.suffix).strip().splitlines() or [type(error).__name__])[0]
        raise BadFileError(f"cannot be read as features: {first[:200]}") from None
    if found.ndim == 3 and len(found) == 1:
        found = found[0]
    found = np.atleast_2d(found)
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
        raise BadFileError(f"holds {found.dtype} of shape {found.shape}; expected numbers (instances, width)")
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise BadFileError("holds values that are no finite numbers")
    return found


def starts_of(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays among which ``init`` chooses, sorted; none of a file whose arrays have no names.

    Raises:
        BadFileError: it is no .npz file, though it is called so.
    """
    if path.suffix != ".npz":
        return ()
    try:
        with open_npz(path) as archive:
            return tuple(sorted({each.removesuffix(".npy") for each in archive.namelist()} - {PATIENT}))
    except UNREADABLE as error:
        raise BadFileError(f"cannot be read as features: {error}") from None


def _name(names: Any, init: str) -> str:
    """The array that holds the features, among the names of a file."""
    there = sorted(set(names) - {PATIENT})
    if init:
        if init not in there:
            raise BadFileError(f"has no features of the start {init!r}; it has {', '.join(there) or 'none'}")
        return init
    named = [key for key in KEYS if key in there] or there
    if len(named) != 1:
        raise ValueError(f"expected one array, or one named {KEYS[0]}; found {', '.join(there) or 'none'}")
    return named[0]


def _npz(path: Path, init: str) -> Any:
    with open_npz(path) as archive:
        name = _name([each.removesuffix(".npy") for each in archive.namelist()], init)
        shape, dtype = read_array_header(archive, name)
        check_growth(path.stat().st_size, math.prod(shape) * max(dtype.itemsize, 4))  # they become float32
        return read_array(archive, name)


def _npy(path: Path, init: str) -> Any:
    if init:
        raise BadFileError(f"has one array without a name, and none of the start {init!r}")
    with open(path, "rb") as file:
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file, max_header_size=MOST_HEADER)
        there = path.stat().st_size - file.tell()
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError("it holds objects, which only pickle reads")
    if claimed > there:
        raise BadFileError(f"is cut short or damaged: {there:,} bytes claim to hold {claimed:,}")
    return np.load(path, allow_pickle=False)


def _pt(path: Path, init: str) -> Any:
    import torch

    stored = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_growth(stored, sum(each.file_size for each in archive.infolist()))
    found = torch.load(path, map_location="cpu", weights_only=True)
    if init and not isinstance(found, dict):
        raise BadFileError(f"has one array without a name, and none of the start {init!r}")
    found = found[_name(found, init)] if isinstance(found, dict) else found
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"expected a tensor, found {type(found).__name__}")
    if found.layout != torch.strided:
        raise ValueError("expected a plain tensor, found a sparse one")
    check_growth(stored, 4 * found.numel())  # one number may be repeated without end
    return found.detach().float().numpy()


def _h5(path: Path, init: str) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        name = _name(list(file), init)
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} lies in another file, or is a link")
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name} is a group, expected an array of features")
        if found.is_virtual or found.external:
            raise ValueError(f"{name} lies in another file")
        check_growth(path.stat().st_size, math.prod(found.shape or (0,)) * max(found.dtype.itemsize, 4))
        return found[()]


READERS = {".npz": _npz, ".npy": _npy, ".pt": _pt, ".h5": _h5}
