"""The ``medtl`` command. Thin: each command parses its words, calls one function and prints what it gave."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from medtl import __version__
from medtl.catalogue import catalogue
from medtl.errors import UsageError

app = typer.Typer(
    name="medtl",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Pretrained MONAI bundles from public medical images, and honest fine-tuning. Not for clinical use.",
)
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medtl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
    debug: Debug = False,
) -> None:
    pass


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False, debug: Debug = False
) -> None:
    """List the data sets that can be prepared, the bundles and the weights at hand."""
    found = catalogue()
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    console = Console()
    columns = {
        "datasets": ("name", "title", "task", "licence"),
        "bundles": ("name", "version", "description"),
        "weights": ("name", "path"),
    }
    for kind, names in columns.items():
        table = Table(title=kind, title_justify="left")
        for name in names:
            table.add_column(name, overflow="fold")
        for row in found[kind]:
            table.add_row(*(str(row[name]) for name in names))
        console.print(table if found[kind] else f"{kind}: none")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A data_prep output (or its datalist.json), or a bundle.")],
    debug: Debug = False,
) -> None:
    """Check a data list (files, hashes, labels, patients across splits) or a bundle (configs, ids, metadata)."""
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder; expected a data_prep output or a bundle")
    if (folder / "configs").is_dir():
        from medtl.bundle.inspect import problems_of_bundle as problems_of
    else:
        from medtl.integrity import problems_of_data as problems_of
    what, problems = problems_of(folder)
    for problem in problems:
        typer.echo(f"- {problem}")
    if problems:
        typer.echo(f"{folder}: {len(problems)} problem(s) in {what}")
        raise typer.Exit(1)
    typer.echo(f"{folder}: {what}, no problem found")
