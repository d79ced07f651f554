"""The feature space in which sets are compared: the pooled features of a network with named weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medtl.analysis.subject import name_of
from medtl.errors import MedtlError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.weights import starts
from medtl.weights.starts import Start


@dataclass(frozen=True)
class Space:
    """A network whose features are used.

    Attributes:
        name: backbone and start in words, of a path the last part.
        start: of its weights.
        image_size: in pixels.
        seed: of random weights.
    """

    name: str
    start: Start
    image_size: int
    seed: int = 0


def space(backbone: str, init: str, image_size: int, seed: int = 0) -> Space:
    """Return a feature space by the word or path of its weights; nothing is loaded.

    Args:
        backbone: a network's name.
        init: a word of ``--init``, or a path.
        image_size: in pixels, that the network takes.
        seed: of random weights.

    Raises:
        UsageError, MedtlError: as ``starts.resolve``.
    """
    start = starts.resolve(init, backbone, option="--inits")
    return Space(f"{backbone}, {name_of(init, start)}", start, image_size, seed)


def build(of: Space) -> nn.Module:
    """Return the space's network with its weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(of.seed)
        network = build_classifier(of.start.backbone, 2, image_size=of.image_size)
    starts.apply(network, of.start, of.start.backbone)
    return network.eval()


def embed(of: Space, pixels: NDArray[np.uint8], network: nn.Module, batch: int = 32) -> NDArray[np.float64]:
    """Return the features that the network's head would see: (n, features), float64.

    Args:
        of: the space.
        pixels: (n, 3, image_size, image_size), uint8.
        network: of ``build``.
        batch: pictures at a time.

    Raises:
        MedtlError: a feature is not finite.
    """
    taken: list[torch.Tensor] = []

    def keep(head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # a head that is a convolution stands in front of the pooling
        taken.append(inputs[0].flatten(2).mean(2) if inputs[0].ndim == 4 else inputs[0])

    mean, std = (torch.tensor(each)[:, None, None] for each in (of.start.mean, of.start.std))
    handle = network.get_submodule(backbone_of(of.start.backbone).head).register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch])).float() / 255
                network((part - mean) / std)
    finally:
        handle.remove()
    found: NDArray[np.float64] = torch.cat(taken).double().numpy()
    if not np.isfinite(found).all():
        raise MedtlError(f"{of.name}: its features are not finite numbers, so nothing can be compared in them")
    return found
