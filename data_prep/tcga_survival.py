"""TCGA-GBM and TCGA-LGG: overall survival of patients with gliomas, by features of their slides or by covariates.

Times and events are those of the TCGA Clinical Data Resource; features are made by other programs (CLAM, TRIDENT …).
Without features age, gender and grade are the features: the base line that pictures have to beat.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import options, run, sample
from data_prep.sample.drawing import generator
from data_prep.slide_features import SUFFIXES, Wanted, bags_of_patches, wanted
from data_prep.slides import Counts, write_patches
from data_prep.work import Done, Rejected, Source, Work
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.compare.words import names
from medtl.datalist import Entry
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash, read_rows, write_csv
from medtl.readers.find import Passed, below
from medtl.splits import assign_patients
from medtl.writers.features import write_features

CARD = DatasetCard(
    name="tcga_survival",
    title="TCGA-GBM and TCGA-LGG, overall survival",
    task="survival",
    classes=("censored", "event"),
    licence="NIH Genomic Data Sharing Policy, open access",
    citation="Liu et al., An Integrated TCGA Pan-Cancer Clinical Data Resource to Drive High-Quality Survival Outcome"
    " Analytics, Cell 2018",
    url="https://gdc.cancer.gov/about-data/publications/pancanatlas",
    how_to_get="Save the rows GBM and LGG of TCGA-CDR-SupplementalTableS1.xlsx as CSV; slides are in the GDC portal.",
    disk_gb=0.01,
    layout="a .csv with barcode, type, age, gender, grade, OS, OS.time; features as BARCODE….npz, .npy, .pt or .h5;"
    " slides as BARCODE….svs or .tif",
)
COLUMNS = ("barcode", "type", "age", "gender", "grade", "OS", "OS.time")
BARCODE = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}")  # the public name of a patient
FEATURES = (".npz", ".npy", ".pt", ".h5")
GRADES = {"G2": 2, "G3": 3, "G4": 4}
TYPES = ("GBM", "LGG")
MAGNIFICATION = 20.0
COUNTED = tuple(each.name for each in fields(Counts))
OLDEST = 90  # all ages above 89, as HIPAA's safe harbour asks
FOLDS = 5


def command(
    out: options.Out,
    raw: Annotated[
        str, typer.Option(help="Read the table and, if any, features in this folder; 'sample' is drawn.")
    ] = "",
    table: Annotated[Path | None, typer.Option(help="Read this table (.csv), in the place of --raw.")] = None,
    features: Annotated[Path | None, typer.Option(help="Take features from this folder, with --table.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Cut slides (.svs, .tif) of this folder, with --table.")] = None,
    magnification: Annotated[
        float, typer.Option(help="Cut patches of 512 x 512 at this magnification.")
    ] = MAGNIFICATION,
    most_patches: Annotated[
        int, typer.Option(min=0, help="Keep this many patches of a slide, evenly spaced; 0: all.")
    ] = 0,
    backbone: Annotated[str, typer.Option(help="Turn patches into features by this network.")] = "",
    init: Annotated[
        str, typer.Option(help="Start it as medtl probe does, comma-separated: random,imagenet, paths.")
    ] = "",
    image_size: Annotated[int, typer.Option(min=32, help="Scale patches to this many pixels a side for it.")] = 224,
    type_: Annotated[str, typer.Option("--type", help="Take patients of GBM, LGG or both.")] = "both",
    folds: Annotated[
        int, typer.Option(min=2, help="Deal patients into this many folds, with as many events in each.")
    ] = FOLDS,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    dask: options.Dask = None,
    dry_run: options.DryRun = False,
    debug: options.Debug = False,
) -> None:
    if bool(raw) == bool(table) or ((features or slides) and not table) or (features and slides):
        raise UsageError("expected --raw DIR, or --table CSV [--features DIR | --slides DIR]")
    if ((backbone or init) and not slides) or (init and not backbone):
        raise UsageError("--backbone and --init turn patches of --slides into features; expected --slides DIR, too")
    if not 1 <= magnification <= 100:
        raise UsageError(f"--magnification {magnification:g}: expected 1 to 100, such as 20")
    inits = names("--init", init) if init else ()
    how = wanted(magnification, most_patches, backbone, inits, image_size) if slides else None
    if type_ not in (*TYPES, "both"):
        raise UsageError(f"--type {type_}: expected {', '.join(TYPES)} or both")
    folder = features or slides
    source = find_in(table, folder, type_, how) if table else find(options.raw_folder(raw, "--raw", CARD.name), type_)
    if type_ == "both":
        tell("data_prep: GBM and LGG together: the diagnosis tells much of the survival; --type takes one of them")
    options.finish(
        CARD,
        [source],
        out,
        choices={"type": type_, "folds": folds, **_choices(how)},
        is_sample=raw == sample.WORD,
        workers=workers,
        dask=dask,
        dry_run=dry_run,
        seed=seed,
        deal=lambda entries, names: deal(entries, folds, seed),
        after=_counts if slides else None,
    )


def _choices(how: Wanted | None) -> dict[str, object]:
    """What the data list says of how slides became its patches or features, in the words of the command."""
    if how is None:
        return {}
    named = {"magnification": f"{how.magnification:g}", "most-patches": how.most}
    made = {"backbone": how.backbone, "init": ",".join(how.named()), "image-size": how.image_size}
    return {**named, **(made if how.backbone else {})}


def _counts(listed: datalist.DataList) -> None:
    """Print the counts of the paper's table 4: patients, slides, patches and valid patches of each diagnosis."""
    for type_ in TYPES:
        own = [entry for entry in listed.training if entry["group"]["diagnosis"] == type_]
        if own:
            slides, patches, valid = (sum(entry[key] for entry in own) for key in COUNTED)
            tell(f"{type_}: {len(own):,} patients, {slides:,} slides, {patches:,} patches, {valid:,} valid")


