"""Every command that reads files, called as a user calls it on files that stand for gigabytes: its status, its last
line, and what it took. Run as a program, whose memory is nobody else's: ``python bomb_entrances.py FOLDER``."""

import contextlib
import ctypes
import gc
import io
import json
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import bomb_files
import bomb_weights
import masked_runs
import nibabel as nib
import numpy as np
import released_bundles
from bundle_runs import ROOT, bundle_here, config
from PIL import Image

from data_prep.__main__ import app as data_prep_app
from medtl.cli import app as medtl_app
from medtl.errors import guarded
from medtl.files import file_hash, write_csv

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
LISTED = "datalist.json"
FEW = ("good.png", "a.png", "a.bmp", "a.nii.gz", "meta.dcm")  # one picture and four bombs
Told = tuple[int, str]


def command(name: str, app: Callable[..., object], *words: object) -> Told:
    """Call a command with all its words; its status and all that it printed."""
    printed = io.StringIO()
    typed = list(map(str, words))
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.object(sys, "argv", [name, *typed]),
    ):
        try:
            guarded(lambda: app(typed, prog_name=name), name)
        except SystemExit as left:
            return int(left.code or 0), printed.getvalue()


def medtl(*words: object) -> Told:
    return command("medtl", medtl_app, *words)


def data_prep(*words: object) -> Told:
    return command("data_prep", data_prep_app, *words, "--workers", "1")


def bundle(name: str, step: str, *words: object) -> Told:
    file = config(step, folder=ROOT / "bundles" / name)
    given = ("--device", "cpu", *(("--num_workers", "0") if step == "train" and name != "survival" else ()))
    return bundle_here("run", "--config_file", file, *map(str, words), *given)


