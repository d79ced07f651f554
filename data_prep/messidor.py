"""Messidor: fundus pictures of three French hospitals in the project's own four grades of retinopathy; for the grades
0 to 4 of Messidor-2 there is ``messidor2``."""

import os.path
from pathlib import Path

from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.sample.fundus import fundus
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.files import write_csv

CARD = DatasetCard(
    name="messidor",
    title="Messidor, diabetic retinopathy",
    task="classification",
    classes=("grade 0", "grade 1", "grade 2", "grade 3"),
    licence="research and education only; no copy, redistribution or commercial use",
    citation="Decencière et al., Feedback on a publicly distributed image database: the Messidor database, Image"
    " Analysis & Stereology 2014; kindly provided by the Messidor program partners",
    url="https://www.adcis.net/en/third-party/messidor/",
    how_to_get="Register at ADCIS, unzip the twelve bases under one folder, and save each Annotation_BaseNN.xls as CSV"
    " (UTF-8, commas) with its own columns. Mend the tables by the errata on the page first.",
    disk_gb=None,
    layout="Annotation_BaseNN.csv (Image name, Ophthalmologic department, Retinopathy grade) and …_PP.tif, anywhere"
    " below",
    seen=False,
)
TABLES = "Annotation_Base*.csv"
IMAGE, DEPARTMENT, GRADE = "Image name", "Ophthalmologic department", "Retinopathy grade"
GRADES = {str(grade): name for grade, name in enumerate(CARD.classes)}
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def find(raw: Path) -> Source:
    """Return the work of a download. Nobody says whose pictures they are: each is its own patient.

    Raises:
        UsageError: no table is there, or only as Excel's own file.
    """
    tables = sorted(raw.rglob(TABLES))
    if not tables:
        excel = sorted(raw.rglob("Annotation_Base*.xls*"))
        saved = f"; save {excel[0].name} and its like as CSV (UTF-8, commas) beside them" if excel else ""
        raise UsageError(f"{raw} holds no {TABLES}: expected {CARD.layout}{saved}")
    pictures = listed.files_by_stem(raw, SUFFIXES)
    parents = {path.parent for path in tables} | {(raw / file).parent for file in pictures.values()}
    root = Path(os.path.commonpath(parents))  # so that names do not depend on how far above it ``raw`` lies
    rows: dict[str, Listed] = {}
    lost = []
    for path in tables:
        for row in listed.table(path, (IMAGE, DEPARTMENT, GRADE)):
            name, grade = row[IMAGE], row[GRADE].removesuffix(".0")
            if Path(name).stem not in pictures:
                lost.append((name, f"is missing, and {path.name} lists it"))
                continue
            file = (raw / pictures[Path(name).stem]).relative_to(root).as_posix()
            if grade not in GRADES:
                lost.append((file, f"{path.name} gives it the grade {row[GRADE]!r}; expected 0 to 3"))
            elif file in rows:
                lost.append((file, f"{path.name} lists it again; its first row counts"))
            else:
                rows[file] = Listed(file, GRADES[grade], group=listed.group_of(site=row[DEPARTMENT]))
    return listed.source(CARD, root, [rows[file] for file in sorted(rows)], lost)


def make_sample(folder: Path) -> None:
    """Draw three of the twelve bases in the official layout, their tables as CSV: as many dark spots as the grade
    says."""
    hospitals = ("Service Ophtalmologie Lariboisière", "LaTIM - CHU de BREST", "CHU de St Etienne")
    for number, hospital in enumerate(hospitals, 1):
        place = folder / f"Base{number}1"
        place.mkdir(parents=True)
        rows: list[tuple[object, ...]] = [(IMAGE, DEPARTMENT, GRADE, "Risk of macular edema ")]
        for picture in range(16):
            name = f"200510{18 + number}_{38557 + 31 * picture}_0{number}00_PP.tif"
            grade = (picture + number) % len(GRADES)
            pixels, _, _ = fundus("messidor", number, picture)
            for spot in range(grade):
                pixels[16 + 20 * spot : 26 + 20 * spot, 44:54] //= 3
            Image.fromarray(pixels).save(place / name)
            rows.append((name, hospital, grade, min(grade, 2)))
        write_csv(folder / f"Annotation_Base{number}1.csv", rows)


command = listed.command_of(CARD, find)
