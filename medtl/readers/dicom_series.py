"""A DICOM series: slices in order, where they lie in the patient, and whether they make up one regular grid."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.dicom_headers import SliceHeader, check_unit

SAME_POSITION = 1e-3  # mm
# A step may differ from the usual one by this fraction of it or by this many mm, whichever is more: some scanners round
# positions to a tenth of a mm, so that steps differ by 0.1.
EVEN = (0.05, 0.11)
TILT_DEGREES = 0.5
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """Slices that belong together: one SeriesInstanceUID, orientation, picture size and echo time.

    Attributes:
        modality: "CT", "MR", "DX" …, or "". echo_time: in ms, None outside MR.
        headers: the slices, sorted by position along the slice normal (without positions: by instance number).
        lost: files of this series that were rejected by ``scan``. uid: for matching only, never to be shown.
    """

    modality: str
    echo_time: float | None
    headers: tuple[SliceHeader, ...]
    lost: int = 0
    uid: str = field(default="", repr=False)

    @property
    def folder(self) -> Path:
        """Return the deepest folder that holds all files."""
        return Path(os.path.commonpath([header.path.parent for header in self.headers]))

    @property
    def affine(self) -> NDArray[np.float64]:
        """Return (4, 4) RAS+ affine in mm for array axes (column, row, slice); the slice step is the mean one
        (C.7.6.2.1.1).

        Raises:
            BadFileError: no position, orientation or pixel spacing, or fewer than two slices.
        """
        first, last = self.headers[0], self.headers[-1]
        if first.orientation is None or first.pixel_spacing is None or first.position is None or last.position is None:
            raise BadFileError("no position, orientation or pixel spacing in the header")
        if len(self.headers) < 2:
            raise BadFileError("one slice alone has no slice spacing")
        affine = np.eye(4)
        affine[:3, 0] = np.array(first.orientation[:3]) * first.pixel_spacing[1]
        affine[:3, 1] = np.array(first.orientation[3:]) * first.pixel_spacing[0]
        affine[:3, 2] = (np.array(last.position) - np.array(first.position)) / (len(self.headers) - 1)
        affine[:3, 3] = first.position
        affine[:3] = LPS_TO_RAS @ affine[:3]
        return affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Return the distance of voxel centres along (column, row, slice) in mm. Raises BadFileError as ``affine``
        does."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def check_volume(series: Series, *, allow_tilt: bool = False) -> None:
    """Raise BadFileError, with the reason, unless the slices make up one regular grid. Reads headers only.

    Refused are: colour; CT without a rescale intercept; slices without position, orientation or pixel spacing; slices
    of the series that ``scan`` rejected; fewer than three slices; two slices at one position; a missing slice or uneven
    spacing (a step that differs from the median by more than 5 % and 0.11 mm); slices shifted sideways; and, unless
    ``allow_tilt``, a stack that leans by more than 0.5° (or by a pixel in all) from the slice normal, as with a tilted
    gantry, whether or not a tag says so. Slices missing at an end, or every second one, leave a regular grid and cannot
    be noticed.
    """
    headers = series.headers
    count = len(headers)
    if any(header.samples != 1 or not header.photometric.startswith("MONOCHROME") for header in headers):
        raise BadFileError("colour picture (RGB or palette), not a volume of grey values")
    bare = [header for header in headers if None in (header.position, header.orientation, header.pixel_spacing)]
    if bare:
        raise BadFileError(
            f"not a volume: {len(bare)} of {count} slices have no position, orientation or pixel spacing"
            f" ({_names(series, bare)})"
        )
    check_unit(headers)
    if series.lost:
        raise BadFileError(f"{series.lost} of {series.lost + count} files of the series cannot be used")
    if len({header.pixel_spacing for header in headers}) > 1 and np.ptp(_spacings(headers), axis=0).max() > 1e-3:
        raise BadFileError("the pixel spacing differs between slices")
    if len({header.photometric for header in headers}) > 1:
        raise BadFileError("the photometric interpretation differs between slices")
    if count < 3:
        raise BadFileError(f"only {_slices(count)}: a volume needs at least 3")
    _check_steps(series)
    _check_line(series, allow_tilt)


def _spacings(headers: Sequence[SliceHeader]) -> NDArray[np.float64]:
    return np.array([header.pixel_spacing for header in headers])


def _names(series: Series, headers: Sequence[SliceHeader], most: int = 4) -> str:
    """Return file names relative to the series' folder; many archives name files by UID, which is masked."""
    shown = []
    for header in headers[:most]:
        name = re.sub(r"\d+(\.\d+){3,}", "<uid>", header.path.relative_to(series.folder).as_posix())
        shown.append(name if header.frame is None else f"{name} frame {header.frame + 1}")
    return ", ".join(shown) + (f" and {len(headers) - most} more" if len(headers) > most else "")


