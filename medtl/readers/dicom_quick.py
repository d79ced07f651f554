"""The header of a plainly built DICOM file in a tenth of the time; whatever is unusual is left to pydicom.

pydicom steps through every element of a header in general-purpose code, which for a series of hundreds of slices is
most of the time spent. Here the elements of a little-endian file without sequences of unknown length are stepped over
in place. The values themselves are still decoded by pydicom, each distinct one once a series, so that both ways give
the same numbers; where anything is out of the ordinary the answer is None, and pydicom reads the file.
"""

import struct
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

HEAD_BYTES = 16384  # headers of scanners have 2 to 8 kB; what lies behind is not looked at here
UNKNOWN_LENGTH = 0xFFFFFFFF
META, ITEM = 0x0002, 0xFFFE  # groups of the file meta information and of the marks between sequence items
TRANSFER_SYNTAX = 0x00020010
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
STANDARD_SYNTAXES = "1.2.840.10008.1.2"
LONG_VRS = {vr.encode() for vr in EXPLICIT_VR_LENGTH_32}
KNOWN_VRS = {vr.encode() for vr in VR if len(vr) == 2}
# LO is text in some character set: it is only ever compared, undecoded
PLAIN_VRS = {"AT", "CS", "DS", "FD", "FL", "IS", "LO", "OB", "OV", "OW", "SL", "SS", "UI", "UL", "US"}

Values = dict[tuple[int, str | None, bytes], Any]
Elements = dict[int, tuple[str | None, bytes]]
_implicit = struct.Struct("<HHL").unpack_from
_explicit = struct.Struct("<HH2sH").unpack_from
_length = struct.Struct("<L").unpack_from


class QuickHeader:
    """Elements of a header, decoded when asked for; stands in for a pydicom ``Dataset``.

    Attributes:
        file_meta: the file meta information, in the same form (its own is itself).
    """

    def __init__(self, elements: Elements, file_meta: "QuickHeader | None", values: Values) -> None:
        self.file_meta: QuickHeader = file_meta or self
        self._elements = elements
        self._values = values

    def get(self, keyword: str) -> Any:
        """The decoded value, None where absent or empty. Raises what pydicom raises on a damaged one."""
        tag = tag_for_keyword(keyword)
        found = None if tag is None else self._elements.get(tag)
        if tag is None or found is None or not found[1]:
            return None
        key = (tag, *found)
        if key not in self._values:
            vr, content = found
            raw = RawDataElement(BaseTag(tag), vr, len(content), content, 0, vr is None, True)
            self._values[key] = convert_raw_data_element(raw).value
        return self._values[key]

    def raw(self, keyword: str) -> bytes:
        """The bytes of an element as they are in the file; empty where it is absent."""
        found = self._elements.get(tag_for_keyword(keyword) or 0)
        return found[1] if found else b""


def read_header(head: bytes, wanted: Mapping[int, str], values: Values) -> tuple[QuickHeader, int] | None:
    """The wanted elements of a file up to its pixels.

    Args:
        head: the first HEAD_BYTES of the file, which starts as DICOM.
        wanted: tag → value representation by the dictionary.
        values: what has been decoded so far; give the same one for all files of a folder.

    Returns:
        The header, and where in the file its pixel element starts; None for a file that pydicom should read.
    """
    try:
        meta, start = _elements(head, 132, wanted, is_implicit=False, is_meta=True)
        file_meta = QuickHeader(meta, None, values)
        syntax = str(file_meta.get("TransferSyntaxUID"))
        if not syntax.startswith(STANDARD_SYNTAXES) or syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            return None
        is_implicit = syntax == ImplicitVRLittleEndian
        if is_implicit == head[start + 4 : start + 6].isalpha():
            return None  # the first element contradicts the transfer syntax
        elements, end = _elements(head, start, wanted, is_implicit, is_meta=False)
    except Exception:  # the end of what was read, or whatever a damaged value raises: pydicom shall tell
        return None
    return QuickHeader(elements, file_meta, values), end


def _elements(
    head: bytes, at: int, wanted: Mapping[int, str], is_implicit: bool, is_meta: bool
) -> tuple[Elements, int]:
    """Raw wanted elements from an offset on, to the end of the file meta group or to the pixels; ValueError or
    struct.error where that is not reached plainly."""
    found: Elements = {}
    while True:
        vr: str | None = None
        if is_implicit:
            group, element, length = _implicit(head, at)
            start = at + 8
        else:
            group, element, code, length = _explicit(head, at)
            start = at + 8
            if is_meta and group != META:
                return found, at
            if code in LONG_VRS:
                (length,) = _length(head, start)
                start += 4
            elif code not in KNOWN_VRS:
                raise ValueError("unknown value representation")
            vr = code.decode()
        tag = group << 16 | element
        if tag in PIXELS:
            return found, at
        if length == UNKNOWN_LENGTH or group in (0, ITEM) or start + length > len(head):
            raise ValueError("not a plain element")
        if tag in wanted:
            if (vr or wanted[tag]) not in PLAIN_VRS:
                raise ValueError("a sequence, text, or an element whose representation depends on others")
            found[tag] = vr, head[start : start + length]
        at = start + length


def tags(keywords: tuple[str, ...]) -> dict[int, str]:
    """Tag → value representation of some elements, as ``read_header`` wants them."""
    known = {tag: dictionary_VR(tag) for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None}
    return {int(tag): str(vr) for tag, vr in known.items()}
