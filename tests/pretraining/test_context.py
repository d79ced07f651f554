"""Patches change places in pairs, never overlap, and come back."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medtl.errors import UsageError
from medtl.pretraining.context import MOST_SWAPS, Context, Decoder, moved, sources
from medtl.pretraining.method import Seen
from medtl.transforms.batch import normalisation


def drawn(count: int, swaps: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2 + 49 + 6 * swaps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("swaps", "rows", "columns"), [(10, 64, 64), (MOST_SWAPS, 48, 48), (1, 33, 70), (10, 224, 224)]
)
def test_swapping_twice_gives_the_image_back(swaps: int, rows: int, columns: int) -> None:
    images = torch.randn(3, 3, rows, columns, generator=torch.Generator().manual_seed(1))
    taken_from = sources(drawn(3, swaps), swaps, rows, columns)
    swapped = moved(images, taken_from)
    assert not torch.equal(swapped, images)
    assert torch.equal(moved(swapped, taken_from), images)
    assert torch.equal(swapped.flatten(2).sort().values, images.flatten(2).sort().values)


@pytest.mark.parametrize(("swaps", "size"), [(10, 64), (10, 224), (MOST_SWAPS, 100), (24, 47)])
def test_patches_are_whole_rectangles_of_the_right_size_that_never_overlap(swaps: int, size: int) -> None:
    """Seen from outside: where pixels came from, as regions that moved together."""
    for number, taken_from in enumerate(sources(drawn(4, swaps, 5), swaps, size, size).numpy()):
        here = np.arange(size * size)
        shift = (taken_from - here).reshape(size, size)
        patches = []
        for step in np.unique(shift[shift != 0]):
            regions, _ = ndimage.label(shift == step)
            for place in ndimage.find_objects(regions):
                assert (shift[place] == step).all(), number  # nothing of another patch within
                patches.append((step, tuple(part.stop - part.start for part in place)))
        assert len(patches) == 2 * swaps
        for step, sides in patches:
            assert (-step, sides) in patches  # its partner is as large
            assert all(size / 16 <= side <= size / 8 for side in sides)


def test_any_place_of_the_image_can_move() -> None:
    share = (sources(drawn(6000, 10), 10, 32, 32) != torch.arange(32 * 32)).float().mean(0).view(32, 32)
    assert share.min() > 0
    assert 0.1 < share[8:24, 8:24].mean() < 0.4


def test_views_hold_the_image_before_and_after_and_depend_on_its_turn_alone() -> None:
    images = torch.randint(0, 256, (6, 1, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    index = torch.arange(6)

    def views(part: slice, seed: int = 1, epoch: int = 3, later: int = 0) -> dict[str, torch.Tensor]:
        return dict(Context().views(normalisation(seed=seed))(images[part], index[part] + later, epoch))

    whole = views(slice(None))
    assert whole["image"].shape == whole["restored"].shape == (6, 3, 40, 40)
    torch.rand(100)
    parts = [views(slice(k, k + 1)) for k in range(6)]
    for name in ("image", "restored"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    for other in (views(slice(None), seed=2), views(slice(None), epoch=4), views(slice(None), later=6)):
        assert not torch.allclose(other["image"], whole["image"])
    still = Context(flip=0, rotate=0, crop=1, brightness=0, contrast=0, gamma=0).views(normalisation(seed=1))
    assert torch.equal(still(images, index, 3)["restored"], normalisation()(images, index))


def test_the_loss_is_the_mean_squared_difference() -> None:
    answers, restored = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    expected = np.mean([(float(a) - float(b)) ** 2 for a, b in zip(answers.flatten(), restored.flatten(), strict=True)])
    found = Context().loss(Seen(answers, torch.zeros(2), {"restored": restored}))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("rows", "size"), [(1, 32), (2, 48), (3, 96), (7, 224), (14, 224)])
def test_the_decoder_gives_images_of_the_right_size_and_is_light(rows: int, size: int) -> None:
    decoder = Decoder(512, rows, size)
    assert decoder(torch.randn(2, 512, rows, rows)).shape == (2, 3, size, size)
    assert sum(parameter.numel() for parameter in decoder.parameters()) < 400_000


@pytest.mark.parametrize("swaps", [0, MOST_SWAPS + 1])
def test_so_many_patches_cannot_be(swaps: int) -> None:
    with pytest.raises(UsageError, match=f"swaps {swaps}: expected 1 to 24"):
        Context(swaps=swaps)
