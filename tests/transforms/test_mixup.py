"""Mixup against numpy: who is blended with whom, pictures, labels and the loss."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.errors import UsageError
from medtl.transforms.batch import BatchTransform
from medtl.transforms.mixup import Mixup, running_shares

COUNT, CLASSES = 23, 3


def test_weights_follow_the_beta_distribution_and_partners_come_alike() -> None:
    partner, weight = Mixup(3, alpha=0.3).partners(torch.arange(5000), 0, running_shares(50))
    assert stats.kstest(weight.numpy(), stats.beta(0.3, 0.3).cdf).statistic < 0.03
    assert stats.chisquare(np.bincount(partner.numpy(), minlength=50)).pvalue > 1e-4


def test_partners_are_drawn_by_the_weights_of_the_images() -> None:
    weights = torch.tensor([0.0, 3.0, 1.0, 0.0, 4.0, 0.0])
    partner, _ = Mixup(3).partners(torch.arange(4000), 1, running_shares(6, weights))
    counts = np.bincount(partner.numpy(), minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    assert stats.chisquare(counts[[1, 2, 4]], [1500, 500, 2000]).pvalue > 1e-4


def test_another_epoch_or_seed_means_other_partners() -> None:
    places, shares = torch.arange(200), running_shares(200)
    first, _ = Mixup(3).partners(places, 0, shares)
    for partner in (Mixup(3).partners(places, 1, shares)[0], Mixup(3, seed=1).partners(places, 0, shares)[0]):
        assert (partner == first).double().mean() < 0.05
    assert torch.equal(Mixup(3).partners(places.flip(0), 0, shares)[0].flip(0), first)


def test_multi_hot_labels_are_blended_too() -> None:
    mixup = Mixup(3)
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    blended = mixup.blend(mixup.soft(labels), mixup.soft(labels.flip(0)), torch.tensor([0.75, 0.5]))
    assert blended.tolist() == [[0.75, 0.25, 0.75], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize("options", [{"alpha": 0}, {"alpha": -1}, {"alpha": float("inf")}, {"num_classes": 0}])
def test_parameters_that_cannot_be_are_refused(options: dict) -> None:
    with pytest.raises(UsageError):
        Mixup(**{"num_classes": 3, **options})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pictures_and_loss_are_the_mixture_computed_by_hand(precision: str) -> None:
    random = np.random.default_rng(0)
    data = Packed(
        random.integers(0, 256, (COUNT, 1, 16, 16), dtype=np.uint8), torch.from_numpy(np.arange(COUNT) % CLASSES)
    )
    transform, mixup = BatchTransform(dtype=precision, seed=5), Mixup(CLASSES, alpha=0.7, seed=5)
    plain, mixed = (PackedLoader(data, 6, True, seed=5, transform=transform, mixup=each) for each in (None, mixup))
    weights = np.array([0.5, 1.0, 2.0])
    loss = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(weights).float())
    for epoch in range(2):
        augmented = {}
        for batch in plain:
            for place, image in zip(batch["index"].tolist(), batch["image"], strict=True):
                augmented[place] = image.double().numpy()
        changed = 0
        for batch in mixed:
            assert batch["image"].dtype == getattr(torch, precision)
            partner, share = (
                found.double().numpy() for found in mixup.partners(batch["index"], epoch, running_shares(COUNT))
            )
            own, other = (np.stack([augmented[int(k)] for k in places]) for places in (batch["index"], partner))
            wanted = share[:, None, None, None] * own + (1 - share)[:, None, None, None] * other
            tolerance = 1e-5 if precision == "float32" else 0.06
            assert np.abs(batch["image"].double().numpy() - wanted).max() < tolerance
            labels = [data.labels.numpy()[places.astype(int)] for places in (batch["index"].numpy(), partner)]
            changed += int((labels[0] != labels[1]).sum())
            logits = random.normal(0, 2, (len(share), CLASSES))
            log = special.log_softmax(logits, axis=1)
            of_own, of_other = (-weights[each] * log[np.arange(len(each)), each] for each in labels)
            by_hand = (share * of_own + (1 - share) * of_other).mean()
            assert float(loss(torch.from_numpy(logits).float(), batch["label"])) == pytest.approx(by_hand, rel=1e-5)
        assert changed > COUNT / 3
