"""LIDC-IDRI annotation files: the radiologists' XML as frozen records, read defensively.

The layout comes from the collection's own description (Armato et al., Medical Physics 38:915, 2011, and the readme of
the XML files).
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError

MAX_BYTES = 32_000_000  # the files of the collection have less than a tenth of it
MAX_DEPTH = 32
MAX_COORDINATE = 4095  # slices are 512 pixels wide; a line to far outside only costs time


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed outline on one slice.

    Attributes:
        sop_uid: the slice it is drawn on; for matching only. z: the slice's position in mm.
        inclusion: False where the outline encloses what does not belong to the nodule.
        points: (n, 2) int64, (x, y) = (column, row) from 0, in drawing order.
    """

    sop_uid: str = field(repr=False)
    z: float
    inclusion: bool
    points: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Mark:
    """What one reader drew for one nodule.

    Attributes:
        reader: number of the reading session in the file, from 0; who it was is not known.
        characteristics: subtlety, internalStructure, calcification, sphericity, margin, lobulation, spiculation,
            texture, malignancy → rating; empty for small nodules.
    """

    reader: int
    contours: tuple[Contour, ...]
    characteristics: dict[str, int]

    @property
    def is_large(self) -> bool:
        """Whether the reader took the nodule for 3 mm or more: it is rated, or outlined by more than a point."""
        return bool(self.characteristics) or any(len(contour.points) > 1 for contour in self.contours)


@dataclass(frozen=True, eq=False)
class Annotation:
    """All nodule marks of one CT series. ``series_uid`` is for matching only; "" where the file names none."""

    series_uid: str = field(repr=False)
    marks: tuple[Mark, ...]


def read_xml(path: Path) -> Annotation | None:
    """Read one annotation file of the collection, whatever its namespace. Marks of non-nodules are skipped.

    Returns:
        The annotation, or None for a file about a chest X-ray (IdriReadMessage).

    Raises:
        BadFileError: not well-formed XML, a document type (never present in the collection, and a way to attack the
            parser), another kind of file, or a mark that lacks its slice or has unusable numbers.
    """
    root = parse_xml(path)
    if root.tag == "IdriReadMessage":
        return None
    if root.tag != "LidcReadMessage":
        raise BadFileError("an XML file, but not an LIDC annotation (no LidcReadMessage)")
    uid = root.findtext("ResponseHeader/SeriesInstanceUid") or ""
    marks = [
        Mark(reader, tuple(_contour(roi) for roi in nodule.findall("roi")), _characteristics(nodule))
        for reader, session in enumerate(root.findall("readingSession"))
        for nodule in session.findall("unblindedReadNodule")
    ]
    return Annotation(uid.strip(), tuple(marks))


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the element tree of annotations without namespaces; nothing outside the file is ever fetched, and no
    entity is expanded.

    Raises:
        BadFileError: not well-formed, too large or too deep, with a document type, or unreadable.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadFileError("XML file too large for annotations")
        parser = ElementTree.XMLParser(target=_Target())
        parser.feed(path.read_bytes())
        root = parser.close()
    except ElementTree.ParseError as error:
        raise BadFileError(f"not well-formed XML, at line {error.position[0]}") from None
    except (ValueError, LookupError):  # an encoding that is unknown or not the text's
        raise BadFileError("not well-formed XML: unknown text encoding") from None
    except OSError:
        raise BadFileError("the file cannot be read") from None
    _check_depth(root)
    names: dict[str, str] = {}
    for element in root.iter():
        if element.tag not in names:
            names[element.tag] = element.tag.rpartition("}")[2].rpartition(":")[2]
        element.tag = names[element.tag]
    return root


class _Target:
    """Builds the tree with the compiled builder's own methods, a third of the time of calls through Python."""

    def __init__(self) -> None:
        builder = ElementTree.TreeBuilder()
        self.start, self.end, self.data, self.close = builder.start, builder.end, builder.data, builder.close

    def doctype(self, *_: object) -> None:
        raise BadFileError("XML with a document type, which annotations never have")


def _check_depth(root: ElementTree.Element) -> None:
    level, depth = [root], 1
    while level:
        if depth > MAX_DEPTH:
            raise BadFileError("XML nested too deeply for annotations")
        level = [child for element in level for child in element]
        depth += 1


def _contour(roi: ElementTree.Element) -> Contour:
    uid, inclusion = _text(roi, "imageSOP_UID"), _text(roi, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise BadFileError("an outline's inclusion is neither TRUE nor FALSE")
    try:
        z = float(_text(roi, "imageZposition"))
        points = [(int(_text(edge, "xCoord")), int(_text(edge, "yCoord"))) for edge in roi.findall("edgeMap")]
    except ValueError:
        raise BadFileError("an outline's coordinate or z position is not a number") from None
    if not math.isfinite(z) or any(not 0 <= number <= MAX_COORDINATE for point in points for number in point):
        raise BadFileError(
            f"an outline's coordinate is not between 0 and {MAX_COORDINATE}, or its z position not finite"
        )
    if not points:
        raise BadFileError("an outline without a point")
    return Contour(uid, z, inclusion == "TRUE", np.array(points, np.int64))


def _characteristics(nodule: ElementTree.Element) -> dict[str, int]:
    """Return the ratings by name; a rating left blank is left out."""
    texts = {rating.tag: (rating.text or "").strip() for rating in nodule.findall("characteristics/*")}
    try:
        return {name: int(text) for name, text in texts.items() if text}
    except ValueError:
        raise BadFileError("a nodule's rating is not a whole number") from None


def _text(element: ElementTree.Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise BadFileError(f"an outline without {tag}")
    return text
