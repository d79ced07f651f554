"""A report as one HTML file that needs nothing else."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medtl.report.drawing import SHADES, looks
from medtl.report.layout import Group, Page


def to_html(page: Page, inits: tuple[str, ...]) -> str:
    """Return the page; all text is escaped, only the drawings (whose text matplotlib and ElementTree escape) are taken
    as they are.

    Args:
        page: what it says.
        inits: starts in the order of the tables, for their colours.
    """
    environment = Environment(
        loader=PackageLoader("medtl.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["group"] = lambda row: isinstance(row, Group)
    return environment.get_template("report.html.jinja").render(
        page=page,
        looks=looks(inits),
        shades=SHADES,
        svg=lambda figure: Markup(figure.svg),
    )
