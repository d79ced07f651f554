"""Bags: the features of one patient's patches, slides or covariates, read from what other programs write."""

import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medtl.datalist import FILE_NAME, DataList
from medtl.errors import BadFileError, MedtlError
from medtl.limits import check_growth
from medtl.readers.npz import read_all

# what damaged and foreign files make numpy, zipfile, torch and h5py raise
UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, TypeError, LookupError, AttributeError, SyntaxError),
    *(tokenize.TokenError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)
KEYS = ("features", "feats")  # of CLAM and TRIDENT; of a file with one array only, any


def read_bag(path: Path) -> NDArray[np.float32]:
    """Return the features (instances, width) of a file.

    Args:
        path: .npz, .npy, .pt (a tensor, or a dictionary of tensors; nothing of it is run) or .h5 (needs h5py), with one
            array or one named ``features``: (instances, width), (1, instances, width) or, of a single one, (width,).

    Raises:
        BadFileError: it cannot be read, or holds something else, or a value that is no number.
    """
    if path.suffix not in READERS:
        raise BadFileError(f"is no file of features; expected {', '.join(READERS)}")
    try:
        found = np.asarray(READERS[path.suffix](path))
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


def _only(arrays: dict[str, Any]) -> Any:
    named = [key for key in KEYS if key in arrays] or list(arrays)
    if len(named) != 1:
        raise ValueError(f"expected one array, or one named {KEYS[0]}; found {', '.join(sorted(arrays)) or 'none'}")
    return arrays[named[0]]


def _npz(path: Path) -> Any:
    return _only(read_all(path, KEYS))


def _pt(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("compressed parts, which torch.save never writes")
    found = torch.load(path, map_location="cpu", weights_only=True)
    found = _only(found) if isinstance(found, dict) else found
    if not isinstance(found, Tensor):
        raise ValueError(f"expected a tensor, found {type(found).__name__}")
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise ValueError(f"a tensor of shape {tuple(found.shape)} that claims more numbers than the file holds")
    return found.float().numpy()


def _h5(path: Path) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        names = [key for key in KEYS if key in file] or list(file)
        found = _only({name: file[name] for name in names})
        check_growth(path.stat().st_size, found.nbytes)
        return found[()]


def _npy(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)  # a header may claim more than the file holds


READERS = {".npz": _npz, ".npy": _npy, ".pt": _pt, ".h5": _h5}


class Bags:
    """One split of a data list: every patient's bag, time and event.

    Args:
        listed: of the task "survival".
        split: its name.
        width: of a feature; another one is refused.
        most: instances of a bag that are kept, evenly spaced over the file.

    Raises:
        MedtlError: an entry has no features, or a bag is of another width.
    """

    def __init__(self, listed: DataList, split: str, width: int, most: int) -> None:
        entries = listed.split(split)
        self.bags: list[NDArray[np.float32]] = []
        for entry in entries:
            bag = bag_of(listed, entry)
            if bag.shape[1] != width:
                raise MedtlError(f"{entry['features']} has features of width {bag.shape[1]}; the first has {width}")
            kept = np.linspace(0, len(bag) - 1, min(most, len(bag))).round().astype(int)
            self.bags.append(bag[kept])
        self.width = width
        self.label = torch.tensor([[e["time"], e["event"]] for e in entries], dtype=torch.float32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.bags)

    def padded(self) -> Tensor:
        """Return all bags as (n, most, width + 1), the last column 1 for an instance and 0 for padding."""
        return padded(self.bags, self.width)


def bag_of(listed: DataList, entry: dict[str, Any]) -> NDArray[np.float32]:
    """Return the features (instances, width) of an entry.

    Raises:
        MedtlError: it names none, or they cannot be read; names the entry.
    """
    if "features" not in entry:
        raise MedtlError(f"{listed.folder / FILE_NAME}: patient {entry['patient']} has no 'features'")
    try:
        return read_bag(listed.folder / str(entry["features"]))
    except BadFileError as error:
        raise MedtlError(f"{listed.folder / str(entry['features'])} {error}") from None


def padded(bags: Sequence[NDArray[np.float32]], width: int) -> Tensor:
    """Return bags, each (instances, width), as (n, most, width + 1); see ``Bags.padded``."""
    made = torch.zeros(len(bags), max((len(bag) for bag in bags), default=1), width + 1)
    for place, bag in enumerate(bags):
        made[place, : len(bag), :-1] = torch.from_numpy(bag)
        made[place, : len(bag), -1] = 1
    return made


class WholeCohort:
    """All patients of a split as one batch, ``{image, label, index}``: Cox's risk sets are then those of the cohort.

    ``image`` is what ``Bags.padded`` gives, ``label`` (n, 2) time and event, ``index`` (n,) places in the split.

    Args:
        dataset: the split.
    """

    def __init__(self, dataset: Bags) -> None:
        self.dataset = dataset
        self.batch = {"image": dataset.padded(), "label": dataset.label, "index": torch.arange(len(dataset))}

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        yield dict(self.batch)

    def state_dict(self) -> dict[str, int]:
        """Return what makes the batch: there is no order that could change."""
        return {"patients": len(self.dataset)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on with the same patients.

        Raises:
            MedtlError: there were others.
        """
        if state != self.state_dict():
            raise MedtlError(f"the saved run had {state.get('patients')} patients, this one has {len(self.dataset)}")
