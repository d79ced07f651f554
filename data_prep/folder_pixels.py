"""The pixels of one's own images, of any kind, as 8-bit pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtl.errors import BadFileError
from medtl.readers.kinds import kind
from medtl.readers.picture import read_picture

COLOURED = 10  # grey levels by which two channels must differ: less is what JPEG does to grey


def kind_of(path: Path) -> str | None:
    """Return the picture's kind; None for a file that cannot be opened."""
    try:
        return kind(path)
    except (OSError, ValueError):
        return None


def read(path: Path, size: int) -> NDArray[np.uint8]:
    """Return grey (rows, columns) or, if it is really coloured, RGB (rows, columns, 3), its longest side at most
    ``size``."""
    try:
        if not path.is_file():
            raise BadFileError("is missing")
        if path.stat().st_size == 0:
            raise BadFileError("is empty (0 bytes)")
        pixels = read_picture(path, channels=3 if kind(path) == "raster" else 1)
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}") from None
    if pixels.min() == pixels.max():
        raise BadFileError("shows nothing: all its pixels are alike")
    image = Image.fromarray(pixels)
    if pixels.ndim == 3 and int((pixels.max(axis=2) - pixels.min(axis=2)).max()) <= COLOURED:
        image = image.convert("L")
    if size and max(image.size) > size:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)
