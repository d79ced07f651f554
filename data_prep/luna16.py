"""LUNA16: CT of the chest with masks of the lungs, in MetaImage files. The masks were computed, not drawn."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from data_prep import masked, masked_volumes, windows
from data_prep.masked_volumes import Row
from data_prep.sample.drawing import generator
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.readers.find import below, left_over
from medtl.readers.itk_volume import data_file, read_itk
from medtl.readers.nifti import other_grid
from medtl.readers.volume import Volume

CARD = DatasetCard(
    name="luna16",
    title="LUNA16, lungs in CT of the chest",
    task="segmentation",
    classes=("lung",),
    licence="CC BY 4.0 (masks); the CT are LIDC-IDRI's, CC BY 3.0",
    citation="Setio et al., Validation, comparison, and combination of algorithms for automatic detection of pulmonary"
    " nodules in computed tomography images: The LUNA16 challenge, Medical Image Analysis 2017",
    url="https://luna16.grand-challenge.org/Download/",
    how_to_get="Download subset0 to subset9 and seg-lungs-LUNA16 from Zenodo, and unzip them under one folder.",
    disk_gb=None,
    layout="subsetN/UID.mhd with UID.raw, and seg-lungs-LUNA16/UID.mhd with UID.zraw",
    seen=False,
)
MASKS = "seg-lungs-LUNA16"
VALUES = {3: 1, 4: 1, 5: 0}  # both lungs; the windpipe is none


def find(raw: Path) -> Source:
    """Return the work of a download: each volume that has a mask.

    A volume is taken for a patient: the file's name is the series, and whose it is, is not said.

    Raises:
        UsageError: it holds no volume of the set.
    """
    tree = below(raw)
    headers = sorted(one.name for one in tree.files if one.name.lower().endswith(".mhd"))
    masks = {PurePosixPath(name).stem: name for name in headers if MASKS in PurePosixPath(name).parts}
    images = {PurePosixPath(name).stem: name for name in headers if MASKS not in PurePosixPath(name).parts}
    rejected = [Rejected(*one) for one in tree.refused]
    rejected += [Rejected(images[uid], f"has no mask in {MASKS}") for uid in sorted(images.keys() - masks)]
    if not images and not rejected:
        raise UsageError(f"{raw} holds no volume of {CARD.name}: expected {CARD.layout}")
    # by the end of the UID alone: a UID stays out of what is written
    both = sorted(images.keys() & masks)
    rows = [Row(_short(uid), images[uid], masks[uid], _short(uid)) for uid in both]
    works = tuple(masked_volumes.works(rows, raw, _with_data))
    used = [path.relative_to(raw).as_posix() for work in works for path in work.files]
    passed = left_over(tree, used, [row.file for row in rejected])
    return Source(CARD.name, raw, works, process, {}, {"lung": len(rows)}, "cases", tuple(rejected), passed)


def _short(uid: str) -> str:
    """The last part of a series' UID, which the publisher made up for the series."""
    return uid.rpartition(".")[2]


def _with_data(header: Path) -> list[Path]:
    data = header.with_name(data_file(header))
    return [header, data] if data != header and data.is_file() else [header]


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one volume."""
    return masked_volumes.done(CARD.name, work, raw, out, _read, VALUES, windows.LUNG)


def _read(image: Path, mask: Path) -> tuple[Volume, Volume]:
    """Return both volumes; raises BadFileError where one cannot be read or they lie on different grids."""
    try:
        labels = read_itk(mask)
    except BadFileError as error:
        raise BadFileError(f"its mask {error}") from None
    volume = read_itk(image)
    if volume.array.shape != labels.array.shape:
        raise BadFileError(f"has {volume.array.shape} voxels, its mask {labels.array.shape}")
    if difference := other_grid(volume, labels):
        raise BadFileError(f"its mask lies on another grid: {difference}")
    return volume, labels


command = masked.command_of(CARD, find, 0.2)


def make_sample(folder: Path) -> None:
    """Draw the layout: two lungs and a windpipe in a chest."""
    z, y, x = np.mgrid[0:6, 0:64, 0:72].astype(np.float32)
    for number in range(10):
        rng = generator("luna16", number)
        labels = np.zeros(z.shape, np.uint8)
        for value, side in ((3, -1), (4, 1)):
            centre = (32 + rng.uniform(-3, 3), 36 + 15 * side)
            labels[((y - centre[0]) / 18) ** 2 + ((x - centre[1]) / 10) ** 2 + ((z - 3) / 5) ** 2 < 1] = value
        labels[np.hypot(y - 28, x - 36) < 2.5] = 5
        body = ((y - 32) / 28) ** 2 + ((x - 36) / 33) ** 2 < 1
        grey = np.where(labels > 0, -850, np.where(body, 40, -1000)) + rng.normal(0, 20, z.shape)
        uid = f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{100000 + 137 * number}"
        write_meta(folder / f"subset{number}" / f"{uid}.mhd", grey.astype(np.int16), (0.8, 0.8, 2.5))
        write_meta(folder / MASKS / f"{uid}.mhd", labels, (0.8, 0.8, 2.5))


def write_meta(path: Path, array: NDArray, spacing: tuple[float, float, float]) -> None:
    """Write a MetaImage header with its voxels beside it.

    Args:
        path: of the ``.mhd``; the voxels go into ``.raw``.
        array: (slice, row, column), int16 or uint8.
        spacing: of (column, row, slice) in mm.
    """
    kind = {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[array.dtype.name]
    size = " ".join(str(number) for number in array.shape[::-1])
    apart = " ".join(f"{mm:g}" for mm in spacing)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 0 0 0",
        f"ElementSpacing = {apart}",
        f"DimSize = {size}",
        f"ElementType = {kind}",
        f"ElementDataFile = {path.stem}.raw",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".raw").write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
