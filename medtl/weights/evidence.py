"""Which normalisation of the input weights were trained with, by their own first batch norm and pictures at hand.

A batch norm's running statistics are those of what the first convolution gave on the training images. On pictures of a
like kind it gives the same only where they are normalised the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD

MOST = 64  # pictures
DECIDES = 2.0  # times as far the second best must be
WARNS = 3.0  # times as far a stated normalisation must be before it is doubted
EXPLAINS = 0.5  # divergence up to which a candidate explains the statistics; above, the pictures are of another kind
SIZE = 64  # pixels a side: medical pictures are smoother than photographs, shrunk ones less so
CAFFE = (0.406, 0.456, 0.485)
# a first convolution and the norm behind it, in the words of the libraries
PAIRS = (
    ("conv1", "bn1"),
    ("features.conv0", "features.norm0"),
    ("conv_stem", "bn1"),
    ("_conv_stem", "_bn0"),
    ("stem.conv", "stem.bn"),
    ("features.0.0", "features.0.1"),
    ("features.0", "features.1"),
    ("conv1.0", "conv1.1"),
    ("stem.0", "stem.1"),
    ("embedder.convolution", "embedder.normalization"),
    ("Conv2d_1a_3x3.conv", "Conv2d_1a_3x3.bn"),
    ("conv1_conv", "conv1_bn"),
    ("conv2d", "batch_normalization"),
    ("0", "1"),
)


@dataclass(frozen=True)
class Candidate:
    """One way to normalise values 0..1.

    Attributes:
        name: in words.
        mean, std: of red, green, blue, or in the order that ``bgr`` says.
        bgr: channels are put in the order blue, green, red first.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False


CANDIDATES = (
    Candidate("ImageNet", IMAGENET_MEAN, IMAGENET_STD),
    Candidate("CLIP", (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)),
    Candidate("CXR (0.5056, 0.252)", (0.5056,) * 3, (0.252,) * 3),
    Candidate("0.5/0.5", (0.5,) * 3, (0.5,) * 3),
    Candidate("0..1", (0.0,) * 3, (1.0,) * 3),
    Candidate("0..255", (0.0,) * 3, (1 / 255,) * 3),
    Candidate("caffe BGR", CAFFE, (1 / 255,) * 3, bgr=True),
    Candidate("torchxrayvision (-1024..1024)", (0.5,) * 3, (1 / 2048,) * 3),
)
ALIKE = tuple(candidate.name for candidate in CANDIDATES[:3])  # too near to each other to matter, or to be told apart
CANNOT = "cannot tell"


