"""Outlines of nodules in the XML files of DDTI (Pedraza et al., SIPAIM 2015): one file a case, whose ``mark`` elements
name an ``image`` of the case and hold, as JSON text in ``svg``, its freehand outlines as lists of points."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from medtl.errors import BadFileError
from medtl.readers.xml_tree import read_tree

WHAT = "a DDTI case"
MOST = 100_000  # columns or rows; a point beyond it is none of a picture
FEWEST = 3  # points that enclose anything

Outline = tuple[tuple[float, float], ...]  # (x, y) = (column, row) from 0, in pixels, in drawing order


def read_outlines(path: Path) -> tuple[dict[str, tuple[Outline, ...]], list[str]]:
    """Read the outlines of a case.

    Args:
        path: of its XML file.

    Returns:
        Image of the case, as the file names it, to its outlines; and a sentence for each mark that cannot be used, such
        as those whose JSON is cut off. Marks without an outline are passed over.

    Raises:
        BadFileError: no XML of a case.
    """
    root = read_tree(path, WHAT)
    if root.tag != "case":
        raise BadFileError(f"an XML file, but not {WHAT} (no element case)")
    found: dict[str, list[Outline]] = defaultdict(list)
    broken = []
    for mark in root.iter("mark"):
        image, text = (mark.findtext("image") or "").strip(), (mark.findtext("svg") or "").strip()
        if not text:
            continue
        try:
            regions = json.loads(text)
            outlines = [_outline(region["points"]) for region in regions]
        except (ValueError, TypeError, KeyError, RecursionError):
            broken.append(f"the outlines of image {image or 'without a number'} cannot be read")
            continue
        found[image] += [outline for outline in outlines if len(outline) >= FEWEST]
    return {image: tuple(own) for image, own in found.items() if own}, broken


def _outline(points: Any) -> Outline:
    """The points as numbers.

    Raises:
        ValueError: one is no place in a picture.
    """
    found = tuple((float(point["x"]), float(point["y"])) for point in points)
    if not all(math.isfinite(place) and abs(place) <= MOST for point in found for place in point):
        raise ValueError("a point is none of a picture")
    return found
