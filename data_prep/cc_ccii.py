"""CC-CCII chest CT slices by the tables of RadImageNet's authors: COVID-19 (NCP) or common pneumonia (CP)."""

import re
from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="cc_ccii",
    title="CC-CCII, chest CT slices (RadImageNet's split)",
    task="classification",
    classes=("ncp", "cp"),
    published={"ncp": 21872, "cp": 36894},
    licence="as stated by the China National Center for Bioinformation",
    citation="Zhang et al., Clinically applicable AI system for accurate diagnosis of COVID-19 pneumonia using computed"
    " tomography, Cell 2020; split: Mei et al., RadImageNet, Radiology: Artificial Intelligence 2022",
    url="http://ncov-ai.big.ac.cn/download",
    how_to_get="Unzip the set into images/, and take sarscovid2/dataframe from RadImageNet's repository.",
    disk_gb=None,
    layout="dataframe/sarscovid2_{train,val,test}.csv with filename and class; images/{NCP,CP}/PATIENT/SCAN/SLICE.png",
    seen=False,
)
TABLES = Tables(
    file=("filename",),
    label=("class", "label"),
    classes={"ncp": "ncp", "cp": "cp"},
    patient=re.compile(r"(?P<patient>(?:NCP|CP)/[^/]+)/"),
    folds=False,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""

    def file(number: int) -> str:
        return f"images/{('NCP', 'CP')[number // 2 % 2]}/{number // 2}/{5000 + number}/{number % 2:04d}.png"

    fold_tables.draw(folder, TABLES, file, "sarscovid2_")
