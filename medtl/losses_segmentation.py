"""What a segmentation learns from: cross-entropy of pixels (plain or balanced), with Dice, or Lovász's extension of the
Jaccard index, of one head or several, of the classes and of their edges."""

import torch
from monai.losses import DiceCELoss
from torch import nn
from torch.nn import functional

from medtl.errors import UsageError

EDGE_SHARE = 0.3  # of the loss, of a decoder that finds edges: medtl's choice, as ET-Net's paper weighs two losses
LOSSES = ("ce", "balanced_ce", "dice_ce", "lovasz")


class PixelLoss(nn.Module):
    """The loss of logits (n, n_classes, rows, columns), or (n, heads, n_classes, rows, columns) of several heads: the
    classes, the auxiliary head's where it has a weight, and the edges of a decoder that finds them.

    Args:
        kind: ``ce``; ``balanced_ce``: each class of the batch counts alike, however few its pixels; ``dice_ce``: the
            sum of cross-entropy and Dice (MONAI's DiceCELoss, of the organs without the background, over the whole
            batch); ``lovasz``: ``lovasz_softmax``.
        auxiliary: weight of the auxiliary head; 0: there is none.
    """

    def __init__(self, kind: str, auxiliary: float) -> None:
        super().__init__()
        self.kind = kind
        self.auxiliary = auxiliary
        self.entropy = nn.CrossEntropyLoss()
        self.both = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch; masks (n, rows, columns), int64."""
        if logits.ndim == 4:
            return self._of_one(logits, masks)
        loss = self._of_one(logits[:, 0], masks)
        if self.auxiliary:
            loss = loss + self.auxiliary * self._of_one(logits[:, 1], masks)
        if logits.shape[1] > 1 + (self.auxiliary > 0):
            loss = (1 - EDGE_SHARE) * loss + EDGE_SHARE * self._of_one(logits[:, -1], edges_of(masks))
        return loss

    def _of_one(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        if self.kind == "ce":
            return self.entropy(logits, masks)
        if self.kind == "balanced_ce":
            return functional.cross_entropy(logits.float(), masks, weight=balanced_weights(masks, logits.shape[1]))
        if self.kind == "lovasz":
            return lovasz_softmax(logits.float(), masks)
        return self.both(logits.float(), masks[:, None])


def edges_of(masks: torch.Tensor) -> torch.Tensor:
    """Return masks (n, rows, columns) int64 of edges: a class where a pixel of it touches another one's, by a side or a
    corner, and the background elsewhere. The picture's rim is no edge."""
    values = masks[:, None].float()
    most = functional.max_pool2d(values, 3, stride=1, padding=1)
    least = -functional.max_pool2d(-values, 3, stride=1, padding=1)
    return torch.where((most != least)[:, 0], masks, torch.zeros_like(masks))


def balanced_weights(masks: torch.Tensor, count: int) -> torch.Tensor:
    """Return the weight of each class (count,), float32: its inverse share of the pixels, with mean 1 over the classes
    that are there; 0 for one that is not.

    Args:
        masks: class indices of any shape.
        count: number of classes, with the background.
    """
    pixels = torch.bincount(masks.reshape(-1), minlength=count).float()
    inverse = torch.where(pixels > 0, 1 / pixels.clamp(min=1), torch.zeros_like(pixels))
    weights: torch.Tensor = inverse * (pixels > 0).sum() / inverse.sum()
    return weights


def lovasz_softmax(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the Lovász extension of the Jaccard loss, its mean over the classes that are in the batch's masks.

    Berman, Triki, Blaschko: The Lovász-Softmax loss, CVPR 2018, equations 8 and 9 and algorithm 1.

    Args:
        logits: (n, n_classes, rows, columns).
        masks: (n, rows, columns), int64.
    """
    probability = logits.softmax(dim=1).movedim(1, 0).flatten(1)
    labels = masks.reshape(-1)
    losses = []
    for index in labels.unique().tolist():
        there = (labels == index).float()
        errors, order = (there - probability[index]).abs().sort(descending=True)
        sorted_there = there[order]
        total = sorted_there.sum()
        intersection = total - sorted_there.cumsum(0)
        union = total + (1 - sorted_there).cumsum(0)
        jaccard = 1 - intersection / union
        steps = torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))
        losses.append((errors * steps).sum())
    return torch.stack(losses).mean()


def pixel_loss(kind: str, auxiliary: float = 0.0) -> PixelLoss:
    """Return a PixelLoss, if its arguments can be.

    Raises:
        UsageError: no such loss, or a weight below 0.
    """
    if kind not in LOSSES:
        raise UsageError(f"--loss {kind}: expected {', '.join(LOSSES)}")
    check_auxiliary(auxiliary)
    return PixelLoss(kind, auxiliary)


def check_auxiliary(auxiliary: float) -> bool:
    """Return whether there is an auxiliary head: its weight in the loss is above 0.

    Raises:
        UsageError: the weight is no number of at least 0.
    """
    if isinstance(auxiliary, bool) or not isinstance(auxiliary, int | float) or not 0 <= auxiliary < float("inf"):
        raise UsageError(f"--auxiliary {auxiliary}: expected the weight of the auxiliary head's loss, 0 for none")
    return auxiliary > 0
