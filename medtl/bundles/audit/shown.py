"""What an audit found, as tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from medtl.bundles.audit.bundle import Audit
from medtl.bundles.audit.finding import Finding, printable

MOST_NOTES = 60  # what is unreviewed is shown in full
COLUMNS = ("where", "what", "why")


def tables(seen: Audit) -> Iterator[Table]:
    """Yield what a bundle would execute, what else to know, and at last what is unreviewed; only what there is."""
    sections: tuple[tuple[str, str, Mapping[str, Sequence[str]]], ...] = (
        ("would be imported", "statement", seen.imports),
        ("would be called", "class or function", seen.classes),
        ("would be evaluated", "expression", seen.expressions),
    )
    for title, column, found in sections:
        if found:
            more = {text: f" and {len(places) - 1} more" if len(places) > 1 else "" for text, places in found.items()}
            yield _table(
                title, (column, "where"), [(text, places[0] + more[text]) for text, places in sorted(found.items())]
            )
    if seen.weights:
        yield _table("weights", ("file", "what"), [(file.place, file.why) for file in seen.weights])
    if seen.notes:
        more_notes = len(seen.notes) - MOST_NOTES
        rest = [("…", "", f"and {more_notes:,} more")] if more_notes > 0 else []
        yield _table("to know", COLUMNS, [*_rows(seen.notes[:MOST_NOTES]), *rest])
    if seen.unreviewed:
        yield _table("UNREVIEWED", COLUMNS, _rows(seen.unreviewed))


def summary(seen: Audit) -> str:
    """Return what was read, in words."""
    counts = ((seen.imports, "import"), (seen.classes, "class"), (seen.expressions, "expression"))
    return ", ".join(counted(len(found), what) for found, what in counts)


def counted(number: int, what: str) -> str:
    """Return ``1 class``, ``2 classes``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text: what looks like rich's markup stays as it is
    return table


def _rows(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.place, finding.what, finding.why) for finding in findings]
