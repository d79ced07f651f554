"""The loader of single images starts again in the middle of an epoch with the batches that would have come."""

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.transforms import Compose, EnsureTyped, RandGaussianNoised
from torch.utils.data import RandomSampler

from medtl.data.restartable import RestartableLoader
from medtl.errors import MedtlError


def loader(workers: int, seed: int = 3) -> RestartableLoader:
    images = [{"image": np.full((1, 2, 2), number, np.float32)} for number in range(11)]
    noise = Compose([RandGaussianNoised("image", prob=1.0), EnsureTyped("image", track_meta=False)])
    order = RandomSampler(images, generator=torch.Generator().manual_seed(1))
    return RestartableLoader(Dataset(images, noise), seed=seed, sampler=order, batch_size=3, num_workers=workers)


def epoch(of: RestartableLoader) -> list[torch.Tensor]:
    return [batch["image"] for batch in of]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_with_the_same_batches(workers: int) -> None:
    undisturbed = loader(workers)
    first, second = epoch(undisturbed), epoch(undisturbed)
    assert not equal(first, second)
    stopped = loader(workers)
    batches = iter(stopped)
    next(batches), next(batches)
    state = stopped.state_dict()
    del batches
    torch.manual_seed(99)  # another process's numbers
    resumed = loader(workers)
    resumed.load_state_dict(state)
    assert equal(epoch(resumed), first[2:])
    assert equal(epoch(resumed), second)


def test_a_state_at_an_epochs_end_begins_the_next() -> None:
    whole = loader(0)
    epoch(whole)
    resumed = loader(0)
    resumed.load_state_dict(whole.state_dict())
    assert equal(epoch(resumed), epoch(whole))


def test_another_loaders_state_is_refused() -> None:
    with pytest.raises(MedtlError, match="the saved run had seed 3, this one has 4"):
        loader(0, seed=4).load_state_dict(loader(0).state_dict())
