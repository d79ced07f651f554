"""STARE: fundus pictures with their vessels traced by two people; the first (ah) is taken."""

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
    name="stare",
    title="STARE, vessels of the retina",
    task="segmentation",
    classes=("vessel",),
    licence="not stated",
    citation="Hoover et al., Locating blood vessels in retinal images by piecewise threshold probing of a matched"
    " filter response, IEEE Transactions on Medical Imaging 2000",
    url="https://cecas.clemson.edu/~ahoover/stare/probing/index.html",
    how_to_get="Download stare-images.tar and labels-ah.tar, unpack them side by side, and gunzip the pictures.",
    disk_gb=None,
    layout="im*.ppm with im*.ah.ppm, in any folders",
    seen=False,
)
TEST_FRACTION = 0.25  # nobody published a split: pictures are dealt
PAIRS = Pairs(
    picture=re.compile(r"(?P<key>im\d{4})\.(?:ppm|png)$", re.IGNORECASE),
    masks=((re.compile(r"(?P<key>im\d{4})\.ah\.(?:ppm|png)$", re.IGNORECASE), Mask("", 1)),),
    anew=True,
)
command = mask_pairs.command_of(CARD, PAIRS, TEST_FRACTION)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    for number in range(1, 21):
        picture, vessels, _ = fundus("stare", number)
        for room in ("stare-images", "labels-ah", "labels-vk"):
            (folder / room).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "stare-images" / f"im{number:04d}.ppm")
        for who in ("ah", "vk"):
            Image.fromarray(255 * vessels).save(folder / f"labels-{who}" / f"im{number:04d}.{who}.ppm")
