"""Drawing primitives of the phantoms: smooth masks, random fields and the deterministic writing of files.

Levels are signed distances in the units of the coordinates: negative inside a shape, positive outside.
"""

import functools
import gzip
import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float32]


def generator(*keys: int | str) -> np.random.Generator:
    """Return a random generator that depends on the keys alone: text enters by its bytes, as hash() differs between
    runs."""
    return np.random.default_rng([k if isinstance(k, int) else int.from_bytes(k.encode(), "little") for k in keys])


def soft(level: ArrayLike, edge: float) -> Array:
    """Turn a level into a mask from 1 (inside) to 0 (outside) that falls smoothly over a width of `edge`."""
    t = np.clip(0.5 - np.asarray(level, dtype=np.float32) / np.float32(edge), 0, 1)
    return t * t * (3 - 2 * t)


def blend(image: Array, mask: ArrayLike, value: ArrayLike) -> None:
    """Move `image` towards `value`, in place, as far as `mask` (0 to 1) says."""
    image += np.asarray(mask, dtype=np.float32) * (np.asarray(value, dtype=np.float32) - image)


def ellipse(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Array:
    """Return the approximate level of an ellipse; `angle` turns it, in radians."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u, v = (c * dx + s * dy) / np.float32(radii[0]), (c * dy - s * dx) / np.float32(radii[1])
    return (np.sqrt(u * u + v * v) - 1) * np.float32(min(radii))


def ellipsoid(
    xyz: Sequence[Array], centre: Sequence[float], radii: Sequence[float], flat: float = 2.0, spin: float = 0.0
) -> Array:
    """Return the approximate level of an ellipsoid.

    Args:
        xyz: the three coordinates, of any shapes that broadcast together.
        centre: its middle.
        radii: its half axes.
        flat: exponent along z; above 2 the ends are blunt, so that the cross-section keeps its area over more slices.
        spin: turn about z, in radians.
    """
    c, s = np.float32(np.cos(spin)), np.float32(np.sin(spin))
    dx, dy, dz = (a - np.float32(m) for a, m in zip(xyz, centre, strict=True))
    u, v = (c * dx + s * dy) / np.float32(radii[0]), (c * dy - s * dx) / np.float32(radii[1])
    return (np.sqrt(u * u + v * v + np.abs(dz / np.float32(radii[2])) ** np.float32(flat)) - 1) * np.float32(min(radii))


def path_distance(x: Array, y: Array, points: Sequence[tuple[float, float]]) -> Array:
    """Return the distance to a line through `points`."""
    best = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf, dtype=np.float32)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        dx, dy = np.float32(bx - ax), np.float32(by - ay)
        px, py = x - np.float32(ax), y - np.float32(ay)
        t = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, np.float32(1e-9)), 0, 1)
        np.minimum(best, (px - t * dx) ** 2 + (py - t * dy) ** 2, out=best)
    return np.sqrt(best)


def bend(points: Sequence[tuple[float, float]], pieces: int = 4) -> list[tuple[float, float]]:
    """Round the corners of a line through `points` by putting `pieces` pieces between each two."""
    at = np.arange(len(points))
    fine = np.linspace(0, len(points) - 1, pieces * (len(points) - 1) + 1)
    return [(float(x), float(y)) for x, y in PchipInterpolator(at, np.array(points))(fine)]


def curve(t: Array, knots: Sequence[tuple[float, float]]) -> Array:
    """Return a smooth function of one variable through (t, value) knots, without overshoot and constant beyond the
    ends."""
    return np.interp(t, *_table(tuple(knots))).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _table(knots: tuple[tuple[float, float], ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.linspace(knots[0][0], knots[-1][0], 200)
    return at, PchipInterpolator(*zip(*knots, strict=True))(at)


@functools.lru_cache(maxsize=128)
def _taps(size: int, cells: int) -> tuple[NDArray[np.intp], Array]:
    """Return the four control values, of `cells`, nearest to each of `size` positions, and their weights: two (4,
    size)."""
    at = np.linspace(0, cells - 1, size)
    near = np.floor(at).astype(np.intp) + np.arange(-1, 3)[:, None]
    weights = np.exp(-0.5 * ((at - near) / 0.55) ** 2) * ((near >= 0) & (near < cells))
    weights /= np.sqrt((weights**2).sum(axis=0))  # sums of noise keep an SD of 1
    return np.clip(near, 0, cells - 1), weights.astype(np.float32)


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> Array:
    """Return a smooth random field of mean 0 and SD 1 with about `cells` bumps along each axis."""
    field = rng.standard_normal(tuple(cells), dtype=np.float32)
    # The first axis comes last, as whole rows are quick to gather when the field is large. No matrix product does this:
    # its last bits would depend on the number of threads.
    for axis in reversed(range(field.ndim)):
        near, weights = _taps(shape[axis], cells[axis])
        weights = weights.reshape([4, *(-1 if k == axis else 1 for k in range(field.ndim))])
        spread = field.take(near[0], axis) * weights[0]
        for n, w in zip(near[1:], weights[1:], strict=True):
            term = field.take(n, axis)
            term *= w
            spread += term
        field = spread
    return field


def noise(rng: np.random.Generator, shape: Sequence[int], sd: float) -> Array:
    """Return white noise."""
    return rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(sd)


def write_nifti(path: Path, array: NDArray, affine: NDArray[np.float64], level: int = 1) -> None:
    """Write a .nii.gz whose bytes depend on the voxels and the affine alone.

    nibabel puts the time and the file name into the gzip header, so the compression is done here.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=level, mtime=0))
