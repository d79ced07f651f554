"""A few pictures of a prepared data set, as one array."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl import datalist
from medtl.data.packed import resized
from medtl.datalist import DataList, Entry
from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.readers.picture import read_picture

CHANNELS = 3
TAKEN = ("training", "validation")  # the test split stays shut: a measurement of it would be a look into it


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures of one data set.

    Attributes:
        name: that the data list has.
        pixels: (n, 3, size, size), uint8; grey pictures three times.
        available: different pictures in the splits that were drawn from.
        sample: they are the built-in phantoms.
    """

    name: str
    pixels: NDArray[np.uint8]
    available: int
    sample: bool

    @property
    def brightness(self) -> float:
        """Return the mean grey value over channels, pixels and pictures, 0..1."""
        return float(self.pixels.mean(dtype=np.float64)) / 255


def draw(folder: Path, count: int, size: int, seed: int = 0) -> Drawn:
    """Return pictures of a prepared folder in random order, drawn without replacement from training and validation; all
    of them where there are fewer.

    Args:
        folder: that data_prep wrote.
        count: at most so many, at least 1.
        size: rows and columns to which they are resized by area.
        seed: of the draw.

    Raises:
        UsageError: it holds no data list, or one without a picture for training.
        MedtlError: a picture cannot be read; names it.
    """
    if count < 1 or size < 1:
        raise UsageError(f"images {count} and image_size {size}: expected at least 1 each")
    listed = datalist.read(folder)
    entries = _different(listed)
    if not entries:
        raise UsageError(f"{folder}: {datalist.FILE_NAME} names no picture for training or validation")
    order = list(range(len(entries)))
    random.Random(seed).shuffle(order)
    chosen = [entries[place] for place in order[:count]]
    pixels = np.stack([_read(listed, entry, size) for entry in chosen])
    return Drawn(listed.name, pixels, len(entries), listed.sample)


def _different(listed: DataList) -> list[Entry]:
    """The entries of the splits that may be looked at, each picture once; a patient of a survival may have features
    and no picture."""
    entries = [entry for split in TAKEN for entry in listed.split(split) if "image" in entry]
    return list({entry["sha256"] or entry["image"]: entry for entry in reversed(entries)}.values())[::-1]


def _read(listed: DataList, entry: Entry, size: int) -> NDArray[np.uint8]:
    try:
        pixels = read_picture(listed.folder / entry["image"], channels=listed.channels)
    except (BadFileError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MedtlError(f"{listed.folder / entry['image']}: {reason}") from None
    planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    small = resized(np.ascontiguousarray(planes), size)
    return np.broadcast_to(small, (CHANNELS, size, size))
