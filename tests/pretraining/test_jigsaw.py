"""Orders that are far apart, tiles that lie in their cells, and puzzles that depend on nothing but the image's turn."""

import itertools
import math

import numpy as np
import pytest
import torch

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier
from medtl.pretraining.jigsaw import Jigsaw, cut, cut_side, normalised, permutations
from medtl.pretraining.method import Seen, Trunk
from medtl.transforms.batch import normalisation


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 1, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("count", "tiles"), [(24, 4), (7, 4), (11, 5)])
def test_orders_are_chosen_greedily(count: int, tiles: int) -> None:
    """Against a loop over all orders that are left."""
    left = list(itertools.permutations(range(tiles)))
    chosen = [left.pop(0)]
    while len(chosen) < count:
        means = [sum(distance(order, other) for other in chosen) / len(chosen) for order in left]
        chosen.append(left.pop(means.index(max(means))))
    assert [tuple(order) for order in permutations(count, tiles).tolist()] == chosen


def test_a_hundred_orders_of_nine_tiles_are_far_apart() -> None:
    orders = [tuple(order) for order in permutations(100).tolist()]
    assert len(set(orders)) == 100
    assert all(sorted(order) == list(range(9)) for order in orders)
    apart = [distance(one, other) for one, other in itertools.combinations(orders, 2)]
    assert np.mean(apart) > 8.05  # of random orders 8 tiles lie elsewhere
    assert min(apart) >= 2
    assert orders == [tuple(order) for order in permutations(101).tolist()[:100]]


def test_tiles_lie_in_their_cells_with_gaps() -> None:
    rows, columns = torch.meshgrid(torch.arange(50), torch.arange(50), indexing="ij")
    pictures = torch.stack((rows, columns, 50 * rows + columns)).float()[None].repeat(40, 1, 1, 1)
    places = torch.rand(40, 9, 2, generator=torch.Generator().manual_seed(0))
    tiles = cut(pictures, places)
    assert tiles.shape == (40, 9, 3, 13, 13)  # cells of 16 pixels, 64/75 of that
    for number in range(9):
        for axis, cell in ((0, number // 3), (1, number % 3)):
            found = tiles[:, number, axis]
            first = found.amin((1, 2))
            assert set(first.tolist()) == {16.0 * cell + offset for offset in range(4)}
            assert (found.amax((1, 2)) - first == 12).all()
    assert (tiles[:, :, 2] == 50 * tiles[:, :, 0] + tiles[:, :, 1]).all()


def test_each_tile_has_mean_0_and_sd_1_and_a_blank_one_is_0() -> None:
    tiles = torch.randn(2, 9, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 5 + 3
    tiles[0, 4] = 2.5
    found = normalised(tiles).double().numpy()
    assert np.all(found[0, 4] == 0)
    for one in (found[0, 0], found[1, 8]):
        for channel in one:
            assert (channel.mean(), channel.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, rel=1e-5))


def test_a_puzzle_put_back_in_order_is_the_image(images: torch.Tensor) -> None:
    """Without augmentation and with tiles as large as their cells there is nothing else."""
    method = Jigsaw(permutations=50, flip=0, crop=1, gamma=0)
    plain = normalisation(seed=3)
    made = method.views(plain)(images, torch.arange(6), 2)
    assert made["image"].shape == (54, 3, 32, 32)  # of 27 pixels as cut
    assert made["order"].shape == (6,)
    orders = permutations(50)
    whole = plain(images, torch.arange(6))
    for number, order in enumerate(made["order"].tolist()):
        for place, cell in enumerate(orders[order]):
            row, column = 32 * (cell // 3), 32 * (cell % 3)
            tile, shown = whole[number, :, row : row + 32, column : column + 32], made["image"][9 * number + place]
            candidates = [normalised(tile[:, y : y + 27, x : x + 27]) for y, x in itertools.product(range(6), repeat=2)]
            resized = torch.nn.functional.interpolate(torch.stack(candidates), (32, 32), mode="bilinear")
            assert (resized - shown).abs().amax((1, 2, 3)).min() < 1e-4


def test_it_depends_on_seed_epoch_and_index_alone(images: torch.Tensor) -> None:
    index = torch.arange(6)

    def puzzle(part: slice, seed: int = 1, epoch: int = 3, later: int = 0) -> dict[str, torch.Tensor]:
        return dict(Jigsaw().views(normalisation(seed=seed))(images[part], index[part] + later, epoch))

    whole = puzzle(slice(None))
    torch.rand(100)  # draws from torch's own generator change nothing
    parts = [puzzle(slice(k, k + 2)) for k in (0, 2, 4)]
    assert torch.equal(torch.cat([part["order"] for part in parts]), whole["order"])
    torch.testing.assert_close(torch.cat([part["image"] for part in parts]), whole["image"])
    for other in (puzzle(slice(None), seed=2), puzzle(slice(None), epoch=4), puzzle(slice(None), later=6)):
        assert not torch.equal(other["order"], whole["order"])


def test_orders_come_evenly() -> None:
    many = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    order = Jigsaw(permutations=8, tile=32).views(normalisation())(
        many[:1].expand(4000, -1, -1, -1), torch.arange(4000), 0
    )
    counts = torch.bincount(order["order"], minlength=8)
    assert ((counts - 500).abs() < 5 * math.sqrt(500)).all()


def test_the_log_says_chance_and_the_loss_of_guessing() -> None:
    assert "chance 1/100 = 0.01, loss of guessing 4.605" in Jigsaw().describe()
    guessed = Jigsaw(permutations=7).loss(Seen(torch.zeros(3, 7), torch.zeros(3), {"order": torch.tensor([0, 6, 2])}))
    assert guessed.item() == pytest.approx(math.log(7))


def test_the_head_looks_at_all_nine_tiles() -> None:
    trunk = Trunk(build_classifier("resnet18", 2, image_size=48), "resnet18", 48, 512)
    head = Jigsaw(permutations=5, width=16).head(trunk)
    features = torch.randn(18, 512, requires_grad=True)
    answers = head(features)
    assert answers.shape == (2, 5)
    answers[0].sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().amax(1) > 0).tolist() == [True] * 9 + [False] * 9


def test_a_network_of_one_size_wants_tiles_of_that_size() -> None:
    trunk = Trunk(build_classifier("vit_b16", 2, image_size=48), "vit_b16", 48, 768)
    with pytest.raises(UsageError, match=r'vit_b16 takes no tiles of 32 pixels; .*"jigsaw\(tile=48\)"'):
        Jigsaw().head(trunk)
    assert trunk.network.training
    Jigsaw(tile=48).head(trunk)


@pytest.mark.parametrize("options", [{"permutations": 1}, {"permutations": 1001}, {"tile": 20}, {"width": 0}])
def test_what_cannot_be_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Jigsaw(**options)


def test_the_side_of_a_tile() -> None:
    assert [cut_side(size) for size in (224, 96, 48, 225)] == [63, 27, 13, 64]
