"""Show and delete what medtl keeps of pictures: ``medtl cache``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.places import cache_folders


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete what is listed; downloaded weights stay.")] = False,
    dataset: Annotated[
        Path | None, typer.Option(help="Take only what was made of this prepared folder.", metavar="DIR")
    ] = None,
    debug: Debug = False,
) -> None:
    """List what medtl keeps in its caches, or delete it.

    Each line gives size, name and data set. The caches hold patients' data. With --clear it is deleted.
    """
    from medtl import caches

    folders = cache_folders()
    things = caches.cached(folders)
    if dataset:
        things = caches.of_data_set(things, dataset)
    if clear:
        things = [one for one in things if not caches.is_weights(one)]
        caches.clear(things)
    for one in things:
        typer.echo(f"{one.size / 1e6:>10,.1f} MB  {one.name}  {one.data_set or 'data set not known'}")
    total = sum(one.size for one in things) / 1e6
    where = " and ".join(map(str, folders))
    typer.echo(f"{'deleted' if clear else 'in all'} {total:,.1f} MB in {len(things):,} file(s) or folder(s) of {where}")
