"""Which transverse slices of a segmented volume stand for it. Pure functions of the mask area of each slice.

The CPMID paper gives no rule, only slices a case; ``area`` with a fraction near 0.93 reproduces its brain figure.
The MONAI dictionary transforms on top of these rules are in ``medtl.transforms.dictionary``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtl.errors import UsageError

RULES = "area:FRACTION, largest:K, stride:N or all"


def slice_areas(mask: NDArray, axis: int = -1) -> NDArray[np.int64]:
    """Return the foreground pixels of each slice.

    Args:
        mask: 3-D label volume; anything above 0 is foreground.
        axis: the slice axis, last by default.

    Returns:
        (n_slices,) counts.
    """
    slices = np.moveaxis(mask, axis, 0)
    foreground = slices if slices.dtype.kind in "bu" else slices > 0
    if abs(foreground.strides[0]) == max(map(abs, foreground.strides), default=0):
        # each slice lies in one piece, where counting is ten times faster than summing along axes
        return np.array([np.count_nonzero(one) for one in foreground], dtype=np.int64)
    return np.count_nonzero(foreground, axis=tuple(range(1, mask.ndim))).astype(np.int64)


def by_area(areas: ArrayLike, fraction: float) -> NDArray[np.int64]:
    """Return the slices of at least ``fraction`` (0 < fraction <= 1) of the largest area. Ascending indices."""
    if not 0 < fraction <= 1:
        raise UsageError(f"key-slice rule area:{fraction}: the fraction must be above 0 and at most 1")
    a = np.asarray(areas)
    # the tolerance keeps fraction * max == area from being lost to rounding, e.g. 0.93 * 100
    return np.flatnonzero((a > 0) & (a >= fraction * a.max(initial=0) * (1 - 1e-12)))


def largest(areas: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return the ``k`` slices of largest area; of equal areas the lower index. Ascending indices, fewer where fewer
    have foreground."""
    if k < 1:
        raise UsageError(f"key-slice rule largest:{k}: at least 1 slice is needed")
    a = np.asarray(areas)
    order = np.argsort(-a, kind="stable")[:k]
    return np.sort(order[a[order] > 0])


def by_stride(areas: ArrayLike, n: int) -> NDArray[np.int64]:
    """Return every ``n``-th of the slices with foreground, from the first on. Ascending indices."""
    if n < 1:
        raise UsageError(f"key-slice rule stride:{n}: the stride must be at least 1")
    return np.flatnonzero(np.asarray(areas) > 0)[::n]


def all_foreground(areas: ArrayLike) -> NDArray[np.int64]:
    """Return every slice with foreground. Ascending indices."""
    return np.flatnonzero(np.asarray(areas) > 0)


def select(areas: ArrayLike, rule: str) -> NDArray[np.int64]:
    """Apply a rule by its name: ``area:0.93``, ``largest:5``, ``stride:2`` or ``all``.

    Raises:
        UsageError: the rule is none of these.
    """
    name, _, value = rule.partition(":")
    try:
        if name == "area":
            return by_area(areas, float(value))
        if name == "largest":
            return largest(areas, int(value))
        if name == "stride":
            return by_stride(areas, int(value))
        if rule == "all":
            return all_foreground(areas)
    except ValueError:
        pass
    raise UsageError(f"key-slice rule {rule!r} is not one of {RULES}")


def stack_slices(slices: Sequence[NDArray], indices: Sequence[int], depth: int, fill: float = 0) -> NDArray:
    """Put 2-D results back where their slices came from: the inverse of taking slices along the last axis.

    Args:
        slices: arrays (..., x, y), one an index.
        indices: slice index of each within the volume.
        depth: number of slices of the volume.
        fill: value of the slices that were not taken.

    Returns:
        (..., x, y, depth).
    """
    first = np.asarray(slices[0])
    volume = np.full((*first.shape, depth), fill, dtype=first.dtype)
    for array, index in zip(slices, indices, strict=True):
        volume[..., index] = array
    return volume
