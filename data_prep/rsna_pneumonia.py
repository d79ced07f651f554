"""The RSNA pneumonia challenge's chest X-rays by the tables of RadImageNet's authors: pneumonia or not."""

from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="rsna_pneumonia",
    title="RSNA pneumonia, chest X-rays (RadImageNet's split)",
    task="classification",
    classes=("pneumonia", "no_pneumonia"),
    published={"pneumonia": 6012, "no_pneumonia": 20672},
    licence="terms of the RSNA Pneumonia Detection Challenge 2018",
    citation="Shih et al., Augmenting the National Institutes of Health chest radiograph dataset with expert"
    " annotations, Radiology: Artificial Intelligence 2019; split: Mei et al., RadImageNet, ibid. 2022",
    url="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    how_to_get="Convert the challenge's DICOMs to images/UUID.png; take pneumonia/dataframe from the repository.",
    disk_gb=4.0,
    layout="dataframe/{train,val,test}.csv with filename and label; images/UUID.png",
    seen=False,
)
TABLES = Tables(
    file=("filename",),
    label=("label",),
    classes={"yes": "pneumonia", "no": "no_pneumonia"},
    patient=None,
    folds=False,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    fold_tables.draw(folder, TABLES, lambda number: f"images/{number:08x}-641a-465c-9b56-b32bcb548bb3.png")
