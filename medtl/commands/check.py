"""Check a data list or a bundle: ``medtl check``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from medtl.commands.options import CPUS, Debug
from medtl.errors import UsageError
from medtl.places import paths_of


def check(
    folder: Annotated[Path, typer.Argument(help="A data_prep output (or its datalist.json), or a bundle or its .zip.")],
    against: Annotated[
        str | None,
        typer.Option(help="Data lists (comma-separated) that must share no patient and no image with this one."),
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for near-duplicates across its own splits, too.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="File for every leak that these two find.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read pictures for these two.")] = CPUS,
    debug: Debug = False,
) -> None:
    """Check a data list (files, hashes, labels, patients across splits) or a bundle (what it would execute, weights,
    paths, ids, metadata), of which nothing is run; with --against only that two data lists share nothing."""
    others = paths_of(against or "")
    if against is not None and not others:  # an unset variable must not look like a check that found nothing
        raise UsageError("--against names no data list")
    if csv and not (others or near_duplicates):
        raise UsageError("--csv goes with --against or --near-duplicates")
    if not others:
        _check_alone(folder)
    if others or near_duplicates:
        _check_leaks(folder, [*others, *([folder] if near_duplicates else [])], csv, workers)


def _check_leaks(folder: Path, others: list[Path], csv: Path | None, workers: int) -> None:
    from medtl import leaks

    found = leaks.compare_lists(folder, others, workers)
    for comparison in found:
        for line in leaks.lines(comparison):
            typer.echo(line)
    if csv:
        leaks.write_csv(found, csv)
    if any(comparison.leaks for comparison in found):
        raise typer.Exit(1)


def _check_alone(folder: Path) -> None:
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder; expected a data_prep output or a bundle")
    if folder.suffix == ".zip" or (folder / "configs").is_dir():
        from medtl.bundles.check import check_bundle

        verdict = check_bundle(folder)
        console = Console()
        for table in verdict.tables:
            console.print(table)
        for line in verdict.lines:
            typer.echo(line)
        if not verdict.passed:
            raise typer.Exit(1)
        return
    from medtl.integrity import problems_of_data

    what, problems = problems_of_data(folder)
    for problem in problems:
        typer.echo(f"- {problem}")
    if problems:
        typer.echo(f"{folder}: {len(problems)} problem(s) in {what}")
        raise typer.Exit(1)
    typer.echo(f"{folder}: {what}, no problem found")
