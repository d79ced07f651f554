"""Train a grid of fine-tunings: ``medtl compare``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.places import bundle_of_word


def compare(
    context: typer.Context,
    bundle_dir: Annotated[str, typer.Argument(help="A fine-tune bundle: its folder or name.", metavar="BUNDLE")],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="A data_prep output.")],
    backbones: Annotated[str, typer.Option(help="Networks, comma-separated: resnet18,resnet50.")],
    inits: Annotated[str, typer.Option(help="Starts: random,imagenet,cpmid,mini or paths of weights.")],
    out: Annotated[Path, typer.Option(help="Folder of the grid; one that holds it already is gone on with.")],
    seeds: Annotated[str, typer.Option(help="Whole numbers: 0,1,2.")] = "0",
    folds: Annotated[str | None, typer.Option(help="Folds of the data list to validate on, each in turn.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Shares of the training patients: 1.0,0.25.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells that run at a time.")] = 1,
    debug: Debug = False,
) -> None:
    """Train a bundle once for each of backbones × inits × seeds (× folds), into one folder; the same command goes on
    where it stopped. Any other --id value of the bundle reaches every cell, as in --epochs 3."""
    from medtl.grid import compare as grid
    from medtl.grid import request as grid_request

    bundle, ids = grid_request.split_words([bundle_dir, *context.args])
    request = grid_request.Request(
        bundle=bundle_of_word(bundle),
        dataset_dir=dataset_dir,
        backbones=grid_request.names("--backbones", backbones),
        inits=grid_request.names("--inits", inits),
        seeds=grid_request.whole_numbers("--seeds", seeds),
        out=out,
        folds=grid_request.whole_numbers("--folds", folds) if folds is not None else (),
        fractions=grid_request.shares("--fractions", fractions) if fractions is not None else (),
        ids=ids,
        jobs=jobs,
    )
    raise typer.Exit(grid.compare(request))