def _check_steps(series: Series) -> None:
    """Refuse two slices at one position, missing slices and uneven steps along the normal."""
    pairs = list(pairwise(series.headers))
    steps = np.array([after.offset - before.offset for before, after in pairs])
    doubled = [k for k, step in enumerate(steps) if step <= SAME_POSITION]
    if len(doubled) == len(pairs):
        raise BadFileError(
            f"not a volume: all {len(series.headers)} slices lie at one position, {series.headers[0].offset:.2f} mm"
            f" ({_names(series, series.headers)})"
        )
    if doubled:
        places = "; ".join(f"{pairs[k][0].offset:.2f} mm ({_names(series, pairs[k])})" for k in doubled[:3])
        raise BadFileError(f"{_slices(len(doubled))} too many: two at one position, at {places}{_more(len(doubled))}")
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower median: half the steps may be gaps
    odd = [k for k, step in enumerate(steps) if abs(step - usual) > min(max(EVEN[0] * usual, EVEN[1]), usual / 2)]
    if not odd:
        return
    missing = [round(steps[k] / usual) - 1 for k in odd]
    places = "; ".join(
        f"between {pairs[k][0].offset:.2f} mm and {pairs[k][1].offset:.2f} mm ({_names(series, pairs[k])})"
        for k in odd[:3]
    )
    if all(abs(steps[k] / usual - round(steps[k] / usual)) < 0.2 and steps[k] > usual for k in odd):
        raise BadFileError(f"gap: {_slices(sum(missing))} missing {places}{_more(len(odd))}")
    raise BadFileError(f"uneven spacing: {steps[odd[0]]:.2f} mm instead of {usual:.2f} mm {places}{_more(len(odd))}")


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _more(count: int, shown: int = 3) -> str:
    return f" and {count - shown} more" if count > shown else ""


def _check_line(series: Series, allow_tilt: bool) -> None:
    """Refuse a stack whose first voxels do not lie on one line along the normal, evenly."""
    positions = np.array([header.position for header in series.headers])
    pixel = min(series.headers[0].pixel_spacing or (1.0,))
    normal = series.headers[0].normal
    whole = positions[-1] - positions[0]
    drift = float(np.linalg.norm(whole - (whole @ normal) * normal))
    tilt = math.degrees(math.atan2(drift, float(whole @ normal)))
    if not allow_tilt and ((tilt > TILT_DEGREES and drift > 0.05) or drift > max(pixel, 0.05)):
        raise BadFileError(f"gantry tilt: the stack leans by {tilt:.1f}° from the slice normal ({drift:.1f} mm in all)")
    line = positions[0] + np.linspace(0, 1, len(positions))[:, None] * whole
    away = positions - line
    along = np.abs(away @ normal)
    aside = np.linalg.norm(away - (away @ normal)[:, None] * normal, axis=1)
    worst = int(aside.argmax())
    if aside[worst] > max(pixel / 2, 0.1):
        header = series.headers[worst]
        raise BadFileError(
            f"slices are shifted sideways by up to {aside[worst]:.2f} mm, at {header.offset:.2f} mm"
            f" ({_names(series, [header])})"
        )
    if along.max() > float(whole @ normal) / (len(positions) - 1) / 2:
        raise BadFileError("uneven spacing: some slice lies more than half a step from its place in a regular grid")
