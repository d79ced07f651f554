"""MRNet's sagittal knee slices by the tables of RadImageNet's authors: a torn anterior cruciate ligament, or a torn
meniscus. The labels are of slices; they are not the public exam labels."""

import re
from pathlib import Path

from data_prep import fold_tables
from data_prep.fold_tables import Tables
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="mrnet_slices",
    title="MRNet, knee MR slices (RadImageNet's folds)",
    task="classification",
    classes=("tear", "no_tear"),
    published={"tear": 570, "no_tear": 452},
    licence="Stanford University's research use agreement for MRNet",
    citation="Bien et al., Deep-learning-assisted diagnosis for knee magnetic resonance imaging, PLOS Medicine 2018;"
    " folds: Mei et al., RadImageNet, Radiology: Artificial Intelligence 2022",
    url="https://github.com/BMEII-AI/RadImageNet",
    how_to_get="Take acl/ (or meniscus/) with dataframe and images from the repository; one of the two at a time.",
    disk_gb=0.5,
    layout="dataframe/{train,val,test}_fold{1..5}.csv (acl) or meniscus_…; images/EXAM_sagittal_SLICE.000000.png",
    seen=False,
)
TABLES = Tables(
    file=("filename", "img_dir"),
    label=("acl_label", "label"),
    classes={"yes": "tear", "no": "no_tear", "p": "tear", "n": "no_tear"},
    patient=re.compile(r"(?P<patient>\d+)_sagittal_"),
    folds=True,
)
command = fold_tables.command_of(CARD, TABLES)


def make_sample(folder: Path) -> None:
    """Draw the official layout."""
    fold_tables.draw(folder, TABLES, lambda number: f"{number // 2:04d}_sagittal_{number % 2 + 12}.000000.png")
