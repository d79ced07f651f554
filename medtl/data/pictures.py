"""Data sets of pictures that name the file which cannot be read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import Dataset, DistributedSampler, DistributedWeightedRandomSampler
from torch.utils.data import RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler

from medtl.data.balance import sampling_weights
from medtl.datalist import DataList
from medtl.errors import MedtlError, tell
from medtl.readers.find import counted
from medtl.readers.picture import Pictures, find_pictures

REFUSED = "refused"  # why a file is known to be of no use


def items(listed: DataList, split: str) -> list[dict[str, Any]]:
    """Return ``{image, label, index}`` for each entry of a split: all that a trainer sees.

    ``image`` is an absolute path, ``label`` a class index, a float32 multi-hot vector (n_classes,) or number, or a
    mask's path, ``index`` the entry's place in the split.
    """
    entries = []
    for entry in listed.absolute(split):
        label = entry["label"]
        if isinstance(label, list | float):
            label = np.asarray(label, dtype=np.float32)
        entries.append({"image": entry["image"], "label": label, "index": entry["index"]})
    return entries


def found(source: str) -> list[dict[str, Any]]:
    """Return ``{image, name, label, index}`` (and ``slice`` for a volume's slice) for every picture of a file or
    folder, for inference; with ``refused`` for what is known to be of no use before it is read.

    The label that MONAI's evaluator asks for is always 0 and read by nobody.
    """
    there = find_pictures(Path(str(source)))
    _announce(there)
    volumes = any(picture.index is not None for picture in there.pictures)
    entries: list[dict[str, Any]] = []
    for picture in there.pictures:
        entry = {"image": str(picture.path), "name": picture.name, "label": 0}
        entries.append({**entry, "slice": picture.index or 0} if volumes else entry)
    root = Path(str(source))
    for name, reason in there.refused:
        entry = {"image": str(root / name), "name": name, "label": 0, REFUSED: reason}
        entries.append({**entry, "slice": 0} if volumes else entry)
    return [{**entry, "index": number} for number, entry in enumerate(sorted(entries, key=_place))]


def _place(entry: dict[str, Any]) -> tuple[str, int]:
    """Where an entry stands: by its file's name, the slices of a volume by number."""
    file, _, number = str(entry["name"]).rpartition("#")
    return (file, int(number)) if file and number.isdecimal() else (str(entry["name"]), 0)


def _announce(there: Pictures) -> None:
    """Say on the first process what is passed over, and of what only a part is taken."""
    if idist.get_rank():
        return
    for note in there.notes:
        tell(f"note: {note}")
    if there.passed:
        tell(f"passed over: {counted(there.passed)}")


def sampler(listed: DataList, balance: str, seed: int) -> Sampler[int]:
    """Return a sampler of every training image once an epoch in random order; with ``balance`` "sampling" as many draws
    with replacement, each class equally often on average. Of several processes each takes its own share."""
    weights = sampling_weights(listed, balance)
    alone = idist.get_world_size() == 1
    if weights is not None:
        if alone:
            return WeightedRandomSampler(weights.tolist(), len(weights), generator=_generator(seed))
        return DistributedWeightedRandomSampler(listed.training, weights, seed=seed, generator=_generator(seed))
    if alone:
        return RandomSampler(listed.training, generator=_generator(seed))
    return DistributedSampler(listed.training, shuffle=True, seed=seed)


def in_order(dataset: Dataset) -> Sampler[int]:
    """Return a sampler of every image once, in order; of several processes each takes its own share, and none is
    repeated."""
    if idist.get_world_size() == 1:
        return SequentialSampler(dataset)
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class PictureDataset(Dataset):
    """MONAI's Dataset, whose error names the picture.

    Args:
        data: dictionaries with at least ``image``, a path.
        transform: of one dictionary.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(data=data, transform=transform)

    def _transform(self, index: int) -> Any:
        try:
            return super()._transform(index)
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None and not isinstance(cause, MedtlError):
                cause = cause.__cause__
            if isinstance(cause, MedtlError):
                raise MedtlError(str(cause)) from error
            reason = " ".join(str(cause).split()) or type(cause).__name__
            raise MedtlError(f"{self.data[index]['image']} cannot be used: {reason}") from error


class ReadablePictures(PictureDataset):
    """For inference: a picture that cannot be read becomes a black one with a ``reason``, and the others go on.

    Args:
        data: dictionaries with at least ``image``, a path.
        transform: of one dictionary.
        shape: of the black picture (channels, rows, columns), as the transform makes them.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[dict[str, Any]], Any],
        shape: Sequence[int],
    ) -> None:
        super().__init__(data, transform)
        self.shape = tuple(shape)

    def _transform(self, index: int) -> Any:
        item = {key: value for key, value in self.data[index].items() if key != REFUSED}
        reason = self.data[index].get(REFUSED, "")
        if not reason:
            try:
                return {**super()._transform(index), "reason": ""}
            except MedtlError as error:
                reason = str(error).removeprefix(f"{item['image']} ")
        return {**item, "image": torch.zeros(self.shape), "reason": reason}
