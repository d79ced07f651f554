"""What a recipe of pretraining methods adds: the sum of methods, their heads and what they are shown."""

from collections.abc import Callable
from typing import Any

from torch import nn

from medtl import engines
from medtl.bundles import ids, loaders
from medtl.pretraining import batches
from medtl.pretraining.batches import Pictures
from medtl.pretraining.method import MethodSum
from medtl.pretraining.network import WithHeads
from medtl.transforms import batch


def with_heads(network: nn.Module, methods: MethodSum) -> nn.Module:
    """Return a classifier with the heads of its pretraining methods, on ``--device``."""
    classes = ids.value("data").classes
    wrapped = WithHeads(network, ids.value("backbone"), ids.value("image_size"), methods, classes)
    return wrapped.to(ids.value("device"))


def method_pictures(methods: MethodSum) -> Pictures:
    """Return the transform of training batches that shows each method of a sum what it asks for."""
    precision = engines.precision(ids.value("device"), ids.value("precision"))
    plain = batch.normalisation(
        dtype=engines.image_dtype(precision),
        channels_last=ids.value("channels_last"),
        seed=ids.value("seed"),
        **loaders.of_start(),
    )
    return Pictures(methods, plain)


def method_batch() -> Callable[..., Any]:
    """Return what lays a batch of several methods' pictures out for the trainer."""
    return batches.prepare
