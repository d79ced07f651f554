"""``python -m data_prep NAME --raw DIR --out DIR``: one command a data set."""

from typing import Annotated

import typer

from data_prep import breastmnist, chaos, chestxray2017, chexpert, cpmid, folder, lidc, mix, msd, tb
from medtl.cards import DATASETS
from medtl.errors import guarded

app = typer.Typer(
    name="data_prep",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Raw public downloads in, images and datalist.json out. Not for clinical use.",
)
for module in (chexpert, msd, lidc, cpmid, chaos, chestxray2017, tb, breastmnist, folder, mix):
    app.command(module.CARD.name, help=f"{module.CARD.title} ({module.CARD.layout})")(module.command)


@app.callback(invoke_without_command=True)
def data_prep(
    context: typer.Context,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and what each needs.")] = False,
) -> None:
    if list_:
        for card in DATASETS.values():
            typer.echo(f"{card.name:<15}{card.title}: {card.layout}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry point of ``python -m data_prep``."""
    guarded(lambda: app(prog_name="python -m data_prep"), "data_prep")


if __name__ == "__main__":
    main()
