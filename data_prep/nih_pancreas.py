"""NIH Pancreas-CT: abdominal CT of people with a healthy pancreas, with its masks; DICOM series or NIfTI volumes."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import masked, masked_volumes, options, sample, windows
from data_prep.chaos import EVERY
from data_prep.masked_volumes import Row
from data_prep.sample.drawing import generator, write_nifti
from data_prep.sample.slices import common_header, write_slice
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.readers.dicom import read_volume, scan
from medtl.readers.find import OTHER, below, left_over
from medtl.readers.kinds import kind
from medtl.readers.nifti import other_grid, read_header, read_nifti
from medtl.readers.volume import Volume
from medtl.transforms import key_slice

CARD = DatasetCard(
    name="nih_pancreas",
    title="NIH Pancreas-CT",
    task="segmentation",
    classes=("pancreas",),
    licence="CC BY 3.0",
    citation="Roth et al., Data From Pancreas-CT, The Cancer Imaging Archive 2016; Roth et al., DeepOrgan: Multi-level"
    " Deep Convolutional Networks for Automated Pancreas Segmentation, MICCAI 2015",
    url="https://www.cancerimagingarchive.net/collection/pancreas-ct/",
    how_to_get="Download the images with the NBIA Data Retriever, and TCIA_pancreas_labels-02-05-2017.zip, and put both"
    " under one folder.",
    disk_gb=None,
    layout="PANCREAS_NNNN/STUDY/SERIES/*.dcm (or PANCREAS_NNNN.nii.gz), and labelNNNN.nii.gz, in any folders",
    seen=False,
)
VOLUME = re.compile(r"(?:^|/)PANCREAS_(?P<case>\d{4})(?:\.nii(?:\.gz)?$|/)", re.IGNORECASE)
MASK = re.compile(r"(?:^|/)label(?P<case>\d{4})\.nii(?:\.gz)?$", re.IGNORECASE)
# The archive has withdrawn two cases, said to be copies of another one. Earlier downloads have them, and their masks
# have remained.
WITHDRAWN = {"0025": "0002", "0070": "0002"}
VALUES = {1: 1}
# HU of soft tissue, with fat between the lobules and enhanced vessels at its ends
SOFT_HU, LEAST_SOFT = (-150, 250), 0.9
TEST_FRACTION = 0.2

KeySlices = Annotated[
    str, typer.Option(help=f"Choose slices by a rule: {key_slice.RULES} (here every slice, with or without the organ).")
]


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    key_slices: KeySlices = EVERY,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = masked.VALIDATION,
    test_fraction: options.Test = TEST_FRACTION,
    **how: Any,
) -> None:
    found = find(options.raw_folder(raw, "--raw", CARD.name), key_slices)
    shares: dict[str, Any] = {"seed": seed, "validation_fraction": validation_fraction, "test_fraction": test_fraction}
    choices = {"key-slices": key_slices}
    options.finish(CARD, [found], out, choices=choices, is_sample=raw == sample.WORD, **shares, **how)


def find(raw: Path, key_slices: str = EVERY) -> Source:
    """Return the work of a download: each case with a volume and a mask; what has no partner is named.

    Of a case that is there as DICOM and as NIfTI, the DICOM files are taken.

    Raises:
        UsageError: it holds no file of the set, or the rule is none.
    """
    key_slice.select([1], key_slices)  # a wrong rule is told before the work
    tree = below(raw)
    masks: dict[str, str] = {}
    volumes: dict[str, str] = {}
    series: dict[str, list[Path]] = {}
    for file in sorted(tree.files, key=lambda one: one.name):
        if match := MASK.search(file.name):
            masks.setdefault(match["case"], file.name)
        elif (match := VOLUME.search(file.name)) and not match[0].endswith("/"):
            volumes.setdefault(match["case"], file.name)
        elif match and _is_dicom(file.path):
            series.setdefault(file.name[: match.end() - 1], []).append(file.path)
    folders: dict[str, str] = {}
    for folder in series:
        folders.setdefault(folder[-4:], folder)
    images = {**volumes, **folders}
    if not images and not masks and not tree.refused:
        raise UsageError(f"{raw} holds no file of {CARD.name}: expected {CARD.layout}")
    rejected = [Rejected(*one) for one in tree.refused]
    rejected += [Rejected(images[case], "has no mask") for case in sorted(images.keys() - masks)]
    rejected += [
        Rejected(one, "another folder holds the same case") for one in sorted(series.keys() - set(folders.values()))
    ]
    lone = sorted(masks.keys() - images - WITHDRAWN.keys())
    rejected += [Rejected(masks[case], "is a mask without its volume") for case in lone]
    both = sorted(images.keys() & masks)
    rows = [Row(case, images[case], masks[case], WITHDRAWN.get(case, case)) for case in both]

    def files(path: Path) -> list[Path]:
        return series.get(path.relative_to(raw).as_posix(), [path])

    def why(name: str) -> str:
        match = MASK.search(name)
        return "masks of withdrawn cases" if match and match["case"] in WITHDRAWN else OTHER

    works = tuple(masked_volumes.works(rows, raw, files))
    used = [path.relative_to(raw).as_posix() for work in works for path in work.files]
    unused = [path.relative_to(raw).as_posix() for row in rejected for path in series.get(row.file, ())]
    passed = left_over(tree, [*used, *unused], [row.file for row in rejected], why)
    found = {"pancreas": len(rows)}
    process_by = partial(process, key_slices=key_slices)
    chosen = {"key_slices": key_slices}
    return Source(CARD.name, raw, works, process_by, chosen, found, "cases", tuple(rejected), passed)


def _is_dicom(path: Path) -> bool:
    try:
        return kind(path) == "dicom"
    except OSError:
        return True  # reading it tells what is wrong


def process(work: Work, raw: Path, out: Path, *, key_slices: str) -> Done:
    """Process one case."""
    rule = None if key_slices == EVERY else key_slices
    return masked_volumes.done(CARD.name, work, raw, out, _read, VALUES, windows.SOFT_TISSUE, rule)


def _read(image: Path, mask: Path) -> tuple[Volume, Volume]:
    """Return both volumes.

    The header of a mask says how its axes run and how large its voxels are, and nothing published says that it places
    them in the patient. So origins are not compared.

    Raises:
        BadFileError: one cannot be read, or they do not fit.
    """
    try:
        if read_header(mask).note:
            raise BadFileError("does not say how its axes lie in the patient")
        labels = read_nifti(mask)
    except BadFileError as error:
        raise BadFileError(f"its mask {mask.name} {error}") from None
    volume = (_series(image) if image.is_dir() else read_nifti(image)).canonical()
    if volume.array.shape != labels.array.shape:
        raise BadFileError(f"has {volume.array.shape} voxels, its mask {labels.array.shape} (in RAS order)")
    placed = labels.affine.copy()
    placed[:3, 3] = volume.affine[:3, 3]
    if difference := other_grid(volume, Volume(labels.array, placed)):
        raise BadFileError(f"its mask lies on another grid: {difference}")
    if not labels.array.any():
        raise BadFileError(f"its mask {mask.name} marks nothing")
    _check_place(volume.array, labels.array)
    return volume, labels


def _check_place(hounsfield: NDArray[Any], labels: NDArray[Any]) -> None:
    """Refuse a mask that is not of soft tissue, or that fits better when it is turned over; both arguments canonical.

    Public programs turn masks of this set over before they use them, each in its own way. Left and right are not
    tried: the liver, which lies there, is more even than a pancreas with the fat between its lobules.

    Raises:
        BadFileError: says what fits better.
    """
    x, y, z = np.nonzero(labels)
    inside = hounsfield[x, y, z]
    soft = float(((inside >= SOFT_HU[0]) & (inside <= SOFT_HU[1])).mean())
    if soft < LEAST_SOFT:
        raise BadFileError(
            f"image and mask do not fit: {soft:.0%} of the mask is soft tissue ({SOFT_HU[0]} to {SOFT_HU[1]} HU);"
            f" expected at least {LEAST_SOFT:.0%}"
        )
    behind, upside = labels.shape[1] - 1 - y, labels.shape[2] - 1 - z
    turned = {"front to back": (behind, z), "in slice order": (y, upside), "both ways": (behind, upside)}
    for how, (rows, slices) in turned.items():
        there = hounsfield[x, rows, slices].std(dtype=np.float64)
        if there < (here := inside.std(dtype=np.float64)):
            raise BadFileError(
                f"image and mask do not fit: inside the mask the SD is {here:.0f} HU, with the mask turned {how}"
                f" {there:.0f} HU"
            )


def _series(folder: Path) -> Volume:
    found = scan(folder, modality="CT")
    if found.rejected:
        raise BadFileError(f"its slice {found.rejected[0][0].name}: {found.rejected[0][1]}")
    if len(found.series) != 1:
        raise BadFileError(f"{len(found.series)} series of CT where one is expected")
    return read_volume(found.series[0])


def make_sample(folder: Path) -> None:
    """Draw the layout: ten abdomens with gas in front and a spine behind; the slices' numbers run against their
    positions, and masks lie in the order of the DICOM pixels, at no particular place. One mask is of a withdrawn
    case."""
    for number in range(1, 11):
        voxels, labels = _drawn(number)
        key = f"1.2.826.0.1.3680043.8.498.7.{number}"
        header = common_header("CT", "ABDOMEN", labels.shape[1], 5.0, 8.0)
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = (
            f"{key}.1",
            f"{key}.2",
            f"{key}.3",
        )
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
        place = folder / "Pancreas-CT" / f"PANCREAS_{number:04d}" / f"study-{number}" / "Pancreas"
        for z, plane in enumerate(voxels):
            count = len(voxels) - z
            position = (-160.0, -160.0, 8.0 * z)
            write_slice(
                place / f"1-{count:03d}.dcm", header, (plane + 1024).astype("<u2"), f"{key}.4.{count}", count, position
            )
        _write_mask(folder, number, labels)
    _write_mask(folder, 25, labels)


def _drawn(number: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return HU and mask, both (slice, row, column), from the feet to the head and from front to back."""
    z, y, x = np.mgrid[0:9, 0:64, 0:64].astype(np.float32)
    rng = generator("nih_pancreas", number)
    down, across = rng.uniform(-2, 2, 2)
    organ = ((y - 27 - down - 0.2 * (x - 32)) / 4) ** 2 + ((x - 36 - across) / 11) ** 2 + ((z - 5) / 2.6) ** 2 < 1
    hu = np.where(((y - 32) / 25) ** 2 + ((x - 32) / 29) ** 2 < 1, 20.0, -1000.0)
    hu[((y - 15) / 5) ** 2 + ((x - 38) / 12) ** 2 < 1] = -900
    hu[np.hypot(y - 45, x - 32) < 7] = 600
    hu[organ] = 100
    return (hu + rng.normal(0, 12, hu.shape)).clip(-1024, 3071).astype(np.int16), organ.astype(np.uint8)


def _write_mask(folder: Path, number: int, labels: NDArray[np.uint8]) -> None:
    path = folder / "TCIA_pancreas_labels-02-05-2017" / f"label{number:04d}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, labels.transpose(2, 1, 0), np.diag([-5.0, -5.0, 8.0, 1.0]))
