"""Print the folder of a bundle: ``medtl path``."""

from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.places import bundle_folder


def path(
    bundle: Annotated[str, typer.Argument(help="Give the bundle's name, such as cpmid_resnet18.")],
    debug: Debug = False,
) -> None:
    """Print the folder of a bundle.

    A command then finds its configs: --config_file "$(medtl path BUNDLE)/configs/train.json".
    """
    typer.echo(str(bundle_folder(bundle)))
