"""Check a data list or a bundle: ``medtl check``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from medtl.commands.options import CPUS, Debug
from medtl.errors import UsageError
from medtl.places import paths_of


def check(
    folder: Annotated[
        Path, typer.Argument(help="Check an output of data_prep (or its datalist.json), a bundle or its .zip.")
    ],
    against: Annotated[
        str | None,
        typer.Option(help="Find patients and images shared with these data lists (comma-separated)."),
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for near-duplicates across its own splits, too.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write every leak that is found into this file.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Read pictures in this many processes.")] = CPUS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
    debug: Debug = False,
) -> None:
    """Check a data list or a bundle without running it.

    For a data list it checks files, hashes and labels, and that no patient is in two splits. With --against it only
    looks for what the data lists share. For a bundle it lists what would be executed and which of that is unreviewed,
    and checks weights, paths, ids and metadata. The status is 1 where anything is wrong or unreviewed.
    """
    others = paths_of(against or "")
    if against is not None and not others:  # an unset variable must not look like a check that found nothing
        raise UsageError("--against names no data list")
    if csv and not (others or near_duplicates):
        raise UsageError("--csv goes with --against or --near-duplicates")
    told: dict[str, Any] = {"path": str(folder), "passed": True}
    if not others:
        told |= _check_alone(folder, quiet=as_json)
    if others or near_duplicates:
        leaks = _check_leaks(folder, [*others, *([folder] if near_duplicates else [])], csv, workers, quiet=as_json)
        told |= {"leaks": leaks, "passed": told["passed"] and not any(each["leaks"] for each in leaks)}
    if as_json:
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
    if not told["passed"]:
        raise typer.Exit(1)


def _check_leaks(
    folder: Path, others: list[Path], csv: Path | None, workers: int, *, quiet: bool
) -> list[dict[str, Any]]:
    from medtl import leaks

    found = leaks.compare_lists(folder, others, workers)
    if not quiet:
        for line in (line for comparison in found for line in leaks.lines(comparison)):
            typer.echo(line)
    if csv:
        leaks.write_csv(found, csv)
    return [{"lines": leaks.lines(comparison), "leaks": len(comparison.leaks)} for comparison in found]


def _check_alone(folder: Path, *, quiet: bool) -> dict[str, Any]:
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder; expected a data_prep output or a bundle")
    if folder.suffix == ".zip" or (folder / "configs").is_dir():
        from medtl.bundles.check import check_bundle

        verdict = check_bundle(folder)
        if not quiet:
            console = Console()
            for table in verdict.tables:
                console.print(table)
            for line in verdict.lines:
                typer.echo(line)
        return verdict.as_json()
    from medtl.integrity import problems_of_data

    what, problems = problems_of_data(folder)
    if not quiet:
        for problem in problems:
            typer.echo(f"- {problem}")
        last = f"{len(problems)} problem(s) in {what}" if problems else f"{what}, no problem found"
        typer.echo(f"{folder}: {last}")
    return {"kind": "data list", "passed": not problems, "problems": problems}
