"""Pictures and masks move together."""

import pytest
import torch

from medtl.errors import UsageError
from medtl.transforms.batch import BatchTransform, normalisation
from medtl.transforms.joint import JointTransform

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def test_a_mask_follows_its_picture() -> None:
    """A picture that shows its own mask still does after every motion, up to the half-covered pixels of its edge."""
    mask = torch.zeros(16, 64, 64, dtype=torch.uint8)
    for number in range(16):
        mask[number, 10 + number : 40, 20 : 30 + number] = 1
    images = BatchTransform(flip=0.5, rotate=0.4, scale=0.2, translate=0.1, crop=0.7, seed=3, **PLAIN)
    joint = JointTransform(images)
    picture, moved = joint(mask[:, None] * 255, mask, torch.arange(16), epoch=2)
    assert moved.dtype == torch.int64
    assert set(moved.unique().tolist()) == {0, 1}
    inside, outside = picture[:, 0] > 0.999, picture[:, 0] < 0.001
    assert (moved[inside] == 1).all()
    assert (moved[outside] == 0).all()
    assert (inside | outside).float().mean() > 0.9
    assert not torch.equal(moved, mask.long())
    assert not torch.equal(moved, joint.moved(mask, torch.arange(16), 3))


def test_grey_changes_leave_masks_alone() -> None:
    mask = torch.randint(0, 5, (4, 32, 32), dtype=torch.uint8)
    still = BatchTransform(flip=0, rotate=0, scale=0, translate=0, gamma=0.5, noise=0.1, contrast=0.3, **PLAIN)
    for images in (still, normalisation(**PLAIN)):
        _, moved = JointTransform(images)(torch.zeros(4, 1, 32, 32, dtype=torch.uint8), mask, torch.arange(4))
        assert torch.equal(moved, mask.long())


def test_erasing_is_refused() -> None:
    with pytest.raises(UsageError, match="erase"):
        JointTransform(BatchTransform(erase=0.5))
