"""Two views are what one view is, twice, and differ."""

import pytest
import torch

from medtl.transforms.batch import BatchTransform
from medtl.transforms.views import OTHER_SEED, TwoViews

OPTIONS = {"crop": 0.2, "brightness": 0.3, "contrast": 0.4, "gamma": 0.3, "rotate": 0.26}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (5, 1, 24, 20), dtype=torch.uint8, generator=generator)


def test_each_view_is_what_the_transform_alone_gives(images: torch.Tensor) -> None:
    index = torch.tensor([3, 1, 4, 0, 2])
    views = TwoViews(BatchTransform(**OPTIONS, seed=7))(images, index, 2)
    assert views.shape == (10, 3, 24, 20)
    assert torch.equal(views[:5], BatchTransform(**OPTIONS, seed=7)(images, index, 2))
    assert torch.equal(views[5:], BatchTransform(**OPTIONS, seed=7 + OTHER_SEED)(images, index, 2))


def test_the_views_of_an_image_differ_in_every_row(images: torch.Tensor) -> None:
    one, other = TwoViews(BatchTransform(**OPTIONS))(images, torch.arange(5)).chunk(2)
    assert ((one - other).abs().amax((1, 2, 3)) > 0.1).all()


def test_views_depend_on_seed_epoch_and_index_alone(images: torch.Tensor) -> None:
    index = torch.arange(5)
    whole = TwoViews(BatchTransform(**OPTIONS, seed=1))(images, index, 3)
    torch.rand(100)  # draws from torch's own generator change nothing
    parts = [TwoViews(BatchTransform(**OPTIONS, seed=1))(images[k : k + 1], index[k : k + 1], 3) for k in range(5)]
    torch.testing.assert_close(torch.cat([torch.stack(side) for side in zip(*parts, strict=True)]), whole)
    for seed, epoch, place in ((2, 3, index), (1, 4, index), (1, 3, index + 5)):
        assert not torch.allclose(TwoViews(BatchTransform(**OPTIONS, seed=seed))(images, place, epoch), whole)


def test_nothing_random_gives_the_same_view_twice(images: torch.Tensor) -> None:
    plain = BatchTransform(flip=0, rotate=0, scale=0, translate=0)
    one, other = TwoViews(plain)(images, torch.arange(5)).chunk(2)
    assert torch.equal(one, other)
