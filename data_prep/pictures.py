"""Picture files that are taken as they are, once it is sure that they can be read."""

import io
from pathlib import Path

from medtl.errors import BadFileError
from medtl.readers.raster import UNREADABLE, opened_picture


def read_checked(path: Path) -> bytes:
    """Return the file's bytes, once they have been decoded to the last one.

    A picture that cannot be decoded must not stop a training run in the night.

    Raises:
        BadFileError: missing, empty, no picture, cut short, or all its pixels alike.
    """
    try:
        if not path.is_file():
            raise BadFileError("is missing")
        content = path.read_bytes()
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}") from None
    if not content:
        raise BadFileError("is empty (0 bytes)")
    try:
        with opened_picture(io.BytesIO(content)) as image:
            low, high = image.convert("L").getextrema()
    except UNREADABLE:
        raise BadFileError("is not a readable image, or is cut short") from None
    if low == high:
        raise BadFileError("shows nothing: all its pixels are alike")
    return content
