"""DDTI thyroid ultrasound by the tables of RadImageNet's authors: malignant or benign nodules."""

import re
from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

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
    how_to_get="Take thyroid/dataframe from the repository, and put the pictures into thyroid/images.",
    disk_gb=0.1,
    layout="dataframe/thyroid_{train,val,test}_fold{1..5}.csv with img_dir and label; images/CASE_K.jpg",
    seen=False,
)
TABLES = Tables(
    file=("img_dir", "filename"),
    label=("label",),
    classes={"malignant": "malignant", "benign": "benign"},
    patient=re.compile(r"(?P<patient>[^/_]+)_\d+\.\w+$"),
    folds=True,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    fold_tables.draw(folder, TABLES, lambda number: f"images/{number // 2}_{number % 2 + 1}.png", "thyroid_")
