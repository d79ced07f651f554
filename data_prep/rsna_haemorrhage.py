"""The RSNA intracranial haemorrhage challenge's CT slices by the tables of RadImageNet's authors. Their repository
holds the validation table alone; tables of one's own in the same form are read, too."""

from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="rsna_haemorrhage",
    title="RSNA intracranial haemorrhage, head CT slices",
    task="classification",
    classes=("haemorrhage", "none"),
    published={"haemorrhage": 107933, "none": 465671},
    licence="terms of the RSNA Intracranial Hemorrhage Detection challenge 2019",
    citation="Flanders et al., Construction of a machine learning dataset through collaboration: the RSNA 2019 brain CT"
    " hemorrhage challenge, Radiology: Artificial Intelligence 2020",
    url="https://www.kaggle.com/c/rsna-intracranial-hemorrhage-detection",
    how_to_get="Convert the challenge's DICOMs to images/ID_….png, and write tables with the columns dir and label.",
    disk_gb=180.0,
    layout="dataframe/hemorrhage_{train,val,test}.csv with dir and label; images/ID_….png",
    seen=False,
)
TABLES = Tables(
    file=("dir", "filename"),
    label=("label",),
    classes={"yes": "haemorrhage", "no": "none"},
    patient=None,
    folds=False,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    fold_tables.draw(folder, TABLES, lambda number: f"images/ID_{number:08x}.png", "hemorrhage_")
