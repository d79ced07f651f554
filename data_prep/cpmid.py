"""CPMID: X-rays by finding, organ key slices and lung nodules in one data list of 20 classes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import options, sample
from data_prep.chexpert import Rule
from data_prep.chexpert import find as find_chexpert
from data_prep.lidc import MinReaders, NoduleSlices, Slices
from data_prep.lidc import find as find_lidc
from data_prep.msd import KeySlices
from data_prep.msd import find as find_msd
from data_prep.msd_tasks import MSD_TASKS
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError

CARD = DatasetCard(
    name="cpmid",
    title="CPMID, a general medical image collection for pretraining",
    task="classification",
    classes=(
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
        "Brain",
        "Heart",
        "Liver",
        "Lung",
        "Prostate",
        "Nodule",
    ),
    published={
        "No Finding": 22381,
        "Enlarged Cardiomediastinum": 10798,
        "Cardiomegaly": 27000,
        "Lung Opacity": 105581,
        "Lung Lesion": 9186,
        "Edema": 52246,
        "Consolidation": 14783,
        "Pneumonia": 6039,
        "Atelectasis": 33376,
        "Pneumothorax": 19448,
        "Pleural Effusion": 86187,
        "Pleural Other": 3523,
        "Fracture": 9040,
        "Support Devices": 116001,
        "Brain": 4788,
        "Heart": 372,
        "Liver": 2143,
        "Prostate": 216,
        "Lung": 465,
        "Nodule": 4708,
    },
    licence="those of CheXpert, MSD (CC BY-SA 4.0) and LIDC-IDRI (CC BY 3.0)",
    citation="Zhang et al., Construction and Validation of a General Medical Image Dataset for Pretraining, 2024",
    url="those of chexpert, msd and lidc",
    how_to_get="Get CheXpert-v1.0-small, MSD tasks 01, 02, 03, 05, 06 and LIDC-IDRI; medtl builds it from them.",
    disk_gb=160.0,
    layout="the three downloads, named by --chexpert, --msd and --lidc",
)

Download = Annotated[str | None, typer.Option(help="Read its download, also from above; 'sample': phantoms.")]


@options.dealt
def command(
    out: options.Out,
    chexpert: Download = None,
    msd: Download = None,
    lidc: Download = None,
    rule: Annotated[Rule, typer.Option(help="Say what X-rays with several findings are.")] = Rule.PAPER,
    key_slices: KeySlices = "card",
    nodule_slices: NoduleSlices = Slices.LARGEST,
    min_readers: MinReaders = 1,
    **how: Any,
) -> None:
    raws = {"chexpert": chexpert, "msd": msd, "lidc": lidc}
    sources = find(
        {name: options.raw_folder(raw, f"--{name}", name) for name, raw in raws.items() if raw is not None},
        rule=rule,
        key_slices=key_slices,
        nodule_slices=nodule_slices,
        min_readers=min_readers,
        dry_run=how["dry_run"],
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
        **how,
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
    """Return the work of any subset of CPMID's three downloads.

    Args:
        folders: "chexpert", "msd", "lidc" to the raw folder.

    Raises:
        UsageError: none is given.
    """
    if not folders:
        raise UsageError("cpmid needs at least one of --chexpert DIR, --msd DIR, --lidc DIR")
    sources: list[Source] = []
    if "chexpert" in folders:
        sources.append(find_chexpert(folders["chexpert"], rule, tables_only=dry_run))
    if "msd" in folders:
        tasks = tuple(number for number, task in MSD_TASKS.items() if task.organ in CARD.classes)
        sources.append(find_msd(folders["msd"], key_slices, tasks=tasks, read_headers=dry_run))
    if "lidc" in folders:
        sources.append(find_lidc(folders["lidc"], nodule_slices, min_readers, read_annotations=dry_run))
    return sources
