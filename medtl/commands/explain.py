"""Draw where a network looked: ``medtl explain``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import BadFileError


def explain(
    run: Annotated[Path, typer.Argument(help="Explain this run: the folder of model.pt and run.json.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Take these files, or folders of them: pictures, DICOM, NIfTI, NRRD, MetaImage.", metavar="IMAGE…"
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="Use gradcam or gradcam++.")] = "gradcam",
    class_: Annotated[
        str, typer.Option("--class", help="Explain this class: predicted, label (the true one) or a name.")
    ] = "predicted",
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="Choose pictures from this output of data_prep.")
    ] = None,
    split: Annotated[str, typer.Option(help="Choose from this split of it: val, test or train.")] = "val",
    number: Annotated[int, typer.Option(min=0, help="Choose this many, each class in turn; 0: all.")] = 12,
    seed: Annotated[int, typer.Option(help="Choose them by this seed.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write overlays into this folder; by default RUN/explain.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw where the network of a run looked (Grad-CAM).

    Of a regression it draws what raises the predicted number. Where masks of lesions are known, it also measures how
    well the heat map covers them.
    """
    from medtl.explain.build import explain_run

    done = explain_run(
        run,
        images or (),
        dataset_dir=dataset_dir,
        split=split,
        number=number,
        seed=seed,
        method=method,
        asked=class_,
        out=out,
    )
    typer.echo(done.line)
    if done.rejected:
        raise typer.Exit(BadFileError.exit_status)
