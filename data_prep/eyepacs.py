"""EyePACS, as Kaggle's competition on diabetic retinopathy released it: both eyes of each patient in five grades."""

import re
from pathlib import Path

from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.sample.fundus import fundus
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.files import write_csv

CARD = DatasetCard(
    name="eyepacs",
    title="EyePACS, diabetic retinopathy",
    task="classification",
    classes=("none", "mild", "moderate", "severe", "proliferative"),
    published={"none": 25810, "mild": 2443, "moderate": 5292, "severe": 873, "proliferative": 708},
    licence="not stated beside the rules of Kaggle's competition",
    citation="EyePACS and Kaggle: Diabetic Retinopathy Detection, 2015",
    url="https://www.kaggle.com/c/diabetic-retinopathy-detection/data",
    how_to_get="Accept the competition's rules, join and unzip train.zip.*, and put trainLabels.csv beside train/."
    " With retinopathy_solution.csv beside test/, that becomes the test split.",
    disk_gb=35.0,
    layout="trainLabels.csv (image, level) and train/PATIENT_{left,right}.jpeg",
    seen=False,
)
TABLE, SOLUTION = "trainLabels.csv", "retinopathy_solution.csv"
LEVELS = dict(zip("01234", CARD.classes, strict=True))
NAME = re.compile(r"(?P<patient>\d+)_(?:left|right)")


def find(raw: Path) -> Source:
    """Return the work of a download; both eyes are of one patient, and the levels of test/ were published later."""
    table = listed.below(raw, TABLE, CARD)
    root, files = listed.beside(table, raw)
    rows, lost = [], []
    for path, split in ((table, ""), (table.with_name(SOLUTION), "test")):
        for row in listed.table(path, ("image", "level")) if path.is_file() else ():
            image, level = row["image"], row["level"]
            match = NAME.fullmatch(image)
            if match is None:
                lost.append((image, f"{path.name} names it, and not PATIENT_left or PATIENT_right"))
            elif image not in files:
                lost.append((f"{image}.jpeg", f"is missing, and {path.name} lists it"))
            elif level not in LEVELS:
                lost.append((files[image], f"{path.name} gives it the level {level!r}; expected 0 to 4"))
            else:
                rows.append(Listed(files[image], LEVELS[level], match["patient"], split))
    return listed.source(CARD, root, sorted(rows, key=lambda row: row.file), lost)


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout, with a part of the test set and its levels: as many dark spots as the
    level says."""
    for part, table, patients, more in (
        ("train", TABLE, range(10, 40), ()),
        ("test", SOLUTION, range(1, 9), ("Usage",)),
    ):
        rows: list[tuple[object, ...]] = [("image", "level", *more)]
        (folder / part).mkdir(parents=True)
        for patient in patients:
            for side in ("left", "right"):
                level = (patient + (side == "right" and patient % 7 == 0)) % 5  # few patients' eyes differ
                picture, _, _ = fundus("eyepacs", patient, side, left=side == "left")
                for spot in range(level):
                    picture[16 + 18 * spot : 24 + 18 * spot, 44:52] //= 3
                Image.fromarray(picture).save(folder / part / f"{patient}_{side}.jpeg", quality=95)
                rows.append((f"{patient}_{side}", level, *("Private" for _ in more)))
        write_csv(folder / table, rows)


command = listed.command_of(CARD, find)
