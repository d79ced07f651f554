"""Look at weight files and get public ones: ``medtl weights look``, ``medtl weights get``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.places import private_cache

weights = typer.Typer(no_args_is_help=True, help="Look at weights, or get published ones.")


@weights.command()
def look(
    file: Annotated[Path, typer.Argument(help="Look at a weight file of any library, a bundle or its .zip.")],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Use these pictures to find out which normalisation the weights expect."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:
    """Say what a weight file is, and which input it expects.

    It names network, layout, head, licence and code in the file. It never runs that code.
    """
    from medtl.weights import look as looking

    found = looking.look(file, images)
    if as_json:
        typer.echo(json.dumps(looking.as_plain(found), indent=1, ensure_ascii=False))
        return
    for line in looking.lines(found):
        typer.echo(line)


@weights.command()
def get(
    start: Annotated[str, typer.Argument(help="Get this word of --init: imagenet, dinov2, radimagenet …")],
    backbone: Annotated[str, typer.Option("--backbone", help="Get it for resnet18, vit_s14, timm/NAME …")],
    given: Annotated[
        Path | None, typer.Option("--from", help="Use this copy of the file instead of a download.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Put published weights into the cache.

    Afterwards --init START finds them. Downloads are checked by their hash. A copy given by --from is checked by its
    hash or, where none is published, by what it holds.
    """
    from medtl.weights import installing

    done = installing.get(start, backbone, private_cache("weights"), given)
    known = "" if done.official.sha256 else " (of your copy: nobody publishes one to check it by)"
    seen = ", ".join(done.contract.trained_on) or "not stated"
    typer.echo(f"{done.path}\nsha256 {done.sha256}{known}\nlicence: {done.contract.licence}\ntrained on: {seen}")
    typer.echo(f"use: --init {start} --backbone {backbone}")
