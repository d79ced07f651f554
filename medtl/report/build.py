"""report.html, report.md and report.csv of a folder: all three or none."""

import math
from contextlib import ExitStack
from pathlib import Path

from medtl.files import csv_text, replacing
from medtl.metrics.groups import parse
from medtl.report.arms import study
from medtl.report.collect import collect
from medtl.report.groups import groups_of
from medtl.report.html import to_html
from medtl.report.markdown import to_markdown
from medtl.report.page import Results, Wishes, evaluate, page
from medtl.report.tables import shown_metrics

NAMES = ("report.html", "report.md", "report.csv")
COLUMNS = ("backbone", "init", "seed", "fold", "split", "metric", "value", "lo", "hi", "n")


def write_report(
    folder: Path,
    baseline: str | None = None,
    metric: str | None = None,
    title: str | None = None,
    *,
    groups: str = "",
    facts: bool = False,
    dataset_dir: Path | None = None,
) -> tuple[Path, ...]:
    """Report on all runs in or below ``folder``, into it.

    Arguments, files that are returned, and errors are those of ``medtl.report``.
    """
    results = evaluate(study(collect(folder)), baseline, metric)
    groupings = parse(groups) if groups else ()
    of_image = groups_of(results.study, dataset_dir) if groupings else {}
    parts = page(results, title, Wishes(groupings, of_image, facts))
    texts = (to_html(parts, results.study.inits), to_markdown(parts), to_csv(results))
    paths = tuple(folder / name for name in NAMES)
    with ExitStack() as stack:  # renamed when all are written
        for path, text in zip(paths, texts, strict=True):
            stack.enter_context(replacing(path)).write_text(text, encoding="utf-8", newline="\n")
    return paths


def to_csv(results: Results) -> str:
    """Return one row a training and metric, with the interval from patients; figures that are not defined are blank.

    ``fold`` is ``all`` where the folds of a seed are scored together; ``n`` counts images or cases.
    """
    study_ = results.study
    rows: list[tuple[object, ...]] = [COLUMNS]
    for row in study_.rows:
        for init in study_.inits:
            if (row, init) not in results.scored:
                continue
            members = results.scored[row, init].members
            for each, member in ((each, scored) for scored in members for each in scored.member.all):
                run = each.runs[0]
                fold = "all" if study_.pooled else "" if run.fold is None else run.fold
                for metric in shown_metrics(study_):
                    found = member.estimate(metric)
                    figures = [f"{v:.6f}" if math.isfinite(v) else "" for v in (found.value, found.low, found.high)]
                    size = len(set(member.member.sample.images))
                    rows.append((row, init, run.seed, fold, study_.split, metric, *figures, size))
    return csv_text(rows)