class Places:
    """Good runs and data lists, and bombs beside them.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.listed = released_bundles.small_list(root / "data")
        released_bundles.made_run(root / "run", self.listed)
        header = ["image", "patient", "split", "label", *(f"prob_{name}" for name in self.listed.classes)]
        said = [[one["image"], one["patient"], "val", one["label"], 0.5, 0.25, 0.25] for one in self.listed.validation]
        write_csv(root / "run" / "predictions.csv", [header, *said])
        masks = masked_runs.masked_list(root / "masked")
        masked_runs.made_run(root / "segmenter", masks, "resnet18", "deeplabv3")
        organs = replace(masks, classes=ORGANS, channels=1)
        masked_runs.made_run(root / "organs", organs, "resnet18", "deeplabv3")
        self.pictures = bomb_files.write(root / "pictures", bomb_files.PICTURES)
        grey = np.random.default_rng(0).integers(0, 200, (40, 40, 4)).astype(np.uint8)
        Image.fromarray(grey[:, :, 0]).save(self.pictures / "good.png")
        nib.save(nib.Nifti1Image(grey, np.eye(4)), self.pictures / "good.nii")
        self.weights = bomb_files.write(root / "weights", bomb_weights.WEIGHTS)
        self.deep = "[" * bomb_files.DEEP + "]" * bomb_files.DEEP

    def out(self) -> Path:
        """Return a folder that is not there."""
        folder = self.root / "out"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def classes(self) -> Path:
        """Return a raw folder of two classes, bombs among the pictures of one."""
        raw = self.root / "raw"
        if not raw.exists():
            for label, places in (("ill", range(4)), ("well", range(4, 8))):
                (raw / label).mkdir(parents=True)
                for number in places:
                    grey = np.random.default_rng(number).integers(0, 256, (24, 24), dtype=np.uint8)
                    Image.fromarray(grey).save(raw / label / f"{number}.png")
            bomb_files.write(raw / "ill", bomb_files.PICTURES)
        return raw

    def run_with(self, name: str) -> Path:
        """Return a copy of the run whose ``name`` is a bomb."""
        folder = self.root / f"run_{name.partition('.')[0]}"
        if not folder.exists():
            shutil.copytree(self.root / "run", folder)
            content = (self.weights / "expanded.pt").read_bytes() if name == "model.pt" else self.deep.encode()
            (folder / name).write_bytes(content)
        return folder

    def bundle(self) -> Path:
        """Return a bundle whose weights are bombs."""
        folder = self.root / "tb"
        if not folder.exists():
            shutil.copytree(ROOT / "bundles" / "tb", folder)
            (folder / "models").mkdir(exist_ok=True)
            for name, bomb in (("model.pt", "expanded.pt"), ("model.safetensors", "claims.safetensors")):
                shutil.copy(self.weights / bomb, folder / "models" / name)
        return folder

    def lists(self) -> Path:
        """Return a folder whose data list is a bomb."""
        folder = self.root / "deep"
        folder.mkdir(exist_ok=True)
        (folder / LISTED).write_text(self.deep)
        return folder

    def features(self) -> Path:
        """Return vectors that stand for gigabytes."""
        path = self.root / "features.npz"
        if not path.exists():
            arrays = {f"{number}.npy": bomb_files.npy((2**27 - 200,)) for number in range(2)}
            path.write_bytes(bomb_files.archive(arrays, 2**27))
        return path

    def bags(self) -> Path:
        """Return the data list of a survival whose patients' features stand for gigabytes."""
        folder = self.root / "bags"
        if folder.exists():
            return folder
        folder.mkdir()
        entries = []
        for number, name in enumerate(("a.npz", "b.pt", "c.pt", "d.npz")):
            made = bomb_weights.WEIGHTS["deflated.pt" if number == 1 else "expanded.pt"]
            content = (
                made()
                if name.endswith("pt")
                else bomb_files.archive({"features.npy": bomb_files.npy((2**27 - 200,))}, 2**27)
            )
            (folder / name).write_bytes(content)
            whose = {
                "patient": name,
                "source": "made",
                "sha256": file_hash(folder / name),
                "time": float(number + 1),
                "event": number % 2,
            }
            entries.append({"features": name, **whose})
        parts = {"training": entries[:2], "validation": entries[2:3], "test": entries[3:]}
        content = {
            "name": "made",
            "task": "survival",
            "classes": ["censored", "event"],
            "channels": 1,
            "licence": "",
            "created_by": "t",
        }
        (folder / LISTED).write_text(json.dumps({**content, "sample": False, **parts}))
        return folder

    def make(self) -> None:
        """Make everything that takes memory or time to make, before any is measured."""
        for make in (self.classes, self.features, self.bags, self.masked, self.msd, self.lists, self.bundle):
            make()
        for name in ("run.json", "metrics.json", "model.pt"):
            self.run_with(name)

    def masked(self) -> Path:
        """Return raw pictures with masks, one of which is a bomb."""
        raw = self.root / "masked_raw"
        if not raw.exists():
            for number in range(6):
                for kind in ("images", "masks"):
                    (raw / kind).mkdir(parents=True, exist_ok=True)
                    grey = np.zeros((24, 24), np.uint8)
                    grey[4:12, 4:12] = 255 if kind == "masks" else 30 * number + 20
                    Image.fromarray(grey).save(raw / kind / f"{number}.png")
            (raw / "masks" / "0.png").write_bytes(bomb_files.png(11_000))
        return raw

    def msd(self) -> Path:
        """Return a task whose image and whose label stand for gigabytes."""
        raw = self.root / "msd" / "Task09_Spleen"
        if not raw.exists():
            for part in ("imagesTr", "labelsTr"):
                (raw / part).mkdir(parents=True)
            bomb = (self.pictures / "a.nii.gz").read_bytes()
            volume = nib.Nifti1Image(np.zeros((16, 16, 4), np.int16), np.eye(4))
            for name, image, label in (("1", bomb, volume), ("2", volume, bomb)):
                for part, content in (("imagesTr", image), ("labelsTr", label)):
                    path = raw / part / f"spleen_{name}.nii.gz"
                    path.write_bytes(content) if isinstance(content, bytes) else nib.save(content, path)
            cases = [{"image": f"./imagesTr/spleen_{n}.nii.gz", "label": f"./labelsTr/spleen_{n}.nii.gz"} for n in "12"]
            table = {"name": "Spleen", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}}
            (raw / "dataset.json").write_text(json.dumps({**table, "numTraining": 2, "training": cases, "test": []}))
        return raw.parent


