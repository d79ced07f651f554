"""Bags: the features of one patient's patches, slides or covariates, as a data list names them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtl.datalist import FILE_NAME, DataList
from medtl.errors import BadFileError, MedtlError
from medtl.survival.feature_files import READERS as READERS
from medtl.survival.feature_files import Bag as Bag
from medtl.survival.feature_files import read_bag as read_bag


class Bags:
    """One split of a data list: every patient's bag, time and event.

    Args:
        listed: of the task "survival".
        split: its name.
        width: of a feature; another one is refused.
        most: instances of a bag that are kept, evenly spaced over the file.
        init: start whose features are taken; empty for the only ones.

    Raises:
        MedtlError: an entry has no features, or a bag is of another width.
    """

    def __init__(self, listed: DataList, split: str, width: int, most: int, init: str = "") -> None:
        entries = listed.split(split)
        self.bags: list[Bag] = []
        for entry in entries:
            bag = bag_of(listed, entry, init)
            if bag.shape[1] != width:
                raise MedtlError(f"{entry['features']} has features of width {bag.shape[1]}; the first has {width}")
            self.bags.append(thinned(bag, most))
        self.width = width
        self.label = torch.tensor([[e["time"], e["event"]] for e in entries], dtype=torch.float32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.bags)

    def padded(self) -> Tensor:
        """Return all bags as (n, most, width + 1), the last column 1 for an instance and 0 for padding."""
        return padded(self.bags, self.width)


def bag_of(listed: DataList, entry: dict[str, Any], init: str = "") -> Bag:
    """Return the features (instances, width) of an entry by a start, or the only ones.

    Raises:
        MedtlError: it names none, or they cannot be read; names the entry.
    """
    if "features" not in entry:
        raise MedtlError(f"{listed.folder / FILE_NAME}: patient {entry['patient']} has no 'features'")
    try:
        return read_bag(listed.folder / str(entry["features"]), init)
    except BadFileError as error:
        raise MedtlError(f"{listed.folder / str(entry['features'])} {error}") from None


def thinned(bag: Bag, most: int) -> Bag:
    """Return at most so many instances of a bag (instances, width), evenly spaced."""
    return bag[np.linspace(0, len(bag) - 1, min(most, len(bag))).round().astype(int)]


def padded(bags: Sequence[Bag], width: int) -> Tensor:
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
