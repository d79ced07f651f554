"""Drishti-GS1: fundus pictures with optic disc and cup, of which more than half of four experts are taken."""

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
    name="drishti",
    title="Drishti-GS1, optic disc and cup",
    task="segmentation",
    classes=("disc", "cup"),
    licence="not stated",
    citation="Sivaswamy et al., Drishti-GS: Retinal image dataset for optic nerve head segmentation, ISBI 2014",
    url="https://cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php",
    how_to_get="Register with the authors, download both archives and unzip them.",
    disk_gb=None,
    layout="{Training,Test}/Images/…/drishtiGS_NNN.png, with drishtiGS_NNN_{OD,cup}segSoftmap.png in any folder",
    seen=False,
)
MORE_THAN_HALF = 128  # of 255: soft maps hold the share of the four experts that marked a pixel


def split_of(file: str) -> str:
    """Return test where the publisher said so; the others are dealt into training and validation."""
    return "test" if re.search(r"(?:^|/)test", file, re.IGNORECASE) else ""


PAIRS = Pairs(
    picture=re.compile(r"(?P<key>drishtiGS_\d{3})\.(?:png|jpe?g)$", re.IGNORECASE),
    masks=tuple(
        (
            re.compile(rf"(?P<key>drishtiGS_\d{{3}})_{word}segSoftmap\.png$", re.IGNORECASE),
            Mask("", number, above=MORE_THAN_HALF),
        )
        for number, word in enumerate(("OD", "cup"), 1)
    ),
    split=split_of,
)
command = mask_pairs.command_of(CARD, PAIRS, test_fraction=0.0)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    for number in range(1, 25):
        part, truth = ("Test", "Test_GT") if number <= 8 else ("Training", "GT")
        name = f"drishtiGS_{number:03d}"
        picture, _, optic = fundus("drishti", number)
        maps = folder / part / truth / name / "SoftMap"
        maps.mkdir(parents=True)
        (folder / part / "Images").mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / part / "Images" / f"{name}.png")
        for least, word in enumerate(("OD", "cup"), 1):
            Image.fromarray(255 * (optic >= least).astype(optic.dtype)).save(maps / f"{name}_{word}segSoftmap.png")
