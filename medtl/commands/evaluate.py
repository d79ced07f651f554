"""Validate a run on another data set: ``medtl evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import CPUS, Debug


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run of a classifier: the folder that holds model.pt and run.json.")],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="Another data_prep output, with its classes.")],
    split: Annotated[str, typer.Option(help="Of that data list: test, val, train or all.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/external/<data set>_<split> by default.")] = None,
    trained_on: Annotated[
        Path | None, typer.Option("--trained_on", help="The run's own data list, for the leak check, if it has moved.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures; 0 reads in this one.")] = CPUS,
    debug: Debug = False,
) -> None:
    """Predict another data set with a run's network; threshold and calibration stay as the run's validation fixed
    them. medtl report then shows both side by side."""
    from medtl.external.evaluate import evaluate_run

    typer.echo(evaluate_run(run, dataset_dir, split, out, trained_on, workers))
