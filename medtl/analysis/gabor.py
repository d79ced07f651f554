"""How much a filter of a first convolution looks like a Gabor function.

The definition is ours; no standard one is known to us. A filter is reduced to one plane, the one that holds most of its
energy over the input channels. Its likeness is the largest share of the plane's variance that a Gabor function (Daugman
1985) of a fixed dictionary explains by least squares, with any phase, amplitude and offset: 0 to 1. Because it is a
maximum over a dictionary, noise scores far above 0: it is read beside the same figure of random filters of that size.
"""

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError

LEAST = 5  # pixels a side: of smaller kernels a Gabor function has more freedom than they have pixels
ORIENTATIONS = 12
CYCLES = (0.75, 1.0, 1.5, 2.0, 2.5)  # over the side of the kernel
WIDTHS = (0.15, 0.22, 0.32)  # SD of the envelope, as a share of the side
CENTRES = (-0.15, 0.0, 0.15)  # from the middle, as a share of the side


def planes(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each filter as one plane (filters, side, side): the spatial part of its best rank-one approximation over
    the channels.

    Args:
        weights: (filters, channels, side, side).
    """
    flat = weights.reshape(*weights.shape[:2], -1)
    _, singular, right = np.linalg.svd(flat, full_matrices=False)
    return np.asarray((singular[:, :1] * right[:, 0]).reshape(len(weights), *weights.shape[2:]))


@functools.cache
def dictionary(side: int) -> NDArray[np.float64]:
    """Return orthonormal bases of the Gabor pairs (entries, side², 2): cosine and sine under one envelope, without
    their means, so that least squares are a projection.

    Args:
        side: of the kernels, in pixels.
    """
    axis = (np.arange(side) - (side - 1) / 2) / side
    y, x = np.meshgrid(axis, axis, indexing="ij")
    found = []
    for turn, cycles, width, dy, dx in itertools.product(range(ORIENTATIONS), CYCLES, WIDTHS, CENTRES, CENTRES):
        angle = np.pi * turn / ORIENTATIONS
        along = (x - dx) * np.cos(angle) + (y - dy) * np.sin(angle)
        envelope = np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * width**2))
        pair = np.stack([envelope * wave(2 * np.pi * cycles * along) for wave in (np.cos, np.sin)], -1).reshape(-1, 2)
        found.append(np.linalg.qr(pair - pair.mean(0))[0])
    return np.stack(found)


def likeness(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each filter's Gabor-likeness (filters,), 0 to 1; 0 for a filter that is the same everywhere.

    Args:
        weights: (filters, channels, side, side), side at least 5.

    Raises:
        UsageError: the kernels are smaller, or not square.
    """
    side = weights.shape[2]
    if side < LEAST or weights.shape[3] != side:
        raise UsageError(
            f"kernels of {side} × {weights.shape[3]} pixels: expected squares of at least {LEAST}, smaller ones do not"
            " show whether they are Gabor functions"
        )
    flat = planes(weights).reshape(len(weights), -1)
    flat = flat - flat.mean(1, keepdims=True)
    energy = np.square(flat).sum(1)
    explained = np.square(np.einsum("fp,epk->fek", flat, dictionary(side), optimize=True)).sum(2).max(1)
    return np.asarray(np.where(energy > 1e-12, explained / np.maximum(energy, 1e-12), 0.0))


def of_noise(shape: tuple[int, ...], count: int, seed: int) -> NDArray[np.float64]:
    """Return the likeness of filters of independent normal numbers (count,).

    Args:
        shape: of a filter (channels, side, side).
        count: of filters.
        seed: of the numbers.
    """
    return likeness(np.random.default_rng(seed).normal(size=(count, *shape)))
