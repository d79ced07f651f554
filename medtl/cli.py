"""The ``medtl`` command: one file a command in ``medtl/commands``, one line a command here."""

from typing import Annotated

import typer

from medtl.commands import (
    analyse,
    cache,
    check,
    compare,
    evaluate,
    explain,
    list_,
    path,
    plan,
    probe,
    release,
    report,
    test,
    unpack,
    weights,
)
from medtl.commands.options import Debug
from medtl.version import __version__

app = typer.Typer(
    name="medtl",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find the best start for your medical images, and test the difference. Not for clinical use.",
)
# a command that hands every option it does not know itself to its cells
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}


def print_version(wanted: bool) -> None:
    """Print the version and leave, where it is asked for."""
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


# in the order of `medtl --help`
app.command("list")(list_.list_)
app.command()(check.check)
app.add_typer(weights.weights, name="weights")
app.command(context_settings=OPEN)(probe.probe)
app.command(context_settings=OPEN)(compare.compare)
app.command()(release.release)
app.command()(path.path)
app.command()(unpack.unpack)
app.command()(explain.explain)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.add_typer(analyse.app, name="analyse")
app.command()(cache.cache)
app.command("test")(test.compare_tables)
app.command()(plan.plan)
