"""LIDC-IDRI nodules: masks from the radiologists' outlines, marks joined into nodules, unresampled crops.

The rules come from the collection's own description (Armato et al., Medical Physics 38:915, 2011, and the readme of the
XML files): nodules of 3 mm or more are outlined on every slice by up to four readers who are not named and whose marks
are not linked; smaller ones have one point and no characteristics; the outline runs just outside the nodule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.draw import line

from medtl.readers.dicom import Series, SliceHeader
from medtl.readers.lidc_xml import Annotation, Contour, Mark, read_xml

__all__ = [
    "Annotation",
    "Box",
    "Contour",
    "Mark",
    "Nodule",
    "Patch",
    "contour_mask",
    "crop",
    "join_marks",
    "mark_masks",
    "missing_slices",
    "read_xml",
    "slices",
    "unique_positions",
]

Box = tuple[int, int, int, int]

SAME_POSITION = 1e-3  # mm


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask as its bounding box and what lies in it; the first and last row and column are never empty."""

    box: Box
    inside: NDArray[np.bool_] = field(repr=False)
    z: float


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule: the union of the marks that belong together.

    Attributes:
        readers: how many distinct readers marked it (1–4).
        patches: slice (SOP UID) → union mask, in increasing z; slices with nothing inside the outlines are absent.
        shape: (rows, columns) of the slices.
    """

    readers: int
    patches: Mapping[str, Patch] = field(repr=False)
    shape: tuple[int, int]

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Return the full-size (rows, columns) union mask of every slice."""
        return {uid: self.mask(uid) for uid in self.patches}

    def mask(self, sop_uid: str) -> NDArray[np.bool_]:
        """Return (rows, columns) union mask of one slice."""
        full = np.zeros(self.shape, bool)
        row0, column0, row1, column1 = self.box(sop_uid)
        full[row0:row1, column0:column1] = self.patches[sop_uid].inside
        return full

    def areas(self) -> dict[str, int]:
        """Return the pixels of the union mask on every slice, in increasing z."""
        return {uid: int(patch.inside.sum()) for uid, patch in self.patches.items()}

    def box(self, sop_uid: str) -> Box:
        """Return the bounding box of the union mask: (row0, column0, row1, column1), half-open."""
        return self.patches[sop_uid].box

    def z(self, sop_uid: str) -> float:
        """Return the position of the slice in mm, as the XML gives it."""
        return self.patches[sop_uid].z


def contour_mask(points: NDArray[np.int64], shape: tuple[int, int], *, outline: bool = False) -> NDArray[np.bool_]:
    """Return what a closed outline encloses.

    The outline consists of the points and the straight (Bresenham) pixel lines between consecutive ones. It runs just
    outside the nodule, so it is left out unless ``outline`` asks for it; where it crosses itself, even-odd counts.

    Args:
        points: (n, 2) integer (x, y); parts outside the picture are cut off.
        shape: (rows, columns).

    Returns:
        (rows, columns) bool; without ``outline`` empty for fewer than three points.
    """
    x, y = np.asarray(points, np.int64).reshape(-1, 2).T
    mask = _enclosed(x, y, shape)
    rows, columns = _outline(x, y)
    seen = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    mask[rows[seen], columns[seen]] = outline
    return mask


