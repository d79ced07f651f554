"""What was measured between data sets, as a page, a table and a record."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.analysis import drawings
from medtl.analysis.between import Distances, Follows, InSpace, follows_brightness
from medtl.analysis.distances import pairs
from medtl.files import csv_text, replacing, write_json
from medtl.report.html import to_html
from medtl.report.layout import Field, Page, Section, Table
from medtl.report.words import number

NAMES = ("distances.html", "distances.csv", "distances.json")
COLUMNS = ("measure", "space", "one", "other", "value", "sd", "same_set")
FOLLOWS = "cmd follows brightness: without non-linearity a network's mean output is its output for the mean picture."


def write(found: Distances, out: Path) -> tuple[Path, ...]:
    """Write distances.html, distances.csv and distances.json, all or none, and return their paths.

    Args:
        found: what was measured.
        out: folder, made where it is absent.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = tuple(out / name for name in NAMES)
    with ExitStack() as stack:
        parts = [stack.enter_context(replacing(path)) for path in paths]
        parts[0].write_text(to_html(page(found), found.names), encoding="utf-8", newline="\n")
        parts[1].write_text(csv_text(rows(found)), encoding="utf-8", newline="\n")
        write_json(parts[2], record(found))
    return paths


def warning(follows: Sequence[Follows]) -> str:
    """Return the sentence that must stand beside every cmd: how closely it goes with brightness here.

    Args:
        follows: of ``follows_brightness``, cmd first.
    """
    own = follows[0]
    if not math.isfinite(own.pearson):
        return f"{FOLLOWS} {own.pairs} pair(s) of sets are too few for a correlation here."
    return (
        f"{FOLLOWS} Here its correlation with the difference of the mean grey values is {number(own.pearson, 2)}"
        f" (Pearson; Spearman {number(own.spearman, 2)}) over {own.pairs} pairs of sets."
    )


def rows(found: Distances) -> list[tuple[object, ...]]:
    """Return the table's rows, the header first: each unordered pair of sets once, of purity each ordered pair."""
    result: list[tuple[object, ...]] = [COLUMNS]

    def add(measure: str, space: str, matrix: NDArray[np.float64], sd: Any = None, ordered: bool = False) -> None:
        for a, one in enumerate(found.names):
            for b, other in enumerate(found.names):
                if b >= a or ordered:
                    spread = "" if sd is None else f"{sd[a, b]:.6g}"
                    result.append((measure, space, one, other, f"{matrix[a, b]:.6g}", spread, int(a == b)))

    add("cmd", "", found.cmd, found.cmd_sd)
    for name, matrix in found.by_initialisation.items():
        add(f"cmd_{name}", "", matrix)
    add("brightness", "", found.brightness)
    for space in found.spaces:
        add("frechet", space.name, space.frechet)
        add("mmd2", space.name, space.mmd)
        add("knn_share", space.name, space.purity, ordered=True)
    return result


def record(found: Distances) -> dict[str, Any]:
    """Return all figures and what they depend on, without a path."""
    settings = found.settings
    return {
        "sets": [
            {"name": name, "pictures": len(each.pixels), "available": each.available, "brightness": each.brightness}
            for name, each in zip(found.names, found.sets, strict=True)
        ],
        "reference": found.reference,
        "settings": {
            "images": settings.images,
            "image_size": settings.image_size,
            "seeds": list(settings.seeds),
            "subsets": settings.subsets,
            "pictures_a_subset": settings.pictures,
        },
        "cmd": found.cmd.tolist(),
        "cmd_sd": found.cmd_sd.tolist(),
        "cmd_by_initialisation": {name: each.tolist() for name, each in found.by_initialisation.items()},
        "brightness": found.brightness.tolist(),
        "spaces": [
            {
                "name": space.name,
                "trained_on": list(space.trained_on),
                "frechet": space.frechet.tolist(),
                "mmd2": space.mmd.tolist(),
                "knn_share": space.purity.tolist(),
                "neighbours": space.neighbours,
                "pictures_a_set": space.pictures,
            }
            for space in found.spaces
        ],
        "correlation_with_brightness": [
            {
                "measure": each.measure,
                "pearson": each.pearson if math.isfinite(each.pearson) else None,
                "spearman": each.spearman if math.isfinite(each.spearman) else None,
                "pairs": each.pairs,
            }
            for each in follows_brightness(found)
        ],
    }


def page(found: Distances) -> Page:
    """Return the page."""
    sample = any(each.sample for each in found.sets)
    return Page(
        title="Distances between data sets",
        subtitle=f"{len(found.names)} data sets: {', '.join(found.names)}",
        phantom=sample,
        warning="",
        sections=[_read_first(found), _cmd(found), *(_space(k, s, found.names) for k, s in enumerate(found.spaces))],
        foot="Made by medtl analyse distances. Pictures come from training and validation splits alone.",
    )


