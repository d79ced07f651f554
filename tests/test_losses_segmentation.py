"""Losses of pixels against their definitions, written down once more."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from medtl.errors import UsageError
from medtl.losses_segmentation import balanced_weights, edges_of, lovasz_softmax, pixel_loss


def some(classes: int = 3, side: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, side, side, generator=draw)
    return logits, torch.randint(0, classes, (2, side, side), generator=draw)


def jaccard_loss(wrong: set[int], there: set[int]) -> float:
    """Equation 6: one minus the Jaccard index of a class whose wrongly labelled pixels are these."""
    union = there | wrong
    return len(wrong) / len(union) if union else 0.0


def test_lovasz_is_the_extension_of_the_jaccard_loss() -> None:
    """Definition 1 of the paper: errors in falling order, each times what its pixel adds to the loss of the set."""
    logits, masks = some()
    probability = logits.softmax(1).movedim(1, 0).flatten(1).numpy()
    labels = masks.flatten().numpy()
    found = []
    for index in np.unique(labels):
        there = set(np.flatnonzero(labels == index).tolist())
        errors = np.abs((labels == index) - probability[index])
        order = np.argsort(-errors, kind="stable").tolist()
        sets = [set(order[:n]) for n in range(len(order) + 1)]
        gains = [jaccard_loss(after, there) - jaccard_loss(before, there) for before, after in itertools.pairwise(sets)]
        found.append(sum(errors[place] * gain for place, gain in zip(order, gains, strict=True)))
    assert float(lovasz_softmax(logits, masks)) == pytest.approx(float(np.mean(found)), abs=1e-6)


def test_lovasz_of_sure_answers_is_the_jaccard_loss() -> None:
    masks = torch.zeros(1, 2, 4, dtype=torch.int64)
    masks[0, 0] = 1
    said = torch.zeros(1, 2, 4, dtype=torch.int64)
    said[0, 0, :2] = 1
    logits = functional.one_hot(said, 2).movedim(3, 1).float() * 1000
    expected = (1 - 2 / 4 + 1 - 4 / 6) / 2  # IoU of class 1: 2 of 4 pixels; of the background: 4 of 6
    assert float(lovasz_softmax(logits, masks)) == pytest.approx(expected, abs=1e-5)


def test_balanced_entropy_is_the_mean_of_the_classes_means() -> None:
    logits, masks = some()
    masks[:, :4] = 0  # many of one class
    each = functional.cross_entropy(logits, masks, reduction="none")
    expected = torch.stack([each[masks == index].mean() for index in masks.unique()]).mean()
    assert float(pixel_loss("balanced_ce")(logits, masks)) == pytest.approx(float(expected), abs=1e-6)
    weights = balanced_weights(masks.clamp(max=1), 3)
    assert weights[2] == 0
    assert float(weights[:2].mean()) == pytest.approx(1)


def test_what_is_no_loss_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--loss focal: expected ce, balanced_ce, dice_ce, lovasz"):
        pixel_loss("focal")


def test_edges_are_where_a_neighbour_is_of_another_class() -> None:
    masks = torch.zeros(1, 9, 9, dtype=torch.int64)
    masks[0, 2:7, :5], masks[0, 2:7, 5:] = 1, 2  # both reach the picture's rim, which is no edge
    expected = torch.zeros_like(masks)
    for row in range(9):
        for column in range(9):
            around = masks[0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            expected[0, row, column] = masks[0, row, column] if around.unique().numel() > 1 else 0
    assert torch.equal(edges_of(masks), expected)
    assert edges_of(masks)[0, 4].tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0]


def test_edges_take_their_share_of_the_loss() -> None:
    logits, masks = some()
    edges, other = some(seed=1)[0], some(seed=2)[0]
    of_edges = functional.cross_entropy(edges, edges_of(masks))
    expected = 0.7 * functional.cross_entropy(logits, masks) + 0.3 * of_edges
    assert torch.allclose(pixel_loss("ce")(torch.stack((logits, edges), 1), masks), expected)
    three = torch.stack((logits, other, edges), 1)
    expected += 0.7 * 0.4 * functional.cross_entropy(other, masks)
    assert torch.allclose(pixel_loss("ce", 0.4)(three, masks), expected)
    two = torch.stack((logits, other), 1)
    expected = functional.cross_entropy(logits, masks) + 0.4 * functional.cross_entropy(other, masks)
    assert torch.allclose(pixel_loss("ce", 0.4)(two, masks), expected)