def find(raw: Path, type_: str = "both") -> Source:
    """Return the work of a folder with one table and, if any, features below it.

    Raises:
        UsageError: there is no table, or more than one.
    """
    tables = [file.path for file in below(raw).files if file.path.suffix == ".csv"]
    if len(tables) != 1:
        raise UsageError(f"{raw} holds {len(tables)} tables (.csv); expected one; or name it: --table CSV")
    there = any(file.path.suffix in FEATURES for file in below(raw).files)
    return find_in(tables[0], raw if there else None, type_)


def find_in(table: Path, features: Path | None, type_: str = "both", how: Wanted | None = None) -> Source:
    """Return the work of a table: its patients, each with the files of its features or slides.

    Args:
        table: with ``COLUMNS``.
        features: folder with files that begin with the barcode of a patient; None takes covariates.
        type_: GBM, LGG or both.
        how: the files are slides, of which patches are made, or features of patches.

    Raises:
        UsageError: there is no such file or folder, or a column is missing.
    """
    if not table.is_file():
        raise UsageError(f"--table {table}: no such file")
    rows = read_rows(table)
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise UsageError(f"{table} has no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    rejected: list[Rejected] = []
    files: dict[str, list[Path]] = defaultdict(list)
    passed: tuple[Passed, ...] = ()
    what, suffixes = ("slides", SUFFIXES) if how else ("features", FEATURES)
    if features is not None:
        if not features.is_dir():
            raise UsageError(f"--{what} {features}: no such folder")
        tree = below(features)
        passed = tuple(tree.passed) + tuple(
            Passed(file.name, f"no {what}")
            for file in tree.files
            if file.path.suffix not in suffixes and file.path.resolve() != table.resolve()
        )
        rejected += [Rejected(*one) for one in tree.refused]
        barcodes = {row["barcode"] for row in rows}
        for file in (file for file in tree.files if file.path.suffix in suffixes):
            match = BARCODE.match(file.path.name)
            if match and match[0] in barcodes:
                files[match[0]].append(file.path)
            else:
                rejected.append(Rejected(file.name, "does not begin with the barcode of a patient of the table"))
    works, seen, without = [], set[str](), 0
    for number, row in enumerate(rows, 2):
        if type_ not in ("both", row["type"]):
            continue
        reason = "stands in the table twice" if row["barcode"] in seen else _fault(row, features is None)
        seen.add(row["barcode"])
        if reason:
            rejected.append(Rejected(f"{table.name} line {number}", reason))
        elif features is not None and row["barcode"] not in files:
            without += 1
        else:
            own = tuple(sorted(files[row["barcode"]]))
            payload: dict[str, Any] = {name: row[name] for name in COLUMNS} | {"files": [path.name for path in own]}
            payload |= {"slides": asdict(how)} if how else {}
            works.append(Work(row["barcode"], (table, *own), payload))
    if without:
        tell(f"data_prep: {without:,} patients of the table have no {what} and are left out")
    if not works and not rejected:
        raise UsageError(f"{table}: no patient of --type {type_}" + (f" with {what}" if features else ""))
    return Source(
        name=CARD.name,
        raw=features or table.parent,
        works=tuple(works),
        process=process,
        options={"covariates": features is None} | ({"slides": asdict(how)} if how else {}),
        found=Counter(CARD.classes[int(work.payload["OS"])] for work in works),
        unit="patients",
        rejected=tuple(rejected),
        passed=passed,
    )


def _fault(row: dict[str, str], covariates: bool) -> str:
    """Why a row of the table cannot be used; empty where it can."""
    if not BARCODE.fullmatch(row["barcode"]) or row["type"] not in TYPES:
        return "has no barcode TCGA-XX-XXXX, or another type than GBM and LGG"
    if row["OS"] not in ("0", "1") or not row["OS.time"].isdigit() or int(row["OS.time"]) < 1:
        return "has no overall survival: expected OS 0 or 1, and OS.time of one day at least"
    if not covariates:
        return ""
    if not row["age"].isdigit() or row["gender"] not in ("MALE", "FEMALE") or _grade(row) is None:
        return "lacks age, gender or grade, which are the features here"
    return ""


def _grade(row: dict[str, str]) -> int | None:
    """WHO grade; a glioblastoma, of which the table says none, is of grade 4."""
    return 4 if row["type"] == "GBM" else GRADES.get(row["grade"])


def process(work: Work, raw: Path, out: Path) -> Done:
    """Return one patient: the bags of all slides as one, or the covariates (1, 3) age in years, male, grade."""
    row: dict[str, Any] = work.payload
    shown: dict[str, Any] = {"features": f"features/{work.id}.npz"}
    try:
        if "slides" in row:
            shown = _patches(work, out)
        else:
            bag = _bag(work.files[1:]) if row["files"] else covariates(row)
            write_features(out / shown["features"], {"features": bag}, work.id)
    except BadFileError as error:
        return Done(rejected=[Rejected(row["files"][0], str(error))])
    group: dict[str, Any] = {"diagnosis": row["type"]}
    if row["gender"] in ("MALE", "FEMALE"):
        group["sex"] = row["gender"][0]
    if row["age"].isdigit():
        group["age"] = min(int(row["age"]), OLDEST)
    if (grade := _grade(row)) is not None:
        group["grade"] = grade
    entry: Entry = {**shown, "time": int(row["OS.time"]), "event": int(row["OS"]), "patient": work.id}
    return Done([{**entry, "source": CARD.name, "sha256": file_hash(out / datalist.file_of(shown)), "group": group}])


def _patches(work: Work, out: Path) -> dict[str, Any]:
    """What an entry shows of slides: the zip of their patches, or features of these; with the counts."""
    how, zip_ = Wanted(**work.payload["slides"]), f"patches/{work.id}.zip"
    counts = asdict(write_patches(out / zip_, work.files[1:], how.magnification, how.most))
    if not how.backbone:
        return {"image": zip_, **counts}
    name = f"features/{work.id}.npz"
    write_features(out / name, bags_of_patches(out / zip_, how), work.id)
    (out / zip_).unlink()
    return {"features": name, **counts}


def covariates(row: dict[str, str]) -> NDArray[np.float32]:
    """Return age in years (at most 90), 1 for a man, and WHO grade, (1, 3), of a row of the table."""
    return np.array([[min(int(row["age"]), OLDEST), row["gender"] == "MALE", _grade(row)]], dtype=np.float32)


def _bag(paths: Sequence[Path]) -> NDArray[np.float32]:
    from medtl.survival.bags import read_bag  # brings torch, which covariates do without

    bags = [read_bag(path) for path in paths]
    if len({bag.shape[1] for bag in bags}) > 1:
        raise BadFileError("has features of another width than the patient's other slides")
    return np.concatenate(bags)


def deal(entries: list[Entry], folds: int, seed: int) -> tuple[dict[str, list[Entry]], list[Rejected]]:
    """Return all patients as training entries in folds that have as many events of each diagnosis."""
    strata = {e["patient"]: [2 * TYPES.index(e["group"]["diagnosis"]) + e["event"]] for e in entries}
    part = assign_patients(strata, [1 / folds] * folds, seed)
    dealt = [{**entry, "fold": part[entry["patient"]]} for entry in entries]
    return {**{split: [] for split in datalist.SPLITS}, "training": dealt}, []


def make_sample(folder: Path) -> None:
    """Draw a table of 200 patients with bags of 16 features, among which a share of odd instances is the log hazard."""
    rows = [[*COLUMNS]]
    for number in range(200):
        rng = generator("tcga_survival", number)
        share = rng.uniform()
        bag = rng.normal(size=(int(rng.integers(12, 40)), 16)).astype(np.float32)
        bag[: round(share * len(bag)), :3] += 3
        time, censored = 600 * rng.exponential(np.exp(-5 * (share - 0.5))), 3000 * rng.uniform()
        barcode, seen = f"TCGA-S0-{number:04d}", time <= censored
        person = [str(rng.integers(20, 80)), str(rng.choice(["MALE", "FEMALE"])), str(rng.choice(["G2", "G3"]))]
        rows.append([barcode, "LGG", *person, str(int(seen)), str(1 + int(min(time, censored)))])
        write_features(folder / "features" / f"{barcode}-01Z-00-DX1.npz", {"features": bag}, barcode)
    write_csv(folder / "table.csv", rows)


def prepare_sample(raw: Path, out: Path) -> None:
    """Prepare the drawn download as the command does with its defaults."""
    run.prepare(
        CARD,
        [find(raw)],
        out,
        created_by=f"python -m data_prep {CARD.name}, built-in sample",
        sample=True,
        workers=1,
        seed=0,
        validation_fraction=0.0,
        deal=lambda entries, names: deal(entries, FOLDS, 0),
    )
