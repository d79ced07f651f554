"""Make a bundle of a run: ``medtl release``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import UsageError, tell


def release(
    run: Annotated[Path, typer.Argument(help="Release this finished run: the folder of model.pt and run.json.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Make the bundle in this folder, and name it after the folder.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Put weights and card into the bundle that trained the run, instead of --out."),
    ] = None,
    as_zip: Annotated[bool, typer.Option("--zip", help="Write it as one file, OUT.zip, too.")] = False,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    hub: Annotated[
        bool, typer.Option("--hub", help="Add a model card and config.json for the Hugging Face Hub.")
    ] = False,
    licence: Annotated[
        str,
        typer.Option(help="State the images' licence and credits, where the data list says too little."),
    ] = "",
    debug: Debug = False,
) -> None:
    """Make a stand-alone bundle of a finished run.

    It holds weights, card and hashes, and opens with stock MONAI alone.
    """
    from medtl.bundles.release import release as released
    from medtl.bundles.release import warnings_of
    from medtl.bundles.shipping import ship

    if (out is None) == (into is None) or (into and (as_zip or hub)):
        raise UsageError("expected --out DIR (with --zip or --hub if you like) or --into BUNDLE, one of the two")
    if into:
        done = ship(run, into, half=half, licence=licence)
    else:
        done = released(run, Path(str(out)), as_zip=as_zip, half=half, licence=licence, for_hub=hub)
    what = done.card.architecture
    size = f"{what.in_channels} x {what.image_size} x {what.image_size}"
    typer.echo(f"{done.folder}: {what.backbone}, {what.num_classes} classes, input {size}, {done.card.dtype}")
    if done.zip:
        typer.echo(f"{done.zip}: the same as one file")
    if done.difference is not None:
        typer.echo(f"float16 changes logits by at most {done.difference:.2g} on random pictures")
    for warning in warnings_of(done.card):
        tell(f"medtl: warning: {warning}")
    if done.card.data["sample"]:
        typer.echo("trained on PHANTOMS, not patients: the card says so, and so should you")
