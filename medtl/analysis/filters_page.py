"""First-layer filters of networks, drawn, with their Gabor-likeness, as a page, a table and a record."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medtl.analysis import drawings, gabor
from medtl.analysis.subject import subject, told_apart
from medtl.errors import UsageError
from medtl.files import csv_text, replacing, write_json
from medtl.report.html import to_html
from medtl.report.layout import Field, Page, Section, Table
from medtl.report.words import number

NAMES = ("filters.html", "filters.csv", "filters.json")
IMAGE_SIZE = 224  # which every network that is listed takes; no picture is shown
NOISE = 1000  # random filters beside, of the same shape
LEVEL = 0.95  # their quantile above which a filter counts as like a Gabor function


@dataclass(frozen=True, eq=False)
class First:
    """The first layer of one network.

    Attributes:
        name: of the network.
        layer: its name there.
        weights: (filters, channels, side, side).
        likeness: of each filter, 0..1.
        noise: of random filters of that shape.
    """

    name: str
    layer: str
    weights: NDArray[np.float64]
    likeness: NDArray[np.float64]
    noise: NDArray[np.float64]

    @property
    def limit(self) -> float:
        """Return the likeness that 95 % of random filters stay below."""
        return float(np.quantile(self.noise, LEVEL))

    @property
    def share(self) -> float:
        """Return the share of filters above it; 0.05 for random ones."""
        return float((self.likeness > self.limit).mean())


def look(word: str, backbone: str | None, seed: int) -> First:
    """Return the first layer of a network.

    Args:
        word: of ``subject``.
        backbone: of words and weight files.
        seed: of random weights and random filters.

    Raises:
        UsageError: there is no such network, it has no convolution, or its first one is too small.
    """
    of = subject(word, backbone, IMAGE_SIZE, seed)
    first = next(((n, m) for n, m in of.network.named_modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise UsageError(f"{word}: {of.backbone} has no convolution whose filters could be drawn")
    weights = first[1].weight.detach().double().numpy()
    try:
        alike = gabor.likeness(weights)
    except UsageError as error:
        raise UsageError(f"{word}: the first convolution of {of.backbone}: {error}") from None
    return First(f"{of.name} ({of.backbone})", first[0], weights, alike, gabor.of_noise(weights.shape[1:], NOISE, seed))


def write(words: Sequence[str], out: Path, backbone: str | None, seed: int) -> tuple[Path, list[str]]:
    """Look at networks, write filters.html, filters.csv and filters.json, all or none; return the page and a line each.

    Args:
        words: of ``subject``.
        out: folder, made where it is absent.
        backbone: of words and weight files.
        seed: of random weights and random filters.

    Raises:
        UsageError, MedtlError: a network cannot be looked at.
    """
    found = [look(word, backbone, seed) for word in words]
    names = told_apart([each.name for each in found], words)
    found = [replace(each, name=name) for each, name in zip(found, names, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    paths = tuple(out / name for name in NAMES)
    rows = [
        (each.name, place, f"{value:.6f}", int(value > each.limit))
        for each in found
        for place, value in enumerate(each.likeness)
    ]
    record = {
        "networks": [
            {
                "name": each.name,
                "layer": each.layer,
                "shape": list(each.weights.shape),
                "median_likeness": float(np.median(each.likeness)),
                "random_median": float(np.median(each.noise)),
                "random_95": each.limit,
                "share_above": each.share,
            }
            for each in found
        ],
        "definition": (gabor.__doc__ or "").strip(),
        "seed": seed,
    }
    with ExitStack() as stack:
        parts = [stack.enter_context(replacing(path)) for path in paths]
        parts[0].write_text(to_html(page(found), ()), encoding="utf-8", newline="\n")
        header = ("network", "filter", "gabor_likeness", "above_random_95")
        parts[1].write_text(csv_text([header, *rows]), encoding="utf-8", newline="\n")
        write_json(parts[2], record)
    return paths[0], [
        f"{each.name}: {len(each.likeness)} filters, median Gabor-likeness {number(float(np.median(each.likeness)))}"
        f" (random filters {number(float(np.median(each.noise)))}), {number(100 * each.share, 0)} % above the 95th"
        " percentile of random ones"
        for each in found
    ]


def page(found: Sequence[First]) -> Page:
    """Return the page.

    Args:
        found: the first layers.
    """
    table = Table(
        "Gabor-likeness of first-layer filters.",
        [
            Field("network", left=True),
            Field("filters"),
            Field("median"),
            Field("random: median"),
            Field("random: 95th percentile"),
            Field("above it"),
        ],
        [
            [
                Field(each.name, left=True),
                Field(" × ".join(map(str, each.weights.shape))),
                Field(number(float(np.median(each.likeness)))),
                Field(number(float(np.median(each.noise)))),
                Field(number(each.limit)),
                Field(f"{number(100 * each.share, 0)} %"),
            ]
            for each in found
        ],
        notes=["Random filters are above their 95th percentile in 5 % of cases."],
    )
    paragraphs = [" ".join(part.split()) for part in (gabor.__doc__ or "").split("\n\n")[1:]]
    figures = [drawings.filters(each.name, each.weights, np.argsort(-each.likeness).tolist()) for each in found]
    return Page(
        "Filters of the first layer",
        ", ".join(each.name for each in found),
        False,
        "",
        [Section("filters", "Drawn, the likest first", paragraphs=paragraphs, tables=[table], figures=figures)],
        "Made by medtl analyse filters. Each filter is scaled to its own range.",
    )
