"""What the methods of a sum show the network, from the loader to its forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medtl.pretraining.method import MethodSum, Pass
from medtl.transforms.batch import BatchTransform

IMAGE, LABEL, INDEX = "image", "label", "index"


@dataclass(frozen=True)
class Pictures:
    """The transform that a ``PackedLoader`` gives its batches to: the pictures and targets of each pass.

    Args:
        methods: to learn by.
        plain: normalises without any augmentation; its mean, SD, dtype, memory format and seed are the methods'.
    """

    methods: MethodSum
    plain: BatchTransform

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Return ``image``, the pictures of the first pass, and its targets by name; those of further passes behind the
        name of the method that shows them: ``jigsaw.image``, ``jigsaw.order``.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        made: dict[str, Tensor] = {}
        for number, one in enumerate(self.methods.passes):
            shown = one.shown_by.views(self.plain)(image, index, epoch)
            for name, value in (shown if isinstance(shown, Mapping) else {IMAGE: shown}).items():
                made[_prefix(number, one) + name] = self._laid_out(value)
        return made

    def _laid_out(self, value: Tensor) -> Tensor:
        if value.ndim != 4 or not self.plain.channels_last:
            return value
        return value.contiguous(memory_format=torch.channels_last)


def of_pass(batch: Mapping[str, Tensor], number: int, one: Pass) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the pictures and the targets of one pass.

    Args:
        batch: what ``Pictures`` made.
        number: of the pass, from 0.
        one: the pass.
    """
    prefix = _prefix(number, one)
    own = {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}
    if not prefix:
        own = {name: value for name, value in own.items() if "." not in name}
    return own.pop(IMAGE), own


def _prefix(number: int, one: Pass) -> str:
    return f"{one.shown_by.name}." if number else ""


def prepare(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False, **options: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """Return (pictures and targets, labels) of a loader's batch: a trainer's ``prepare_batch``."""
    moved = {name: value.to(device, non_blocking=non_blocking, **options) for name, value in batch.items()}
    label = moved.pop(LABEL)
    moved.pop(INDEX, None)
    return moved, label
