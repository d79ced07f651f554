"""HRF: large fundus pictures of healthy, diabetic and glaucomatous eyes with their vessels traced."""

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
    name="hrf",
    title="HRF, vessels of the retina in high resolution",
    task="segmentation",
    classes=("vessel",),
    licence="CC BY 4.0",
    citation="Budai et al., Robust Vessel Segmentation in Fundus Images, International Journal of Biomedical Imaging"
    " 2013",
    url="https://www5.cs.fau.de/research/data/fundus-images/",
    how_to_get="Download the archive of all 45 pictures with their manual segmentations and unzip it.",
    disk_gb=None,
    layout="images/NN_{h,dr,g}.jpg with manual1/NN_{h,dr,g}.tif",
    seen=False,
)
TEST_FRACTION = 0.25  # nobody published a split: pictures are dealt
PAIRS = Pairs(
    picture=re.compile(r"(?P<key>\d{2}_(?:h|dr|g))\.jpe?g$", re.IGNORECASE),
    masks=((re.compile(r"manual1/(?P<key>\d{2}_(?:h|dr|g))\.(?:tiff?|png)$", re.IGNORECASE), Mask("", 1)),),
)
command = mask_pairs.command_of(CARD, PAIRS, TEST_FRACTION)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    for kind in ("h", "dr", "g"):
        for number in range(1, 9):
            picture, vessels, _ = fundus("hrf", number, kind)
            for room in ("images", "manual1", "mask"):
                (folder / room).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "images" / f"{number:02d}_{kind}.jpg", quality=95)
            Image.fromarray(255 * vessels).save(folder / "manual1" / f"{number:02d}_{kind}.tif")
            Image.fromarray(0 * vessels + 255).save(folder / "mask" / f"{number:02d}_{kind}_mask.tif")
