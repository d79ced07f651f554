"""DICOM series and NIfTI volumes to predict on: their slices as a network takes them, and the grid to put masks on."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import ignite.distributed as idist
import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from medtl.bundle.boundary import one_line
from medtl.console import tell
from medtl.data.slices import Case, Slices, fitted
from medtl.errors import BadFileError, UsageError
from medtl.readers.chaos import natural
from medtl.readers.dicom import Series, check_volume, read_volume, scan
from medtl.readers.nifti import read_header, read_nifti
from medtl.readers.picture import HU_OF_AIR, NIFTI
from medtl.readers.volume import Volume, display
from medtl.transforms import intensity

CT = "CT"


@dataclass(frozen=True, eq=False)
class Source:
    """A volume as its files hold it.

    Attributes:
        name: of its folder or file below the input, without a suffix.
        shape: (x, y, z) as stored; of DICOM (columns, rows, slices).
        affine: (4, 4) of the stored axes, RAS+ mm.
        series: the DICOM series; None for NIfTI.
        path: the NIfTI file; None for DICOM.
        header: its header; None for DICOM.
    """

    name: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    series: Series | None = None
    path: Path | None = None
    header: nib.Nifti1Header | None = None

    def stored(self, displayed: NDArray) -> NDArray:
        """A volume of slices as they are looked at, (columns, rows, slices) from the feet to the head, on the stored
        axes: the way back from ``Volume.canonical`` and ``display``."""
        canonical = displayed[::-1, ::-1, :]
        there = nib.io_orientation(np.eye(4))
        back = nib.orientations.ornt_transform(there, nib.io_orientation(self.affine))
        return np.ascontiguousarray(nib.apply_orientation(canonical, back))

    @property
    def files(self) -> tuple[Path, ...]:
        """The DICOM file of each stored slice; empty for NIfTI."""
        return tuple(header.path for header in self.series.headers) if self.series else ()

    @property
    def millilitres(self) -> float:
        """Of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000


@dataclass(frozen=True, eq=False)
class Volumes:
    """What is predicted on.

    Attributes:
        sources: the volumes.
        cases: the same as cases of ``slices``.
        slices: of all volumes, one after the other.
        pictures: the slices (rows, columns) as they are looked at, before they are fitted into squares.
        passed: one sentence for each volume that is passed over.
    """

    sources: tuple[Source, ...]
    cases: tuple[Case, ...]
    slices: Slices
    pictures: tuple[NDArray[np.uint8], ...]
    passed: tuple[str, ...]


@one_line
def found(source: str, image_size: int, workers: int = 0) -> Volumes:
    """Every MR volume of a file or folder tree.

    DICOM files are sorted into series by their headers. What is no regular volume is passed over, as is CT, and NIfTI
    files with voxels below -500, which only CT has. Slices become 8-bit grey between the 0.5th and 99.5th percentile of
    their volume's non-zero voxels, as ``python -m data_prep chaos`` prepares them.

    Args:
        source: a folder, a NIfTI file, or a DICOM file.
        image_size: of the squares.
        workers: reading threads; 0 reads in this one.

    Raises:
        UsageError: nothing there, or no volume that can be used; says why.
    """
    root = Path(str(source))
    if not root.exists():
        raise UsageError(f"--input {source}: no such file or folder; expected DICOM or NIfTI")
    below = sorted(path for path in (root.rglob("*") if root.is_dir() else [root]) if path.is_file())
    below = [path for path in below if path.name[0] not in "._"]
    niftis = [path for path in below if path.name.lower().endswith(NIFTI)]
    others = [path for path in below if path not in niftis]
    passed: list[str] = []
    sources = _apart([*_series(others, root, passed), *_niftis(niftis, root, passed)])
    kept, arrays = [], []
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for each, (array, reason) in zip(sources, threads.map(_grey, sources), strict=True):
            if array is None:
                passed.append(f"{each.name} is passed over: {reason}")
            else:
                kept.append(each)
                arrays.append(array)
    if not kept:
        raise UsageError(f"--input {source} holds no MR volume{''.join(f'; {line}' for line in passed[:3])}")
    pictures = tuple(picture for array in arrays for picture in array)
    return Volumes(tuple(kept), _cases(kept, arrays), _squares(pictures, image_size), pictures, tuple(passed))


def _apart(sources: Sequence[Source]) -> list[Source]:
    """The same in the natural order of their names, with a number behind a name that came before."""
    seen: dict[str, int] = {}
    named = []
    for each in sources:
        seen[each.name] = seen.get(each.name, 0) + 1
        named.append(each if seen[each.name] == 1 else replace(each, name=f"{each.name}#{seen[each.name]}"))
    return sorted(named, key=lambda each: natural(each.name))


def announce(volumes: Volumes) -> None:
    """Say on the first process what is predicted on, and what is not."""
    if idist.get_rank():
        return
    for line in volumes.passed:
        tell(line)
    tell(f"volumes: {len(volumes.sources)} ({len(volumes.slices):,} slices)")


@one_line
def check_formats(formats: Sequence[str]) -> None:
    """Raise UsageError where a format needs a package that is not installed."""
    if "dicom_seg" in formats:
        from medtl.writers.dicom_seg import check_installed

        check_installed()


def _series(files: Sequence[Path], root: Path, passed: list[str]) -> list[Source]:
    """The DICOM volumes among some files; the others are passed over with their reason."""
    sources: list[Source] = []
    for series in scan(files).series if files else ():
        name = _name(series.folder, root)
        try:
            if series.modality == CT:
                raise BadFileError("CT, and the network knows MR alone")
            check_volume(series)
        except BadFileError as error:
            passed.append(f"{name} is passed over: {error}")
            continue
        first = series.headers[0]
        shape = (first.columns, first.rows, len(series.headers))
        sources.append(Source(name, shape, series.affine, series))
    return sources


def _niftis(paths: Sequence[Path], root: Path, passed: list[str]) -> list[Source]:
    sources: list[Source] = []
    for path in paths:
        name = _name(path, root)
        suffix = next(suffix for suffix in sorted(NIFTI, key=len, reverse=True) if name.lower().endswith(suffix))
        name = name[: -len(suffix)]
        try:
            header = read_header(path)
            if len(header.shape) < 3:
                raise BadFileError(f"is not a volume: its shape is {header.shape}")
        except BadFileError as error:
            passed.append(f"{name} is passed over: {error}")
            continue
        x, y, z = header.shape[:3]
        sources.append(Source(name, (x, y, z), header.affine, path=path, header=header.stored))
    return sources


def _name(path: Path, root: Path) -> str:
    """Below the root; a root's own name for itself."""
    folder = root if root.is_dir() else root.parent
    if path == folder or not path.is_relative_to(folder):
        return path.resolve().name
    return path.relative_to(folder).as_posix()


def _grey(source: Source) -> tuple[NDArray[np.uint8] | None, str]:
    """Slices as they are looked at (slices, rows, columns), from the feet to the head; or None and the reason."""
    try:
        if source.series is not None:
            volume = read_volume(source.series).canonical()
        elif source.path is not None:
            volume = read_nifti(source.path, channel=0)
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
    images = np.stack([fitted(picture[np.newaxis], image_size) for picture in pictures])
    labels = torch.zeros((len(pictures), image_size, image_size), dtype=torch.uint8)
    shapes = tuple((int(picture.shape[0]), int(picture.shape[1])) for picture in pictures)
    return Slices(images, labels, shapes=shapes)
