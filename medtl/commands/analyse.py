"""Ask why a start transfers: ``medtl analyse distances``, ``layers`` and ``filters``."""

from pathlib import Path
from typing import Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure distances of data sets, and compare networks.",
)

Out = Annotated[Path, typer.Option(help="Write the page, its table and its record into this folder.")]
Images = Annotated[int, typer.Option(min=4, help="Take at most this many pictures of each data set.")]
Seeds = Annotated[str, typer.Option(help="Make untrained networks with these seeds, comma-separated.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", help="Load words of --init and weight files into this network.")
]


@app.command()
def distances(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="Compare these prepared data sets, two or more.")
    ],
    out: Out,
    reference: Annotated[
        Path | None, typer.Option(help="Use the spread of this data set as the unit of cmd; by default the first.")
    ] = None,
    seeds: Seeds = "0,1,2,3,4,5,6,7,8,9",
    images: Images = 200,
    image_size: Annotated[
        int, typer.Option("--image_size", min=32, help="Scale pictures to this many pixels a side.")
    ] = 64,
    backbone: Annotated[str, typer.Option(help="Compare the features of this network.")] = "resnet18",
    inits: Annotated[
        str, typer.Option(help="Begin that network from these starts, comma-separated: words of --init or paths.")
    ] = "random,mini",
    debug: Debug = False,
) -> None:
    """Measure how far data sets lie apart.

    The measures are cmd, brightness and, in feature spaces, Fréchet distance, MMD and kNN purity.
    """
    from medtl.analysis import between, distances_page

    settings = between.Settings(images, image_size, whole_numbers(seeds))
    found = between.measure(folders, reference, backbone, words(inits, "--inits"), settings, typer.echo)
    page, *_ = distances_page.write(found, out)
    typer.echo(f"warning: {distances_page.warning(between.follows_brightness(found))}")
    typer.echo(str(page))


@app.command()
def layers(
    one: Annotated[str, typer.Argument(metavar="A", help="Take a run, a bundle, a weight file, or a word of --init.")],
    other: Annotated[
        str, typer.Argument(metavar="B", help="Compare it with another one, such as the run that started from A.")
    ],
    dataset_dir: Annotated[
        Path, typer.Option("--dataset_dir", help="Show both networks the pictures of this prepared data set.")
    ],
    out: Out,
    backbone: Backbone = None,
    seeds: Seeds = "0,1,2",
    images: Images = 200,
    image_size: Annotated[
        int, typer.Option("--image_size", min=32, help="Scale pictures to this many pixels a side.")
    ] = 128,
    debug: Debug = False,
) -> None:
    """Measure how alike the stages of two networks are.

    The measures are SVCCA and debiased CKA. Pairs of untrained networks stand beside the pair for comparison.
    """
    from medtl.analysis import layers_page

    page, line = layers_page.write(
        one, other, dataset_dir, out, backbone, whole_numbers(seeds), images=images, image_size=image_size
    )
    typer.echo(line)
    typer.echo(str(page))


@app.command()
def filters(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK…", help="Draw the filters of these runs, bundles, weight files, or words of --init."
        ),
    ],
    out: Out,
    backbone: Backbone = None,
    seed: Annotated[int, typer.Option(help="Draw random weights and the random filters beside them by this seed.")] = 0,
    debug: Debug = False,
) -> None:
    """Draw the filters of a network's first layer.

    The page also says how much each filter looks like a Gabor function.
    """
    from medtl.analysis import filters_page

    page, lines = filters_page.write(networks, out, backbone, seed)
    for line in lines:
        typer.echo(line)
    typer.echo(str(page))


def words(text: str, option: str) -> tuple[str, ...]:
    """Return the words of a comma-separated list, each once.

    Raises:
        UsageError: there is none.
    """
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise UsageError(f"{option} names nothing")
    return found


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return the seeds of a comma-separated list, each once.

    Raises:
        UsageError: one is no whole number from 0 on, or there is none.
    """
    found = words(text, "--seeds")
    if not all(word.isdecimal() and word.isascii() for word in found):
        raise UsageError(f"--seeds {text}: expected whole numbers from 0 on, comma-separated")
    return tuple(int(word) for word in found)
