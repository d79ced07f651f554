"""A classifier with the heads of its pretraining methods; the heads are thrown away afterwards."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medtl.networks.classifier import head_width
from medtl.networks.registry import backbone_of
from medtl.pretraining.batches import of_pass
from medtl.pretraining.method import MethodSum, Seen, Trunk

Answers = dict[str, dict[str, Tensor]]


class WithHeads(nn.Module):
    """A classifier and, for each method of a sum, the head that answers what the method asks.

    Args:
        network: as ``build_classifier`` made it; its parameters are trained in place.
        backbone: its name.
        image_size: of the packed images, in pixels.
        methods: to learn by.
        classes: names in index order; before a slash stands the source.
    """

    sources: Tensor  # (n_classes,) of each class the number of its source

    def __init__(
        self, network: nn.Module, backbone: str, image_size: int, methods: MethodSum, classes: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.register_buffer("sources", torch.tensor(sources_of(classes), dtype=torch.int64), persistent=False)
        self.network = network
        self.methods = methods
        self._pooled = self._map = torch.empty(0)
        card = backbone_of(backbone)
        own_head = network.get_submodule(card.head)
        own_head.register_forward_pre_hook(self._keep_pooled)
        takes_map = any(part.method.takes == "map" for part in methods.parts)
        if takes_map:
            network.get_submodule(card.stages[-1]).register_forward_hook(self._keep_map)
        shape = self._map_shape(image_size) if takes_map else (0, 0, 0)
        trunk = Trunk(network, backbone, image_size, head_width(own_head), shape)
        heads = {p.method.name: p.method.head(trunk) for p in methods.parts if p.method.takes != "logits"}
        self.heads = nn.ModuleDict(heads)

    def _keep_pooled(self, head: nn.Module, inputs: tuple[Any, ...]) -> None:
        # a head that is a convolution stands in front of the pooling
        self._pooled = inputs[0].flatten(2).mean(2) if inputs[0].ndim == 4 else inputs[0]

    def _keep_map(self, stage: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._map = output

    def _map_shape(self, image_size: int) -> tuple[int, int, int]:
        with looking(self.network) as device:
            self.network(torch.zeros(1, 3, image_size, image_size, device=device))
        _, channels, rows, columns = as_map(self._map).shape
        self._pooled = self._map = torch.empty(0)
        return channels, rows, columns

    def forward(self, batch: Mapping[str, Tensor]) -> Answers:
        """Return for each method, by name, its ``answers`` and the targets that came with its pictures.

        Args:
            batch: what ``batches.Pictures`` made.
        """
        found: Answers = {}
        for number, one in enumerate(self.methods.passes):
            pictures, targets = of_pass(batch, number, one)
            taken = {"logits": self.network(pictures), "pooled": self._pooled}
            if self._map.numel():
                taken["map"] = as_map(self._map)
            for part in one.parts:
                name, given = part.method.name, taken[part.method.takes]
                if not getattr(part.method, "comparable", True):
                    targets = {**targets, "sources": self.sources}
                found[name] = {**targets, "answers": self.heads[name](given) if name in self.heads else given}
        self._pooled = self._map = torch.empty(0)
        return found


class SumOfLosses(nn.Module):
    """The weighted sum of what the methods make of their answers.

    Args:
        methods: to learn by.
    """

    def __init__(self, methods: MethodSum) -> None:
        super().__init__()
        self.methods = methods

    def forward(self, answers: Answers, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            answers: of ``WithHeads``.
            labels: (n,) class indices, or (n, n_classes) multi-hot.
        """
        losses = []
        for part in self.methods.parts:
            targets = dict(answers[part.method.name])
            seen = Seen(targets.pop("answers").float(), labels, targets)
            losses.append(part.weight * part.method.loss(seen))
        return sum(losses[1:], losses[0])


@contextlib.contextmanager
def looking(network: nn.Module) -> Iterator[torch.device]:
    """Run a network for its shapes alone: nothing in it changes. Gives its device."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield next(network.parameters()).device
    finally:
        network.train(was_training)


def sources_of(classes: Sequence[str]) -> list[int]:
    """Return the number of each class's source: what stands before the first slash of its name.

    Args:
        classes: names in index order.
    """
    names = [name.partition("/")[0] if "/" in name else "" for name in classes]
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


def as_map(output: Tensor) -> Tensor:
    """Return a stage's output on square images as a map (n, channels, rows, columns).

    Args:
        output: a map, its channels in the second or the last place; or tokens (n, 0 or more + rows × columns,
            channels), of which the last ones are the patches.
    """
    if output.ndim == 4:
        is_last = output.shape[1] == output.shape[2] != output.shape[3]
        return output.permute(0, 3, 1, 2) if is_last else output
    side = math.isqrt(output.shape[1])  # of fewer than 2 × side + 1 tokens before the patches
    return output[:, -side * side :].transpose(1, 2).reshape(len(output), -1, side, side)
