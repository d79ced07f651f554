"""cmv and cmd (Wen et al. 2021, Rethinking pre-training on medical imaging): data sets as points that untrained
networks without non-linearity give them.

What the paper does not say is chosen here and said: ResNet-18 with its shortcuts and its max-pool (the only
non-linearity, which the paper does not exclude by name), global average pooling and two linear outputs; equal magnitude
of the three initialisations needs a division by the reference's own distance, where the paper's equation 3 multiplies.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import nn

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier

Coordinates = NDArray[np.float64]
BACKBONE = "resnet18"
OUTPUTS = 2
INITIALISATIONS: Mapping[str, Callable[[torch.Tensor], object]] = {
    "kaiming": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_normal_,
}


def affine_network(initialisation: str, seed: int, image_size: int, pool: bool = True) -> nn.Module:
    """Return an untrained ResNet-18 without norms and activations: images (n, 3, image_size, image_size) to (n, 2).

    Without its max-pool it is affine: the mean of its outputs is its output for the mean image.

    Args:
        initialisation: kaiming, orthogonal or xavier, of every convolution and of the last layer; biases are 0.
        seed: of the weights.
        image_size: in pixels.
        pool: whether the max-pool behind the first convolution is kept.

    Raises:
        UsageError: there is no such initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise UsageError(f"initialisation {initialisation!r}: expected one of {', '.join(INITIALISATIONS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_classifier(BACKBONE, OUTPUTS, image_size=image_size)
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.BatchNorm2d | nn.ReLU) or (isinstance(child, nn.MaxPool2d) and not pool):
                    setattr(module, name, nn.Identity())
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                INITIALISATIONS[initialisation](module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network.eval()


def outputs(network: nn.Module, pixels: NDArray[np.uint8], batch: int = 64) -> Coordinates:
    """Return what a network of ``affine_network`` gives pictures: (n, 2), float64.

    Args:
        network: the network.
        pixels: (n, 3, rows, columns), uint8; normalised by ImageNet's mean and SD as for the bundles.
        batch: pictures at a time.
    """
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch])).float() / 255
            found.append(network((part - mean) / std).double().numpy())
    return np.concatenate(found)


def subsets(available: int, subsets_: int, size: int, seed: int) -> NDArray[np.int64]:
    """Return which pictures make each subset: (subsets, min(size, half of available, at least 1)) places.

    Subsets are drawn apart from each other, so that small sets have subsets that overlap; half of the pictures at most,
    so that no two are the same by necessity.

    Args:
        available: pictures there are, at least 1.
        subsets_: how many.
        size: pictures in each.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    size = max(1, min(size, available // 2))
    return np.stack([generator.permutation(available)[:size] for _ in range(subsets_)])


def coordinates(of_pictures: Coordinates, chosen: NDArray[np.int64]) -> Coordinates:
    """Return each subset's mean output, its coordinates (subsets, 2).

    Args:
        of_pictures: (n, 2), of ``outputs``.
        chosen: of ``subsets``.
    """
    return np.asarray(of_pictures[chosen].mean(1))


def cmd(one: Coordinates, other: Coordinates) -> float:
    """Return the mean Euclidean distance over all pairs of a subset of one set and a subset of the other.

    Args:
        one, other: coordinates (subsets, 2).
    """
    return float(cdist(one, other).mean())


def intra_cmd(one: Coordinates) -> float:
    """Return the mean distance over all pairs of two different subsets of one set.

    Args:
        one: coordinates (subsets, 2), at least two.
    """
    pairs = cdist(one, one)
    return float(pairs.sum() / (len(one) * (len(one) - 1)))


def rescaled(of_seeds: Sequence[Mapping[str, Coordinates]], reference: str) -> NDArray[np.float64]:
    """Return the cmd of all pairs of sets under one initialisation, divided by the reference's own intra-cmd: (seeds,
    sets, sets), the sets in their order, intra-cmd on the diagonal.

    The divisor is the mean over the seeds, so that the spread over them stays visible.

    Args:
        of_seeds: for each seed the coordinates of each set.
        reference: name of the set whose distance from itself is the unit.

    Raises:
        UsageError: the reference's subsets cannot be told apart, so there is no unit.
    """
    names = list(of_seeds[0])
    raw = np.array(
        [
            [[intra_cmd(found[a]) if a == b else cmd(found[a], found[b]) for b in names] for a in names]
            for found in of_seeds
        ]
    )
    unit = raw[:, names.index(reference), names.index(reference)].mean()
    if not unit > 0:
        raise UsageError(f"--reference {reference}: its pictures are all alike, so its distance from itself is no unit")
    return np.asarray(raw / unit)
