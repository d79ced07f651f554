"""Write the report of finished runs: ``medtl report``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug


def report(
    folder: Annotated[
        Path, typer.Argument(help="Report a run, a grid of medtl compare or probe, or all runs below a folder.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="Compare other starts with this one; by default random, if there.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Compare and draw auc, accuracy, iou_mean …")] = None,
    title: Annotated[str | None, typer.Option(help="Give the report this title; by default the data set's.")] = None,
    groups: Annotated[
        str, typer.Option(help="Report groups of patients by these keys of the data list: sex,age:40:65,site.")
    ] = "",
    facts: Annotated[
        bool, typer.Option("--facts", help="Add a table of facts for a manuscript, as far as the runs recorded them.")
    ] = False,
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="Find the runs' data list here for --groups, if it has moved.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write one page about finished runs.

    The folder of the runs receives report.html, report.md and report.csv.
    """
    from medtl.report.build import write_report

    for path in write_report(folder, baseline, metric, title, groups=groups, facts=facts, dataset_dir=dataset_dir):
        typer.echo(str(path))
