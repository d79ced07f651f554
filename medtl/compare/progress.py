"""How a comparison shows where it is: a live table on a terminal, one plain line a cell that ends elsewhere."""

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from medtl.compare.plan import Cell
from medtl.compare.state import State

STYLES = {"waiting": "dim", "running": "cyan", "finished": "green", "failed": "red"}
RESERVED_ROWS = 6  # title, header, borders and what the shell shows below


class Board:
    """The states of the cells, told as they change.

    Args:
        states: of every cell of the command, in its order.
        console: where to tell it.
    """

    def __init__(self, states: Mapping[Cell, State], console: Console) -> None:
        self.states = dict(states)
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
            self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def tell(self, cell: Cell, state: State) -> None:
        """Show or print the changed state of a cell."""
        before = self.states[cell].status
        ended = before != state.status and (state.status in ("finished", "failed") or before == "running")
        self.states[cell] = state
        if self.live is not None:
            self._draw()
        elif ended:
            counts = Counter(state.status for state in self.states.values())
            place = f"{counts['finished'] + counts['failed']}/{len(self.states)}"
            self.console.print(Text(f"{place} {cell.name}: {in_words(state)}"), soft_wrap=True)

    def _draw(self) -> None:
        assert self.live is not None
        self.live.update(table(self.states, self.console.height - RESERVED_ROWS), refresh=True)


def in_words(state: State) -> str:
    """Return how a cell's process has ended, in one line."""
    ended_well = state.status == "finished"
    took = "" if state.minutes is None else f" {'in' if ended_well else 'after'} {state.minutes:.1f} min"
    if state.status == "waiting":
        return f"told to stop{took}, goes on later"
    more = state.metric if ended_well else state.error
    return state.status + took + (f"{', ' if ended_well else ': '}{more}" if more else "")


def table(states: Mapping[Cell, State], rows: int) -> Table:
    """Return the states as a table of at most ``rows`` cells: first those that run or failed, then the others around
    them."""
    counts = Counter(state.status for state in states.values())
    summary = ", ".join(f"{counts[status]} {status}" for status in ("finished", "running", "waiting", "failed"))
    drawn = Table(title=f"{len(states)} cells: {summary}", title_justify="left")
    drawn.add_column("cell", overflow="fold")
    drawn.add_column("state")
    drawn.add_column("minutes", justify="right")
    drawn.add_column("on validation", overflow="fold")
    for cell in shown(states, max(rows, 1)):
        state = states[cell]
        minutes = "" if state.minutes is None else f"{state.minutes:.1f}"
        last = state.error if state.status == "failed" else state.metric
        drawn.add_row(Text(cell.name), Text(state.status, STYLES[state.status]), minutes, Text(last))
    return drawn


def shown(states: Mapping[Cell, State], rows: int) -> list[Cell]:
    """Return which cells fit into ``rows``, in their order: those that run, then those that failed, the next that wait
    and the last that finished."""
    order = list(states)
    of = {status: [cell for cell in order if states[cell].status == status] for status in STYLES}
    wanted = [*of["running"], *of["failed"], *of["waiting"][:2], *reversed(of["finished"]), *of["waiting"][2:]]
    kept = set(wanted[:rows])
    return [cell for cell in order if cell in kept]
