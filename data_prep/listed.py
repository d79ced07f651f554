"""Pictures that a table or their own names describe, one row a picture: what most public sets come to once their layout
has been read. A set's own file makes the rows; all else is here."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.pictures import read_checked
from data_prep.work import Done, Rejected, Source, Work
from medtl.errors import BadFileError
from medtl.files import file_hash, write_bytes
from medtl.readers.raster import read_raster
from medtl.writers.images import write_png

FILES_A_PIECE = 128
# what is done with a picture's mask: kept beside it, or everything outside or inside it made black
KEEP, ONLY, OUT = "keep", "only", "out"


class Row(NamedTuple):
    """One picture.

    Attributes:
        file: relative to the raw folder.
        label: class name.
        patient: unique within the set.
        split: that the publisher fixed (training, validation, test), or empty.
        masks: files of 0 and other values, relative to the raw folder; their union becomes the picture's mask.
        group: what is known of the person, for tables by group: {"age": 61, "sex": "F", "site": "A"}.
    """

    file: str
    label: str
    patient: str
    split: str = ""
    masks: tuple[str, ...] = ()
    group: Mapping[str, Any] = {}


def source(
    name: str, raw: Path, rows: Sequence[Row], rejected: Sequence[Rejected], *, grey: bool, masks: str = KEEP
) -> Source:
    """Return the work of a set: chunks of its rows.

    Args:
        name: of the set.
        raw: the folder that files are named relative to.
        rows: the pictures, in a repeatable order.
        rejected: what finding them has ruled out.
        grey: write each as an 8-bit grey PNG; otherwise files are copied byte for byte.
        masks: what becomes of masks: ``keep``, ``only`` (what lies outside is made black) or ``out`` (what lies inside
            is).
    """
    choices = {"grey": grey, "masks": masks}
    works = []
    for number, start in enumerate(range(0, len(rows), FILES_A_PIECE)):
        piece = rows[start : start + FILES_A_PIECE]
        files = tuple(raw / file for row in piece for file in (row.file, *row.masks))
        payload = [[*row[:4], list(row.masks), dict(row.group)] for row in piece]
        works.append(Work(f"{number:05d}", files, (name, choices, payload)))
    found = Counter(row.label for row in rows)
    return Source(name, raw, tuple(works), process, choices, found, "images", tuple(rejected))


def process(work: Work, raw: Path, out: Path) -> Done:
    """Check and write one chunk of pictures, each with its mask."""
    name, choices, rows = work.payload
    done = Done()
    for file, label, patient, split, masks, group in rows:
        row = Row(file, label, patient, split, tuple(masks), group)
        try:
            done.entries.append(_entry(name, row, raw, out, choices["grey"], choices["masks"]))
        except BadFileError as error:
            done.rejected.append(Rejected(file, str(error)))
    return done


def _entry(name: str, row: Row, raw: Path, out: Path, grey: bool, masks: str) -> dict[str, Any]:
    """Write one picture and its mask, and return its entry."""
    content = read_checked(raw / row.file)
    mask = _union(raw, row.masks) if row.masks else None
    target = f"images/{name}/{row.file}"
    if grey:
        pixels = read_raster(raw / row.file)
        if masks != KEEP:
            pixels = _blackened(pixels, mask, masks)
        target = str(Path(target).with_suffix(".png"))
        write_png(out / target, pixels)
    else:
        write_bytes(out / target, content)
    entry: dict[str, Any] = {
        "image": target,
        "label": row.label,
        "patient": f"{name}/{row.patient}",
        "source": name,
        "sha256": file_hash(out / target) if grey else hashlib.sha256(content).hexdigest(),
    }
    if not grey:
        entry["channels"] = 3
    if mask is not None and masks == KEEP:
        entry["mask"] = f"masks/{name}/{Path(row.file).with_suffix('.png')}"
        write_png(out / entry["mask"], mask)
    if row.split:
        entry["split"] = row.split
    if row.group:
        entry["group"] = dict(row.group)
    return entry


def _union(raw: Path, files: Sequence[str]) -> NDArray[np.uint8]:
    """Return the union of some masks, 0 and 1.

    Raises:
        BadFileError: one cannot be read, or they differ in size; the text names it.
    """
    union: NDArray[np.uint8] | None = None
    for file in files:
        try:
            one = (read_raster(raw / file) > 0).astype(np.uint8)
        except BadFileError as error:
            raise BadFileError(f"its mask {Path(file).name} {error}") from None
        if union is not None and union.shape != one.shape:
            raise BadFileError(f"its masks differ in size: {union.shape} and {one.shape}")
        union = one if union is None else union | one
    assert union is not None
    return union


def _blackened(pixels: NDArray[np.uint8], mask: NDArray[np.uint8] | None, masks: str) -> NDArray[np.uint8]:
    """Return the picture with what its mask hides in black.

    Raises:
        BadFileError: it has no mask, or nothing is left to see.
    """
    if mask is None:
        raise BadFileError("has no mask, which --mask-lungs needs")
    if mask.shape != pixels.shape:
        from PIL import Image

        mask = np.asarray(Image.fromarray(mask).resize(pixels.shape[::-1], Image.Resampling.NEAREST))
    shown: NDArray[np.uint8] = np.where((mask > 0) == (masks == ONLY), pixels, 0).astype(np.uint8)
    if shown.min() == shown.max():
        raise BadFileError("shows nothing where its mask leaves it visible")
    return shown
