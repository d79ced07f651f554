"""Volumes to predict on: their slices as a network takes them, and the grid to put masks on."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from numpy.typing import NDArray

from medtl.data.slices import Case, Slices, fitted
from medtl.data.volume_sources import Look, Source, apart
from medtl.errors import BadFileError, UsageError, tell
from medtl.readers import intensity
from medtl.readers.dicom import read_volume
from medtl.readers.find import Passed, Refused, counted, images
from medtl.readers.itk_volume import read_itk
from medtl.readers.nifti import read_nifti
from medtl.readers.picture import HU_OF_AIR
from medtl.readers.volume import Volume, display
from medtl.writers.tables import write_rejected

MR = "MR"
EXPECTED = "DICOM, NIfTI, MetaImage or NRRD"
REJECTED = "rejected.csv"


@dataclass(frozen=True, eq=False)
class Volumes:
    """What is predicted on.

    Attributes:
        sources: the volumes; may be none.
        cases: the same as cases of ``slices``.
        slices: of all volumes, one after the other.
        pictures: the slices (rows, columns) as they are looked at, before they are fitted into squares.
        refused: every file that cannot be used, with the reason.
        passed: files that are passed over.
        notes: one sentence for each file of which only a part is taken.
    """

    sources: tuple[Source, ...]
    cases: tuple[Case, ...]
    slices: Slices
    pictures: tuple[NDArray[np.uint8], ...]
    refused: tuple[Refused, ...]
    passed: tuple[Passed, ...]
    notes: tuple[str, ...]


def found(source: str, image_size: int, workers: int = 0, modality: str = MR) -> Volumes:
    """Return every volume of a file or folder tree that a network can be asked about, and an account of every other
    file.

    DICOM files are sorted into series by their headers. What is no regular volume is refused, as is any modality but
    the network's, and NIfTI files with voxels below -500, which only CT has. Slices become 8-bit grey between the 0.5th
    and 99.5th percentile of their volume's non-zero voxels, as ``python -m data_prep chaos`` prepares them.

    Args:
        source: a folder, or a DICOM, NIfTI, MetaImage or NRRD file.
        image_size: of the squares.
        workers: reading threads; 0 reads in this one.
        modality: that the network knows.

    Raises:
        UsageError: nothing there, or no file of these kinds.
    """
    root = Path(str(source))
    if not root.exists():
        raise UsageError(f"--input {source}: no such file or folder; expected {EXPECTED}")
    tree = images(root, ("dicom", "nifti", "itk"))
    look = Look(root, modality, list(tree.refused), list(tree.passed), [])
    dicom = [file for file in tree.files if file.kind == "dicom"]
    others = [file for file in tree.files if file.kind != "dicom"]
    sources = apart([*look.series(dicom), *look.volumes(others)])
    kept, arrays = [], []
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for each, (array, reason) in zip(sources, threads.map(_grey, sources), strict=True):
            if array is None:
                look.refuse(each.inputs, reason)
            else:
                kept.append(each)
                arrays.append(array)
    if not kept and not look.refused:
        raise UsageError(f"--input {source} holds no volume; expected {EXPECTED}")
    pictures = tuple(picture for array in arrays for picture in array)
    return Volumes(
        *(tuple(kept), _cases(kept, arrays), _squares(pictures, image_size), pictures),
        *(tuple(sorted(look.refused)), tuple(look.passed), tuple(look.notes)),
    )


def announce(volumes: Volumes) -> None:
    """Say on the first process what is predicted on, and what is not."""
    if idist.get_rank():
        return
    for reason, names in _by_reason(volumes.refused):
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        tell(f"cannot be used: {names[0]}{more}: {reason}")
    for note in volumes.notes:
        tell(f"note: {note}")
    if volumes.passed:
        tell(f"passed over: {counted(volumes.passed)}")
    tell(f"volumes: {len(volumes.sources)} ({len(volumes.slices):,} slices)")


def _by_reason(refused: Sequence[Refused]) -> list[tuple[str, list[str]]]:
    """Each reason with the names of one folder's files."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, reason in refused:
        groups.setdefault((reason, name.rpartition("/")[0]), []).append(name)
    return [(reason, names) for (reason, _), names in groups.items()]


def stop_without(volumes: Volumes, output_dir: str) -> None:
    """Write rejected.csv and stop where there is nothing to predict on.

    Raises:
        BadFileError: no file of the input can be used.
    """
    if volumes.sources:
        return
    if not idist.get_rank():
        write_rejected(Path(output_dir) / REJECTED, volumes.refused)
    raise BadFileError(f"nothing to predict on: each of {len(volumes.refused):,} files is named in {REJECTED}")


def check_formats(formats: Sequence[str]) -> None:
    """Raise UsageError where a format needs a package that is not installed."""
    if "dicom_seg" in formats:
        from medtl.writers.dicom_seg import check_installed

        check_installed()


def _grey(source: Source) -> tuple[NDArray[np.uint8] | None, str]:
    """Slices as they are looked at (slices, rows, columns), from the feet to the head; or None and the reason."""
    try:
        if source.series is not None:
            volume = read_volume(source.series).canonical()
        elif source.path is not None:
            is_nifti = source.header is not None
            volume = read_nifti(source.path, channel=0) if is_nifti else read_itk(source.path).canonical()
            if volume.array.min() < HU_OF_AIR:
                raise BadFileError(f"it has voxels below {HU_OF_AIR}, as only CT has")
    except BadFileError as error:
        return None, str(error)
    return _shown(volume), ""


def _shown(volume: Volume) -> NDArray[np.uint8]:
    low, high = intensity.mr_range(volume.array)
    count = volume.array.shape[2]
    return np.stack([intensity.scale(display(volume.array[:, :, index]), low, high) for index in range(count)])


def _cases(sources: Sequence[Source], arrays: Sequence[NDArray[np.uint8]]) -> tuple[Case, ...]:
    cases, start = [], 0
    for source, array in zip(sources, arrays, strict=True):
        x, y, z = Volume(array, source.affine).canonical().spacing
        index = tuple(range(start, start + len(array)))
        cases.append(Case(source.name, "", index, tuple(range(len(array))), (x, y, z)))
        start += len(array)
    return tuple(cases)


def _squares(pictures: Sequence[NDArray[np.uint8]], image_size: int) -> Slices:
    squares = [fitted(picture[np.newaxis], image_size) for picture in pictures]
    images = np.stack(squares) if squares else np.zeros((0, 1, image_size, image_size), np.uint8)
    labels = torch.zeros((len(pictures), image_size, image_size), dtype=torch.uint8)
    shapes = tuple((int(picture.shape[0]), int(picture.shape[1])) for picture in pictures)
    return Slices(images, labels, shapes=shapes)