@dataclass(frozen=True)
class FirstLayers:
    """A first convolution and the running statistics of the batch norm behind it.

    Attributes:
        weight: (n, channels, rows, columns).
        bias: (n,).
        mean, variance: (n,).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor


@dataclass(frozen=True)
class Evidence:
    """What the first layers say.

    Attributes:
        verdict: a candidate's name, "near ImageNet" for one of those that are like it, or "cannot tell".
        reason: why it cannot be told; empty where it can.
        ranked: (candidate's name, its divergence), best first.
    """

    verdict: str
    reason: str
    ranked: tuple[tuple[str, float], ...] = ()


def first_layers(state: Mapping[str, torch.Tensor]) -> FirstLayers | None:
    """Return the first convolution and the batch norm behind it; None where a network has none, or hides them."""
    for name, weight in state.items():
        if weight.ndim != 4 or weight.shape[1] not in (1, 3) or min(weight.shape[2:]) < 2:
            continue
        module = name.rpartition(".")[0]
        for convolution, norm in PAIRS:
            if module == convolution or module.endswith(f".{convolution}"):
                behind = module.removesuffix(convolution) + norm
                found = [state.get(f"{behind}.running_{part}") for part in ("mean", "var")]
                if all(part is not None and part.shape == weight.shape[:1] for part in found):
                    bias = state.get(f"{module}.bias", torch.zeros(len(weight)))
                    mean, variance = (part.float() for part in found if part is not None)
                    return FirstLayers(weight.float(), bias.float(), mean, variance)
    return None


@torch.no_grad()
def divergence(layers: FirstLayers, pictures: torch.Tensor, candidate: Candidate) -> float:
    """Return the median over channels of the symmetrised Kullback-Leibler divergence of two normal distributions: what
    the convolution gives on the pictures, and what the batch norm has seen.

    Args:
        layers: of the network.
        pictures: (n, 3, rows, columns), values 0..1, red, green, blue.
        candidate: how they are normalised.
    """
    seen = pictures.flip(1) if candidate.bgr else pictures
    mean, std = (
        torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (candidate.mean, candidate.std)
    )
    normalised = (seen - mean) / std
    if layers.weight.shape[1] == 1:
        normalised = normalised.mean(dim=1, keepdim=True)
    answers = functional.conv2d(normalised, layers.weight, layers.bias, stride=2)
    here, spread = answers.mean((0, 2, 3)), answers.var((0, 2, 3)).clamp_min(1e-12)
    there, other = layers.mean, layers.variance
    alive = other > 1e-4 * other.max()  # the spread of a dead filter says nothing
    gap = (here - there).square()
    both = 0.5 * ((spread + gap) / other + (other + gap) / spread - 2)
    return float(both[alive].median())


def weigh(state: Mapping[str, torch.Tensor], pictures: torch.Tensor) -> Evidence:
    """Return which candidate explains a network's first batch norm best.

    Args:
        state: its tensors, under any library's names.
        pictures: (n, 3, rows, columns), values 0..1; those of a kind like the training images tell most.
    """
    layers = first_layers(state)
    if layers is None:
        return Evidence(CANNOT, "no batch norm stands behind its first convolution")
    if not layers.mean.any() and bool((layers.variance == 1).all()):
        return Evidence(CANNOT, "its first batch norm has never seen an image")
    found = sorted(((each.name, divergence(layers, pictures, each)) for each in CANDIDATES), key=lambda pair: pair[1])
    best, least = found[0]
    if not math.isfinite(least) or least > EXPLAINS:
        return Evidence(CANNOT, "no candidate explains the statistics on these pictures", tuple(found))
    rivals = [name for name, value in found[1:] if not value >= DECIDES * least]
    if not rivals:
        return Evidence(best, "", tuple(found))
    names = ", ".join((best, *rivals))
    if all(name in ALIKE for name in (best, *rivals)):
        return Evidence(f"near ImageNet ({names})", "", tuple(found))
    return Evidence(CANNOT, f"{names} are too close to each other on these pictures", tuple(found))


def doubt(
    state: Mapping[str, torch.Tensor], pictures: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> str:
    """Return a sentence where a stated normalisation explains a network's first batch norm far worse than another one
    does; empty where it does not, or where nothing can be told.

    Args:
        state, pictures: as of ``weigh``.
        mean, std: as stated, for values 0..1; one number stands for all channels.
    """
    layers, found = first_layers(state), weigh(state, pictures)
    if layers is None or not found.ranked or found.ranked[0][1] > EXPLAINS:
        return ""
    stated = divergence(layers, pictures, Candidate("stated", mean, std))
    best, least = found.ranked[0]
    if stated <= WARNS * least:
        return ""
    listed = [", ".join(f"{value:g}" for value in dict.fromkeys(values)) for values in (mean, std)]
    return (
        f"the weights' first batch norm does not know images of mean {listed[0]} and SD {listed[1]} (divergence"
        f" {stated:.3g}), but such as {best} gives ({least:.3g}): medtl weights look FILE --images DIR shows more"
    )


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures (n, 1 or 3, rows, columns) of values 0..255 as evidence takes them: at most 64 of them, evenly
    chosen, (m, 3, 64, 64), values 0..1."""
    chosen = pictures[:: max(1, -(-len(pictures) // MOST))][:MOST].float() / 255
    small = functional.interpolate(chosen, size=(SIZE, SIZE), mode="area")
    return small.expand(-1, 3, -1, -1)
