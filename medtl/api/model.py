"""``medtl.build`` and ``medtl.load_weights``."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from medtl.api.origin import Origin, fingerprint, is_unchanged, origin_of, remember
from medtl.datalist import REGRESSION, SURVIVAL, DataList, spread
from medtl.errors import MedtlError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.regression_head import centre
from medtl.weights import starts
from medtl.weights.load import LoadReport, load_pretrained
from medtl.weights.sources import SOURCES

USUAL_SIZE, SAMPLE_SIZE = 224, 64  # pixels, as in the recipe of bundles/folder


def build(
    name: str,
    data: DataList | None = None,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    image_size: int | None = None,
    init: str | Path = "random",
    seed: int = 0,
) -> nn.Module:
    """Return a network with its start: images (n, in_channels, image_size, image_size) to logits (n, num_classes), or
    with the data list of a regression to numbers (n, 1).

    It remembers how it was made, so that ``medtl.fit`` can make it again. The weights that the start does not fill are
    those that a run with the same seed begins with; the random numbers of the caller are not touched.

    Args:
        name: of a backbone, such as resnet18, timm/NAME or torchvision/NAME (``medtl list`` has them).
        data: a data list, which says how many classes there are.
        num_classes: at least 1; instead of ``data``.
        in_channels: of the images; grey ones are repeated to 3.
        image_size: in pixels; by default 224, and 64 for the built-in sample.
        init: random, imagenet, mini …, or the path of a weight file, a bundle, its zip or a run.
        seed: of the weights that the start does not fill.

    Raises:
        UsageError: an argument is none of these (with a suggestion), or the start is not found (with where it was
            looked for and how to get it).
        MedtlError: the start's weights do not fit; says what and how much.
    """
    if (data is None) == (num_classes is None):
        raise UsageError("medtl.build: expected a data list or num_classes=N, one of the two")
    if data is not None and data.task == "segmentation":
        raise UsageError(
            f"medtl.build makes networks of whole pictures; the data list {data.name!r} is for segmentation"
        )
    if data is not None and data.task == SURVIVAL:
        raise UsageError(
            f"medtl.build makes networks of pictures; {data.name!r} is of a survival, which bundles/survival trains"
        )
    size = image_size or (SAMPLE_SIZE if data is not None and data.sample else USUAL_SIZE)
    start = starts.resolve(str(init), name, option="init")
    classes = data.classes if data is not None else ()
    made = Origin(name, num_classes or len(classes), in_channels, size, _lasting(init), seed, classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build_classifier(name, made.num_classes, in_channels, size)
    starts.apply(network, start, name)
    if data is not None and data.task == REGRESSION:
        centre(network, name, *spread(data))
    remember(network, replace(made, fingerprint=fingerprint(network)))
    return network


def load_weights(network: nn.Module, path: str | Path) -> LoadReport:
    """Fill a network's trunk with the weights of a file, all of them or none; the head keeps its own.

    A network that was not changed since ``medtl.build`` is then as if it had been built with ``init=path``.

    Args:
        network: what ``medtl.build`` returned; filled in place.
        path: a ``.pt`` or ``.safetensors`` file of any known naming, a bundle, its zip, or a run.

    Returns:
        What became of each tensor; ``print`` shows it in a line.

    Raises:
        UsageError: no such file, or ``medtl.build`` has not made the network.
        MedtlError: the file is damaged, or does not fill the whole trunk; says what and how much.
    """
    made = origin_of(network, "medtl.load_weights")
    start = starts.resolve(str(path), made.backbone, option="load_weights")
    if start.path is None:
        raise MedtlError(f"load_weights {path}: expected a file, a bundle, its zip or a run")
    as_made = is_unchanged(network)
    report = load_pretrained(network, start.path, made.backbone, option="load_weights", bgr=start.bgr)
    if as_made:
        remember(network, replace(made, init=_lasting(path), fingerprint=fingerprint(network)))
    return replace(report, normalization=start.assumed)


def _lasting(init: str | Path) -> str:
    """A start's word as it is, a path so that it holds in another working directory."""
    return str(init) if str(init) in SOURCES.names() else str(Path(init).expanduser().absolute())
