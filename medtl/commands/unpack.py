"""Unpack a bundle's zip: ``medtl unpack``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug


def unpack(
    archive: Annotated[Path, typer.Argument(help="Unpack this .zip of a bundle.")],
    out: Annotated[Path, typer.Option("--out", help="Make the bundle in this folder, which is absent or empty.")],
    debug: Debug = False,
) -> None:
    """Unpack a bundle's zip and compare it with its hashes.

    The archive is not trusted: names, links and sizes are checked before anything is written.
    """
    from medtl.weights.archive import SUMS, sums_of
    from medtl.weights.archive import unpack as unpacked

    count = len(sums_of(unpacked(archive, out)))
    if not count:
        typer.echo(f"{out}: unpacked but UNCHECKED: it has no {SUMS} to compare with")
        raise typer.Exit(1)
    typer.echo(f"{out}: {count} files match {SUMS}")
