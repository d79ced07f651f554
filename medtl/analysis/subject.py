"""A network that is looked into, by a run, a bundle, a weight file, or a word of ``--init`` with a backbone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medtl.errors import UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.pretraining.network import as_map
from medtl.runs.trained import beside
from medtl.weights import starts
from medtl.weights.starts import Start

Activations = dict[str, NDArray[np.float32]]
CLASSES = 2  # of a head that nobody looks at


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and how pictures are shown to it.

    Attributes:
        name: as it was asked for, without the folders before it.
        backbone: its name.
        network: in evaluation mode.
        start: of its weights.
    """

    name: str
    backbone: str
    network: nn.Module
    start: Start


def subject(word: str, backbone: str | None, image_size: int, seed: int = 0) -> Subject:
    """Return a network with its weights.

    Args:
        word: a run, a bundle or its zip, a weight file, or a word of ``--init``.
        backbone: needed for words and weight files; None for what the run or the bundle says.
        image_size: in pixels.
        seed: of random weights.

    Raises:
        UsageError: there is no such thing, or nobody says which network it is.
        MedtlError: the weights cannot be read or do not fit.
    """
    own = _said(word)
    if own and backbone and own != backbone:
        raise UsageError(f"--backbone {backbone}: {word} is of {own}")
    found = own or backbone
    if found is None:
        raise UsageError(f"{word}: nothing beside it says which network it is; name it by --backbone")
    start = starts.resolve(word, found, option="analyse")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_classifier(found, CLASSES, image_size=image_size)
    if start.path is not None:
        starts.apply(network, start, found)
    return Subject(name_of(word, start), found, network.eval(), start)


def name_of(word: str, start: Start) -> str:
    """Return a word as it was asked for, of a path the last part."""
    return Path(word).name if start.path is not None and start.init == str(start.path) else word


def told_apart(names: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return different names for networks: with the folder that a file lies in, or a number, where two are alike.

    Args:
        names: of the networks.
        words: by which they were asked for, in the same order.
    """
    often = Counter(names)
    first = [
        f"{Path(word).expanduser().resolve().parent.name}/{name}"
        if often[name] > 1 and Path(word).expanduser().exists()
        else name
        for name, word in zip(names, words, strict=True)
    ]
    again = Counter(first)
    return [name if again[name] == 1 else f"{name} {place}" for place, name in enumerate(first, 1)]


def _said(word: str) -> str | None:
    """The backbone that a run or a bundle records; None where nothing does."""
    path = Path(word).expanduser()
    if not path.exists():
        return None
    return beside(str(path / "model.pt" if (path / "run.json").is_file() else path)).backbone


def stages(of: Subject, pixels: NDArray[np.uint8], batch: int = 32) -> Activations:
    """Return what each stage of a network gives pictures: name to (n, channels, rows, columns), float32, shallow to
    deep.

    Args:
        of: the network.
        pixels: (n, 3, image_size, image_size), uint8.
        batch: pictures at a time.
    """
    names = backbone_of(of.backbone).stages
    taken: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}

    def keeper(name: str) -> object:
        def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            taken[name].append(as_map(output).float().numpy())

        return keep

    mean, std = (torch.tensor(each)[:, None, None] for each in (of.start.mean, of.start.std))
    handles = [of.network.get_submodule(name).register_forward_hook(keeper(name)) for name in names]  # type: ignore[arg-type]
    try:
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch])).float() / 255
                of.network((part - mean) / std)
    finally:
        for handle in handles:
            handle.remove()
    return {name: np.concatenate(found) for name, found in taken.items()}
