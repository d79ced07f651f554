"""Commands called in-process, what they leave behind, and small downloads to call them on."""

import csv
import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import app
from medtl.errors import guarded

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Ended:
    """How a command ended, and its output folder."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def listed(self) -> dict[str, Any]:
        return json.loads((self.folder / "datalist.json").read_text(encoding="utf-8"))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Of all splits, each with its split and the name of its class (or the list of names)."""
        listed, entries = self.listed, []
        for split in SPLITS:
            for entry in listed[split]:
                label = entry["label"]
                hot = isinstance(label, list)
                names = (
                    [listed["classes"][c] for c, one in enumerate(label) if one] if hot else listed["classes"][label]
                )
                entries.append({**entry, "split": split, "class": names})
        return entries

    @property
    def rejected(self) -> list[tuple[str, str]]:
        with (self.folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["file", "reason"]
        return [(row[0], row[1]) for row in rows]

    def picture(self, entry: dict[str, Any]) -> np.ndarray:
        with Image.open(self.folder / entry["image"]) as image:
            return np.asarray(image)


@pytest.fixture
def prep(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ended]:
    """``prep("msd", "--raw", folder, …)`` runs the command in this process, into tmp_path/out unless ``--out`` says
    otherwise."""

    def run(*arguments: object) -> Ended:
        words = [str(word) for word in arguments]
        if "--out" not in words:
            words += ["--out", str(tmp_path / "out")]
        if "--dask" not in words:
            words += ["--workers", "1"]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            guarded(lambda: app(words, prog_name="data_prep"), "data_prep")
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err, Path(words[words.index("--out") + 1]))

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a phantom download, made once; not to be changed."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("phantoms") / name
            folders[name].mkdir()
            importlib.import_module(f"data_prep.sample.{name}").make(folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def write_chexpert() -> Callable[..., Path]:
    """``write_chexpert(folder, rows, table)`` writes a table and an image for each of its rows.

    A row is (path below the download's folder, {finding: value}); values are written as they are.
    """

    def write(folder: Path, rows: list[tuple[str, dict[str, str]]], table: str = "train.csv") -> Path:
        root = folder / "CheXpert-v1.0-small"
        root.mkdir(parents=True, exist_ok=True)
        with (root / table).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS])
            for path, values in rows:
                view = "Lateral" if "lateral" in path else "Frontal"
                about = ["Female", "50", view, "" if view == "Lateral" else "AP"]
                writer.writerow([f"{root.name}/{path}", *about, *(values.get(name, "") for name in FINDINGS)])
        for number, (path, _) in enumerate(rows):
            noise = np.random.default_rng(number).integers(0, 256, (20, 16), dtype=np.uint8)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).save(root / path, quality=95)
        return folder

    return write


@pytest.fixture(scope="session")
def write_msd() -> Callable[..., None]:
    """``write_msd(task_folder, case, image, labels, codes, affine)`` writes a case given in RAS order as ``codes``."""

    def write(
        folder: Path,
        case: str,
        image: np.ndarray | None,
        labels: np.ndarray | None,
        codes: str = "RAS",
        affine: np.ndarray | None = None,
    ) -> None:
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
        for part, array in (("imagesTr", image), ("labelsTr", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            if array is not None:
                volume = nib.Nifti1Image(array, np.diag([2.0, 3.0, 5.0, 1.0]) if affine is None else affine)
                nib.save(volume.as_reoriented(turn), folder / part / f"{case}.nii.gz")

    return write


@pytest.fixture(scope="session")
def small(
    tmp_path_factory: pytest.TempPathFactory,
    write_chexpert: Callable[..., Path],
    write_msd: Callable[..., None],
    phantoms: Callable[[str], Path],
) -> dict[str, Path]:
    """A few images of each of CPMID's three downloads; not to be changed."""
    root = tmp_path_factory.mktemp("small")
    rows = [
        (f"train/patient{n:05d}/study1/view1_frontal.jpg", {FINDINGS[n % 14]: "1.0", FINDINGS[(n * 5) % 14]: "1.0"})
        for n in range(1, 29)
    ]
    write_chexpert(root / "chexpert", rows)
    rng = np.random.default_rng(0)
    for task, case, channels in (
        ("Task01_BrainTumour", "BRATS", 4),
        ("Task02_Heart", "la", 1),
        ("Task09_Spleen", "s", 1),
    ):
        for number in range(4):
            image = rng.integers(1, 1000, (12, 10, 8, channels)).astype(np.int16)
            labels = np.zeros((12, 10, 8), np.uint8)
            labels[3:9, 3:8, 2:6] = 1 + number % 2
            image = image[..., 0] if channels == 1 else image
            write_msd(root / "msd" / task, f"{case}_{number:03d}", image, labels, "LPS")
    for patient in ("LIDC-IDRI-0001", "LIDC-IDRI-0002"):
        shutil.copytree(phantoms("lidc") / "LIDC-IDRI" / patient, root / "lidc" / patient)
    return {name: root / name for name in ("chexpert", "msd", "lidc")}
