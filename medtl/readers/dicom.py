"""DICOM series by geometry: found in any folder tree, checked before use, never stacked where a slice is in doubt.

File names, extensions and instance numbers decide nothing; positions and orientations do. A series that is no regular
grid of parallel slices is refused with the reason instead of being read as something it is not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.dicom_echoes import by_echo
from medtl.readers.dicom_headers import SliceHeader, slice_headers
from medtl.readers.dicom_pixels import read_pixels
from medtl.readers.dicom_series import Series, check_volume
from medtl.readers.dicom_tags import IDENTITY, open_dataset, quiet, value
from medtl.readers.find import below
from medtl.readers.kinds import named
from medtl.readers.volume import Volume

__all__ = ["Scan", "Series", "SliceHeader", "check_volume", "read_image", "read_slices", "read_volume", "scan"]

SAME_ORIENTATION = 1e-3  # largest difference of two direction cosines that is still rounding


@dataclass(frozen=True)
class Scan:
    """What was found: usable series, (file, reason) for every DICOM file that is not usable, and the DICOM files that
    hold no image, such as reports and directories."""

    series: tuple[Series, ...]
    rejected: tuple[tuple[Path, str], ...] = field(repr=False)  # paths may name a patient
    imageless: tuple[Path, ...] = field(default=(), repr=False)


def scan(
    folder: Path | Sequence[Path],
    *,
    modality: str | None = None,
    allow_burned_in: bool = False,
    shared: Sequence[str] = IDENTITY,
) -> Scan:
    """Find the DICOM images below a folder (or in a list of files and folders) by reading headers only.

    Hidden files (see ``find.below``) and files that are not DICOM are passed over, except ``*.dcm`` files, which are
    rejected when they cannot be read. DICOM files without an image (reports, directories) are listed apart. A series
    whose slices have several orientations is rejected as a whole: splitting it would make volumes out of localisers. So
    is one whose slices differ in PatientID, StudyInstanceUID or FrameOfReferenceUID, which careless anonymisation makes
    of several people.

    Args:
        folder: any depth; links to folders are followed once.
        modality: keep only this one, such as "CT".
        allow_burned_in: keep pictures whose header says that annotations are burned into the pixels.
        shared: of ``dicom_tags.IDENTITY``, what the slices of one series must share.

    Returns:
        Series in the order of their first file's path; nothing in it depends on the order of the file system.

    Raises:
        UsageError: a path does not exist.
    """
    headers: list[SliceHeader] = []
    rejected: list[tuple[Path, str]] = []
    imageless: list[Path] = []
    lost: list[str] = []
    for path in _files([folder] if isinstance(folder, Path) else folder, rejected):
        uids: list[str] = []
        try:
            found = _file_headers(path, modality, allow_burned_in, uids)
            headers.extend(found)
            imageless += [path] if uids and not found else []
        except BadFileError as error:
            rejected.append((path, str(error)))
            lost.extend(uids)
    by_uid: dict[str, list[SliceHeader]] = {}
    for header in headers:
        by_uid.setdefault(header.series_uid, []).append(header)
    series: list[Series] = []
    for uid, members in by_uid.items():
        directions = _orientations(members)
        apart = _identities(members, shared)
        if apart:
            reason = f"the slices of one series differ in {' and '.join(apart)}: they may be of several people"
            rejected.extend((path, reason) for path in dict.fromkeys(header.path for header in members))
        elif len(directions) > 1:
            counts = " + ".join(str(count) for count in directions)
            reason = f"several orientations in one series ({counts} slices): it cannot be one volume"
            rejected.extend((path, reason) for path in dict.fromkeys(header.path for header in members))
        else:
            try:
                series.extend(list(_split(members, lost.count(uid))))
            except BadFileError as error:
                rejected.extend((path, str(error)) for path in dict.fromkeys(header.path for header in members))
    ordered = sorted(series, key=lambda one: min(_order(header) for header in one.headers))
    return Scan(tuple(ordered), tuple(sorted(rejected)), tuple(imageless))


def read_slices(series: Series, indices: Sequence[int] | None = None) -> NDArray:
    """Return the pixels of some slices (all by default) without any demand on the geometry.

    Returns:
        (n, rows, columns) in the order of ``indices`` (positions in ``series.headers``): int16 or float32 in the
        modality's unit, bright is high, padding removed; see ``dicom_pixels.read_pixels``.

    Raises:
        BadFileError: pixels that cannot be read; IndexError for an index outside the series.
    """
    headers = series.headers if indices is None else [series.headers[index] for index in indices]
    return read_pixels(headers)


def read_volume(series: Series, *, allow_tilt: bool = False) -> Volume:
    """Return the whole series as a volume: array (columns, rows, slices), slices in the direction of the slice normal.

    With ``allow_tilt`` a leaning stack is returned as it is, with a sheared affine.

    Raises:
        BadFileError: whatever ``check_volume`` refuses, and pixels that cannot be read.
    """
    check_volume(series, allow_tilt=allow_tilt)
    return Volume(read_slices(series).transpose(2, 1, 0), series.affine)


def read_image(path: Path, *, allow_burned_in: bool = False) -> NDArray:
    """Return one grey 2-D picture, such as an X-ray.

    Returns:
        (rows, columns) int16 or float32, bright is high (MONOCHROME1 is inverted); see ``dicom_pixels.read_pixels``.

    Raises:
        BadFileError: not DICOM, no image, several frames, colour, burned-in annotation, undecodable pixels.
    """
    headers = _file_headers(path, None, allow_burned_in, [], single=True)
    if not headers:
        raise BadFileError("not a DICOM image")
    if len(headers) > 1:
        raise BadFileError(f"{len(headers)} frames where one picture is expected")
    return read_pixels(headers)[0]


def _files(paths: Sequence[Path], rejected: list[tuple[Path, str]]) -> list[Path]:
    """Return every file below some folders (or files), each once, in sorted order; what cannot be opened is
    rejected."""
    found: set[Path] = set()
    for path in paths:
        tree = below(path)
        found.update(file.path for file in tree.files)
        rejected.extend((path / one.name, one.reason) for one in tree.refused)
    return sorted(found)


def may_hold_image(path: Path) -> bool:
    """Return whether to try a DICOM file: no report, directory or anything else without an image.

    A damaged one is tried, too: reading it tells what is wrong.
    """
    try:
        return bool(_file_headers(path, None, True, []))
    except BadFileError:
        return True


def _file_headers(
    path: Path, modality: str | None, allow_burned_in: bool, uids: list[str], single: bool = False
) -> list[SliceHeader]:
    """Return the headers of one file, empty for what is passed over; ``uids`` receives the series as soon as it is
    known."""
    with quiet():
        opened = open_dataset(path, pixels=False)
        if opened is None:
            if named(path.name) == "dicom" or single:
                raise BadFileError("not a DICOM file: empty, or damaged at its start")
            return []
        dataset, tail = opened
        if modality is not None and value(dataset, "Modality") not in (modality, None):
            return []
        uids.append(str(value(dataset, "SeriesInstanceUID") or ""))
        headers = slice_headers(path, dataset, tail)
        burned_in = str(value(dataset, "BurnedInAnnotation") or "").strip().upper()
    if not headers:
        return []
    if not single and not uids[0]:
        raise BadFileError("the header names no series")
    if modality is not None and not headers[0].modality:
        raise BadFileError("the header names no modality")
    if burned_in not in ("", "NO") and not allow_burned_in:
        raise BadFileError("annotations are burned into the pixels (they may name the patient)")
    return headers


def _identities(headers: Sequence[SliceHeader], shared: Sequence[str]) -> list[str]:
    """Return the names of the elements that all slices should share and do not; one that only some of them have counts,
    too."""
    places = {keyword: IDENTITY.index(keyword) for keyword in shared}
    return [key for key, place in places.items() if len({header.identity[place] for header in headers}) > 1]


def _orientations(headers: Sequence[SliceHeader]) -> list[int]:
    """Return how many slices each distinct orientation has; slices without one are not counted."""
    groups: list[tuple[NDArray[np.float64], int]] = []
    for header in headers:
        if header.orientation is None:
            continue
        own = np.array(header.orientation)
        for k, (known, count) in enumerate(groups):
            if np.abs(known - own).max() <= SAME_ORIENTATION:
                groups[k] = known, count + 1
                break
        else:
            groups.append((own, 1))
    return [count for _, count in groups]


def _split(members: Sequence[SliceHeader], lost: int) -> Iterator[Series]:
    """Yield one series a modality, picture size and echo, each sorted along one common normal.

    Raises:
        BadFileError: echo times by which the slices of one grid would fall apart.
    """
    groups: dict[tuple[str, int, int], list[SliceHeader]] = {}
    for header in members:
        groups.setdefault((header.modality, header.rows, header.columns), []).append(header)
    for (modality, _, _), group in groups.items():
        known = [header for header in group if header.orientation is not None and header.position is not None]
        if known:
            # Rounded cosines differ from slice to slice, which at 500 mm from the origin would move slices by 0.1 mm.
            normal = known[0].normal
            group = [h if h.position is None else replace(h, offset=float(normal @ h.position)) for h in group]
        for echo in by_echo(group):
            yield Series(modality, echo[0].echo_time, tuple(sorted(echo, key=_order)), lost, echo[0].series_uid)


def _order(header: SliceHeader) -> tuple[float, float, str, int]:
    offset = math.inf if math.isnan(header.offset) else header.offset
    number = math.inf if header.instance_number is None else header.instance_number
    return offset, number, str(header.path), header.frame or 0
