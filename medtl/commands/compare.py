"""Compare starts by fine-tuning a grid of runs: ``medtl compare``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import UsageError
from medtl.places import bundle_of_word


def compare(
    context: typer.Context,
    bundle_dir: Annotated[
        str, typer.Argument(help="Train this bundle, given by its folder or name.", metavar="BUNDLE")
    ],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="Train on this output of data_prep.")],
    out: Annotated[Path, typer.Option(help="Write the grid into this folder, or go on with the grid in it.")],
    backbones: Annotated[
        str | None, typer.Option(help="Train these networks, comma-separated: resnet18,resnet50.")
    ] = None,
    inits: Annotated[
        str | None, typer.Option(help="Start from random,imagenet,cpmid,mini or paths of weights.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Repeat with these seeds: 0,1,2 (by default 0).")] = None,
    folds: Annotated[str | None, typer.Option(help="Validate on each of these folds of the data list.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Train on shares of the patients: 1.0,0.25.")] = None,
    vary: Annotated[
        list[str] | None, typer.Option(help="Train with each value of an id: ID=A,B. Repeat it for more ids.")
    ] = None,
    decoders: Annotated[str | None, typer.Option(help="Do the same as --vary decoder=A,B.")] = None,
    methods: Annotated[str | None, typer.Option(help="Do the same as --vary method=A,B.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Follow a published design; other options change it.")] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="Normalise as each start expects (own) or as the paper did (paper).")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Run this many cells at a time (by default 1).")] = None,
    dask: Annotated[
        str | None, typer.Option(help="Run cells on the workers of this Dask scheduler: tcp://HOST:PORT.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Fine-tune networks from several starts, in one grid.

    The bundle is trained once for each of backbones × inits × settings × seeds (× folds), into one folder. The same
    command goes on where it stopped. Every cell takes any other --id value of the bundle, such as --epochs 3.
    """
    from medtl import cluster
    from medtl.compare import protocol as protocols
    from medtl.compare import words
    from medtl.compare.plan import ONE_SETTING, Request, settings_of
    from medtl.compare.run import compare as run

    bundle, ids = words.split_words([bundle_dir, *context.args])
    axes = [*(vary or []), *(f"{id_}={v}" for id_, v in (("decoder", decoders), ("method", methods)) if v is not None)]
    if dask is not None and jobs is not None:
        raise UsageError("--jobs and --dask exclude each other: a cluster has as many workers as were started there")
    request = Request(
        bundle=bundle_of_word(bundle),
        dataset_dir=dataset_dir,
        backbones=words.names("--backbones", backbones) if backbones is not None else (),
        inits=words.names("--inits", inits) if inits is not None else (),
        seeds=words.whole_numbers("--seeds", seeds) if seeds is not None else (),
        out=out,
        folds=words.whole_numbers("--folds", folds) if folds is not None else (),
        fractions=words.shares("--fractions", fractions) if fractions is not None else (),
        settings=settings_of(words.axes(axes)) if axes else ONE_SETTING,
        ids=ids,
        jobs=jobs or 1,
        dask=cluster.address(dask),
    )
    raise typer.Exit(run(protocols.applied(request, protocol, normalisation)))
