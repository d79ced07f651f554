"""A report as GitHub Markdown: the same words and tables, without the figures."""

import re
from collections.abc import Sequence

from medtl.report.layout import Field, Group, Page, Section, Table

SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$])")
MARKS = {"good": "✓ ", "bad": "⚠ ", "plain": ""}


def escaped(text: str) -> str:
    """Return text that Markdown prints as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def to_markdown(page: Page) -> str:
    """Return the page."""
    blocks = [f"# {escaped(page.title)}", escaped(page.subtitle) + ".", "**Not for clinical use.**"]
    if page.phantom:
        blocks.append(
            "> **Phantom data.** The images are medtl's built-in sample, not patients: no figure means anything."
        )
    if page.warning:
        blocks.append(f"> **{escaped(page.warning)}**")
    for section in page.sections:
        blocks += _section(section)
    return "\n\n".join([*blocks, escaped(page.foot)]) + "\n"


def _section(section: Section) -> list[str]:
    only_drawn = section.figures and not section.tables and not section.items
    if only_drawn:
        return []
    blocks = [f"## {escaped(section.title)}"]
    if not section.figures:  # sentences beside figures explain these
        blocks += [escaped(text) for text in section.paragraphs]
    if section.items:
        blocks.append("\n".join(f"- {MARKS[mark]}{escaped(text)}" for mark, text in section.items))
    for table in section.tables:
        blocks += _table(table)
    if section.code:
        lines = "\n".join(section.code)
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", lines)), default=0))
        blocks.append(f"{fence}\n{lines}\n{fence}")
    return blocks


def _table(table: Table) -> list[str]:
    lines = [_line([field.text for field in table.header])]
    lines.append("|" + "|".join(" --- " if field.left else " ---: " for field in table.header) + "|")
    for row in table.rows:
        if isinstance(row, Group):
            lines.append("| **" + escaped(row.text) + "** |" + " |" * (len(table.header) - 1))
        else:
            lines.append("| " + " | ".join(map(_field, row)) + " |")
    notes = ["\n".join(f"- {escaped(note)}" for note in table.notes)] if table.notes else []
    return [f"**{escaped(table.caption)}**", "\n".join(lines), *notes]


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, texts)) + " |"


def _field(field: Field) -> str:
    text = f"**{escaped(field.text)}**" if field.strong and field.text else escaped(field.text)
    return f"{text} ({escaped(field.small)})" if field.small else text
