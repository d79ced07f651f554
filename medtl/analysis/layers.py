"""Two networks stage by stage, beside pairs of untrained ones."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.analysis.similarity import Svcca, cka, svcca
from medtl.analysis.subject import Activations, Subject, stages, subject

POINTS = 10_000  # places of all pictures together on which SVCCA compares, the same in both networks


@dataclass(frozen=True)
class Layer:
    """One stage of two networks.

    Attributes:
        names: what the stage is called in each.
        svcca: over places of the maps as points.
        cka: debiased, over pictures.
        base_svcca, base_cka: (lowest, mean, highest) of pairs of untrained networks; empty where none were compared.
    """

    names: tuple[str, str]
    svcca: Svcca
    cka: float
    base_svcca: tuple[float, ...] = ()
    base_cka: tuple[float, ...] = ()


def compare(one: Activations, other: Activations, seed: int = 0) -> list[Layer]:
    """Return how alike two networks are, the first stage of one beside the first of the other, and so on.

    Args:
        one, other: stage to (n, channels, rows, columns), of the same n pictures.
        seed: of the places that are taken.
    """
    found = []
    for (name, mine), (other_name, theirs) in zip(one.items(), other.items(), strict=True):
        points = as_points(mine, theirs, seed)
        alike = svcca(points[0], points[1])
        flat = [each.reshape(len(each), -1).astype(np.float64) for each in (mine, theirs)]
        found.append(Layer((name, other_name), alike, cka(flat[0], flat[1])))
    return found


def as_points(
    one: NDArray[np.float32], other: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two maps (n, channels, rows, columns) as (points, channels) each: places are points where both maps have
    the same size, at most POINTS of them; else pictures are, averaged over their places.

    Args:
        one, other: of the same pictures.
        seed: of the places that are taken.
    """
    if one.shape[2:] != other.shape[2:]:
        return one.mean((2, 3), dtype=np.float64), other.mean((2, 3), dtype=np.float64)
    count = len(one) * one.shape[2] * one.shape[3]
    taken = np.random.default_rng(seed).permutation(count)[:POINTS]
    flat = [np.moveaxis(each, 1, 3).reshape(count, -1)[taken].astype(np.float64) for each in (one, other)]
    return flat[0], flat[1]


def with_base_line(
    one: Subject, other: Subject, pixels: NDArray[np.uint8], seeds: Sequence[int], image_size: int
) -> list[Layer]:
    """Return how alike two networks are, and beside it what pairs of untrained networks of the same kinds come to.

    Args:
        one, other: the networks.
        pixels: (n, 3, image_size, image_size), uint8.
        seeds: of the untrained networks, of which every two are a pair; fewer than two give no base line.
        image_size: in pixels.
    """
    layers = compare(stages(one, pixels), stages(other, pixels))
    # those of the second network's kind get seeds of their own, else a pair might be one network
    first = [stages(subject("random", one.backbone, image_size, seed), pixels) for seed in seeds]
    if one.backbone == other.backbone:
        pairs = list(itertools.combinations(first, 2))
    else:
        second = [stages(subject("random", other.backbone, image_size, seed), pixels) for seed in seeds]
        pairs = [(a, b) for k, a in enumerate(first) for m, b in enumerate(second) if k != m]
    base = [compare(a, b) for a, b in pairs]
    return [
        Layer(
            layer.names,
            layer.svcca,
            layer.cka,
            _spread([each[number].svcca.value for each in base]),
            _spread([each[number].cka for each in base]),
        )
        for number, layer in enumerate(layers)
    ]


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    return (min(values), float(np.mean(values)), max(values)) if values else ()
