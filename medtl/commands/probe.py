"""Judge starts by frozen features: ``medtl probe``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug


def probe(
    context: typer.Context,
    dataset_dir: Annotated[str, typer.Argument(help="Judge starts on this output of data_prep.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="Write runs into this folder; features go to medtl's cache.")],
    starts: Annotated[
        str, typer.Option(help="Judge these starts, comma-separated: random,imagenet … or paths of weights.")
    ] = "",
    backbones: Annotated[str, typer.Option(help="Use these networks, comma-separated.")] = "resnet18",
    seeds: Annotated[str, typer.Option(help="Draw training patients by these seeds: 0,1,2.")] = "0",
    fractions: Annotated[str | None, typer.Option(help="Train on shares of the patients: 1.0,0.25.")] = None,
    folds: Annotated[str | None, typer.Option(help="Validate on each of these folds of the data list.")] = None,
    heads: Annotated[str, typer.Option(help="Fit logistic and knn; the first one ranks the starts.")] = "logistic,knn",
    features: Annotated[
        str | None,
        typer.Option(help="Judge features of any model, too: .npz or .csv, from a picture's name to a vector."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image_size", min=1, help="Scale pictures to this many pixels a side (224; of the sample 64)."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Compute on cpu, cuda …; by default on a GPU, if any.")] = None,
    then: Annotated[int, typer.Option(min=0, help="Then fine-tune the N starts that are best on validation.")] = 0,
    debug: Debug = False,
) -> None:
    """Judge starts by frozen features, in minutes.

    Each picture passes once through each network, small heads are fitted on the features, and the last line says which
    start is best. medtl compare takes hours instead. With --then, the runs take any --id value of bundles/folder.
    """
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