def _outline(x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns of the outline's pixels: the points, and lines where two consecutive ones are no
    neighbours."""
    before_x, before_y = np.roll(x, 1), np.roll(y, 1)  # the last point closes the outline
    apart = np.flatnonzero(np.maximum(np.abs(x - before_x), np.abs(y - before_y)) > 1)
    lines = [line(int(before_y[k]), int(before_x[k]), int(y[k]), int(x[k])) for k in apart]
    return np.concatenate([y, *(rows for rows, _ in lines)]), np.concatenate([x, *(columns for _, columns in lines)])


def _enclosed(x: NDArray[np.int64], y: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the even-odd inside of a polygon; pixels that lie on its edges may count as either.

    A pixel is inside if an odd number of edges cross its row on its left; an edge crosses the rows from its upper end
    (included) to its lower one (excluded), so that a corner counts once.
    """
    from_x, from_y, to_x, to_y = np.roll(x, 1), np.roll(y, 1), x, y
    top, bottom = np.minimum(from_y, to_y).clip(0, shape[0]), np.maximum(from_y, to_y).clip(0, shape[0])
    edge = np.repeat(np.arange(len(x)), bottom - top)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(bottom - top) - (bottom - top), bottom - top) + top[edge]
    rise = (row - from_y[edge]) * (to_x - from_x)[edge]
    first = (from_x[edge] + rise // (to_y - from_y)[edge] + 1).clip(0, shape[1])  # pixel on the right of the crossing
    crossings = np.bincount(row * (shape[1] + 1) + first, minlength=shape[0] * (shape[1] + 1))
    return (np.cumsum(crossings.reshape(shape[0], shape[1] + 1)[:, :-1], axis=1) % 2).astype(bool)


def mark_masks(mark: Mark, shape: tuple[int, int]) -> dict[str, Patch]:
    """Return one reader's mask on every slice (SOP UID) where anything lies inside, in increasing z.

    Included regions are united first, then excluded ones are taken away together with their outline: no point of any
    outline lies in the nodule.
    """
    # Drawn in the smallest frame that holds all outlines: a nodule takes up a thousandth of its slice.
    points = np.concatenate([contour.points for contour in mark.contours])
    left, top = points.min(axis=0).clip(0, (shape[1], shape[0]))
    right, bottom = (points.max(axis=0) + 1).clip((left, top), (shape[1], shape[0]))
    frame = (int(bottom - top), int(right - left))
    full: dict[str, NDArray[np.bool_]] = {}
    z = {contour.sop_uid: contour.z for contour in mark.contours}
    for contour in sorted(mark.contours, key=lambda one: not one.inclusion):
        mask = full.setdefault(contour.sop_uid, np.zeros(frame, bool))
        if contour.inclusion:
            mask |= contour_mask(contour.points - (left, top), frame)
        else:
            mask &= ~contour_mask(contour.points - (left, top), frame, outline=True)
    uids = [uid for uid in sorted(full, key=lambda uid: (z[uid], uid)) if full[uid].any()]
    return {uid: _patch(full[uid], z[uid], int(top), int(left)) for uid in uids}


def join_marks(marks: Sequence[Mark], shape: tuple[int, int]) -> list[Nodule]:
    """Join the large marks of all readers into nodules.

    Two marks belong to one nodule if their masks share at least one voxel, or if a chain of such marks links them
    (connected components of the overlap graph). Small marks, and marks with no pixel inside, are left out.

    Args:
        shape: (rows, columns) of the slices.

    Returns:
        Nodules by their lowest z, then by row and column of the box there; the order of ``marks`` does not matter.
    """
    drawn = [(mark.reader, patches) for mark in marks if mark.is_large and (patches := mark_masks(mark, shape))]
    group = list(range(len(drawn)))
    for k in range(len(drawn)):
        for other in range(k):
            if group[k] != group[other] and _overlap(drawn[k][1], drawn[other][1]):
                old, new = group[k], group[other]
                group = [new if one == old else one for one in group]
    nodules = []
    for name in dict.fromkeys(group):
        members = [drawn[k] for k in range(len(drawn)) if group[k] == name]
        union: dict[str, Patch] = {}
        for _, patches in members:
            for uid, patch in patches.items():
                union[uid] = _unite(union[uid], patch) if uid in union else patch
        ordered = {uid: union[uid] for uid in sorted(union, key=lambda uid: (union[uid].z, uid))}
        nodules.append(Nodule(len({reader for reader, _ in members}), ordered, shape))
    return sorted(nodules, key=lambda nodule: [(patch.z, patch.box) for patch in nodule.patches.values()])


def slices(nodule: Nodule, rule: Literal["largest", "all"] = "largest") -> list[str]:
    """Return the SOP UIDs of the slices to use: the one of largest area (of equal ones the lowest z), or all, in
    increasing z."""
    areas = nodule.areas()
    if rule == "all":
        return list(areas)
    if rule == "largest":
        return [max(areas, key=lambda uid: areas[uid])]  # max keeps the first, and they are in increasing z
    raise ValueError(f"unknown slice rule {rule!r}: expected 'largest' or 'all'")


def crop(image: NDArray, box: Box, size: int = 224, fill: float = 0) -> NDArray:
    """Cut a square around a box, without resampling.

    The centre pixel is ((row0 + row1) // 2, (column0 + column1) // 2); it becomes row and column size // 2 of the crop.

    Args:
        image: (rows, columns). box: half-open. size: in pixels.
        fill: value where the square reaches beyond the picture, such as -1000 for CT.

    Returns:
        (size, size) copy of the image's type.
    """
    result = np.full((size, size), fill, image.dtype)
    top, left = (box[0] + box[2]) // 2 - size // 2, (box[1] + box[3]) // 2 - size // 2
    row0, row1 = max(top, 0), min(top + size, image.shape[0])
    column0, column1 = max(left, 0), min(left + size, image.shape[1])
    if row0 < row1 and column0 < column1:
        result[row0 - top : row1 - top, column0 - left : column1 - left] = image[row0:row1, column0:column1]
    return result


def missing_slices(marked: Annotation | Nodule, series: Series) -> tuple[float, ...]:
    """Return the positions (z in mm, ascending) of the slices that a nodule, or a large mark, names and the series
    lacks."""
    present = {header.sop_uid for header in series.headers}
    if isinstance(marked, Nodule):
        named = {uid: patch.z for uid, patch in marked.patches.items()}
    else:
        large = (mark for mark in marked.marks if mark.is_large)
        named = {contour.sop_uid: contour.z for mark in large for contour in mark.contours}
    return tuple(sorted({z for uid, z in named.items() if uid not in present}))


def unique_positions(series: Series) -> Series:
    """Return the series with one slice a position: of several, the one of the lowest instance number (none counts as
    last)."""
    kept: list[SliceHeader] = []
    for header in series.headers:  # sorted by position
        if not kept or not abs(header.offset - kept[-1].offset) <= SAME_POSITION:
            kept.append(header)
        elif _number(header) < _number(kept[-1]):
            kept[-1] = header
    return replace(series, headers=tuple(kept))


def _number(header: SliceHeader) -> float:
    return math.inf if header.instance_number is None else header.instance_number


def _overlap(one: Mapping[str, Patch], other: Mapping[str, Patch]) -> bool:
    return any(_share(patch, other[uid]) for uid, patch in one.items() if uid in other)


def _share(one: Patch, other: Patch) -> bool:
    row0, column0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    row1, column1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    if row0 >= row1 or column0 >= column1:
        return False
    parts = [
        patch.inside[row0 - patch.box[0] : row1 - patch.box[0], column0 - patch.box[1] : column1 - patch.box[1]]
        for patch in (one, other)
    ]
    return bool((parts[0] & parts[1]).any())


def _unite(one: Patch, other: Patch) -> Patch:
    boxes = np.array([one.box, other.box])
    (row0, column0), (row1, column1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    inside = np.zeros((row1 - row0, column1 - column0), bool)
    for patch in (one, other):
        top, left, bottom, right = patch.box
        inside[top - row0 : bottom - row0, left - column0 : right - column0] |= patch.inside
    return Patch((int(row0), int(column0), int(row1), int(column1)), inside, min(one.z, other.z))


def _patch(mask: NDArray[np.bool_], z: float, top: int, left: int) -> Patch:
    """Return the patch of a mask whose first pixel is row ``top`` and column ``left`` of the slice."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    row0, row1, column0, column1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Patch((top + row0, left + column0, top + row1, left + column1), mask[row0:row1, column0:column1].copy(), z)
