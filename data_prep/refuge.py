"""REFUGE: fundus pictures with optic disc and cup; the challenge's three parts are the splits."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import mask_pairs
from data_prep.mask_pairs import Pairs
from data_prep.masked import Mask
from data_prep.sample.fundus import fundus
from data_prep.work import Source
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="refuge",
    title="REFUGE, optic disc and cup",
    task="segmentation",
    classes=("disc", "cup"),
    licence="not stated beside what its registration says",
    citation="Orlando et al., REFUGE Challenge, Medical Image Analysis 2020",
    url="https://refuge.grand-challenge.org/",
    how_to_get="Register at grand-challenge.org, download the three parts with their annotations and unzip them under"
    " one folder.",
    disk_gb=None,
    layout="{g,n,V,T}NNNN.jpg with {g,n,V,T}NNNN.bmp below a folder Disc_Cup_Masks",
    seen=False,
)
CUP, DISC, BACKGROUND = 0, 128, 255  # values of the masks


def split_of(file: str) -> str:
    """Return the challenge's part, which the first letter tells."""
    return {"v": "validation", "t": "test"}.get(Path(file).name[0].lower(), "training")


PAIRS = Pairs(
    picture=re.compile(r"(?:^|/)(?P<key>[gnVT]\d{4})\.jpe?g$", re.IGNORECASE),
    masks=(
        (
            re.compile(r"Disc_Cup_Masks/(?:.*/)?(?P<key>[gnVT]\d{4})\.(?:bmp|png)$", re.IGNORECASE),
            Mask("", values=((BACKGROUND, 0), (DISC, 1), (CUP, 2))),
        ),
    ),
    split=split_of,
)
command = mask_pairs.command_of(CARD, PAIRS)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    parts = {"g": "Training400/Glaucoma", "n": "Training400/Non-Glaucoma", "V": "Validation400", "T": "Test400"}
    for letter, place in parts.items():
        masks = folder / f"Annotation-{place.split('/')[0]}" / "Disc_Cup_Masks"
        for part in (folder / place, masks):
            part.mkdir(parents=True, exist_ok=True)
        for number in range(1, 9):
            picture, _, optic = fundus("refuge", letter, number)
            Image.fromarray(picture).save(folder / place / f"{letter}{number:04d}.jpg", quality=95)
            values = np.array([BACKGROUND, DISC, CUP], np.uint8)
            Image.fromarray(values[optic]).save(masks / f"{letter}{number:04d}.bmp")
