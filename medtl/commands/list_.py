"""List what can be prepared, trained and started from: ``medtl list``."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from medtl.catalogue import catalogue, judged, networks_of_libraries
from medtl.commands.options import Debug


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    networks: Annotated[
        str,
        typer.Option(
            help="List networks of timm, torchvision and Keras by a word or a pattern ('timm/mobilenet*'), and why "
            "some are refused."
        ),
    ] = "",
    debug: Debug = False,
) -> None:
    """List data sets, bundles, networks, starts and weights.

    Data sets are those that can be prepared. Weights are those at hand.
    """
    found = {"networks": _judged(networks)} if networks else catalogue()
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    console = Console()
    columns = {
        "datasets": ("name", "title", "task", "licence"),
        "bundles": ("name", "version", "description"),
        "networks": ("name", "refused") if networks else ("name", "title"),
        "starts": ("name", "title", "licence"),
        "weights": ("name", "path"),
    }
    for kind, names in columns.items():
        if kind not in found:
            continue
        table = Table(title=kind, title_justify="left")
        for name in names:
            table.add_column(name, overflow="fold")
        for row in found[kind]:
            table.add_row(*(Text(str(row[name])) for name in names))  # brackets in a path are no markup
        console.print(table if found[kind] else f"{kind}: none")
    if networks:
        refused = sum(bool(row["refused"]) for row in found["networks"])
        console.print(f"{len(found['networks']) - refused} can be used, {refused} cannot")


def _judged(pattern: str) -> list[dict[str, Any]]:
    """Judge the networks that match, behind a progress bar where there is a terminal."""
    names = networks_of_libraries(pattern)
    if sys.stderr.isatty():
        console = Console(stderr=True)
        return [judged(name) for name in track(names, "building networks", console=console, transient=True)]
    return [judged(name) for name in names]
