"""What a file of unknown origin may ask for: how far it may grow when it is unpacked, and how large a picture may be.

A few kB can stand for gigabytes. Data of patients packs to a tenth, rarely to less; only masks and empty pictures pack
to a hundredth, and these are small. So what is both large and packed beyond ``MOST_RATIO`` is refused before memory is
asked for.
"""

from medtl.errors import BadFileError

MEGABYTE = 2**20
FREELY = 128 * MEGABYTE  # bytes that anything may unpack to, however small it is stored
FREE_PICTURE = 64 * MEGABYTE  # of a picture, which several copies are made of on its way
FREE_VOLUME = 384 * MEGABYTE  # of a volume: a mask of 512 × 512 × 800 voxels packs to a thousandth
MOST_RATIO = 100
MOST_BEYOND = 64 * MEGABYTE  # bytes in front of the voxels or behind them, which nobody needs
MOST_PIXELS = 64_000_000  # of one picture; the largest detectors in use have about 30 million


def check_growth(stored: int, unpacked: int, freely: int = FREELY) -> None:
    """Raise BadFileError for a file that says, or shows, that it grows beyond all reason.

    Args:
        stored: bytes in the file.
        unpacked: bytes that it stands for.
        freely: bytes that are never too many.
    """
    if unpacked > max(freely, MOST_RATIO * stored):
        raise BadFileError(
            "is cut short, damaged, or made to fill the memory:"
            f" {stored:,} bytes claim to hold {unpacked:,}, more than {MOST_RATIO} times as many"
        )


def check_pixels(stored: int, rows: int, columns: int, bands: int) -> None:
    """Raise BadFileError for a picture of more than ``MOST_PIXELS``, or one that grows beyond all reason.

    Args:
        stored: bytes of its file.
        rows: pixels from top to bottom.
        columns: pixels from left to right.
        bands: numbers a pixel.
    """
    if rows * columns > MOST_PIXELS:
        raise BadFileError(f"absurd picture size: {rows:,} by {columns:,} pixels; at most {MOST_PIXELS:,} are read")
    check_growth(stored, rows * columns * bands, FREE_PICTURE)
