"""Drawings of the analysis pages: coordinates, dendrograms, lines over layers, first filters."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from medtl.report.drawing import RULE, draw, looks
from medtl.report.layout import Figure

Matrix = NDArray[np.float64]
ENLARGED = 6  # screen pixels a pixel of a filter


def cmv(initialisation: str, of_sets: Mapping[str, Matrix]) -> Figure:
    """Return the coordinates of each set's subsets under one initialisation.

    Args:
        initialisation: its name.
        of_sets: set to coordinates (subsets, 2).
    """
    names = list(of_sets)
    text = f"Coordinates of {', '.join(names)} under {initialisation} initialisation"

    def paint(axes: Axes) -> None:
        for name, points in of_sets.items():
            look = looks(names)[name]
            axes.plot(*points.T, look.marker, color=look.colour, markersize=3, alpha=0.7, linestyle="none")
            axes.annotate(name, points.mean(0), fontsize=7, xytext=(3, 3), textcoords="offset points")
        axes.set(xlabel="first output", ylabel="second output")
        axes.locator_params(nbins=4)

    return Figure(initialisation, text, draw(f"cmv-{initialisation}", text, paint, height=3))


def tree(slug: str, title: str, names: Sequence[str], matrix: Matrix) -> Figure:
    """Return a dendrogram by average linkage.

    Args:
        slug: name of the drawing's parts.
        title: above it.
        names: of the sets.
        matrix: their distances, symmetric; the diagonal and what is below 0 are taken for 0.
    """
    clean = np.maximum(matrix, 0)
    np.fill_diagonal(clean, 0)
    links = linkage(squareform(clean, checks=False), "average")
    order = dendrogram(links, no_plot=True, labels=list(names))["ivl"]
    text = f"Dendrogram of {title}, in the order {', '.join(order)}"

    def paint(axes: Axes) -> None:
        dendrogram(
            links,
            labels=list(names),
            orientation="left",
            ax=axes,
            color_threshold=0,
            above_threshold_color=looks(["random"])["random"].colour,
        )
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.set_xlabel("distance at which groups meet")

    return Figure(title, text, draw(slug, text, paint, width=3.6, height=0.9 + 0.26 * len(names)))


def beside_brightness(title: str, apart: NDArray[np.float64], own: NDArray[np.float64]) -> Figure:
    """Return a distance over the difference in brightness, a point for each pair of sets.

    Args:
        title: of the distance.
        apart: differences of the mean grey value (pairs,).
        own: the distances (pairs,).
    """
    text = f"{title} over the difference of the mean grey values, {len(own)} pairs of sets"

    def paint(axes: Axes) -> None:
        axes.plot(apart, own, "o", color=looks(["imagenet"])["imagenet"].colour, markersize=4)
        axes.set(xlabel="difference of the mean grey values", ylabel=title, xlim=(0, None), ylim=(0, None))

    return Figure(f"{title} and brightness", text, draw("brightness", text, paint))


def over_layers(
    slug: str, title: str, stages: Sequence[str], values: Sequence[float], base: Sequence[tuple[float, ...]]
) -> Figure:
    """Return a likeness over the stages, with the range of untrained pairs as bars.

    Args:
        slug: name of the drawing's parts.
        title: of the likeness.
        stages: names, shallow to deep.
        values: of the two networks.
        base: (lowest, mean, highest) of untrained pairs, empty where there is none.
    """
    text = f"{title} by stage: " + ", ".join(f"{s} {v:.2f}" for s, v in zip(stages, values, strict=True))

    def paint(axes: Axes) -> None:
        places = np.arange(len(stages))
        if all(base):
            low, mean, high = np.array(base).T
            grey = looks(["random"])["random"]
            axes.fill_between(places, low, high, color=RULE, alpha=0.6, linewidth=0)
            axes.plot(places, mean, grey.line, color=grey.colour, linewidth=1.2)
            axes.annotate(
                "untrained pairs", (places[0], mean[0]), fontsize=7, xytext=(2, 4), textcoords="offset points"
            )
        look = looks(["imagenet"])["imagenet"]
        axes.plot(places, values, marker=look.marker, color=look.colour, markersize=5)
        axes.set(xticks=places, xticklabels=list(stages), ylim=(min(-0.02, min(values) - 0.02), 1.03), ylabel=title)

    return Figure(title, text, draw(slug, text, paint))


def filters(title: str, weights: NDArray[np.float64], order: Sequence[int]) -> Figure:
    """Return first-layer filters as tiles, each scaled to its own range.

    Args:
        title: above it.
        weights: (filters, channels, side, side); three channels are shown in colour, others by their mean.
        order: which filter stands where, row by row.
    """
    count, channels, side, _ = weights.shape
    shown = np.moveaxis(weights if channels == 3 else weights.mean(1, keepdims=True).repeat(3, 1), 1, 3)
    low, high = (np.asarray(f(shown, axis=(1, 2, 3), keepdims=True)) for f in (np.min, np.max))
    tiles = ((shown - low) / np.maximum(high - low, 1e-12) * 255).round().astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count)))
    sheet = np.full((-(-count // columns) * (side + 1) + 1, columns * (side + 1) + 1, 3), 128, np.uint8)
    for place, number in enumerate(order):
        row, column = (1 + each * (side + 1) for each in divmod(place, columns))
        sheet[row : row + side, column : column + side] = tiles[number]
    picture = Image.fromarray(sheet).resize(
        (sheet.shape[1] * ENLARGED, sheet.shape[0] * ENLARGED), Image.Resampling.NEAREST
    )
    written = io.BytesIO()
    picture.save(written, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode("ascii")
    return Figure(title, f"{count} filters of the first layer of {title}, the likest to Gabor functions first", uri=uri)
