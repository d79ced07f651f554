"""Masked image modelling: what is hidden, what is scored, and that neither depends on the batch."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from medtl.errors import UsageError
from medtl.pretraining.masked import Hidden, Masked
from medtl.pretraining.method import Seen
from medtl.transforms.batch import BatchTransform

PLAIN = BatchTransform(flip=0, rotate=0, scale=0, translate=0, seed=4)


def images(count: int, size: int = 32) -> torch.Tensor:
    return torch.randint(1, 256, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shown(count: int, size: int = 32, epoch: int = 0, **options: Any) -> dict[str, torch.Tensor]:
    views = Masked(**options).views(PLAIN)
    return dict(views(images(count, size), torch.arange(count), epoch))


@pytest.mark.parametrize(("size", "cells", "ratio"), [(32, 4, 0.5), (30, 7, 0.6), (64, 8, 0.75)])
def test_whole_cells_are_hidden_and_exactly_so_many(size: int, cells: int, ratio: float) -> None:
    found = shown(6, size, cells=cells, ratio=ratio)
    borders = [int(np.ceil(k * size / cells)) for k in range(cells + 1)]
    for hidden in found["hidden"][:, 0].numpy():
        blocks = [hidden[a:b, c:d] for a, b in itertools.pairwise(borders) for c, d in itertools.pairwise(borders)]
        assert all(block.all() or not block.any() for block in blocks)
        assert sum(bool(block.all()) for block in blocks) == round(ratio * cells**2)


def test_hidden_pixels_are_zero_and_others_as_they_were() -> None:
    found = shown(4)
    hidden = found["hidden"].expand_as(found["image"])
    assert (found["image"][hidden] == 0).all()
    assert torch.equal(found["image"][~hidden], found["whole"][~hidden])
    assert (found["whole"][hidden] != 0).float().mean() > 0.9


def test_what_is_hidden_depends_on_index_and_epoch_alone() -> None:
    views, index = Hidden(PLAIN, 7, 29), torch.tensor([5, 2, 9])
    pixels = images(3)
    together = views(pixels, index, 1)
    alone = views(pixels[1:2], index[1:2], 1)
    assert torch.equal(together["image"][1:2], alone["image"])
    assert not torch.equal(views(pixels, index, 2)["hidden"], together["hidden"])
    assert not torch.equal(together["hidden"][0], together["hidden"][1])


def test_the_loss_is_of_hidden_pixels_alone() -> None:
    found = shown(3)
    answers = torch.randn(3, 3, 32, 32)
    targets = {"whole": found["whole"], "hidden": found["hidden"]}
    loss = Masked().loss(Seen(answers, torch.zeros(3), targets))
    apart = np.abs(answers.numpy() - found["whole"].numpy())
    expected = apart[np.broadcast_to(found["hidden"].numpy(), apart.shape)].mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    seen_pixels = torch.where(found["hidden"], answers, torch.full_like(answers, 9.0))
    assert Masked().loss(Seen(seen_pixels, torch.zeros(3), targets)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{"ratio": 0.0}, {"ratio": 1.0}, {"cells": 1}, {"cells": 33}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Masked(**options)
