"""Cross-entropy over any number of pictures of each image, with one label or several."""

import math

import pytest
import torch

from medtl.errors import UsageError
from medtl.pretraining.method import Seen
from medtl.pretraining.supervised import Supervised
from medtl.transforms.batch import BatchTransform, normalisation


def test_cross_entropy_of_every_picture_of_an_image_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.5], [1.0, 3.0]])  # images 0, 1, then other views of 0, 1
    labels = torch.tensor([1, 0])
    expected = 0.0
    for row, label in zip(logits.tolist(), (1, 0, 1, 0), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(map(math.exp, row))) / 4
    assert Supervised().loss(Seen(logits, labels, {})).item() == pytest.approx(expected, rel=1e-6)


def test_several_labels_an_image_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0], [2.0, 0.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    for smoothing in (0.0, 0.2):
        expected = 0.0
        for row, wanted in zip(logits.tolist(), labels.tolist(), strict=True):
            for logit, target in zip(row, wanted, strict=True):
                soft = target * (1 - smoothing) + smoothing / 2
                share = 1 / (1 + math.exp(-logit))
                expected -= (soft * math.log(share) + (1 - soft) * math.log(1 - share)) / 6
        found = Supervised(label_smoothing=smoothing).loss(Seen(logits, labels, {}))
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_alone_it_shows_one_picture_as_the_fine_tune_bundles_do() -> None:
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = Supervised().views(normalisation(seed=4))(images, torch.arange(3), 2)
    assert torch.equal(shown, BatchTransform(seed=4)(images, torch.arange(3), 2))


def test_a_smoothing_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="label_smoothing 1"):
        Supervised(label_smoothing=1)


def test_a_head_a_source_by_hand() -> None:
    """The softmax goes over the classes of the label's own source; logits of other sources do not matter."""
    logits = torch.tensor([[0.0, 1.0, -2.0, 5.0], [2.0, 0.0, 1.0, -1.0]])
    labels, sources = torch.tensor([0, 2]), torch.tensor([0, 0, 1, 1])
    for smoothing in (0.0, 0.2):
        expected = 0.0
        for row, own, label in zip(logits.tolist(), ([0, 1], [2, 3]), (0, 2), strict=True):
            total = math.log(sum(math.exp(row[k]) for k in own))
            expected += (1 - smoothing) * (total - row[label]) / 2 + smoothing * sum(total - row[k] for k in own) / 4
        method = Supervised(label_smoothing=smoothing, heads="source")
        assert method.loss(Seen(logits, labels, {"sources": sources})).item() == pytest.approx(expected, rel=1e-6)
    changed = logits.clone().requires_grad_()
    Supervised(heads="source").loss(Seen(changed, labels, {"sources": sources})).backward()
    assert changed.grad is not None
    assert changed.grad[0, 2:].tolist() == changed.grad[1, :2].tolist() == [0, 0]


def test_heads_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="heads"):
        Supervised(heads="both")
