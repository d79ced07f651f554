"""What kind of image a file holds: by its first bytes, and only where these say nothing by its name."""

import struct
import unicodedata
from pathlib import Path

from pydicom.valuerep import VR

from medtl.readers.nifti import GZIP, HEADER_BYTES, decompression_errors, gzip_reader

RASTER = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom", ".ima")
ITK = (".mhd", ".mha", ".nrrd", ".nhdr")
KINDS = {"raster": RASTER, "nifti": NIFTI, "dicom": DICOM, "itk": ITK}
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF87a", b"GIF89a")
NIFTI_1, NIFTI_2 = (b"n+1\0", b"ni1\0"), (b"n+2\0", b"ni2\0")
PREAMBLE, MARK = 128, b"DICM"
BARE_ELEMENTS = 3  # of a data set without its preamble that must follow on one another
BARE_GROUPS = (0x0002, 0x0008)  # with one of which every data set starts
LONGEST_FIRST = 1024  # bytes of an element with which a header starts
KNOWN_VRS = {vr.encode() for vr in VR if len(vr) == 2}
_element = struct.Struct("<HH2sH").unpack_from
_long = struct.Struct("<L").unpack_from


def named(name: str) -> str | None:
    """Return the kind that a file's name promises, whatever the case of its suffix; None for any other name."""
    lower = unicodedata.normalize("NFC", name).lower()
    return next((kind for kind, suffixes in KINDS.items() if lower.endswith(suffixes)), None)


def kind(path: Path) -> str | None:
    """Return "raster", "nifti", "dicom", "itk", or None for anything else.

    The first bytes decide; a file that starts as none of these is what its name promises, so that reading it tells what
    is wrong.

    Raises:
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        head = file.read(HEADER_BYTES)
    if head[PREAMBLE : PREAMBLE + 4] == MARK:  # before pictures: its preamble may be a TIFF's
        return "dicom"
    if head.startswith(GZIP):
        return "nifti" if _is_nifti(_unpacked(path)) else named(path.name)
    if head.startswith(STARTS) or _is_bmp(head) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "raster"
    if _is_nifti(head):
        return "nifti"
    return named(path.name) or ("dicom" if is_bare_dicom(head) else None)


def is_bare_dicom(head: bytes) -> bool:
    """Return whether bytes are the start of a little-endian DICOM data set without preamble, as old archives store
    them: a few elements that follow on one another, the first one of those with which every data set starts."""
    at, last = 0, -1
    for number in range(BARE_ELEMENTS):
        if at + 12 > len(head):
            return False
        group, element, code, length = _element(head, at)
        tag = group << 16 | element
        if tag <= last or (number == 0 and group not in BARE_GROUPS):
            return False
        if code in KNOWN_VRS:
            at += 8
            if code in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
                (length,) = _long(head, at)
                at += 4
        else:
            (length,) = _long(head, at + 4)
            at += 8
        if length % 2 or length > LONGEST_FIRST:
            return False
        at, last = at + length, tag
    return True


def _unpacked(path: Path) -> bytes:
    try:
        with gzip_reader.open(path) as file:
            return bytes(file.read(HEADER_BYTES))
    except (OSError, *decompression_errors):
        return b""


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in NIFTI_1 or head[4:8] in NIFTI_2


def _is_bmp(head: bytes) -> bool:
    """Return whether bytes start a BMP; BM alone starts many a text: the two reserved fields behind the size are 0."""
    return head[:2] == b"BM" and head[6:10] == bytes(4)
