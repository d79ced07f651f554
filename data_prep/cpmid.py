"""CPMID: X-rays by finding, organ key slices and lung nodules in one data list of 20 classes."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep import options, sample
from data_prep.chexpert import Rule
from data_prep.chexpert import find as find_chexpert
from data_prep.lidc import MinReaders, NoduleSlices, Slices
from data_prep.lidc import find as find_lidc
from data_prep.msd import KeySlices
from data_prep.msd import find as find_msd
from data_prep.run import VALIDATION_FRACTION
from data_prep.work import Source
from medtl.cards import CPMID as CARD
from medtl.cards import CPMID_ORGANS
from medtl.errors import UsageError

Download = Annotated[str | None, typer.Option(help="Its download, or a folder above it; 'sample' for the phantoms.")]


def command(
    out: options.Out,
    chexpert: Download = None,
    msd: Download = None,
    lidc: Download = None,
    rule: Annotated[Rule, typer.Option(help="X-rays with several findings.")] = Rule.PAPER,
    key_slices: KeySlices = "card",
    nodule_slices: NoduleSlices = Slices.LARGEST,
    min_readers: MinReaders = 1,
    workers: options.Workers = None,
    dask: options.Dask = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = VALIDATION_FRACTION,
    debug: options.Debug = False,
) -> None:
    raws = {"chexpert": chexpert, "msd": msd, "lidc": lidc}
    sources = find(
        {name: options.raw_folder(raw, f"--{name}", name) for name, raw in raws.items() if raw is not None},
        rule=rule,
        key_slices=key_slices,
        nodule_slices=nodule_slices,
        min_readers=min_readers,
        dry_run=dry_run,
    )
    options.finish(
        CARD,
        sources,
        out,
        choices={
            "rule": rule.value,
            "key-slices": key_slices,
            "nodule-slices": nodule_slices.value,
            "min-readers": min_readers,
        },
        is_sample=sample.WORD in raws.values(),
        workers=workers,
        dask=dask,
        seed=seed,
        validation_fraction=validation_fraction,
        dry_run=dry_run,
    )


def find(
    folders: dict[str, Path],
    *,
    rule: Rule = Rule.PAPER,
    key_slices: str = "card",
    nodule_slices: Slices = Slices.LARGEST,
    min_readers: int = 1,
    dry_run: bool = False,
) -> list[Source]:
    """The work of any subset of CPMID's three downloads.

    Args:
        folders: "chexpert", "msd", "lidc" to the raw folder.

    Raises:
        UsageError: none is given, or the labels of X-rays cannot stand beside the others'.
    """
    if not folders:
        raise UsageError("cpmid needs at least one of --chexpert DIR, --msd DIR, --lidc DIR")
    sources: list[Source] = []
    if "chexpert" in folders:
        sources.append(find_chexpert(folders["chexpert"], rule, tables_only=dry_run))
    if "msd" in folders:
        tasks = tuple(CPMID_ORGANS)
        sources.append(find_msd(folders["msd"], key_slices, tasks=tasks, read_headers=dry_run))
    if "lidc" in folders:
        sources.append(find_lidc(folders["lidc"], nodule_slices, min_readers, read_annotations=dry_run))
    return sources
