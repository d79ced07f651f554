"""The loss of each task of ``bundles/folder``: one class an image, any number of findings, or a number."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medtl.data import balance
from medtl.datalist import DataList, spread


def of_task(listed: DataList, balanced: str, device: str, **changes: Any) -> nn.Module:
    """Return the loss of a data list's task: cross-entropy of a classification, binary cross-entropy of each finding,
    ``NumberLoss`` of a regression.

    Args:
        listed: the data list.
        balanced: "loss" weights classes of unequal size (``medtl.data.balance``).
        device: of the weights.
        changes: arguments of the loss, such as ``label_smoothing``.
    """
    if listed.task == "regression":
        return NumberLoss(spread(listed)[1], **changes)
    weights = balance.loss_weights(listed, balanced, device)
    if listed.task == "multilabel":
        return nn.BCEWithLogitsLoss(**{"pos_weight": weights, **changes})
    return nn.CrossEntropyLoss(**{"weight": weights, **changes})


class NumberLoss(nn.Module):
    """Huber's loss of predicted numbers (n, 1) and labels (n,), in standard deviations of the labels, so that the unit
    does not matter: the square of small errors, and the distance of large ones, which a few wrong labels are.

    Args:
        scale: one standard deviation, in the unit of the labels.
        beta: error in standard deviations from which on it is the distance.
    """

    def __init__(self, scale: float, beta: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.beta = beta

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the images, a scalar."""
        off = (outputs.float()[:, 0] - labels.float()) / self.scale
        return functional.smooth_l1_loss(off, off.new_zeros(off.shape), beta=self.beta)
