"""ADE20K as the scene parsing benchmark released it: photographs with 150 kinds of things and grounds."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import mask_pairs
from data_prep.mask_pairs import Pairs
from data_prep.masked import Mask
from data_prep.sample.drawing import generator
from data_prep.work import Source
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="ade20k",
    title="ADE20K, scene parsing of photographs",
    task="segmentation",
    classes=(
        "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
        "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
        "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
        "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
        "chest_of_drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
        "stairs", "runway", "case", "pool_table", "pillow", "screen_door", "stairway", "river", "bridge", "bookcase",
        "blind", "coffee_table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
        "kitchen_island", "computer", "swivel_chair", "boat", "bar", "arcade_machine", "hovel", "bus", "towel",
        "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television_receiver", "airplane",
        "dirt_track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster",
        "stage", "van", "ship", "fountain", "conveyer_belt", "canopy", "washer", "plaything", "swimming_pool", "stool",
        "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank",
        "trade_name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture",
        "hood", "sconce", "vase", "traffic_light", "tray", "ashcan", "fan", "pier", "crt_screen", "plate", "monitor",
        "bulletin_board", "shower", "radiator", "glass", "clock", "flag",
    ),
    licence="BSD 3-Clause, as Hugging Face's page of the benchmark states it",
    citation="Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017",
    url="http://sceneparsing.csail.mit.edu/",
    how_to_get="Download train/val of Scene Parsing (ADEChallengeData2016.zip) and unzip it.",
    disk_gb=0.9,
    layout="ADEChallengeData2016/{images,annotations}/{training,validation}/ADE_{train,val}_NNNNNNNN.{jpg,png}",
    seen=False,
)  # fmt: skip


def split_of(file: str) -> str:
    """Return test for the released validation part, for the test part came without masks; the rest is dealt."""
    return "test" if Path(file).name.startswith("ADE_val") else ""


# values of a mask are the classes in their order; 0 is everything else, which the benchmark does not score
PAIRS = Pairs(
    picture=re.compile(r"images/(?:training|validation)/(?P<key>ADE_(?:train|val)_\d{8})\.jpg$"),
    masks=((re.compile(r"annotations/(?:training|validation)/(?P<key>ADE_(?:train|val)_\d{8})\.png$"), Mask("")),),
    split=split_of,
)
command = mask_pairs.command_of(CARD, PAIRS, test_fraction=0.0)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


def make_sample(folder: Path) -> None:
    """Draw the official layout: sky above hills or a building, a flag, and a strip that nobody named."""
    colours = {"sky": (150, 190, 235), "building": (150, 110, 90), "hill": (70, 120, 60), "flag": (200, 30, 40)}
    for part, word, count in (("training", "train", 24), ("validation", "val", 6)):
        for room in ("images", "annotations"):
            (folder / "ADEChallengeData2016" / room / part).mkdir(parents=True)
        for number in range(1, count + 1):
            rng = generator("ade20k", part, number)
            kinds = np.full((64, 96), "sky", dtype="U8")
            kinds[int(rng.integers(24, 40)) :] = ("hill", "building")[number % 2]
            place = int(rng.integers(8, 70))
            kinds[6:16, place : place + 18] = "flag"
            kinds[60:] = ""
            photograph = rng.normal(0, 12, (64, 96, 3)) + 90
            mask = np.zeros((64, 96), np.uint8)
            for kind, colour in colours.items():
                photograph[kinds == kind] += np.array(colour) - 90
                mask[kinds == kind] = 1 + CARD.classes.index(kind)
            top = folder / "ADEChallengeData2016"
            name = f"ADE_{word}_{number:08d}"
            picture = Image.fromarray(photograph.clip(0, 255).astype(np.uint8))
            picture.save(top / "images" / part / f"{name}.jpg", quality=95)
            Image.fromarray(mask).save(top / "annotations" / part / f"{name}.png")
