"""A frozen trunk that sees each picture once: what it gave the head is remembered, and the head alone computes again.

For runs in which no part of the trunk trains and no picture changes from epoch to epoch. The result is that of the
whole network, only sooner.
"""

import copy
import hashlib
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn

from medtl.networks.registry import backbone_of

TOGETHER = 16  # pictures of a forward pass, filled up with blank ones: so a picture's bits depend on no other picture


class RememberedTrunk(SimpleInferer):
    """Gives a network's logits for pictures, whose features it computes when it first sees them.

    A network is run as it is where that is not the same: its head is not the last thing that computes, or something
    before the head is random in training, such as the dropout in VGG's classifier.

    Args:
        backbone: its name.

    Attributes:
        features: what the head is given (width,) for each picture, by the hash of its pixels.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.head = backbone_of(backbone).head
        self.features: dict[bytes, Tensor] = {}
        self._is_same: bool | None = None  # not known before the first picture

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits (n, n_classes) of pictures (n, channels, rows, columns)."""
        if self._is_same is None:
            self._is_same = self._tried(_filled(inputs[:TOGETHER]), network)
        if not self._is_same:
            logits: Tensor = network(inputs, *args, **kwargs)
            return logits
        keys = [_key(image) for image in inputs]
        unknown = [place for place, key in enumerate(keys) if key not in self.features]
        for start in range(0, len(unknown), TOGETHER):
            places = unknown[start : start + TOGETHER]
            (found,), _ = self._seen(_filled(inputs[places]), network, training=False)
            self.features |= {keys[place]: found[number].clone() for number, place in enumerate(places)}
        return self._head(network)(torch.stack([self.features[key] for key in keys]))

    def _head(self, network: nn.Module) -> Any:
        return network.get_submodule(self.head)

    def _tried(self, images: Tensor, network: nn.Module) -> bool:
        """Whether the head is given the same in training, and its answer is the network's; tried on a copy, whose
        running statistics nobody needs."""
        copied = copy.deepcopy(network)
        given, logits = self._seen(images, copied, training=False)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            in_training, _ = self._seen(images, copied, training=True)
            if len(given) != 1 or given[0].ndim != 2 or not torch.equal(given[0], in_training[0]):
                return False
            return torch.equal(self._head(copied).eval()(given[0]), logits)

    def _seen(self, images: Tensor, network: nn.Module, training: bool) -> tuple[list[Tensor], Tensor]:
        """What the head is given for pictures, and the logits; without training nothing random is drawn."""
        seen: list[Tensor] = []
        handle = self._head(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        was_training = network.training
        try:
            with torch.no_grad():
                return seen, network.train(training)(images)
        finally:
            handle.remove()
            network.train(was_training)


def _filled(images: Tensor) -> Tensor:
    """``TOGETHER`` pictures, blank ones behind those that are given, in their memory format."""
    last = images.is_contiguous(memory_format=torch.channels_last)
    filled = images.new_zeros((TOGETHER, *images.shape[1:]))
    filled[: len(images)] = images
    return filled.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _key(image: Tensor) -> bytes:
    pixels = image.detach().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(pixels.data, digest_size=16).digest()