def entrances(at: Places) -> dict[str, Callable[[], Told]]:
    """Every entrance by name."""
    good = at.root / "run"
    train = ("--dataset_dir", at.root / "data", "--epochs", 1, "--image_size", 32, "--batch_size", 4)
    found: dict[str, Callable[[], Told]] = {
        "data_prep folder": lambda: data_prep("folder", "--raw", at.classes(), "--out", at.out()),
        "data_prep folder --masks": lambda: data_prep(
            *("folder", "--raw", at.masked() / "images", "--masks", at.masked() / "masks", "--out", at.out())
        ),
        "data_prep msd": lambda: data_prep("msd", "--raw", at.msd(), "--out", at.out()),
    }
    for name, run in (("chestxray2017", "run"), ("segment", "segmenter"), ("chaos_deeplabv3", "organs")):
        words = ("--input", at.pictures, "--weights", at.root / run / "model.pt")
        found[f"inference of {name}"] = lambda name=name, words=words: bundle(  # type: ignore[misc]
            name, "inference", *words, "--output_dir", at.out()
        )
    for name in bomb_weights.WEIGHTS:
        file = at.weights / name
        found[f"weights look {name}"] = lambda file=file: medtl("weights", "look", file)  # type: ignore[misc]
    bomb = at.weights / "expanded.pt"
    return found | {
        "--weights of an inference": lambda: bundle(
            "chestxray2017", "inference", "--input", at.pictures, "--weights", bomb, "--output_dir", at.out()
        ),
        "--init of a training": lambda: bundle("folder", "train", *train, "--init", bomb, "--output_dir", at.out()),
        "--starts of a probe": lambda: medtl(
            "probe", at.root / "data", "--starts", bomb, "--image_size", 32, "--out", at.out()
        ),
        "--features of a probe": lambda: medtl(
            "probe", at.root / "data", "--features", at.features(), "--out", at.out()
        ),
        "--inits of a comparison": lambda: medtl(
            *("compare", "folder", *train, "--backbones", "resnet18", "--seeds", 0, "--inits", bomb, "--out", at.out())
        ),
        "a survival's training": lambda: bundle(
            "survival", "train", "--dataset_dir", at.bags(), "--epochs", 1, "--output_dir", at.out()
        ),
        "check of a data list": lambda: medtl("check", at.lists()),
        "check of a bundle's weights": lambda: medtl("check", at.bundle()),
        "report of a deep run.json": lambda: medtl("report", at.run_with("run.json")),
        "report of deep metrics": lambda: medtl("report", at.run_with("metrics.json")),
        "evaluate with such weights": lambda: medtl(
            "evaluate", at.run_with("model.pt"), "--dataset_dir", at.root / "data", "--out", at.out()
        ),
        "evaluate on such a data list": lambda: medtl("evaluate", good, "--dataset_dir", at.lists()),
        "explain such weights": lambda: medtl("explain", at.run_with("model.pt"), at.pictures / "good.png"),
        "explain such pictures": lambda: medtl(
            "explain", good, *(at.pictures / name for name in FEW), "--out", at.out()
        ),
        "release such weights": lambda: medtl("release", at.run_with("model.pt"), "--out", at.out()),
    }


def resident(field: str) -> int:
    """Return VmRSS or VmHWM (the peak since it was reset) of this process, in bytes."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0])


def measured(call: Callable[[], Told]) -> dict[str, object]:
    """Call once for what is imported on the way, and once more to be measured, when all freed memory is given back."""
    whole = resident("VmRSS")
    peak_from_now_on()
    call()
    whole = resident("VmHWM") - whole
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    peak_from_now_on()
    began = resource.getrusage(resource.RUSAGE_SELF)
    status, printed = call()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    last = (printed.strip().splitlines() or [""])[-1]
    told = {"status": status, "last": last, "traced": "Traceback" in printed}
    return {**told, "peak": resident("VmHWM") - before, "with_imports": whole, "seconds": seconds}


def peak_from_now_on() -> None:
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    import monai.bundle  # noqa: F401 the command imports it before it reads anything

    places = Places(Path(sys.argv[1]))
    places.make()
    for entrance, call in entrances(places).items():
        if len(sys.argv) < 3 or sys.argv[2] in entrance:
            print(json.dumps({"entrance": entrance, **measured(call)}), flush=True)
