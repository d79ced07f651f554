"""What a recipe of pretraining methods adds: the sum of methods, their heads and what they are shown."""

from torch import nn

from medtl import engines
from medtl.bundles import ids, loaders
from medtl.pretraining import batches
from medtl.pretraining import method as method_module
from medtl.pretraining.batches import Pictures
from medtl.pretraining.method import MethodSum
from medtl.pretraining.network import WithHeads
from medtl.transforms import batch


def methods(method: str) -> MethodSum:
    """Return the sum of pretraining methods that ``--method`` names."""
    return method_module.parse(method)


def announce_methods(methods: MethodSum) -> None:
    """Say on the first process what each method of a sum learns."""
    method_module.announce(methods)


def with_heads(network: nn.Module, methods: MethodSum) -> nn.Module:
    """Return a classifier with the heads of its pretraining methods, on ``--device``."""
    wrapped = WithHeads(network, ids.value("backbone"), ids.value("image_size"), methods)
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


method_batch = batches.prepare
