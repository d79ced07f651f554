"""``python -m data_prep NAME --raw DIR --out DIR``: one command a data set, found by its file (``sets``)."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medtl.cards import DatasetCard, dataset_cards
from medtl.errors import guarded


class DataSets(TyperGroup):
    """A command a data set: all are known by their cards, and only the one that is called is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._cards = dataset_cards()
        for card in self._cards.values():
            self.add_command(_command(card, lambda: None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the called command, with its options."""
        from data_prep import sets  # what one set imports takes seconds

        name, found, rest = super().resolve_command(ctx, args)
        return name, _command(self._cards[name], sets.module_of(name).command) if name else found, rest


def _command(card: DatasetCard, run: Callable[..., None]) -> Any:
    """Return ``run`` as the command of a data set."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(card.name, help=f"{card.title} ({card.layout})", short_help=card.title)(run)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="data_prep",
    cls=DataSets,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Raw public downloads in, images and datalist.json out. Not for clinical use.",
)


@app.callback(invoke_without_command=True)
def data_prep(
    context: typer.Context,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and what each needs.")] = False,
) -> None:
    if list_:
        for card in dataset_cards().values():
            typer.echo(f"{card.name:<15}{card.title}: {card.layout}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run ``python -m data_prep``."""
    guarded(lambda: app(prog_name="python -m data_prep"), "data_prep")


if __name__ == "__main__":
    main()
