"""Fetch official weights: ``medtl weights``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.places import private_cache


def weights(
    name: Annotated[str, typer.Argument(help="A start with official files: imagenet.")],
    backbone: Annotated[str, typer.Option("--backbone", help="resnet18, vit_b16 …")],
    given: Annotated[Path | None, typer.Option("--from", help="A copy of the official file at hand.")] = None,
    debug: Debug = False,
) -> None:
    """Download official weights into the cache, checked by their hash, so that --init NAME finds them."""
    from medtl.weights.fetch import install
    from medtl.weights.sources import official

    source = official(name, backbone)
    path, digest = install(source, private_cache("weights"), given)
    typer.echo(f"{path}\nsha256 {digest}\nlicence: {source.licence}\nuse: --init {name} --backbone {backbone}")
