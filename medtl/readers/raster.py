"""PNG, JPEG, TIFF, BMP, WebP and GIF as 8-bit grey or RGB: as deep as the file is, upright, and without what is
transparent."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medtl.errors import BadFileError
from medtl.limits import check_pixels
from medtl.readers import intensity

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # our own limit is lower
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError)
PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, page 37
BITS_PER_SAMPLE, ORIENTATION = 258, 274
PNG_DEPTH_AT = 24  # byte of a PNG's header chunk, which always comes first
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = [turn for orientation, turn in TURNS.items() if orientation > 4]
DEEPEST = 2**16 - 1
GREY = ("1", "L", "LA")
LARGEST = 2**31 - 1024  # the largest that single precision and 32 bits both hold
SEVERAL = "holds several pictures where one is expected"
UNCLEAR = "has a palette whose black is not one index, 0: which is the background is not known"
TOO_DEEP = "has colours of more than 8 bits that cannot be read: save it with 8"


@contextmanager
def opened_picture(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Yield a picture whose size is known and no pixel of which is decoded.

    Args:
        source: the file, or its bytes.

    Raises:
        BadFileError: it has more pixels than ``limits.MOST_PIXELS``. One of UNREADABLE: it is no picture.
    """
    stored = source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)
    if not isinstance(source, Path):
        source.seek(0)
    try:
        image = Image.open(source)
    except Image.DecompressionBombError:
        raise BadFileError("absurd picture size: more pixels than are ever read") from None
    with image:
        check_pixels(stored, image.height, image.width, len(image.getbands()))
        yield image


def read_raster(path: Path, channels: int = 1) -> NDArray[np.uint8]:
    """Return one picture as 8-bit grey (rows, columns), or RGB (rows, columns, 3) for ``channels`` 3.

    More than 8 bits are scaled by the bits that the largest number uses, which the file's own depth tells of, grey and
    colour alike. An orientation in the file's EXIF data is applied, as viewers do. What is transparent is composited
    on black. Of an animation the first frame is taken.

    Raises:
        BadFileError: missing, empty, no picture, cut short, several pages of a TIFF, or greys without a known white.
    """
    with _sound(path) as (image, turn):
        is_turned = image.format == "TIFF"  # Pillow turns a TIFF as it reads its pixels
        if _is_deep(image):
            found = Image.fromarray(deep_grey(image))
        elif _depth(path, image) > 8:
            found, is_turned = _deep_colour(path, image), False
        else:
            found = _opaque(image)
        upright = found if turn is None or is_turned else found.transpose(turn)
        return np.asarray(upright.convert("RGB" if channels == 3 else "L"))


def read_labels(path: Path, by_index: bool = False) -> NDArray[np.int64]:
    """Return the numbers or colours of a mask, upright and black where it is transparent, as pictures are read; numbers
    stand as in the file, and are not scaled.

    Args:
        path: of the file.
        by_index: whether a palette's indices are the numbers; else its colours count.

    Returns:
        (rows, columns) of numbers from 0 on, or (rows, columns, 3) of colours 0..255.

    Raises:
        BadFileError: as of ``read_raster``; also an animation, fractions, colours of more than 8 bits, and what leaves
            the background open: black on transparent, or a palette with black elsewhere or twice.
    """
    with _sound(path) as (image, turn):
        if getattr(image, "is_animated", False):
            raise BadFileError(SEVERAL)
        if _is_deep(image):
            found = _whole_numbers(image)
        elif _depth(path, image) > 8:
            raise BadFileError(TOO_DEEP)
        elif image.mode == "P" and by_index:
            if any((image.getpalette("RGB") or [])[:3]) and _black(image):
                raise BadFileError(UNCLEAR)
            found = image
        else:
            found = _shown_label(image)
        upright = found if turn is None or image.format == "TIFF" else found.transpose(turn)
        return np.asarray(upright).astype(np.int64)


@contextmanager
def _sound(path: Path) -> Iterator[tuple[Image.Image, Image.Transpose | None]]:
    """Yield one picture and what makes it upright; what goes wrong inside is told as ``read_raster`` tells it."""
    try:
        if path.is_file() and not path.stat().st_size:
            raise BadFileError("is empty (0 bytes)")
        with opened_picture(path) as image:
            if image.format == "TIFF" and getattr(image, "is_animated", False):
                raise BadFileError(SEVERAL)
            turn = _turn(image)
            if turn in SIDEWAYS and image.format == "TIFF" and image.info.get("compression") == "raw":
                raise BadFileError(
                    "is an uncompressed TIFF that lies on its side: save it upright"
                )  # Pillow garbles it
            yield image, turn
    except FileNotFoundError:
        raise BadFileError("is missing") from None
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's own: Pillow's have no number
            raise BadFileError(f"cannot be read: {error.strerror}") from None
        raise BadFileError("is not a readable image, or is cut short") from None


