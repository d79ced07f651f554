"""The XML of a phantom download of LIDC-IDRI: what four readers marked, in the real files' shape."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

Mask = NDArray[np.bool_]
Voxel = tuple[int, int, int]  # slice, row, column

READERS = 4
SMALLEST_OUTLINE = 12  # pixels: a slice that shows less of a nodule is not outlined
NODULE_NAMES = ("Nodule {:03d}", "IL057_1273{:02d}", "MI014_121{:02d}", "{}")  # each site numbers in its own way
RATED = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


@dataclass(frozen=True)
class Series:
    """What the marks refer to: the series' UIDs, and position and UID of each slice."""

    study: str
    uid: str
    heights: tuple[float, ...]
    instances: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Mark:
    """A nodule of 3 mm or more as one reader sees it; masks are (slice, row, column).

    Attributes:
        solid: the nodule with its cavity.
        cavity: what the reader excludes, if anything.
    """

    solid: Mask
    cavity: Mask | None


def outline(mask: Mask, outer: bool = True) -> list[tuple[int, int]]:
    """Return trace a region as LIDC's readers did.

    Args:
        mask: (rows, columns), one region, clear of the border.
        outer: give the pixels just outside the region; otherwise those just inside its edge.

    Returns:
        (x, y) of the pixels of a closed 8-connected line, whose last point repeats the first.
    """
    line = max(find_contours(mask.astype(np.float32), 0.5), key=len)
    low, high = np.floor(line).astype(int), np.ceil(line).astype(int)
    # Each point of the line lies halfway between a pixel of the region and one outside.
    pick = mask[low[:, 0], low[:, 1]] != outer
    points = [(int(x), int(y)) for y, x in np.where(pick[:, None], low, high)]
    kept = [p for p, before in zip(points, [None, *points[:-1]], strict=True) if p != before]
    return kept if kept[0] == kept[-1] else [*kept, kept[0]]


def message(series: Series, number: int) -> ET.Element:
    """Return the root of a patient's XML with its header, still without readings."""
    root = ET.Element("LidcReadMessage", {"uid": f"{series.study}.0", "xmlns": "http://www.nih.gov"})
    header = ET.SubElement(root, "ResponseHeader")
    for tag, text in (
        ("Version", "1.8.1"),
        ("MessageId", str(-421198203 - number)),
        ("DateRequest", "2000-01-01"),
        ("TimeRequest", "00:00:00"),
        ("RequestingSite", "removed"),
        ("ServicingSite", "removed"),
        ("TaskDescription", "Second unblinded read"),
        ("CtImageFile", "removed"),
        ("SeriesInstanceUid", series.uid),
        ("ResponseDescription", "1 - Reading complete"),
        ("StudyInstanceUID", series.study),
    ):
        ET.SubElement(header, tag).text = text
    return root


def session(
    rng: np.random.Generator,
    reader: int,
    series: Series,
    nodules: Sequence[Mark],
    specks: Sequence[Voxel],
    others: Sequence[Voxel],
) -> ET.Element:
    """Return what one reader marked.

    Args:
        rng: randomness of the reader.
        reader: number from 0.
        series: the CT series.
        nodules: the nodules of 3 mm or more.
        specks: smaller ones: one point each, no characteristics.
        others: what the reader pointed at as no nodule.
    """
    element = ET.Element("readingSession")
    ET.SubElement(element, "annotationVersion").text = "3.12"
    ET.SubElement(element, "servicingRadiologistID").text = str(540461523 + reader)
    name = NODULE_NAMES[reader]
    for number, mark in enumerate(nodules, start=1):
        nodule = _nodule(element, name.format(number))
        _rate(rng, nodule)
        for z, (height, instance) in enumerate(zip(series.heights, series.instances, strict=True)):
            if mark.solid[z].sum() < SMALLEST_OUTLINE:
                continue
            _roi(nodule, height, instance, True, outline(mark.solid[z]))
            if mark.cavity is not None and mark.cavity[z].sum() >= SMALLEST_OUTLINE:
                # The pixels just outside the tissue are here the outermost ones of the cavity.
                _roi(nodule, height, instance, False, outline(mark.cavity[z], outer=False))
    for number, (z, y, x) in enumerate(specks, start=len(nodules) + 1):
        nodule = _nodule(element, name.format(number))
        _roi(nodule, series.heights[z], series.instances[z], True, [(x, y)])
    for number, (z, y, x) in enumerate(others, start=1):
        other = ET.SubElement(element, "nonNodule")
        ET.SubElement(other, "nonNoduleID").text = f"_Non-nodule {number:03d}"
        _place(other, series.heights[z], series.instances[z])
        _point(ET.SubElement(other, "locus"), x, y)
    return element


def _nodule(session_element: ET.Element, name: str) -> ET.Element:
    element = ET.SubElement(session_element, "unblindedReadNodule")
    ET.SubElement(element, "noduleID").text = name
    return element


def _rate(rng: np.random.Generator, nodule: ET.Element) -> None:
    characteristics = ET.SubElement(nodule, "characteristics")
    fixed = {"internalStructure": 1, "calcification": 6}
    for tag in RATED:
        ET.SubElement(characteristics, tag).text = str(fixed.get(tag, int(rng.integers(1, 6))))


def _place(element: ET.Element, height: float, instance: str) -> None:
    ET.SubElement(element, "imageZposition").text = f"{height:.6f} "  # with the real files' trailing blank
    ET.SubElement(element, "imageSOP_UID").text = instance


def _point(element: ET.Element, x: int, y: int) -> None:
    ET.SubElement(element, "xCoord").text = str(x)
    ET.SubElement(element, "yCoord").text = str(y)


def _roi(nodule: ET.Element, height: float, instance: str, inclusion: bool, points: Sequence[tuple[int, int]]) -> None:
    roi = ET.SubElement(nodule, "roi")
    _place(roi, height, instance)
    ET.SubElement(roi, "inclusion").text = str(inclusion).upper()
    for x, y in points:
        _point(ET.SubElement(roi, "edgeMap"), x, y)
