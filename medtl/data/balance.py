"""Classes of unequal size: weights for the loss, or for the draw of training images."""

import torch
from torch import Tensor

from medtl.datalist import DataList, class_counts


def loss_weights(listed: DataList, balance: str, device: str) -> Tensor | None:
    """Return the weights of the loss (n_classes,), inversely to each class's share of the training images and 1 on
    average over these images; None unless ``balance`` is "loss". Of several labels an image, of each finding's positive
    images: negative ones a positive one, so that both sides weigh the same."""
    if balance != "loss":
        return None
    counts = _counts(listed)
    if listed.task == "multilabel":
        return ((len(listed.training) - counts).clamp(min=1) / counts.clamp(min=1)).float().to(device)
    return (counts.sum() / (counts.count_nonzero() * counts.clamp(min=1))).float().to(device)


def sampling_weights(listed: DataList, balance: str) -> Tensor | None:
    """Return the chance of each training image to be drawn (n,), up to a factor, such that every class comes equally
    often on average; None unless ``balance`` is "sampling"."""
    if balance != "sampling":
        return None
    return (1 / _counts(listed).clamp(min=1))[torch.as_tensor([entry["label"] for entry in listed.training])]


def _counts(listed: DataList) -> Tensor:
    return torch.as_tensor(list(class_counts(listed, "train").values()), dtype=torch.float64)
