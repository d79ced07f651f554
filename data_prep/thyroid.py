"""DDTI thyroid ultrasound by the tables of RadImageNet's authors: malignant or benign nodules, with their outlines
where DDTI's own XML files lie beside the pictures."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep import fold_tables
from data_prep.fold_tables import Outlines, Tables
from data_prep.sample.drawing import generator
from medtl.cards import DatasetCard
from medtl.errors import BadFileError
from medtl.files import write_text
from medtl.readers.ddti_xml import read_outlines

CARD = DatasetCard(
    name="thyroid",
    title="DDTI, thyroid ultrasound (RadImageNet's folds)",
    task="classification",
    classes=("malignant", "benign"),
    published={"malignant": 288, "benign": 61},
    licence="not stated by the tables' authors; ask the makers of the Digital Database of Thyroid Images",
    citation="Pedraza et al., An open access thyroid ultrasound image database, SIPAIM 2015; folds: Mei et al.,"
    " RadImageNet, Radiology: Artificial Intelligence 2022",
    url="https://github.com/BMEII-AI/RadImageNet",
    how_to_get="Take thyroid/dataframe from the repository, and put DDTI's pictures and XML files into thyroid/images.",
    disk_gb=0.1,
    layout="dataframe/thyroid_{train,val,test}_fold{1..5}.csv with img_dir and label; images/CASE_K.jpg, CASE.xml",
    seen=False,
)


def outlines(there: Mapping[str, Path]) -> tuple[dict[str, Outlines], list[tuple[str, str]]]:
    """Return the outlines of nodules by ``CASE_K``, the picture's name, and what of the XML files cannot be used: its
    pictures keep their labels and have no mask.

    Args:
        there: files by their names below the raw folder.
    """
    found: dict[str, Outlines] = {}
    rejected = []
    for name, path in there.items():
        if PurePosixPath(name).suffix.lower() != ".xml":
            continue
        try:
            own, broken = read_outlines(path)
        except BadFileError as error:
            rejected.append((name, str(error)))
            continue
        found |= {f"{PurePosixPath(name).stem}_{image}": lines for image, lines in own.items()}
        rejected += [(name, "; ".join(broken))] if broken else []
    return found, rejected


TABLES = Tables(
    file=("img_dir", "filename"),
    label=("label",),
    classes={"malignant": "malignant", "benign": "benign"},
    patient=re.compile(r"(?P<patient>[^/_]+)_\d+\.\w+$"),
    folds=True,
    outlines=outlines,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout: pictures, tables, and an XML file a case with a freehand outline in each picture,
    around the bright spot of the malignant ones."""
    spots = fold_tables.draw(folder, TABLES, lambda number: f"images/{number // 2}_{number % 2 + 1}.png", "thyroid_")
    for case in range(48):
        marks = ""
        for image in (1, 2):
            x, y = spots.get(f"images/{case}_{image}.png") or generator("ddti", case, image).uniform(14, 34, 2).tolist()
            around = [(x + 8 * math.cos(turn), y + 8 * math.sin(turn)) for turn in np.linspace(0, 2 * math.pi, 16)]
            points = [{"x": round(a), "y": round(b)} for a, b in around]
            region = {"points": points, "annotation": {}, "regionType": "freehand"}
            marks += f"<mark>\n<image>{image}</image>\n<svg>{json.dumps([region])}</svg>\n</mark>\n"
        text = f"<case>\n<number>{case}</number>\n<tirads></tirads>\n{marks}</case>\n"
        write_text(folder / "images" / f"{case}.xml", text)
