"""Runs to release, made without training, and Python processes that know no medtl; for the tests of releases."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bundle_runs import draw

from medtl import datalist
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.datalist import DataList
from medtl.networks.classifier import build_classifier
from medtl.runs.record import Preprocessing, Start
from medtl.runs.recorder import Recorder

CLASSES = ("Normal", "Bacterial pneumonia", "Viral, or both")
METRICS = {"val_accuracy": 0.5, "val_accuracy_lo": 0.25, "val_accuracy_hi": 0.75, "test_auc": 0.625}
START = {"init": "imagenet", "licence": "BSD-3-Clause", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
# what a released bundle must do without is hidden from every import, as if it were not installed
WITHOUT_MEDTL = """
import sys
HIDDEN = ("medtl", "data_prep", "safetensors", "pydicom", "itk", "sklearn", "nibabel", "jsonschema", "pandas")
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
for name in ("medtl", "data_prep"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name + " can be imported")
"""


def small_list(folder: Path, *, sample: bool = False, channels: int = 1) -> DataList:
    """A data list of three classes: 6 training, 4 validation, 4 test pictures."""
    sizes = {"training": 6, "validation": 4, "test": 4}
    splits = {
        split: [draw(folder, f"{split}{n}.png", n % 3, len(split)) for n in range(size)]
        for split, size in sizes.items()
    }
    datalist.write(DataList("tb", CLASSES, channels, "CC BY 4.0", "test", sample, **splits), folder)
    return datalist.read(folder)


def made_run(
    folder: Path,
    listed: DataList,
    *,
    bundle: str = "chestxray2017",
    backbone: str = "resnet18",
    image_size: int = 48,
    start: dict | None = None,
    seed: int = 3,
    **recipe: object,
) -> torch.nn.Module:
    """A run folder with random weights, and the network that they belong to."""
    torch.manual_seed(seed)
    network = build_classifier(backbone, len(listed.classes), image_size=image_size).eval()
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "model.pt")
    used = {"backbone": backbone, "init": "/home/someone/secret/weights.pt", "image_size": image_size, "epochs": 2}
    used |= {"learning_rate": 0.1, "device": "cpu", "num_workers": 0, "seed": seed, "debug": False, **recipe}
    recorder = Recorder({"name": bundle, "version": "0.1.0"}, listed, used)
    began = Start(**{key: tuple(value) if isinstance(value, list) else value for key, value in (start or {}).items()})
    recorder.record = replace(
        recorder.record,
        start=began,
        network={
            "_target_": "medtl.networks.classifier.build_classifier",
            "backbone": backbone,
            "num_classes": len(listed.classes),
            "in_channels": 3,
            "image_size": image_size,
        },
        preprocessing=Preprocessing(
            image_size, listed.channels, began.mean or IMAGENET_MEAN, began.std or IMAGENET_STD
        ),
    )
    recorder.close(folder, epochs=2, best_epoch=1, metrics=METRICS)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    return network


def change_record(folder: Path, **values: object) -> None:
    """Replace top-level values of a run.json."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def probabilities_of(table: list[dict[str, str]], classes: Sequence[str]) -> np.ndarray:
    """(rows, n_classes) probabilities of a predictions.csv."""
    return np.array([[float(row[f"prob_{name}"]) for name in classes] for row in table])


def without_medtl(script: str, *words: object, cwd: Path) -> tuple[int, str]:
    """Run Python code where medtl cannot be imported, in isolated mode; exit status and all that was printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_MEDTL + script, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr
