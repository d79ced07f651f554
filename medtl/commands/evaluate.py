"""Validate a run on another data set: ``medtl evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import CPUS, Debug


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Evaluate this run of a classifier: the folder of model.pt and run.json.")
    ],
    dataset_dir: Annotated[
        Path, typer.Option("--dataset_dir", help="Predict this output of data_prep, which has the same classes.")
    ],
    split: Annotated[str, typer.Option(help="Predict this split of it: test, val, train or all.")] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Write into this folder; by default RUN/external/<data set>_<split>.")
    ] = None,
    trained_on: Annotated[
        Path | None,
        typer.Option("--trained_on", help="Look for leaks in the run's own data list here, if it has moved."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Read pictures in this many processes; 0: in this one.")] = CPUS,
    debug: Debug = False,
) -> None:
    """Validate a run on a data set from elsewhere.

    Threshold and calibration stay as the run's validation fixed them. Afterwards medtl report shows the run's own
    figures and the external ones side by side.
    """
    from medtl.external.evaluate import evaluate_run

    typer.echo(evaluate_run(run, dataset_dir, split, out, trained_on, workers))
