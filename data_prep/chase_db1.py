"""CHASE_DB1: fundus pictures of children with their vessels traced by two people; the first is taken."""

import re
from pathlib import Path

from PIL import Image

from data_prep import mask_pairs
from data_prep.mask_pairs import Pairs
from data_prep.masked import Mask
from data_prep.sample.fundus import fundus
from data_prep.work import Source
from medtl.cards import DatasetCard

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
TRAINED_ON = 10  # children 1 to 10, 20 pictures, as is usual; 8 are left for the test
VALIDATED = (9, 10)  # of these children, two for validation
PICTURE = re.compile(r"Image_(?P<key>(?P<patient>\d{2})[LR])\.(?:jpe?g|png)$", re.IGNORECASE)
MASK = re.compile(r"Image_(?P<key>\d{2}[LR])_1stHO\.png$", re.IGNORECASE)


def split_of(path: str) -> str:
    """Return the split of a picture: by child."""
    match = PICTURE.search(path)
    child = int(match["patient"]) if match else 0
    return "validation" if child in VALIDATED else "training" if child <= TRAINED_ON else "test"


PAIRS = Pairs(picture=PICTURE, masks=((MASK, Mask("", 1)),), split=split_of)
command = mask_pairs.command_of(CARD, PAIRS)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


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
