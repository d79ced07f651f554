"""COVID-19 chest CT slices of Mei et al. 2020 by the tables of RadImageNet's authors. The pictures are private: this
reads tables and pictures in the same form."""

import re
from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="covid19_ct",
    title="COVID-19 chest CT slices (private; RadImageNet's split)",
    task="classification",
    classes=("positive", "negative"),
    published={"positive": 4190, "negative": 4860},
    licence="private",
    citation="Mei et al., Artificial intelligence-enabled rapid diagnosis of patients with COVID-19, Nature Medicine"
    " 2020; split: Mei et al., RadImageNet, Radiology: Artificial Intelligence 2022",
    url="https://github.com/BMEII-AI/RadImageNet",
    how_to_get="The pictures are not public. Tables and pictures of your own in this form are read.",
    disk_gb=None,
    layout="dataframe/covid19_{train,val,test}.csv with filename and label; images/SITE_PERSON_….png",
    seen=False,
)
TABLES = Tables(
    file=("filename",),
    label=("label",),
    classes={"positive": "positive", "negative": "negative"},
    patient=re.compile(r"(?P<patient>[^/_]+_[^/_]+)_[^/]*$"),
    folds=False,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    fold_tables.draw(folder, TABLES, lambda n: f"images/WCH_N{n // 2:02d}-05_IM-0016-{n % 2:04d}-0001.png", "covid19_")
