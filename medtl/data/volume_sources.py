"""Which volumes an input holds: regular DICOM series and files of their own, every other file accounted for."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.chaos import natural
from medtl.readers.dicom import Scan, Series, check_volume, scan
from medtl.readers.find import IMAGELESS, LINKS, File, Passed, Refused
from medtl.readers.itk_volume import read_itk_header
from medtl.readers.kinds import ITK, NIFTI
from medtl.readers.nifti import read_header

SUFFIXES = sorted((*NIFTI, *ITK), key=len, reverse=True)  # .nii.gz before its end


@dataclass(frozen=True, eq=False)
class Source:
    """A volume as its files hold it.

    Attributes:
        name: of its folder or file below the input, without a suffix.
        shape: (x, y, z) as stored; of DICOM (columns, rows, slices).
        affine: (4, 4) of the stored axes, RAS+ mm.
        inputs: its files by their names below the input.
        series: the DICOM series; None for other files.
        path: the file; None for DICOM.
        header: a NIfTI file's; None for other files.
    """

    name: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    inputs: tuple[str, ...] = ()
    series: Series | None = None
    path: Path | None = None
    header: nib.Nifti1Header | None = None

    def stored(self, displayed: NDArray) -> NDArray:
        """Return a volume of slices as they are looked at, (columns, rows, slices) from the feet to the head, on the
        stored axes: the way back from ``Volume.canonical`` and ``display``."""
        canonical = displayed[::-1, ::-1, :]
        there = nib.io_orientation(np.eye(4))
        back = nib.orientations.ornt_transform(there, nib.io_orientation(self.affine))
        return np.ascontiguousarray(nib.apply_orientation(canonical, back))

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the DICOM file of each stored slice; empty for other files."""
        return tuple(header.path for header in self.series.headers) if self.series else ()

    @property
    def millilitres(self) -> float:
        """Return the volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000


@dataclass(frozen=True)
class Look:
    """A look at an input, and what was of no use so far.

    Attributes:
        root: the input.
        modality: that the network knows.
        refused, passed, notes: as of ``Volumes``; they grow.
    """

    root: Path
    modality: str
    refused: list[Refused]
    passed: list[Passed]
    notes: list[str]

    def refuse(self, names: Sequence[str], reason: str) -> None:
        """Refuse some files for one reason."""
        self.refused.extend(Refused(name, reason) for name in names)

    def series(self, files: Sequence[File]) -> list[Source]:
        """Return the DICOM volumes among some files."""
        names: dict[Path, str] = {}
        there = {file.path.resolve() for file in files if not file.path.is_symlink()}
        for file in files:
            if file.path.is_symlink() and file.path.resolve() in there:
                self.passed.append(Passed(file.name, LINKS))
            else:
                names[file.path] = file.name
        scanned = scan(list(names)) if names else Scan((), ())
        self.refused.extend(Refused(names[path], reason) for path, reason in scanned.rejected)
        self.passed.extend(Passed(names[path], IMAGELESS) for path in scanned.imageless)
        sources = []
        for series in scanned.series:
            inputs = tuple(dict.fromkeys(names[header.path] for header in series.headers))
            try:
                if series.modality != self.modality:
                    raise BadFileError(
                        f"modality {series.modality or 'missing'}, and the network knows {self.modality} alone"
                    )
                check_volume(series)
            except BadFileError as error:
                self.refuse(inputs, str(error))
                continue
            first = series.headers[0]
            shape = (first.columns, first.rows, len(series.headers))
            sources.append(Source(_name(series.folder, self.root), shape, series.affine, inputs, series))
        return sources

    def volumes(self, files: Sequence[File]) -> list[Source]:
        """Return the volumes that are a file each."""
        sources = []
        for file in files:
            suffix = next((each for each in SUFFIXES if file.name.lower().endswith(each)), "")
            name = file.name[: len(file.name) - len(suffix)]
            try:
                if file.kind == "itk":
                    stated = read_itk_header(file.path)
                    affine, header = stated.affine, None
                    shape: tuple[int, ...] = stated.shape
                else:
                    found = read_header(file.path)
                    shape, affine, header = found.shape, found.affine, found.stored
                    self.notes.extend([f"{file.name} {found.note}"] if found.note else [])
                if len(shape) < 3:
                    raise BadFileError(f"is not a volume: its shape is {shape}")
            except BadFileError as error:
                self.refuse([file.name], str(error))
                continue
            x, y, z = shape[:3]
            sources.append(Source(name, (x, y, z), affine, (file.name,), path=file.path, header=header))
        return sources


def _name(path: Path, root: Path) -> str:
    """Below the root; a root's own name for itself."""
    folder = root if root.is_dir() else root.parent
    if path == folder or not path.is_relative_to(folder):
        return normalize("NFC", path.resolve().name)
    return normalize("NFC", path.relative_to(folder).as_posix())


def apart(sources: Sequence[Source]) -> list[Source]:
    """Return the same in the natural order of their names, with a number behind a name that came before."""
    taken, before, named = {each.name for each in sources}, set[str](), []
    for each in sources:
        numbered = (f"{each.name}#{number}" for number in itertools.count(2))
        name = next(name for name in numbered if name not in taken) if each.name in before else each.name
        taken.add(name)
        before.add(each.name)
        named.append(replace(each, name=name))
    return sorted(named, key=lambda each: natural(each.name))