def is_animated(path: Path) -> bool:
    """Return whether several pictures follow on one another in a file (GIF, WebP, PNG); False for what cannot be read.
    They are not counted: there may be a million."""
    try:
        with opened_picture(path) as image:
            return image.format != "TIFF" and bool(getattr(image, "is_animated", False))
    except (BadFileError, *UNREADABLE):
        return False


def deep_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return grey of more than 8 bits by the bits that it uses; Pillow would clip it at 255.

    Raises:
        BadFileError: its values are negative or floating-point: what is white is not known.
    """
    try:
        grey = intensity.by_bits_used(np.asarray(image))
    except ValueError:
        raise BadFileError("holds negative or floating-point greys: save it with 8 or 16 bits") from None
    tags = getattr(image, "tag_v2", {})  # of a TIFF; Pillow inverts its 8 bits alone
    return 255 - grey if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO else grey


def _is_deep(image: Image.Image) -> bool:
    """Return whether it is grey of more than 8 bits, of either order of bytes."""
    return image.mode.startswith("I") or image.mode == "F"


def _whole_numbers(image: Image.Image) -> Image.Image:
    """Return grey of more than 8 bits as it stands.

    Raises:
        BadFileError: a number is negative or no whole one, or 0 is white.
    """
    numbers = np.asarray(image)
    if not ((numbers >= 0) & (numbers <= LARGEST) & (numbers == np.rint(numbers))).all():
        raise BadFileError("holds negative numbers or fractions: save it with 8 or 16 bits")
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        raise BadFileError("says that 0 is white, in more than 8 bits: save it with 8")
    return Image.fromarray(numbers.astype(np.int32))


def _black(image: Image.Image) -> list[int]:
    """Return the indices of a palette that the picture uses and that are black."""
    colours = np.asarray([*(image.getpalette("RGB") or []), *[0] * 768]).reshape(-1, 3)
    return [int(index) for index in np.unique(np.asarray(image)) if not colours[index].any()]


def _shown_label(image: Image.Image) -> Image.Image:
    """Return the greys or colours of a mask, whose background is black.

    Raises:
        BadFileError: a palette has two that are black, or what is drawn on transparent is black.
    """
    if image.mode == "P" and len(_black(image)) > 1:
        raise BadFileError(UNCLEAR)
    shown = _opaque(image)
    if shown is not image and not np.asarray(shown).any():
        low, high = image.convert("RGBA").getchannel("A").getextrema()
        if low != high:
            raise BadFileError("is black on transparent: which of them is the background is not known")
    return shown if shown.mode in ("1", "L") else shown.convert("L" if image.mode in GREY else "RGB")


def _depth(path: Path, image: Image.Image) -> int:
    """Return the bits of a sample by the file itself: Pillow gives the upper 8 of a colour's 16 without a word."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            file.seek(PNG_DEPTH_AT)
            return file.read(1)[0]
    if image.format == "TIFF":
        bits: Any = image.tag_v2.get(BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _deep_colour(path: Path, image: Image.Image) -> Image.Image:
    """Return colours, or grey with transparency, of more than 8 bits, through ITK's readers."""
    import itk  # takes seconds: only who reads such a file waits for it

    reader = itk.TIFFImageIO.New() if image.format == "TIFF" else itk.PNGImageIO.New()
    try:  # single precision holds 16 bits exactly, and ITK has no integers of several bands
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        bands = reader.GetNumberOfComponents()
        pixels = itk.array_from_image(itk.imread(str(path), pixel_type=itk.Vector[itk.F, bands], imageio=reader))
    except Exception:  # ITK raises RuntimeError with the path and C++ places in it
        raise BadFileError(TOO_DEEP) from None
    if pixels.shape != (image.height, image.width, bands) or not 0 <= pixels.min() <= pixels.max() <= DEEPEST:
        raise BadFileError(TOO_DEEP)
    if bands in (2, 4):
        pixels = pixels[..., :-1] * (pixels[..., -1:] / DEEPEST)
    samples = np.rint(pixels).astype(np.uint16)
    shown = intensity.by_bits_used(samples)
    return Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown)


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture on black where it is transparent; what lies under a transparent pixel is not meant to
    be seen."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layered = image.convert("RGBA")
    black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, layered).convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the picture upright by its EXIF data; None where it is, or the data cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF data is a small TIFF of its own, damaged in as many ways
        return None
