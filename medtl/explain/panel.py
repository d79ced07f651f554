"""One picture and its heat map side by side, as a PNG that says what it shows."""

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medtl.explain.heat import FULL, scaled
from medtl.explain.overlap import THRESHOLD
from medtl.files import write_bytes

# plasma: lightness rises evenly, told apart with any colour vision, and none of its colours is a grey of the picture
COLOURS = colormaps["plasma"]
OPACITY = 0.65  # where the heat is full; in proportion below
SIDE = 256  # pixels of the picture's longer side
DPI = 100
MARGIN, GAP, BAR = 10, 10, 56  # pixels
TITLE, LINE = 16, 14  # pixels
TEXT_POINTS, TITLE_POINTS = 8.5, 9.0
LETTER = 0.74  # width of the mean letter in pixels a point
LARGEST = 200_000  # bytes of a file; a noisy picture that needs more gets 256 colours
LESION = "#00e5ff"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT_POINTS,
    "text.parse_math": False,
    "axes.linewidth": 0.6,
}


@dataclass(frozen=True, eq=False)
class Panel:
    """What is drawn.

    Attributes:
        pixels: grey (rows, columns) or RGB (rows, columns, 3), uint8.
        values: the heat map, of any size.
        mask: lesion (rows, columns), or None.
        left, right: titles.
        lines: below.
    """

    pixels: NDArray[np.uint8]
    values: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    left: str
    right: str
    lines: tuple[str, ...]


def write_panel(path: Path, panel: Panel) -> None:
    """Write the PNG, whole or not at all; its words are in its metadata, too. The same panel gives the same bytes."""
    about = PngInfo()
    about.add_itxt("Title", panel.right)
    about.add_itxt("Description", " | ".join((panel.left, panel.right, *panel.lines)))
    with matplotlib.rc_context(STYLE):
        canvas = FigureCanvasAgg(_drawn(panel))
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = _png(picture, about)
    write_bytes(path, content if len(content) <= LARGEST else _png(picture.quantize(), about))


def _png(picture: Image.Image, about: PngInfo) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True, pnginfo=about)
    return written.getvalue()


def _drawn(panel: Panel) -> Figure:
    picture = _small(panel.pixels)
    rows, columns = picture.shape[:2]
    width = 2 * MARGIN + 2 * columns + GAP + BAR
    head = TITLE * max(len(_wrapped(each, columns, TITLE_POINTS)) for each in (panel.left, panel.right)) + 6
    lines = [part for line in panel.lines for part in _wrapped(line, width - 2 * MARGIN, TEXT_POINTS)]
    foot = LINE * len(lines) + 10
    height = head + rows + foot
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def place(left: int, across: int) -> Axes:
        axes = figure.add_axes((left / width, foot / height, across / width, rows / height))
        axes.set_axis_off()
        return axes

    heat = scaled(panel.values, rows, columns)
    first, second = place(MARGIN, columns), place(MARGIN + columns + GAP, columns)
    for axes, title in ((first, panel.left), (second, panel.right)):
        axes.imshow(picture, interpolation="none", aspect="auto")
        axes.set_title("\n".join(_wrapped(title, columns, TITLE_POINTS)), fontsize=TITLE_POINTS, pad=4, loc="left")
    second.imshow(COLOURS(heat / FULL, alpha=OPACITY * heat / FULL), interpolation="none", aspect="auto")
    _outline(second, heat > THRESHOLD, "white", "solid")
    if panel.mask is not None and panel.mask.any():
        lesion = _nearest(panel.mask, rows, columns)
        for axes in (first, second):
            _outline(axes, lesion, LESION, (0, (4, 2)))
    bar = place(MARGIN + 2 * columns + GAP + 8, 10)
    bar.set_axis_on()
    figure.colorbar(ScalarMappable(Normalize(0, FULL), COLOURS), cax=bar, ticks=[0, THRESHOLD, FULL])
    bar.tick_params(labelsize=7.5, length=2, pad=2)
    for number, line in enumerate(lines):
        figure.text(MARGIN / width, (foot - TITLE - LINE * number) / height, line)
    return figure


def _wrapped(words: str, width: int, points: float) -> list[str]:
    """In lines of about ``width`` pixels at most."""
    return textwrap.wrap(words, max(12, int(width / (LETTER * points)))) or [""]


def _outline(axes: Axes, region: NDArray[np.bool_], colour: str, style: Any) -> None:
    if region.any() and not region.all():
        for width, shade, dashes in ((2.2, "black", "solid"), (1.2, colour, style)):
            axes.contour(region.astype(float), levels=[0.5], colors=shade, linewidths=width, linestyles=[dashes])


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB with a longer side of SIDE pixels."""
    image = Image.fromarray(pixels).convert("RGB")
    share = SIDE / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS if share < 1 else Image.Resampling.BICUBIC))


def _nearest(mask: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).resize((columns, rows), Image.Resampling.NEAREST), dtype=bool)
