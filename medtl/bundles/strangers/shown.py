"""What was seen in a bundle, as tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from medtl.bundles.strangers.finding import Finding, printable
from medtl.bundles.strangers.judge import Seen

MOST_NOTES = 60  # dangers are shown all
COLUMNS = ("where", "what", "why")


def tables(seen: Seen) -> Iterator[Table]:
    """What a bundle would execute, what else to know, and at last what is dangerous in it; only what there is."""
    sections: tuple[tuple[str, str, Mapping[str, Sequence[str]]], ...] = (
        ("would be imported", "statement", seen.imports),
        ("would be called", "class or function", seen.classes),
        ("would be evaluated", "expression", seen.expressions),
    )
    for title, column, found in sections:
        if found:
            rows = [(text, _places(places)) for text, places in sorted(found.items())]
            yield _table(title, (column, "where"), rows)
    if seen.files:
        yield _table("weights and archives", ("file", "what"), [(file.place, file.why) for file in seen.files])
    if seen.notes:
        notes = _rows(seen.notes)
        more = [("…", "", f"and {len(notes) - MOST_NOTES:,} more")] if len(notes) > MOST_NOTES else []
        yield _table("to know", COLUMNS, [*notes[:MOST_NOTES], *more])
    if seen.faults:
        yield _table("DANGERS", COLUMNS, _rows(seen.faults))


def dangers(seen: Seen) -> int:
    """How many places are dangerous, however much there is to say of each."""
    return len(_rows(seen.faults))


def summary(seen: Seen) -> str:
    """What was looked at, in words."""
    counts = ((seen.configs, "config"), (seen.classes, "class"), (seen.expressions, "expression"))
    return ", ".join(counted(len(found), what) for found, what in counts)


def counted(number: int, what: str) -> str:
    """``1 class``, ``2 classes``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def reach(seen: Seen) -> str:
    """How far a bundle without dangers reaches."""
    return f"nothing reaches outside {', '.join(sorted(seen.packages))}" if seen.packages else "nothing would be called"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text: what looks like rich's markup stays as it is
    return table


def _places(places: Sequence[str]) -> str:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return places[0] + more


def _rows(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """One row a place and text, with all that there is to say of it."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for finding in findings:
        found.setdefault((finding.place, finding.what), {})[finding.why] = None
    return [(place, what, "; ".join(reasons)) for (place, what), reasons in found.items()]
