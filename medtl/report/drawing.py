"""Small line drawings as inline SVG that takes its colours and its type from the page it stands in."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Drawing

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
INK, RULE = "#010203", "#040506"  # stand for the page's own colours until the drawing is in the page
# light and dark shade of each colour, after Okabe and Ito's palette, which the colour-blind can tell apart
SHADES = (
    ("#6e6e6e", "#b0b0b0"),
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a4d"),
    ("#009e73", "#3ccfa4"),
    ("#b0588a", "#e39cc4"),
    ("#8a6d00", "#e6c229"),
    ("#5b4bb7", "#a99cf5"),
)
KNOWN = {"random": 0, "imagenet": 1, "cpmid": 2, "mini": 3}
LINES = ("--", "-.", "-", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medtl",
    "path.simplify": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Look:
    """How a start looks in every drawing.

    Attributes:
        shade: index of its colour.
        colour: its light shade.
        line: matplotlib line style, so that colour is not all that tells it.
        marker: matplotlib marker.
    """

    shade: int
    colour: str
    line: Any
    marker: str


def looks(inits: Sequence[str]) -> dict[str, Look]:
    """Return a look for each start; the named ones have the same in every report."""
    free = [shade for shade in range(len(SHADES)) if shade not in {KNOWN.get(init) for init in inits}]
    found = {}
    others = 0
    for init in inits:
        shade = KNOWN.get(init, -1)
        if shade < 0:
            shade = free[others % len(free)]
            others += 1
        found[init] = Look(shade, SHADES[shade][0], LINES[shade], MARKERS[shade])
    return found


def draw(slug: str, alternative: str, paint: Callable[[Axes], None], width: float = 3.3, height: float = 2.7) -> str:
    """Let ``paint`` draw into one pair of axes; the SVG element.

    Args:
        slug: put before every id, so that drawings of one page do not mix up their parts.
        alternative: what is seen, for those who cannot see it.
        paint: called with the axes.
        width, height: in inches of 72 points.
    """
    with matplotlib.rc_context(STYLE):
        figure = Drawing(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            written, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _for_page(written.getvalue(), slug, alternative)


def _for_page(text: str, slug: str, alternative: str) -> str:
    for name, prefix in ((SVG, ""), (XLINK, "xlink")):
        ElementTree.register_namespace(prefix, name)
    root = ElementTree.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{slug}-{value}")
            elif key == f"{{{XLINK}}}href":
                del element.attrib[key]
                element.set("href", value.replace("#", f"#{slug}-", 1) if value.startswith("#") else value)
            else:
                element.set(key, re.sub(r"url\(#", f"url(#{slug}-", value))
    root.set("role", "img")
    root.set("aria-label", alternative)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    title = ElementTree.Element(f"{{{SVG}}}title")
    title.text = alternative
    root.insert(0, title)
    result = ElementTree.tostring(root, encoding="unicode")
    result = result.replace(INK, "currentColor").replace(RULE, "var(--rule)")
    for shade, (light, _) in enumerate(SHADES):
        result = result.replace(light, f"var(--shade-{shade})")
    return re.sub(r"\n\s*", "\n", result)
