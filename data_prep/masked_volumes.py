"""Volumes with masks: rows of image and mask files become slices of a segmentation's data list, every slice of a case,
for a case is scored whole, unless a rule of key slices is asked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.work import Done, Rejected, Work
from medtl.errors import BadFileError
from medtl.files import file_hash
from medtl.readers import intensity
from medtl.readers.volume import Volume, display
from medtl.transforms import key_slice
from medtl.writers.images import write_png


class Row(NamedTuple):
    """One volume with its mask.

    Attributes:
        case: its name, unique within the set.
        image, mask: files relative to the raw folder.
        patient: unique within the set.
        split: that the publisher fixed (training, validation, test), or empty.
    """

    case: str
    image: str
    mask: str
    patient: str
    split: str = ""


Read = Callable[[Path, Path], tuple[Volume, Volume]]


def works(rows: Sequence[Row], raw: Path, files: Callable[[Path], Sequence[Path]] = lambda path: [path]) -> list[Work]:
    """Return the works of a set: one a volume.

    Args:
        rows: in a repeatable order.
        raw: the folder that files are named relative to.
        files: a volume's file to all that it consists of.
    """
    parts = [(row, [*files(raw / row.image), *files(raw / row.mask)]) for row in rows]
    return [Work(row.case.replace("/", "_"), tuple(own), list(row)) for row, own in parts]


def done(
    name: str,
    work: Work,
    raw: Path,
    out: Path,
    read: Read,
    values: Mapping[int, int],
    window: tuple[float, float] | None = None,
    rule: str | None = None,
) -> Done:
    """Return what one volume gives: picture and mask of each slice, in one orientation, at the size that it has.

    Args:
        name: of the set.
        work: as of ``works``.
        raw, out: folders of the download and of the result.
        read: files of image and mask to both volumes, on one grid.
        values: value of the mask to class, 0 for the background.
        window: centre and width in HU; None shows what lies between two percentiles of the volume.
        rule: of key slices, as of ``key_slice.select``; None takes every slice.
    """
    row = Row(*work.payload)
    try:
        volume, mask = (each.canonical() for each in read(raw / row.image, raw / row.mask))
        labels = _classes(mask.array, values, Path(row.mask).name)
    except BadFileError as error:
        return Done(rejected=[Rejected(row.image, str(error))])
    low, high = intensity.mr_range(volume.array)
    if window:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    chosen = range(labels.shape[2]) if rule is None else key_slice.select(key_slice.slice_areas(labels), rule).tolist()
    return Done([_entry(name, row, volume, labels, number, (low, high), out) for number in chosen])


def _classes(mask: NDArray, values: Mapping[int, int], name: str) -> NDArray[np.uint8]:
    found = np.zeros(mask.shape, np.uint8)
    for value in np.unique(mask).tolist():
        if value and value not in values:
            raise BadFileError(f"its mask {name} has the value {value:g}, which has no class")
        if value:
            found[mask == value] = values[value]
    return found


def _entry(
    name: str,
    row: Row,
    volume: Volume,
    labels: NDArray[np.uint8],
    number: int,
    ends: tuple[float, float],
    out: Path,
) -> dict[str, Any]:
    file = f"{name}/{row.case}_z{number:03d}.png"
    write_png(out / "images" / file, intensity.scale(display(volume.array[:, :, number]), *ends))
    write_png(out / "masks" / file, display(labels[:, :, number]))
    entry = {
        "image": f"images/{file}",
        "mask": f"masks/{file}",
        "patient": f"{name}/{row.patient}",
        "source": name,
        "sha256": file_hash(out / "images" / file),
        "mask_sha256": file_hash(out / "masks" / file),
        "case": row.case,
        "slice": number,
        "spacing": [round(mm, 4) for mm in volume.spacing],
    }
    return {**entry, "split": row.split} if row.split else entry
