"""Pictures for a 2-D network from whatever holds them: PNG, JPEG, TIFF and other raster files, one DICOM image, or the
transverse slices of a NIfTI, MetaImage or NRRD volume.

All come out as 8-bit grey or RGB, rows first, as a radiologist looks at them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError, UsageError
from medtl.readers import intensity
from medtl.readers.dicom import may_hold_image, read_slices, scan
from medtl.readers.find import IMAGELESS, File, Passed, Refused, images
from medtl.readers.itk_volume import read_itk, read_itk_header
from medtl.readers.kinds import kind
from medtl.readers.nifti import read_header, read_nifti
from medtl.readers.raster import is_animated, read_raster
from medtl.readers.volume import Volume, display

HU_OF_AIR = -500  # a NIfTI file does not name its modality; only CT has voxels below this
EXPECTED = "PNG, JPEG, TIFF, DICOM or NIfTI"


@dataclass(frozen=True)
class Picture:
    """One picture to predict on: a file, or one slice of a volume.

    Attributes:
        path: the file.
        name: path relative to what the user named, with ``#<slice>`` for a slice of a volume.
        index: the slice, counted from the feet (RAS+), or None.
    """

    path: Path
    name: str
    index: int | None = None


@dataclass(frozen=True)
class Pictures:
    """What an input holds.

    Attributes:
        pictures: by name.
        refused: files that cannot be used.
        passed: files that are passed over.
        notes: one sentence for each file of which only a part is taken.
    """

    pictures: tuple[Picture, ...]
    refused: tuple[Refused, ...]
    passed: tuple[Passed, ...]
    notes: tuple[str, ...]


def find_pictures(source: Path) -> Pictures:
    """Return all pictures of a file or a folder tree; a volume gives each of its transverse slices.

    Every file is accounted for: see ``medtl.readers.find``. Pixels are not looked at, so what is found may still be
    refused by ``read_picture``.

    Raises:
        UsageError: nothing there, or nothing of a kind that can be read.
    """
    try:
        tree = images(source)
    except UsageError:
        raise UsageError(f"--input {source}: no such file or folder; expected {EXPECTED}") from None
    pictures: list[Picture] = []
    refused, passed, notes = list(tree.refused), list(tree.passed), []
    for file in tree.files:
        try:
            if file.kind == "dicom" and not may_hold_image(file.path):
                passed.append(Passed(file.name, IMAGELESS))
                continue
            indices, note = _parts(file)
        except BadFileError as error:
            refused.append(Refused(file.name, str(error)))
            continue
        notes += [f"{file.name} {note}"] if note else []
        pictures += [Picture(file.path, file.name if k is None else f"{file.name}#{k}", k) for k in indices]
    if not pictures and not refused:
        raise UsageError(f"--input {source} holds no {EXPECTED} file")
    return Pictures(tuple(pictures), tuple(sorted(refused)), tuple(passed), tuple(notes))


def _parts(file: File) -> tuple[Sequence[int | None], str]:
    """Return the slices of a volume, or None for a picture; and a note where not all of the file is taken."""
    if file.kind == "raster":
        several = "holds several pictures that follow on one another: the first is taken"
        return [None], several if is_animated(file.path) else ""
    if file.kind == "dicom":
        return [None], ""
    if file.kind == "itk":
        volume = read_itk_header(file.path)
        return range(volume.shape[_transverse(volume.affine)]), ""
    header = read_header(file.path)
    if len(header.shape) < 3:
        raise BadFileError(f"is not a volume: its shape is {header.shape}")
    return range(header.shape[_transverse(header.affine)]), header.note


def _transverse(affine: NDArray[np.float64]) -> int:
    """Return which axis of a volume runs nearest to the patient's own, from the feet to the head."""
    return int(nib.io_orientation(affine)[:, 0].tolist().index(2))


def read_picture(
    path: Path, index: int | None = None, channels: int = 1, ct_window: Sequence[float] = (-600, 1500)
) -> NDArray[np.uint8]:
    """Return one picture as 8-bit grey (rows, columns), or RGB (rows, columns, 3) for ``channels`` 3.

    Args:
        path: the file; its content decides how it is read.
        index: slice of a volume.
        channels: 1 or 3.
        ct_window: (centre, width) in HU for CT; other DICOM images and volumes are scaled between percentiles 0.5 and
        99.5.

    Raises:
        BadFileError: the file cannot be read; the text is the reason alone.
    """
    try:
        what = kind(path)
    except OSError:
        what = "raster"  # reading it tells what is wrong
    if what in ("raster", None):
        return read_raster(path, channels)
    grey = _dicom(path, ct_window) if what == "dicom" else _volume_slice(path, index or 0, ct_window)
    return np.repeat(grey[..., np.newaxis], 3, axis=2) if channels == 3 else grey


def _dicom(path: Path, ct_window: Sequence[float]) -> NDArray[np.uint8]:
    found = scan([path])
    if found.rejected:
        raise BadFileError(found.rejected[0][1])
    if len(found.series) != 1 or len(found.series[0].headers) != 1:
        raise BadFileError("is not one DICOM image")
    values = read_slices(found.series[0])[0]
    return _grey(values, ct_window if found.series[0].modality == "CT" else None)


def _volume_slice(path: Path, index: int, ct_window: Sequence[float]) -> NDArray[np.uint8]:
    low, high = _volume_range(path, tuple(ct_window))
    return intensity.scale(display(_volume(path).array[:, :, index]), low, high)


@functools.lru_cache(maxsize=1)
def _volume(path: Path) -> Volume:
    """Return the first channel; a volume's slices are asked for one after the other: it is decoded once."""
    return read_itk(path).canonical() if kind(path) == "itk" else read_nifti(path, channel=0)


@functools.lru_cache(maxsize=1)
def _volume_range(path: Path, ct_window: tuple[float, ...]) -> tuple[float, float]:
    array = _volume(path).array
    return _range(array, ct_window if array.min() < HU_OF_AIR else None)


def _grey(values: NDArray, ct_window: Sequence[float] | None) -> NDArray[np.uint8]:
    return intensity.scale(values, *_range(values, ct_window))


def _range(values: NDArray, ct_window: Sequence[float] | None) -> tuple[float, float]:
    if ct_window is None:
        return intensity.mr_range(values)
    centre, width = ct_window
    return centre - width / 2, centre + width / 2
