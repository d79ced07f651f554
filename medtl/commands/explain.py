"""Draw where a network looked: ``medtl explain``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import BadFileError


def explain(
    run: Annotated[Path, typer.Argument(help="A run of a classifier: the folder that holds model.pt and run.json.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="PNG, JPEG, DICOM or NIfTI files, or folders of them.", metavar="IMAGE…")
    ] = None,
    method: Annotated[str, typer.Option(help="gradcam or gradcam++.")] = "gradcam",
    class_: Annotated[str, typer.Option("--class", help="What to explain: predicted, label or a class.")] = "predicted",
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="A data_prep output to choose pictures from.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the data list: val, test or train.")] = "val",
    number: Annotated[int, typer.Option(min=0, help="Of its pictures, each class in turn; 0 takes all.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the overlays; RUN/explain by default.")] = None,
    debug: Debug = False,
) -> None:
    """Draw where a run's network looked (Grad-CAM), and measure how well that covers lesions where masks are known."""
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
