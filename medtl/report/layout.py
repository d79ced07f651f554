"""What a page is made of, before it is HTML or Markdown: tables of fields, and nothing that knows of either."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        text: what it says.
        small: beneath it: an interval, or a reason.
        strong: printed bold.
        init: a start whose colour stands before it; empty for none.
        heat: 0..1, how dark its ground is; None for a plain field.
        left: text rather than a figure.
    """

    text: str
    small: str = ""
    strong: bool = False
    init: str = ""
    heat: float | None = None
    left: bool = False


@dataclass(frozen=True)
class Group:
    """A line across the table, above the rows that belong to it."""

    text: str


Row = Sequence[Field] | Group


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows, one sentence.
        header: the columns.
        rows: fields, the first of each row being its name; or a line across.
        notes: beneath it: what the figures cover.
        compact: one of several that stand side by side.
    """

    caption: str
    header: Sequence[Field]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    compact: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        caption: above a drawing, beneath a bitmap.
        alternative: what it shows, for those who cannot see it.
        svg: inline SVG; empty for a bitmap.
        uri: data URI of a bitmap.
    """

    caption: str
    alternative: str
    svg: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Bar:
    """A start.

    Attributes:
        name: its words.
        init: whose colour it has.
        shown: its figure with the interval, in words.
        value, low, high: places along the axis, 0..100; None where one is not defined.
        dots: of single trainings.
    """

    name: str
    init: str
    shown: str
    value: float | None
    low: float | None
    high: float | None
    dots: tuple[float, ...]


@dataclass(frozen=True)
class Forest:
    """Starts below each other along one axis.

    Attributes:
        caption: what is shown.
        bars: the best first.
        ticks: place, 0..100, and words.
    """

    caption: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading.

    Attributes:
        slug: its name in links.
        title: heading.
        paragraphs: plain sentences.
        items: sentences with a mark: "good", "bad", "plain".
        tables, figures: in their order; compact tables and figures stand side by side.
        legend: starts whose colours the figures use.
        code: commands.
        figures_first: figures stand above the tables.
        columns: figures that belong on one line, where the page is wide enough.
        forests: starts with their intervals, above everything.
    """

    slug: str
    title: str
    paragraphs: Sequence[str] = ()
    items: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    legend: Sequence[str] = ()
    code: Sequence[str] = ()
    figures_first: bool = False
    columns: int = 3
    forests: Sequence[Forest] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        subtitle: data set, classes and numbers.
        phantom: the images are the built-in phantoms.
        warning: what limits every figure of the report; empty for nothing.
        sections: in their order.
        foot: last line.
    """

    title: str
    subtitle: str
    phantom: bool
    warning: str
    sections: Sequence[Section]
    foot: str
