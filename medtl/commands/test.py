"""Test the difference between prediction files: ``medtl test``."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medtl.commands.options import Debug
from medtl.errors import UsageError

if TYPE_CHECKING:
    from medtl.significance.comparing import Compared

PATIENT = "patient"


def compare_tables(
    files: Annotated[list[Path], typer.Argument(help="Compare these tables of predictions with the first of them.")],
    by: Annotated[
        str | None,
        typer.Option(help="Group images by this column (by default patient, if there); image: do not group."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Compare auc, accuracy … (of numbers: mae, of risks: c_index).")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Call this class positive; by default that of the runs, or else the second.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Read the truth from this column (other tools).")] = None,
    score: Annotated[
        str | None, typer.Option(help="Read scores from this column, or one for each file: s1,s2.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="Match the files by this column.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Take this split: by default test, or val if not all have it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:
    """Test whether models differ on the same images.

    It makes DeLong's test by patient, or the patients' bootstrap, and McNemar's test beside it, with Holm's correction
    over several pairs. It prints one line a pair. For risks it compares C-indices by the bootstrap of patients. Tables
    of other tools are read, too, where their columns are named.
    """
    from medtl.files import read_csv
    from medtl.significance.comparing import compare
    from medtl.significance.files import Columns, matched, read_answers, same_split
    from medtl.significance.risks import compare_risks, hold_risks

    if len(files) < 2:
        raise UsageError(f"medtl test {files[0]}: expected two or more tables")
    if score is None and hold_risks(files):
        for option, value in (("by", by), ("positive", positive), ("label", label), ("id", id)):
            if value not in (None, PATIENT):
                raise UsageError(f"--{option} {value}: these are tables of risks, a row a patient; leave it out")
        _print(compare_risks(files, metric, split), as_json)
        return
    scores = score.split(",") if score else [None]
    if len(scores) not in (1, len(files)):
        raise UsageError(f"--score {score}: expected one column, or one for each of {len(files)} tables")
    if by is None and all(path.is_file() and PATIENT in (read_csv(path) or [[]])[0] for path in files):
        by = PATIENT
    elif by == "image":
        by = None
    splits = same_split(files, split)
    each = [
        read_answers(path, Columns(label, scores[place % len(scores)], id, by, splits[place]), positive)
        for place, path in enumerate(files)
    ]
    common, left_out = matched(each)
    found = compare(common, metric, positive, by, left_out)
    _print(replace(found, split=next(filter(None, splits), "")), as_json)


def _print(found: "Compared", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
        return
    several = len(found.pairs) > 1
    for pair in found.pairs:
        ends = f" (95 % interval {pair.low:+.3f} to {pair.high:+.3f})" if math.isfinite(pair.low) else ""
        more = [f"{pair.method} {_p(pair.p)}"]
        more += [f"{_p(pair.adjusted)} after Holm over {len(found.pairs)}"] if several else []
        more += [f"bootstrap {_p(pair.bootstrap_p)}"] if pair.method != "bootstrap" else []
        more += [f"McNemar {_p(pair.mcnemar_p)}"] if math.isfinite(pair.mcnemar_p) else []
        of = f"{found.images:,} images" + (f" of {found.owners:,} {found.by}s" if found.by else "")
        if found.metric.startswith("c_index"):
            of = f"{found.owners:,} patients"
        of += f", split {found.split}" if found.split not in ("", "test") else ""
        rest = f", {found.left_out:,} left out that not every file has" if found.left_out else ""
        typer.echo(
            f"{found.told}: {pair.first} {pair.values[0]:.3f}, {pair.second} {pair.values[1]:.3f}: difference"
            f" {pair.difference:+.3f}{ends}; {'; '.join(more)} ({of}{rest})"
        )


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "p not defined"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
