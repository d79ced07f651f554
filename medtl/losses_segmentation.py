"""What a segmentation learns from: cross-entropy of pixels, alone or with Dice, of one head or two."""

import torch
from monai.losses import DiceCELoss
from torch import nn

from medtl.errors import UsageError

LOSSES = ("ce", "dice_ce")


class PixelLoss(nn.Module):
    """The loss of logits (n, n_classes, rows, columns), or (n, 2, n_classes, rows, columns) of two heads.

    Args:
        kind: ``ce``, or ``dice_ce``: the sum of cross-entropy and Dice (MONAI's DiceCELoss, of the organs without the
            background, over the whole batch).
        auxiliary: weight of the second head.
    """

    def __init__(self, kind: str, auxiliary: float) -> None:
        super().__init__()
        self.kind = kind
        self.auxiliary = auxiliary
        self.entropy = nn.CrossEntropyLoss()
        self.both = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Mean over the batch; masks (n, rows, columns), int64."""
        if logits.ndim == 4:
            return self._of_one(logits, masks)
        return self._of_one(logits[:, 0], masks) + self.auxiliary * self._of_one(logits[:, 1], masks)

    def _of_one(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        if self.kind == "ce":
            return self.entropy(logits, masks)
        return self.both(logits.float(), masks[:, None])


def pixel_loss(kind: str, auxiliary: float = 0.0) -> PixelLoss:
    """A PixelLoss, if its arguments can be.

    Raises:
        UsageError: no such loss, or a weight below 0.
    """
    if kind not in LOSSES:
        raise UsageError(f"--loss {kind}: expected {' or '.join(LOSSES)}")
    check_auxiliary(auxiliary)
    return PixelLoss(kind, auxiliary)


def check_auxiliary(auxiliary: float) -> bool:
    """Whether there is an auxiliary head: its weight in the loss is above 0.

    Raises:
        UsageError: the weight is no number of at least 0.
    """
    if isinstance(auxiliary, bool) or not isinstance(auxiliary, int | float) or not 0 <= auxiliary < float("inf"):
        raise UsageError(f"--auxiliary {auxiliary}: expected the weight of the auxiliary head's loss, 0 for none")
    return auxiliary > 0
