"""Where the figures come from: the runs, their recipe and data, how to repeat and how to cite them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medtl.cards import dataset_cards
from medtl.datalist import SHORT_NAMES
from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Section, Table
from medtl.report.rows import bundle_of, setting
from medtl.report.tables import of_words
from medtl.report.words import NONE, command, count, duration, grouped, listed, without_paths
from medtl.runs.record import Start
from medtl.version import __version__

GRID_OPTIONS = {
    "--backbones": "backbone",
    "--inits": "init",
    "--seeds": "seed",
    "--folds": "fold",
    "--fractions": "train_fraction",
}
OF_A_FILE = re.compile(r"-[0-9a-f]{8}$")  # ``compare.plan.short_init``: a start that is told without its folder


def provenance(study: Study) -> Section:
    """Return software, device, data, recipe and runs."""
    return Section(
        "provenance", "Provenance", tables=[_facts(study), *_recipe(study.found.runs), _runs(study.found.runs)]
    )


def _facts(study: Study) -> Table:
    runs = study.found.runs
    first = runs[0]
    entries = first.data.entries
    sizes = ", ".join(f"{SHORT_NAMES.get(name, name)} {number:,}" for name, number in entries.items())
    same = all(run.data.entries == entries for run in runs)
    facts = [
        ("data set", first.data.name + (" (built-in sample: phantoms)" if study.sample_data else "")),
        ("data list, sha256", (first.data.sha256 or NONE)[:12]),
        ("licence of the images", first.data.licence or NONE),
        ("classes", ", ".join(first.data.classes)),
        ("entries", sizes if same else "differ between runs (folds or shares of the training patients)"),
        ("bundle", _of_runs([bundle_of(run) for run in runs])),
        ("versions", _of_runs([grouped(run.record.versions) or NONE for run in runs])),
        ("device", _of_runs([without_paths(run.record.device or NONE) for run in runs])),
        ("report made with", f"medtl {__version__}"),
        ("training time", f"{duration(sum(_seconds(run) for run in runs))} in {count(len(runs), 'run')}"),
    ]
    return of_words("Data and software.", ("what", ""), facts)


def _seconds(run: Run) -> float:
    value = run.record.duration_s
    return float(value) if isinstance(value, int | float) else 0.0


def _of_runs(values: Sequence[str]) -> str:
    """One value where all agree; else each with its number of runs."""
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return "; ".join(f"{value} ({count(number, 'run')})" for value, number in counts.items())


def _recipe(runs: Sequence[Run]) -> list[Table]:
    settings = [setting(run) for run in runs]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    shared = [key for key in keys if len({each.get(key, NONE) for each in settings}) == 1]
    tables = []
    if shared:
        rows = [(key, settings[0].get(key, NONE)) for key in shared]
        tables.append(of_words("Recipe that all runs share.", ("id", "value"), rows, compact=True))
    differing = [key for key in keys if key not in shared]
    if differing:
        rows = [(key, _of_runs([each.get(key, NONE) for each in settings])) for key in differing]
        tables.append(of_words("Recipe ids in which runs differ.", ("id", "values"), rows, compact=True))
    return tables


def _runs(runs: Sequence[Run]) -> Table:
    parts = list(dict.fromkeys(part for run in runs for part in run.record.times))  # of a probe
    header = (
        "run",
        "backbone",
        "start",
        "weights",
        "fit",
        "seed",
        "fold",
        "best epoch",
        "time",
        *(p.removesuffix("_s") for p in parts),
    )
    rows = []
    for run in runs:
        start = run.record.start or Start()
        best, epochs = run.record.best_epoch, run.record.epochs
        rows.append(
            (
                run.name,
                run.backbone,
                run.init,
                (start.sha256 or NONE)[:12],
                f"{start.coverage:.1%}" if start.coverage else NONE,
                str(run.seed),
                NONE if run.fold is None else str(run.fold),
                f"{best} of {epochs}" if best else NONE,
                duration(_seconds(run)) if _seconds(run) else NONE,
                *(f"{run.record.times[part]:.3g} s" if part in run.record.times else NONE for part in parts),
            )
        )
    notes = [
        "Weights: sha256 of the file that the network started from. Fit: share of its parameters filled from there."
    ]
    return of_words("Runs.", header, rows, 5 + len(parts), notes)


def reproduction(study: Study, baseline: str, metric: str) -> Section:
    """Return the commands, places by name instead of path, and what to cite."""
    runs = study.found.runs
    lines = [line for grid in study.found.grids if (line := _grid_command(grid))]
    if lines:
        lines = [*dict.fromkeys(_run_command(run) for run in runs if run.record.is_probe), *lines]
    place = "GRID" if lines else "RUNS"
    if not lines:
        shown = [_run_command(run) for run in runs if run.record.command]
        shown += [f"medtl evaluate RUN --dataset_dir DATASET_DIR --split {s}" for s in _evaluated(runs)]
        lines = list(dict.fromkeys(shown))
    outside = [f"medtl evaluate RUN --dataset_dir OTHER --split {s}" for s in _evaluated(study.found.external)]
    lines += outside
    options = (f" --baseline {baseline}" if baseline and baseline != "random" else "") + f" --metric {metric}"
    lines.append(f"medtl report {place}{options}")
    card = dataset_cards().get(runs[0].data.name)
    cite = [f"Software: medtl {__version__} (CITATION.cff of its repository), MONAI, PyTorch."]
    if card is not None:
        cite.append(f"Data: {card.title}: {card.citation}. Licence: {card.licence}.")
    named = [init for init in study.inits if init in ("imagenet", "cpmid")]
    if named:
        cite.append(f"Starts: cite the source of the {listed(named)} weights; their sha256 stand in the table of runs.")
    cite.append(f"With seed{'s' if len(study.seeds) > 1 else ''} {', '.join(map(str, study.seeds))}; bootstrap seed 0.")
    return Section("reproduce", "How to repeat and cite this", items=[("plain", text) for text in cite], code=lines)


def _evaluated(runs: Sequence[Run]) -> list[str]:
    """Splits on which external validations were made."""
    return list(dict.fromkeys(run.record.evaluated_split for run in runs if run.record.external))


def _run_command(run: Run) -> str:
    """The line that makes a run, or all cells of its probe."""
    return f"{'medtl' if run.record.is_probe else 'python -m monai.bundle'} {command(run.record.command)}"


def _grid_command(grid: Any) -> str:
    """The medtl compare line that makes a grid."""
    cells = [cell for cell in grid["cells"] if isinstance(cell, dict)]
    bundle = grid.get("bundle")
    if not cells or not isinstance(bundle, str):
        return ""
    words = ["medtl compare", f"bundles/{bundle}", "--dataset_dir DATASET_DIR"]
    for option, key in GRID_OPTIONS.items():
        values = [str(v) for v in dict.fromkeys(cell.get(key) for cell in cells) if v not in (None, "")]
        values = ["WEIGHTS" if key == "init" and OF_A_FILE.search(value) else value for value in values]
        if values:
            words.append(f"{option} {','.join(without_paths(value) for value in values)}")
    words += [f"--protocol {grid['protocol']}"] if grid.get("protocol") else _varied(cells)
    ids = grid.get("ids")
    words += [command([f"--{name}", str(value)]) for name, value in ids.items()] if isinstance(ids, dict) else []
    return " ".join([*words, "--out GRID"])


def _varied(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of a grid as ``--vary`` names them."""
    axes: dict[str, list[str]] = {}
    for id_, value in (pair for cell in cells for pair in cell.get("ids", {}).items()):
        values = axes.setdefault(id_, [])
        values += [without_paths(str(value))] if without_paths(str(value)) not in values else []
    return [command(["--vary", f"{id_}={','.join(values)}"]) for id_, values in axes.items()]
