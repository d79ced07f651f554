"""Judge starts by frozen features: ``medtl probe``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug


def probe(
    context: typer.Context,
    dataset_dir: Annotated[str, typer.Argument(help="A data_prep output.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="Folder of the cells' runs; features lie in medtl's cache.")],
    starts: Annotated[str, typer.Option(help="random,imagenet,mini,dinov2 … or paths of weights.")] = "",
    backbones: Annotated[str, typer.Option(help="Networks, comma-separated.")] = "resnet18",
    seeds: Annotated[str, typer.Option(help="Of the draws of training patients: 0,1,2.")] = "0",
    fractions: Annotated[str | None, typer.Option(help="Shares of the training patients: 1.0,0.25.")] = None,
    folds: Annotated[str | None, typer.Option(help="Folds of the data list to validate on, each in turn.")] = None,
    heads: Annotated[str, typer.Option(help="logistic and knn; the first one ranks the starts.")] = "logistic,knn",
    features: Annotated[
        str | None, typer.Option(help="Files .npz or .csv of any model: picture's name to vector.")
    ] = None,
    image_size: Annotated[int | None, typer.Option("--image_size", min=1, help="Pixels; 224 unless given.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda …; a GPU where there is one.")] = None,
    then: Annotated[int, typer.Option(min=0, help="Fine-tune so many of the best starts on validation.")] = 0,
    debug: Debug = False,
) -> None:
    """Embed each picture once a start, fit small heads on the frozen features, and say which start is best: minutes
    instead of the hours of medtl compare. With --then, any other --id value of bundles/folder reaches its runs."""
    from medtl.compare.words import names, shares, split_words, whole_numbers
    from medtl.features import request as asked
    from medtl.features import tables
    from medtl.features.probe import probe as run

    folder, ids = split_words([dataset_dir, *context.args])
    request = asked.Request(
        dataset_dir=folder,
        out=out,
        starts=names("--starts", starts) if starts else (),
        backbones=names("--backbones", backbones),
        seeds=whole_numbers("--seeds", seeds),
        fractions=shares("--fractions", fractions) if fractions is not None else (),
        folds=whole_numbers("--folds", folds) if folds is not None else (),
        heads=names("--heads", heads),
        features=tuple(map(Path, names("--features", features))) if features is not None else (),
        image_size=image_size,
        device=device,
        then=then,
        ids=ids,
    )
    found = run(request)
    tables.write_transferability(found)
    typer.echo(tables.text(found))
    status = 1 if found.unfound else 0
    if then:
        from medtl.features.then import fine_tune

        status = fine_tune(request, found) or status
    typer.echo(f"{found.sentence()}; medtl report {out} shows all")
    raise typer.Exit(status)
