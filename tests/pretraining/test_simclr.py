"""SimCLR's loss against MONAI's own and a plain loop; two views are what one view is, twice, and differ."""

import math

import pytest
import torch
from monai.losses import ContrastiveLoss

from medtl.errors import UsageError
from medtl.pretraining.method import Seen
from medtl.pretraining.simclr import OTHER_SEED, SimCLR, TwoViews, between_views
from medtl.transforms.batch import BatchTransform, normalisation

OPTIONS = {"crop": 0.2, "brightness": 0.3, "contrast": 0.4, "gamma": 0.3, "rotate": 0.26}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (5, 1, 24, 20), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_views_as_monai_scores_them(temperature: float) -> None:
    torch.manual_seed(0)
    projections = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    ours = between_views(projections, temperature)
    theirs = ContrastiveLoss(temperature=temperature)(*projections.chunk(2))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    mine, other = (torch.autograd.grad(loss, projections, retain_graph=True)[0] for loss in (ours, theirs))
    assert torch.allclose(mine, other, atol=1e-7)


def test_the_loss_is_equation_1_in_a_plain_loop() -> None:
    torch.manual_seed(1)
    projections, temperature = torch.randn(8, 3, dtype=torch.float64), 0.3
    z = [[float(x) for x in row] for row in projections]

    def alike(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    total = 0.0
    for i in range(8):
        partner = (i + 4) % 8
        others = sum(math.exp(alike(z[i], z[k]) / temperature) for k in range(8) if k != i)
        total -= math.log(math.exp(alike(z[i], z[partner]) / temperature) / others)
    loss = SimCLR(temperature=temperature).loss(Seen(projections, torch.zeros(4), {}))
    assert loss.item() == pytest.approx(total / 8, rel=1e-12)


def test_each_view_is_what_the_transform_alone_gives(images: torch.Tensor) -> None:
    index = torch.tensor([3, 1, 4, 0, 2])
    views = TwoViews(BatchTransform(**OPTIONS, seed=7))(images, index, 2)
    assert views.shape == (10, 3, 24, 20)
    assert torch.equal(views[:5], BatchTransform(**OPTIONS, seed=7)(images, index, 2))
    assert torch.equal(views[5:], BatchTransform(**OPTIONS, seed=7 + OTHER_SEED)(images, index, 2))


def test_the_method_changes_the_augmentation_alone(images: torch.Tensor) -> None:
    """Mean, SD and seed are the run's."""
    index = torch.arange(5)
    method = SimCLR(flip=0.0, rotate=0.1, crop=0.5, brightness=0.0, contrast=0.0, gamma=0.2)
    plain = normalisation(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), seed=9)
    wanted = BatchTransform(
        flip=0,
        rotate=0.1,
        scale=0,
        translate=0,
        crop=0.5,
        gamma=0.2,
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 2.0, 3.0),
        seed=9,
    )
    assert torch.equal(method.views(plain)(images, index, 1), TwoViews(wanted)(images, index, 1))


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


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": float("nan")}, {"width": 0}])
def test_what_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="temperature"):
        SimCLR(**options)
