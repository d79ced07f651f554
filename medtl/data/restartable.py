"""MONAI's DataLoader, able to start again in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

import torch
from monai.data import DataLoader, set_rnd
from torch.utils.data import Dataset

from medtl.errors import MedtlError


class RestartableLoader(DataLoader):
    """A DataLoader whose epochs are drawn from (seed, epoch) alone: order, workers and MONAI's random transforms.

    So a training that is resumed sees the batches that it would have seen. To get to the middle of an epoch, the
    batches before are loaded once more and thrown away. Worker processes live for one epoch.

    Args:
        dataset: its transforms may be MONAI's random ones; others' random numbers are not restarted.
        seed: of all this.
        rank: of this process; random transforms differ between processes.
        kwargs: as for DataLoader.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, rank: int = 0, **kwargs: Any) -> None:
        super().__init__(dataset, generator=torch.Generator(), persistent_workers=False, **kwargs)
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self.batches = 0  # of the epoch that were handed out
        self._goes_on = False

    def __iter__(self) -> Iterator[Any]:
        if self.batches and not self._goes_on:
            self.epoch, self.batches = self.epoch + 1, 0  # the last iteration was given up midway
        self._goes_on = False
        epoch, first, count = self.epoch, self.batches, len(self)
        number = (self.seed * 1_000_003 + epoch) % 2**31
        order, own = getattr(self.sampler, "generator", None), number + self.rank
        if order is not None:
            order.manual_seed(number)
        self.generator.manual_seed(own)
        set_rnd(self.dataset, seed=own)
        for place, batch in enumerate(super().__iter__()):
            if place >= first:
                self.epoch, self.batches = (epoch, place + 1) if place + 1 < count else (epoch + 1, 0)
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Return where the loader is, and what makes its batches."""
        return {"epoch": self.epoch, "position": self.batches, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the last batch that was handed out when the state was taken.

        Raises:
            MedtlError: the state belongs to other images, or to another batch size, seed or number of workers.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise MedtlError(f"the saved run had {name} {state.get(name)}, this one has {value}: it cannot go on")
        self.epoch, self.batches, self._goes_on = state["epoch"], state["position"], True

    def _identity(self) -> dict[str, int]:
        return {
            "images": len(self.dataset),
            "batch_size": self.batch_size or 0,
            "seed": self.seed,
            "num_workers": self.num_workers,  # each draws its own numbers
        }
