"""How alike two networks' stages are, as a page, a table and a record."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from medtl.analysis import drawings
from medtl.analysis.layers import Layer, with_base_line
from medtl.analysis.pictures import Drawn, draw
from medtl.analysis.similarity import ENOUGH
from medtl.analysis.subject import subject, told_apart
from medtl.errors import UsageError
from medtl.files import csv_text, replacing, write_json
from medtl.report.html import to_html
from medtl.report.layout import Field, Page, Section, Table
from medtl.report.words import number

NAMES = ("layers.html", "layers.csv", "layers.json")
COLUMNS = (
    "stage", "other_stage", "svcca", "svcca_untrained_lo", "svcca_untrained", "svcca_untrained_hi", "cka",
    "cka_untrained_lo", "cka_untrained", "cka_untrained_hi", "points", "directions", "other_directions",
)  # fmt: skip
A_RANDOM, B_RANDOM = 2**31, 2**31 + 1  # seeds of A and B where these are random: no pair of the base line has them


def write(
    one: str,
    other: str,
    folder: Path,
    out: Path,
    backbone: str | None,
    seeds: Sequence[int],
    *,
    images: int,
    image_size: int,
) -> tuple[Path, str]:
    """Compare two networks, write layers.html, layers.csv and layers.json, all or none; return the page and a line.

    Args:
        one, other: of ``subject``.
        folder: prepared data set whose pictures are shown.
        out: folder, made where it is absent.
        backbone: of words and weight files.
        seeds: of the untrained networks of the base line.
        images, image_size: how many pictures, and their side in pixels.

    Raises:
        UsageError, MedtlError: a network or the data set cannot be used.
    """
    drawn = draw(folder, images, image_size)
    networks = (subject(one, backbone, image_size, A_RANDOM), subject(other, backbone, image_size, B_RANDOM))
    if len(drawn.pixels) < 4:
        raise UsageError(f"{folder} has {len(drawn.pixels)} pictures to draw from; expected at least 4")
    found = with_base_line(*networks, drawn.pixels, seeds, image_size)
    titles = told_apart([f"{each.name} ({each.backbone})" for each in networks], (one, other))
    out.mkdir(parents=True, exist_ok=True)
    paths = tuple(out / name for name in NAMES)
    with ExitStack() as stack:
        parts = [stack.enter_context(replacing(path)) for path in paths]
        parts[0].write_text(to_html(page(titles, drawn, found), ()), encoding="utf-8", newline="\n")
        parts[1].write_text(csv_text([COLUMNS, *map(_row, found)]), encoding="utf-8", newline="\n")
        write_json(parts[2], _record(titles, drawn, found, seeds, image_size))
    said = ", ".join(f"{layer.names[0]} {number(layer.svcca.value, 2)}/{number(layer.cka, 2)}" for layer in found)
    return paths[0], f"{titles[0]} and {titles[1]}, SVCCA/CKA: {said}"


def _row(layer: Layer) -> list[object]:
    base = [[f"{v:.6f}" for v in each] or ["", "", ""] for each in (layer.base_svcca, layer.base_cka)]
    alike = layer.svcca
    return [*layer.names, f"{alike.value:.6f}", *base[0], f"{layer.cka:.6f}", *base[1], alike.points, *alike.directions]


def _record(
    titles: Sequence[str], drawn: Drawn, found: Sequence[Layer], seeds: Sequence[int], image_size: int
) -> dict[str, Any]:
    return {
        "networks": list(titles),
        "data": {"name": drawn.name, "pictures": len(drawn.pixels), "image_size": image_size},
        "untrained_seeds": list(seeds),
        "stages": [
            {
                "names": list(layer.names),
                "svcca": layer.svcca.value,
                "points": layer.svcca.points,
                "directions": list(layer.svcca.directions),
                "cka": layer.cka,
                "untrained_svcca": list(layer.base_svcca),
                "untrained_cka": list(layer.base_cka),
            }
            for layer in found
        ],
    }


def page(titles: Sequence[str], drawn: Drawn, found: Sequence[Layer]) -> Page:
    """Return the page.

    Args:
        titles: of the two networks.
        drawn: the pictures that were shown.
        found: stage by stage.
    """
    stages = [a if a == b else f"{a} / {b}" for a, b in (layer.names for layer in found)]
    few = [name for name, layer in zip(stages, found, strict=True) if layer.svcca.points_a_direction < ENOUGH]
    items = [("bad", "Alike layers do not show that a start is good, nor unlike ones that it is bad.")]
    if few:
        items.append(
            (
                "bad",
                f"SVCCA flatters at {', '.join(few)}: fewer than {ENOUGH} points a direction. Take more or larger"
                " pictures.",
            )
        )
    table = Table(
        "Likeness by stage; beneath it the range of untrained pairs.",
        [Field("stage", left=True), Field("SVCCA"), Field("CKA, debiased"), Field("points"), Field("directions")],
        [
            [
                Field(name, left=True),
                Field(number(layer.svcca.value), _range(layer.base_svcca)),
                Field(number(layer.cka), _range(layer.base_cka)),
                Field(f"{layer.svcca.points:,}"),
                Field(" and ".join(map(str, layer.svcca.directions))),
            ]
            for name, layer in zip(stages, found, strict=True)
        ],
        notes=[
            "SVCCA: directions that hold 99 % of the variance (sum of squares), mean of the canonical correlations,"
            " places of the maps as points. CKA: linear, debiased, pictures as points.",
            "Untrained pairs differ in their seeds alone; what lies in their range is what architecture and pictures"
            " give.",
        ],
    )
    figures = [
        drawings.over_layers("svcca", "SVCCA", stages, [e.svcca.value for e in found], [e.base_svcca for e in found]),
        drawings.over_layers("cka", "CKA, debiased", stages, [e.cka for e in found], [e.base_cka for e in found]),
    ]
    return Page(
        "Likeness of layers",
        f"{titles[0]} and {titles[1]}, on {len(drawn.pixels)} pictures of {drawn.name}",
        drawn.sample,
        "",
        [Section("layers", "Stage by stage", items=items, tables=[table], figures=figures)],
        "Made by medtl analyse layers. Pictures come from training and validation splits alone.",
    )


def _range(base: tuple[float, ...]) -> str:
    return f"{number(base[0])} to {number(base[2])}" if base else ""
