"""ISIC 2019: dermoscopies in eight classes, of which HAM10000 and BCN20000 are parts."""

from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.files import write_csv

CARD = DatasetCard(
    name="isic2019",
    title="ISIC 2019, dermoscopy",
    task="classification",
    classes=("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"),
    published={"MEL": 4522, "NV": 12875, "BCC": 3323, "AK": 867, "BKL": 2624, "DF": 239, "VASC": 253, "SCC": 628},
    licence="CC BY-NC 4.0",
    citation="Tschandl et al., Scientific Data 2018; Codella et al., ISBI 2018; Hernández-Pérez et al., BCN20000,"
    " Scientific Data 2024",
    url="https://challenge.isic-archive.com/data/#2019",
    how_to_get="Download training input, ground truth and metadata of ISIC 2019. It holds HAM10000: never pretrain on"
    " one and judge on the other.",
    disk_gb=None,
    layout="ISIC_2019_Training_GroundTruth.csv, ISIC_2019_Training_Metadata.csv and a folder of ISIC_….jpg",
    seen=False,
)
TRUTH, METADATA = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
KNOWN = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")


def find(raw: Path) -> Source:
    """Return the work of a download; the lesion, where it is known, stands for the patient."""
    people = {row["image"]: row for row in listed.table(listed.below(raw, METADATA, CARD), KNOWN)}
    truth = listed.below(raw, TRUTH, CARD)
    root, files = listed.beside(truth, raw)
    rows, lost = [], []
    for row in listed.table(truth, ("image", *CARD.classes)):
        image = row["image"]
        labels = [name for name in CARD.classes if row[name] in ("1", "1.0")]
        if image not in files:
            lost.append((f"{image}.jpg", "is missing, and the table lists it"))
        elif len(labels) != 1:
            lost.append((files[image], f"the table gives it {len(labels)} of the classes; expected one"))
        else:
            person = people.get(image, dict.fromkeys(KNOWN, ""))
            group = listed.group_of(person["sex"], person["age_approx"], person["anatom_site_general"])
            rows.append(Listed(files[image], labels[0], person["lesion_id"], group=group))
    return listed.source(CARD, root, sorted(rows, key=lambda row: row.file), lost)


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: one-hot columns with UNK, lesions that are unknown, ages in floats."""
    rng = np.random.default_rng(0)
    truth: list[tuple[object, ...]] = [("image", *CARD.classes, "UNK")]
    people: list[tuple[object, ...]] = [KNOWN]
    for number in range(10 * len(CARD.classes)):
        place = number % len(CARD.classes)
        image = f"ISIC_{number:07d}"
        pixels = rng.integers(120, 150, (48, 64, 3))
        pixels[4 * place : 4 * place + 16, 16:40] -= np.array([20, 60, 60])
        path = folder / "ISIC_2019_Training_Input" / f"{image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
        truth.append((image, *(float(place == column) for column in range(len(CARD.classes))), 0.0))
        lesion = "" if number % 4 == 0 else f"BCN_{number // 2:07d}"
        people.append((image, f"{20 + number % 70}.0", "anterior torso", lesion, ("female", "male", "")[number % 3]))
    write_csv(folder / TRUTH, truth)
    write_csv(folder / METADATA, people)


command = listed.command_of(CARD, find)