def _read_first(found: Distances) -> Section:
    follows = follows_brightness(found)
    items = [
        ("bad", warning(follows)),
        (
            "bad",
            "A small distance does not show that a start will transfer: measure that by medtl probe or medtl compare.",
        ),
    ]
    sets = Table(
        "What was compared: pictures drawn from training and validation.",
        [Field("data set", left=True), Field("pictures"), Field("of"), Field("mean grey value")],
        [
            [
                Field(n, init=n, left=True),
                Field(f"{len(s.pixels):,}"),
                Field(f"{s.available:,}"),
                Field(number(s.brightness)),
            ]
            for n, s in zip(found.names, found.sets, strict=True)
        ],
    )
    table = Table(
        f"How each distance goes with the difference of the mean grey values, over {follows[0].pairs} pair(s) of sets.",
        [Field("distance", left=True), Field("Pearson"), Field("Spearman")],
        [[Field(f.measure, left=True), Field(number(f.pearson, 2)), Field(number(f.spearman, 2))] for f in follows],
        notes=["Pairs share sets, so they are not independent, and no p value is given."],
    )
    return Section("first", "Read this first", items=items, tables=[sets, table])


def _cmd(found: Distances) -> Section:
    settings = found.settings
    heat = _heat(
        f"cmd in units of the distance of {found.reference} from itself; mean ± SD over 3 initialisations and"
        f" {len(settings.seeds)} seeds.",
        found.names,
        found.cmd,
        found.cmd_sd,
        ["On the diagonal: subsets of one set from each other."],
    )
    bright = _heat("Absolute difference of the mean grey values (0 to 1).", found.names, found.brightness)
    return Section(
        "cmd",
        "cmd and brightness",
        paragraphs=[
            f"Each set is seen as {settings.subsets} random subsets of up to {settings.pictures} pictures"
            f" ({settings.image_size} pixels a side; at most half of a set's pictures). A subset's coordinates are the"
            " mean output of an untrained ResNet-18 without norms and activations, with two outputs. The publication"
            " does not say how the network reaches two outputs, nor how many subsets and pictures there are: figures"
            " compare within this page only."
        ],
        tables=[heat, bright],
        figures=[
            *(drawings.cmv(name, of_sets) for name, of_sets in found.cmv.items()),
            drawings.tree("tree-cmd", "cmd", found.names, found.cmd),
            drawings.beside_brightness("cmd", pairs(found.brightness), pairs(found.cmd)),
        ],
        legend=found.names,
    )


def _space(place: int, space: InSpace, names: Sequence[str]) -> Section:
    chance = 1 / len(names)
    seen = f"; these weights have seen {', '.join(space.trained_on)}" if space.trained_on else ""
    return Section(
        f"space{place}",
        f"In the features of {space.name}",
        paragraphs=[
            f"Pooled features before the head{seen}. Fréchet distances grow as pictures become fewer: compare them with"
            " the diagonal, where one half of a set is held against the other half."
        ],
        tables=[
            _heat("Fréchet distance (squared).", names, space.frechet, digits=2),
            _heat(
                "MMD², unbiased, Gaussian kernel of the median width; below 0 where nothing differs.", names, space.mmd
            ),
            _heat(
                f"Of the {space.neighbours} nearest neighbours of a row's pictures, the share in each column's set"
                f" (chance {number(chance, 2)}); the diagonal is the purity of the source.",
                names,
                space.purity,
                notes=[f"{space.pictures} pictures of each set."],
                digits=2,
            ),
        ],
        figures=[drawings.tree(f"tree{place}", f"Fréchet distance, {space.name}", names, space.frechet)],
    )


def _heat(
    caption: str,
    names: Sequence[str],
    matrix: NDArray[np.float64],
    sd: NDArray[np.float64] | None = None,
    notes: Sequence[str] = (),
    digits: int = 3,
) -> Table:
    """A matrix as a table whose fields are the darker the larger they are."""
    low, high = float(matrix.min()), float(matrix.max())
    lines = []
    for a, name in enumerate(names):
        fields = [Field(name, init=name, left=True)]
        for b in range(len(names)):
            value = float(matrix[a, b])
            small = "" if sd is None else f"± {number(float(sd[a, b]), digits)}"
            share = (value - low) / (high - low) if high > low else 0.0
            fields.append(Field(number(value, digits), small, heat=share))
        lines.append(fields)
    return Table(caption, [Field("", left=True), *(Field(name) for name in names)], lines, notes)
