"""Slides as pyramids of tiles (.svs, .tif, .tiff) through tifffile: regions of a level, decoding the tiles they touch.

Tiles that are compressed as JPEG, as scanners write them, need imagecodecs (the extra ``wsi``).
"""

import math
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.limits import check_pixels

SUFFIXES = (".svs", ".tif", ".tiff")
MICRONS = {2: 25_400, 3: 10_000}  # of TIFF's units of resolution, inch and centimetre
PLAUSIBLE = (0.05, 10)  # microns a pixel of a slide; other resolutions are those of a printer
AT_ONE_MICRON = 10  # magnification at which a pixel is one micron wide
WHITE = 255


class Slide:
    """An open slide.

    Args:
        path: of the file.

    Attributes:
        magnification: of level 0, as the scanner says, or 10 divided by the microns a pixel.
        shapes: (rows, columns) of each level, the largest first.

    Raises:
        BadFileError: it is no RGB slide of 8 bits, or does not say its magnification.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ImportError:
            raise BadFileError("needs tifffile to be read: pip install 'medtl[wsi]'") from None
        try:
            self._file = tifffile.TiffFile(path)
        except Exception as error:  # of damage tifffile and struct raise much
            raise BadFileError(f"cannot be read as a slide: {_first(error)}") from None
        try:
            self._pages: list[Any] = [level.keyframe for level in self._file.series[0].levels]
            self.shapes = [(int(page.imagelength), int(page.imagewidth)) for page in self._pages]
            page = self._pages[0]
            found = (page.dtype, page.samplesperpixel, page.planarconfig)
            if any((each.dtype, each.samplesperpixel, each.planarconfig) != (np.uint8, 3, 1) for each in self._pages):
                raise BadFileError(f"holds {found[0]} with {found[1]} samples a pixel; expected RGB of 8 bits")
            self.magnification = _magnification(page)
        except BadFileError:
            self._file.close()
            raise
        except Exception as error:
            self._file.close()
            raise BadFileError(f"cannot be read as a slide: {_first(error)}") from None

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def downsample(self, level: int) -> float:
        """Return how many pixels of level 0 lie along one of a level."""
        return max(self.shapes[0]) / max(self.shapes[level])

    def region(self, level: int, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """Return (rows, columns, 3) of a level, white where it ends or the scanner stored nothing.

        Raises:
            BadFileError: a tile cannot be read.
        """
        page = self._pages[level]
        check_pixels(self._file.filehandle.size, rows, columns, 3)
        tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        across = math.ceil(page.imagewidth / wide)
        found = np.full((rows, columns, 3), WHITE, dtype=np.uint8)
        bottom, right = min(top + rows, page.imagelength), min(left + columns, page.imagewidth)
        for line in range(top // tall, math.ceil(bottom / tall)):
            for place in range(left // wide, math.ceil(right / wide)):
                tile = self._tile(page, line * across + place, tall, wide)
                if tile is None:
                    continue
                y, x = line * tall, place * wide
                first, last = max(top, y), min(bottom, y + len(tile))
                begin, end = max(left, x), min(right, x + tile.shape[1])
                found[first - top : last - top, begin - left : end - left] = tile[
                    first - y : last - y, begin - x : end - x
                ]
        return found

    def _tile(self, page: Any, index: int, tall: int, wide: int) -> NDArray[np.uint8] | None:
        try:
            offset, size = page.dataoffsets[index], page.databytecounts[index]
            if not size:
                return None
            check_pixels(size, tall, wide, 3)
            self._file.filehandle.seek(offset)
            content = self._file.filehandle.read(size)
            decoded, _, _ = page.decode(content, index, jpegtables=page.jpegtables)
        except BadFileError:
            raise
        except Exception as error:
            more = "; pip install 'medtl[wsi]'" if "imagecodecs" in str(error) else ""
            raise BadFileError(f"has a tile that cannot be read: {_first(error)}{more}") from None
        return None if decoded is None else np.asarray(decoded)[0]


def _magnification(page: Any) -> float:
    text = str(page.description)
    told = re.search(r"AppMag\s*=\s*(\d+(?:\.\d+)?)", text)
    if told:
        return float(told[1])
    microns = re.search(r"MPP\s*=\s*(\d+(?:\.\d+)?)", text)
    size = float(microns[1]) if microns else 0.0
    unit = page.tags.get("ResolutionUnit")
    if not size and unit is not None and int(unit.value) in MICRONS and "XResolution" in page.tags:
        above, below = page.tags["XResolution"].value
        size = MICRONS[int(unit.value)] * below / above if above else 0.0
    if not PLAUSIBLE[0] <= size <= PLAUSIBLE[1]:
        raise BadFileError("does not say its magnification: expected AppMag, MPP or a resolution in its header")
    return AT_ONE_MICRON / size


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
