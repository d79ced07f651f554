"""Pictures with masks: rows of picture and mask files become a segmentation's data list. Each picture is a case of one
slice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep import options, sample
from data_prep.pictures import read_checked
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError
from medtl.files import file_hash, write_bytes
from medtl.readers.raster import read_labels, read_raster
from medtl.writers.images import write_png

FILES_A_PIECE = 32
VALIDATION = 0.15
COLOUR = np.array([65536, 256, 1])  # what its red, green and blue count in a colour's number
SPACING = [1.0, 1.0, 1.0]  # a picture has no millimetres: distances are in pixels


class Mask(NamedTuple):
    """One mask file of a picture.

    Attributes:
        file: relative to the raw folder.
        number: class of every value above 0, of colours all but black; 0 where the file's values say the class.
        values: value to class, where the values are no class indices themselves; 0 is background unless it stands here.
        colour: whether a value is a colour, 65536 red + 256 green + blue.
        above: with ``number``, the value that must be exceeded: 0, or a share of experts in a map of their agreement.
    """

    file: str
    number: int = 0
    values: tuple[tuple[int, int], ...] = ()
    colour: bool = False
    above: int = 0


class Row(NamedTuple):
    """One picture with its masks.

    Attributes:
        file: relative to the raw folder.
        masks: later ones lie above earlier ones.
        patient: unique within the set.
        split: that the publisher fixed (training, validation, test), or empty.
        name: of the picture that is written anew, without what else the file says (of private pictures); empty copies
            the file under its own name.
        group: what is known of the patient, such as sex and age, in pairs.
    """

    file: str
    masks: tuple[Mask, ...]
    patient: str
    split: str = ""
    name: str = ""
    group: tuple[tuple[str, str | int], ...] = ()


def source(name: str, raw: Path, rows: Sequence[Row], rejected: Sequence[Rejected], classes: Sequence[str]) -> Source:
    """Return the work of a set: chunks of its rows.

    Args:
        name: of the set.
        raw: the folder that files are named relative to.
        rows: the pictures, in a repeatable order.
        rejected: what finding them has ruled out.
        classes: names in index order, from index 1 of the masks.
    """
    works = []
    for number, start in enumerate(range(0, len(rows), FILES_A_PIECE)):
        piece = rows[start : start + FILES_A_PIECE]
        files = tuple(raw / file for row in piece for file in (row.file, *(mask.file for mask in row.masks)))
        payload = [[row.file, [list(mask) for mask in row.masks], *row[2:]] for row in piece]
        works.append(Work(f"{number:05d}", files, (name, len(classes), payload)))
    found = {each: len(rows) for each in classes}
    return Source(name, raw, tuple(works), process, {"classes": list(classes)}, found, "pictures", tuple(rejected))


def process(work: Work, raw: Path, out: Path) -> Done:
    """Check and write one chunk of pictures, each with one mask of class indices."""
    name, classes, rows = work.payload
    done = Done()
    for file, masks, *about in rows:
        own = [Mask(*one)._replace(values=tuple(map(tuple, one[2]))) for one in masks]
        row = Row(file, tuple(own), *about)
        try:
            done.entries.append(_entry(name, classes, row, raw, out))
        except BadFileError as error:
            done.rejected.append(Rejected(file, str(error)))
    return done


def _entry(name: str, classes: int, row: Row, raw: Path, out: Path) -> dict[str, Any]:
    shape = read_raster(raw / row.file).shape
    labels = np.zeros(shape, np.uint8)
    for mask in row.masks:
        values = _values(raw / mask.file, mask)
        if values.shape != shape:
            raise BadFileError(f"has {shape} pixels, its mask {Path(mask.file).name} {values.shape}")
        found = mask.number * (values > mask.above) if mask.number else _named(values, mask, classes)
        labels = np.where(found > 0, found, labels).astype(np.uint8)
    return written(name, row, labels, raw, out)


def written(name: str, row: Row, labels: NDArray[np.uint8], raw: Path, out: Path) -> dict[str, Any]:
    """Write a picture and its mask, and return their entry.

    Args:
        name: of the set.
        row: of the picture; its masks are not looked at.
        labels: class indices (rows, columns) of the picture's pixels.
        raw, out: folders of the download and of the result.

    Raises:
        BadFileError: the picture cannot be read.
    """
    content = read_checked(raw / row.file)
    case = row.name or Path(row.file).with_suffix("").as_posix()
    target, place = f"images/{name}/{row.name + '.png' if row.name else row.file}", f"masks/{name}/{case}.png"
    if row.name:
        write_png(out / target, read_raster(raw / row.file, channels=3))
    else:
        write_bytes(out / target, content)
    write_png(out / place, labels)
    entry: dict[str, Any] = {
        "image": target,
        "mask": place,
        "patient": f"{name}/{row.patient}",
        "source": name,
        "sha256": file_hash(out / target),
        "mask_sha256": file_hash(out / place),
        "case": case,
        "slice": 0,
        "spacing": SPACING,
        "channels": 3,
    }
    known = {"split": row.split, "group": dict(row.group)}
    return {**entry, **{key: value for key, value in known.items() if value}}


def _named(values: NDArray[np.int64], mask: Mask, classes: int) -> NDArray[np.int64]:
    """Return the class of each value.

    Raises:
        BadFileError: a value is no class's.
    """
    known = dict(mask.values) or {number: number for number in range(1, classes + 1)}
    found = np.zeros_like(values)
    for value in np.unique(values).tolist():
        if value == 0 and value not in known:
            continue
        if value not in known:
            said = f"the colour #{value:06x}" if mask.colour else f"the value {value}"
            raise BadFileError(f"its mask {Path(mask.file).name} has {said}, which has no class")
        found[values == value] = known[value]
    return found


def _values(path: Path, mask: Mask) -> NDArray[np.int64]:
    """Return a mask file's values (rows, columns). A colour's is its number, its brightest channel where the file shows
    one class, so that black alone is background, or else its grey; a palette's is its index where values are indices.

    Raises:
        BadFileError: it cannot be read, or holds no values of a mask.
    """
    try:
        found = read_labels(path, by_index=not mask.number and not mask.colour)
    except BadFileError as error:
        raise BadFileError(f"its mask {Path(mask.file).name} {error}") from None
    if mask.colour:
        return np.asarray(found @ COLOUR if found.ndim == 3 else found * COLOUR.sum())
    if found.ndim == 2:
        return found
    if mask.number:
        return np.asarray(found.max(axis=2))
    return np.asarray(Image.fromarray(found.astype(np.uint8)).convert("L")).astype(np.int64)


def command_of(
    card: DatasetCard, find: Callable[[Path], Source], test_fraction: float | None = None
) -> Callable[..., None]:
    """Return the command of a set: one without options of splits where all are fixed, else one that deals patients,
    ``test_fraction`` of them for test by default.

    Args:
        card: of the set.
        find: raw folder to the work of the download.
        test_fraction: None where the publisher (or custom) fixed every picture's split.
    """

    def finish(raw: str, out: Path, dealt: dict[str, Any], **rest: Any) -> None:
        source = find(options.raw_folder(raw, "--raw", card.name))
        options.finish(card, [source], out, choices={}, is_sample=raw == sample.WORD, **dealt, **rest)

    def fixed(
        raw: options.Raw,
        out: options.Out,
        workers: options.Workers = None,
        dask: options.Dask = None,
        dry_run: options.DryRun = False,
        debug: options.Debug = False,
    ) -> None:
        finish(raw, out, {}, workers=workers, dask=dask, dry_run=dry_run)

    def dealt(
        raw: options.Raw,
        out: options.Out,
        workers: options.Workers = None,
        dask: options.Dask = None,
        dry_run: options.DryRun = False,
        seed: options.Seed = 0,
        validation_fraction: options.Validation = VALIDATION,
        test_fraction: options.Test = test_fraction or 0.0,
        debug: options.Debug = False,
    ) -> None:
        shares = {"seed": seed, "validation_fraction": validation_fraction, "test_fraction": test_fraction}
        finish(raw, out, shares, workers=workers, dask=dask, dry_run=dry_run)

    return fixed if test_fraction is None else dealt
