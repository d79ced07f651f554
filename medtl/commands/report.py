"""Write the report of finished runs: ``medtl report``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug


def report(
    folder: Annotated[Path, typer.Argument(help="A run, a grid of medtl compare, or any folder above runs.")],
    baseline: Annotated[
        str | None, typer.Option(help="The start that others are compared with; random where there is one.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What is compared and drawn: auc, accuracy, iou_mean …")] = None,
    title: Annotated[str | None, typer.Option(help="Of the report; by default the data set's name.")] = None,
    groups: Annotated[str, typer.Option(help="Tell patients apart by keys of the data list: sex,age:40:65,site.")] = "",
    facts: Annotated[
        bool, typer.Option("--facts", help="Add what a manuscript must say, as far as runs know.")
    ] = False,
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="The runs' data list, for --groups, if it has moved.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write report.html, report.md and report.csv of finished runs into their folder."""
    from medtl.report.build import write_report

    for path in write_report(folder, baseline, metric, title, groups=groups, facts=facts, dataset_dir=dataset_dir):
        typer.echo(str(path))
