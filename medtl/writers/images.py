"""8-bit pictures as PNG, whole or absent, with the same bytes for the same pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtl.files import replacing


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (rows, columns) grey or (rows, columns, 3) RGB pixels, 0..255, without any metadata."""
    with replacing(path) as part:
        Image.fromarray(np.ascontiguousarray(pixels)).save(part, format="PNG", compress_level=4)
