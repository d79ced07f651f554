"""CHASE_DB1: fundus pictures of children with their vessels traced by two people; the first is taken."""

import re
from pathlib import Path, PurePosixPath

from PIL import Image

from data_prep import masked, options, sample
from data_prep.masked import Mask, Row
from data_prep.sample.fundus import fundus
from data_prep.work import Rejected, Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import below

CARD = DatasetCard(
    name="chase_db1",
    title="CHASE_DB1, vessels of the retina",
    task="segmentation",
    classes=("vessel",),
    licence="CC BY 4.0",
    citation="Fraz et al., An Ensemble Classification-Based Approach Applied to Retinal Blood Vessel Segmentation, IEEE"
    " Transactions on Biomedical Engineering 2012",
    url="https://blogs.kingston.ac.uk/retinal/chasedb1/",
    how_to_get="Download CHASEDB1.zip from Kingston University and unzip it.",
    disk_gb=0.01,
    layout="Image_NN{L,R}.jpg with Image_NN{L,R}_1stHO.png beside it",
)
NAME = re.compile(r"Image_(?P<child>\d{2})(?P<eye>[LR])(?P<mask>_(?P<who>1st|2nd)HO)?\.(?:jpe?g|png)", re.IGNORECASE)
TRAINED_ON = 10  # children 1 to 10, 20 pictures, as is usual; 8 are left for the test
VALIDATED = (9, 10)  # of these children, two for validation


def command(
    raw: options.Raw,
    out: options.Out,
    workers: options.Workers = None,
    dask: options.Dask = None,
    dry_run: options.DryRun = False,
    debug: options.Debug = False,
) -> None:
    options.finish(
        CARD,
        [find(options.raw_folder(raw, "--raw", CARD.name))],
        out,
        choices={},
        is_sample=raw == sample.WORD,
        workers=workers,
        dask=dask,
        dry_run=dry_run,
    )


def find(raw: Path) -> Source:
    """Return the work of a download: its pictures, each with the first observer's mask.

    Args:
        raw: a folder with the pictures anywhere below it. Their names say child and eye.

    Raises:
        UsageError: it holds no picture of the set.
    """
    tree = below(raw)
    rejected = [Rejected(*one) for one in tree.refused]
    pictures: dict[tuple[int, str], str] = {}
    masks: dict[tuple[int, str], str] = {}
    for file in sorted(one.name for one in tree.files):
        match = NAME.fullmatch(PurePosixPath(file).name)
        if match and (match["who"] or "1st").lower() == "1st":
            (masks if match["mask"] else pictures)[int(match["child"]), match["eye"].upper()] = file
    rows = []
    for (child, eye), file in sorted(pictures.items()):
        if (child, eye) in masks:
            split = "validation" if child in VALIDATED else "training" if child <= TRAINED_ON else "test"
            rows.append(Row(file, (Mask(masks[child, eye], 1),), f"{child:02d}", split))
        else:
            rejected.append(Rejected(file, "has no mask _1stHO.png beside it"))
    rejected += [Rejected(masks[key], "is a mask without its picture") for key in sorted(masks.keys() - pictures)]
    if not rows and not rejected:
        raise UsageError(f"{raw} holds no picture of CHASE_DB1: expected {CARD.layout}")
    return masked.source(CARD.name, raw, rows, rejected, CARD.classes)


def make_sample(folder: Path) -> None:
    """Draw the official layout, with masks by two observers."""
    for child in range(1, 15):
        for eye in "LR":
            picture, vessels, _ = fundus("chase_db1", child, eye, left=eye == "L")
            stem = folder / "CHASEDB1" / f"Image_{child:02d}{eye}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(f"{stem}.jpg", quality=95)
            for who in ("1st", "2nd"):
                Image.fromarray(255 * vessels).convert("1").save(f"{stem}_{who}HO.png")
