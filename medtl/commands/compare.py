"""Train a grid: ``medtl compare``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import UsageError
from medtl.places import bundle_of_word


def compare(
    context: typer.Context,
    bundle_dir: Annotated[str, typer.Argument(help="A bundle: its folder or name.", metavar="BUNDLE")],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="A data_prep output.")],
    out: Annotated[Path, typer.Option(help="Folder of the grid; one that holds it already is gone on with.")],
    backbones: Annotated[str | None, typer.Option(help="Networks, comma-separated: resnet18,resnet50.")] = None,
    inits: Annotated[str | None, typer.Option(help="Starts: random,imagenet,cpmid,mini or paths of weights.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Whole numbers: 0,1,2 (by default 0).")] = None,
    folds: Annotated[str | None, typer.Option(help="Folds of the data list to validate on, each in turn.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Shares of the training patients: 1.0,0.25.")] = None,
    vary: Annotated[list[str] | None, typer.Option(help="Settings: ID=A,B (any id); several, or joined by ;")] = None,
    decoders: Annotated[str | None, typer.Option(help="The same as --vary decoder=A,B.")] = None,
    methods: Annotated[str | None, typer.Option(help="The same as --vary method=A,B.")] = None,
    protocol: Annotated[str | None, typer.Option(help="A published design, which the other options change.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="With --protocol: own (each start's) or paper.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells that run at a time (by default 1).")] = None,
    dask: Annotated[str | None, typer.Option(help="Scheduler on whose workers cells run: tcp://HOST:PORT.")] = None,
    debug: Debug = False,
) -> None:
    """Train a bundle once for each of backbones × inits × settings × seeds (× folds), into one folder; the same command
    goes on where it stopped. Any other --id value of the bundle reaches every cell, as in --epochs 3."""
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
