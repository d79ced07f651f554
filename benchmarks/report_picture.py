"""The first figure of a report as an SVG by itself, for a document that cannot show the page.

    python benchmarks/report_picture.py RESULTS docs/figures/report.svg [--name "model.safetensors (9dc44967)=mine"]

RESULTS is a folder that ``medtl probe`` or ``medtl compare`` filled. The figures, their order and their words are those
of ``medtl report``; ``--name`` gives a start of a file another name.
"""

import argparse
import html
from collections.abc import Mapping
from pathlib import Path

from medtl.errors import MedtlError
from medtl.files import write_text
from medtl.report.arms import study
from medtl.report.collect import collect
from medtl.report.drawing import looks
from medtl.report.forest import forests
from medtl.report.layout import Bar, Forest
from medtl.report.page import evaluate

WIDTH, NAMES, FIGURES = 760, 210, 170  # pixels: of all, of the names on the left, of the figures on the right
ROW, HEAD, FOOT = 26, 34, 30
INK, FAINT = "#1a1a1a", "#d8d8d8"


def place(share: float) -> float:
    """Pixels from the left of a place on the axis, 0..100."""
    return NAMES + share / 100 * (WIDTH - NAMES - FIGURES)


def word(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(text)}</text>'


def bar_of(bar: Bar, y: float, colour: str, name: str) -> list[str]:
    """A start: its name, its interval as a line, its mean as a square, single trainings as small dots."""
    parts = [word(8, y + 4, name), word(WIDTH - FIGURES + 12, y + 4, bar.shown)]
    if bar.low is not None and bar.high is not None:
        ends = f'x1="{place(bar.low):.1f}" x2="{place(bar.high):.1f}" y1="{y}" y2="{y}"'
        parts.append(f'<line {ends} stroke="{colour}" stroke-width="2.5"/>')
    parts += [f'<circle cx="{place(dot):.1f}" cy="{y + 8}" r="1.7" fill="{colour}"/>' for dot in bar.dots]
    if bar.value is not None:
        parts.append(f'<rect x="{place(bar.value) - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" fill="{colour}"/>')
    return parts


def panel(forest: Forest, top: float, colours: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    """Starts below each other, with their axis, from ``top`` on."""
    end = top + HEAD + ROW * len(forest.bars)
    parts = [word(8, top + 20, forest.caption, 'font-weight="bold"')]
    for at, text in forest.ticks:
        x = f"{place(at):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{top + HEAD - 6}" y2="{end}" stroke="{FAINT}"/>')
        parts.append(word(place(at), end + 15, text, 'text-anchor="middle" font-size="11"'))
    for number, bar in enumerate(forest.bars):
        name = names.get(bar.name, bar.name)
        parts += bar_of(bar, top + HEAD + ROW * (number + 0.5), colours[bar.init], name)
    return parts


def picture(found: list[Forest], inits: list[str], title: str, names: Mapping[str, str]) -> str:
    """The SVG, on white, so that it can be read on a dark page."""
    colours = {init: look.colour for init, look in looks(inits).items()}
    parts, top = [word(8, 24, title, 'font-size="15" font-weight="bold"')], 34.0
    for forest in found:
        parts += panel(forest, top, colours, names)
        top += HEAD + ROW * len(forest.bars) + FOOT
    style = f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}"'
    size = f'viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}" height="{top:.0f}"'
    body = "\n".join(parts)
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n{body}\n</svg>\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    parser.add_argument("--name", action="append", default=[], metavar="START=NAME")
    asked = parser.parse_args()
    results = evaluate(study(collect(asked.results)), None, None)
    shown = results.study
    sample = next(iter(results.scored.values())).members[0].member.sample
    title = f"Which start is best? {len(sample.names):,} test images of {len(set(sample.patients)):,} patients"
    names = dict(each.rsplit("=", 1) for each in asked.name)
    write_text(asked.out, picture(forests(shown, results.scored, results.metric), list(shown.inits), title, names))
    print(f"{asked.out}: {asked.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except MedtlError as error:
        raise SystemExit(f"report_picture.py: {error}") from None
