"""The ``medtl`` command. Thin: each command parses its words, calls one function and prints what it gave."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from medtl import __version__
from medtl.catalogue import catalogue, networks_of_libraries
from medtl.errors import BadFileError, UsageError
from medtl.places import bundle_folder, bundle_of_word, cache_folder

app = typer.Typer(
    name="medtl",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Pretrained MONAI bundles from public medical images, and honest fine-tuning. Not for clinical use.",
)
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
CPUS = os.cpu_count() or 1


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medtl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
    debug: Debug = False,
) -> None:
    pass


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
    networks: Annotated[
        str, typer.Option(help="Instead: networks of timm and torchvision, by a word or a pattern: 'timm/mobilenet*'.")
    ] = "",
    debug: Debug = False,
) -> None:
    """List the data sets that can be prepared, the bundles, networks and starts, and the weights at hand."""
    found = {"networks": networks_of_libraries(networks)} if networks else catalogue()
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    console = Console()
    columns = {
        "datasets": ("name", "title", "task", "licence"),
        "bundles": ("name", "version", "description"),
        "networks": ("name", "title"),
        "starts": ("name", "title", "licence"),
        "weights": ("name", "path"),
    }
    for kind, names in columns.items():
        if kind not in found:
            continue
        table = Table(title=kind, title_justify="left")
        for name in names:
            table.add_column(name, overflow="fold")
        for row in found[kind]:
            table.add_row(*(str(row[name]) for name in names))
        console.print(table if found[kind] else f"{kind}: none")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A data_prep output (or its datalist.json), or a bundle or its .zip.")],
    against: Annotated[
        str | None,
        typer.Option(help="Data lists (comma-separated) that must share no patient and no image with this one."),
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for near-duplicates across its own splits, too.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="File for every leak that these two find.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read pictures for these two.")] = CPUS,
    debug: Debug = False,
) -> None:
    """Check a data list (files, hashes, labels, patients across splits) or a bundle (what it would execute, weights,
    paths, ids, metadata), of which nothing is run; with --against only that two data lists share nothing."""
    others = [Path(word.strip()) for word in (against or "").split(",") if word.strip()]
    if against is not None and not others:  # an unset variable must not look like a check that found nothing
        raise UsageError("--against names no data list")
    if csv and not (others or near_duplicates):
        raise UsageError("--csv goes with --against or --near-duplicates")
    if not others:
        _check_alone(folder)
    if others or near_duplicates:
        _check_leaks(folder, [*others, *([folder] if near_duplicates else [])], csv, workers)


def _check_leaks(folder: Path, others: list[Path], csv: Path | None, workers: int) -> None:
    from medtl import leaks

    found = leaks.compare_lists(folder, others, workers)
    for comparison in found:
        for line in leaks.lines(comparison):
            typer.echo(line)
    if csv:
        leaks.write_csv(found, csv)
    if any(comparison.leaks for comparison in found):
        raise typer.Exit(1)


def _check_alone(folder: Path) -> None:
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder; expected a data_prep output or a bundle")
    if folder.suffix == ".zip" or (folder / "configs").is_dir():
        from medtl.bundles.check import check_bundle

        verdict = check_bundle(folder)
        console = Console()
        for table in verdict.tables:
            console.print(table)
        for line in verdict.lines:
            typer.echo(line)
        if not verdict.passed:
            raise typer.Exit(1)
        return
    from medtl.integrity import problems_of_data

    what, problems = problems_of_data(folder)
    for problem in problems:
        typer.echo(f"- {problem}")
    if problems:
        typer.echo(f"{folder}: {len(problems)} problem(s) in {what}")
        raise typer.Exit(1)
    typer.echo(f"{folder}: {what}, no problem found")


@app.command()
def weights(
    name: Annotated[str, typer.Argument(help="A start with official files: imagenet.")],
    backbone: Annotated[str, typer.Option("--backbone", help="resnet18, vit_b16 …")],
    given: Annotated[Path | None, typer.Option("--from", help="A copy of the official file at hand.")] = None,
    debug: Debug = False,
) -> None:
    """Download official weights into the cache, checked by their hash, so that --init NAME finds them."""
    from medtl.weights.fetch import install
    from medtl.weights.sources import official

    source = official(name, backbone)
    path, digest = install(source, cache_folder() / "weights", given)
    typer.echo(f"{path}\nsha256 {digest}\nlicence: {source.licence}\nuse: --init {name} --backbone {backbone}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def compare(
    context: typer.Context,
    bundle_dir: Annotated[str, typer.Argument(help="A fine-tune bundle: its folder or name.", metavar="BUNDLE")],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="A data_prep output.")],
    backbones: Annotated[str, typer.Option(help="Networks, comma-separated: resnet18,resnet50.")],
    inits: Annotated[str, typer.Option(help="Starts: random,imagenet,cpmid,mini or paths of weights.")],
    out: Annotated[Path, typer.Option(help="Folder of the grid; one that holds it already is gone on with.")],
    seeds: Annotated[str, typer.Option(help="Whole numbers: 0,1,2.")] = "0",
    folds: Annotated[str | None, typer.Option(help="Folds of the data list to validate on, each in turn.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Shares of the training patients: 1.0,0.25.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells that run at a time.")] = 1,
    debug: Debug = False,
) -> None:
    """Train a bundle once for each of backbones × inits × seeds (× folds), into one folder; the same command goes on
    where it stopped. Any other --id value of the bundle reaches every cell, as in --epochs 3."""
    from medtl.grid import compare as grid
    from medtl.grid import request as grid_request

    bundle, ids = grid_request.split_words([bundle_dir, *context.args])
    request = grid_request.Request(
        bundle=bundle_of_word(bundle),
        dataset_dir=dataset_dir,
        backbones=grid_request.names("--backbones", backbones),
        inits=grid_request.names("--inits", inits),
        seeds=grid_request.whole_numbers("--seeds", seeds),
        out=out,
        folds=grid_request.whole_numbers("--folds", folds) if folds is not None else (),
        fractions=grid_request.shares("--fractions", fractions) if fractions is not None else (),
        ids=ids,
        jobs=jobs,
    )
    raise typer.Exit(grid.compare(request))


@app.command()
def release(
    run: Annotated[Path, typer.Argument(help="A finished training run: the folder that holds model.pt and run.json.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new bundle; its name becomes the bundle's.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Instead of --out: the bundle that trained the run, which then holds weights and card."),
    ] = None,
    as_zip: Annotated[bool, typer.Option("--zip", help="Also write it as one file, OUT.zip.")] = False,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    licence: Annotated[
        str, typer.Option(help="Of the images, with the credits that it asks for, where the data list says too little.")
    ] = "",
    debug: Debug = False,
) -> None:
    """Make a stand-alone bundle of a run, with weights, card and hashes; it opens with stock MONAI alone."""
    from medtl.bundles.release import release as released
    from medtl.bundles.shipping import ship

    if (out is None) == (into is None) or (into and as_zip):
        raise UsageError("expected --out DIR (with --zip if you like) or --into BUNDLE, one of the two")
    if into:
        done = ship(run, into, half=half, licence=licence)
    else:
        done = released(run, Path(str(out)), as_zip=as_zip, half=half, licence=licence)
    what = done.card.architecture
    size = f"{what.in_channels} x {what.image_size} x {what.image_size}"
    typer.echo(f"{done.folder}: {what.backbone}, {what.num_classes} classes, input {size}, {done.card.dtype}")
    if done.zip:
        typer.echo(f"{done.zip}: the same as one file")
    if done.difference is not None:
        typer.echo(f"float16 changes logits by at most {done.difference:.2g} on random pictures")
    if done.card.data["sample"]:
        typer.echo("trained on PHANTOMS, not patients: the card says so, and so should you")


@app.command()
def path(
    bundle: Annotated[str, typer.Argument(help="A bundle's name, such as cpmid_resnet18.")],
    debug: Debug = False,
) -> None:
    """Print the folder of a bundle, for --config_file "$(medtl path BUNDLE)/configs/train.json"."""
    typer.echo(str(bundle_folder(bundle)))


@app.command()
def unpack(
    archive: Annotated[Path, typer.Argument(help="A bundle's .zip.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that becomes the bundle; absent or empty.")],
    debug: Debug = False,
) -> None:
    """Unpack a bundle's zip without trusting it, and compare it with the hashes that it came with."""
    from medtl.weights.archive import SUMS, sums_of
    from medtl.weights.archive import unpack as unpacked

    count = len(sums_of(unpacked(archive, out)))
    if not count:
        typer.echo(f"{out}: unpacked but UNCHECKED: it has no {SUMS} to compare with")
        raise typer.Exit(1)
    typer.echo(f"{out}: {count} files match {SUMS}")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run of a classifier: the folder that holds model.pt and run.json.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="PNG, JPEG, DICOM or NIfTI files, or folders of them.", metavar="IMAGE…")
    ] = None,
    method: Annotated[str, typer.Option(help="gradcam or gradcam++.")] = "gradcam",
    class_: Annotated[str, typer.Option("--class", help="What to explain: predicted, label or a class.")] = "predicted",
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="A data_prep output to choose pictures from.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the data list: val, test or train.")] = "val",
    number: Annotated[int, typer.Option(min=0, help="Of its pictures, each class in turn; 0 takes all.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the overlays; RUN/explain by default.")] = None,
    debug: Debug = False,
) -> None:
    """Draw where a run's network looked (Grad-CAM), and measure how well that covers lesions where masks are known."""
    from medtl.explain.build import explain_run

    done = explain_run(
        run,
        images or (),
        dataset_dir=dataset_dir,
        split=split,
        number=number,
        seed=seed,
        method=method,
        asked=class_,
        out=out,
    )
    typer.echo(done.line)
    if done.rejected:
        raise typer.Exit(BadFileError.exit_status)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run, a grid of medtl compare, or any folder above runs.")],
    baseline: Annotated[
        str | None, typer.Option(help="The start that others are compared with; random where there is one.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What is compared and drawn: auc, accuracy, iou_mean …")] = None,
    title: Annotated[str | None, typer.Option(help="Of the report; by default the data set's name.")] = None,
    debug: Debug = False,
) -> None:
    """Write report.html, report.md and report.csv of finished runs into their folder."""
    from medtl.report.build import write_report

    for path in write_report(folder, baseline, metric, title):
        typer.echo(str(path))
