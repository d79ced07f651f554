"""DRIVE: fundus pictures with their vessels traced; the first observer is taken."""

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
    name="drive",
    title="DRIVE, vessels of the retina",
    task="segmentation",
    classes=("vessel",),
    licence="not stated beside what its registration says",
    citation="Staal et al., Ridge-based vessel segmentation in color images of the retina, IEEE Transactions on Medical"
    " Imaging 2004",
    url="https://drive.grand-challenge.org/",
    how_to_get="Register at grand-challenge.org, download training.zip and test.zip, and unzip them side by side.",
    disk_gb=None,
    layout="{training,test}/images/NN_{training,test}.tif with {training,test}/1st_manual/NN_manual1.gif",
    seen=False,
)
VALIDATED = ("37", "38", "39", "40")  # of the 20 training pictures, which nobody divides


def split_of(file: str) -> str:
    """Return a picture's split: the publisher's, the last four of training for validation."""
    name = Path(file).name
    return "test" if "_test" in name.lower() else "validation" if name[:2] in VALIDATED else "training"


PAIRS = Pairs(
    picture=re.compile(r"(?P<key>\d{2})_(?:training|test)\.tiff?$", re.IGNORECASE),
    masks=((re.compile(r"(?P<key>\d{2})_manual1\.(?:gif|png|tiff?)$", re.IGNORECASE), Mask("", 1)),),
    split=split_of,
)
command = mask_pairs.command_of(CARD, PAIRS)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    for number in range(1, 41):
        part = "test" if number <= 20 else "training"
        picture, vessels, _ = fundus("drive", number)
        for room in ("images", "1st_manual"):
            (folder / part / room).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / part / "images" / f"{number:02d}_{part}.tif")
        Image.fromarray(255 * vessels).save(folder / part / "1st_manual" / f"{number:02d}_manual1.gif")
