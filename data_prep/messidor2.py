"""Messidor-2: both eyes of each examination, with the five grades that three specialists agreed on (Krause et al.)."""

from pathlib import Path

from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.sample.fundus import fundus
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.files import write_csv, write_text

CARD = DatasetCard(
    name="messidor2",
    title="Messidor-2, diabetic retinopathy",
    task="classification",
    classes=("none", "mild", "moderate", "severe", "proliferative"),
    licence="research and education only; the grades' own is not stated",
    citation="Decencière et al., Image Analysis & Stereology 2014; grades: Krause et al., Ophthalmology 2018",
    url="https://www.adcis.net/en/third-party/messidor2/",
    how_to_get="Register at ADCIS for pictures and messidor-2.csv (which eyes belong together), and take"
    " messidor_data.csv from https://www.kaggle.com/datasets/google-brain/messidor2-dr-grades.",
    disk_gb=None,
    layout="messidor_data.csv (image_id, adjudicated_dr_grade), messidor-2.csv (left;right) and a folder IMAGES",
    seen=False,
)
GRADES_TABLE, PAIRS_TABLE = "messidor_data.csv", "messidor-2.csv"
COLUMNS = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
LEVELS = dict(zip("01234", CARD.classes, strict=True))


def find(raw: Path) -> Source:
    """Return the work of a download; the two eyes of an examination are of one patient.

    Raises:
        UsageError: a table is missing, or no such table.
    """
    table = listed.below(raw, GRADES_TABLE, CARD)
    patients = _patients(listed.below(raw, PAIRS_TABLE, CARD))
    root, files = listed.beside(table, raw)
    rows, lost = [], []
    for row in listed.table(table, COLUMNS):
        name = row["image_id"]
        stem = Path(name).stem
        grade = row["adjudicated_dr_grade"].removesuffix(".0")
        if stem not in files:
            lost.append((name, f"is missing, and {GRADES_TABLE} lists it"))
        elif row["adjudicated_gradable"].removesuffix(".0") == "0":
            lost.append((files[stem], "was not gradable, as its table says"))
        elif grade not in LEVELS:
            lost.append((files[stem], f"{GRADES_TABLE} gives it the grade {grade!r}; expected 0 to 4"))
        else:
            rows.append(Listed(files[stem], LEVELS[grade], patients.get(stem, "")))
    return listed.source(CARD, root, sorted(rows, key=lambda row: row.file), lost)


def _patients(table: Path) -> dict[str, str]:
    """Return the patient of each picture by its name without suffix: the first eye that the row names.

    Raises:
        UsageError: the rows are no pairs.
    """
    found: dict[str, str] = {}
    for row in listed.table(table, (), ";"):
        eyes = [Path(eye).stem for eye in row.values() if eye]
        if len(row) != 2 or not eyes:
            raise UsageError(f"{table} has rows that are no pairs left;right")
        found |= dict.fromkeys(eyes, eyes[0])
    return found


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: as many dark spots as the grade says, and one eye that is alone."""
    rows: list[tuple[object, ...]] = [COLUMNS]
    pairs = ["left;right"]
    (folder / "IMAGES").mkdir(parents=True)
    for patient in range(30):
        eyes = (0,) if patient == 7 else (0, 1)
        names = [f"200510{20 + patient % 3}_{43808 + 24 * patient + eye}_0100_PP.png" for eye in eyes]
        pairs.append(f"{names[0]};{names[1] if len(names) > 1 else ''}")
        for eye, name in zip(eyes, names, strict=True):
            grade = (patient + (eye == 1 and patient % 4 == 0)) % len(LEVELS)
            pixels, _, _ = fundus("messidor2", patient, eye, left=not eye)
            for spot in range(grade):
                pixels[16 + 18 * spot : 24 + 18 * spot, 44:52] //= 3
            Image.fromarray(pixels).save(folder / "IMAGES" / name)
            rows.append((name, grade, int(grade > 2), 1))
    write_csv(folder / GRADES_TABLE, rows)
    write_text(folder / PAIRS_TABLE, "\n".join(pairs) + "\n")


command = listed.command_of(CARD, find)
