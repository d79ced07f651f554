"""What medtl probe costs: the first call, a second one with other seeds and another folder, against the bare forward
pass, and against medtl compare.

    python benchmarks/probe.py [--shared SHARED] [--backbones resnet18,resnet50,vit_s14,vit_b16] [--image_size 224]
        [--seeds 5] [--fractions 1.0,0.25,0.1] [--compare_epochs 10] [--json FILE]

The pictures are BreastMNIST's in SHARED/data/breastmnist ($MEDTL_SHARED, default ../shared; 624 at hand) or, where that
is absent, as many drawings. Starts are random, so that no weights have to be fetched: they cost what any start costs. A
network that medtl does not know is left out.

* first, second: processes of their own, ``medtl probe`` with imports; the second has other seeds and another --out.
* rate: images a second of the first call's forward passes (run.json's ``embed_s``), over those of the bare network on a
  batch of the same size that lies ready, measured in turn in this process.
* compare: minutes that ``medtl compare`` takes for one start of the first network with one seed and all training
  pictures, over what the first call took a start; --compare_epochs 0 leaves it out, and fewer than the recipe's 100
  epochs are scaled up to it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medtl import datalist
from medtl.datalist import DataList
from medtl.engines import fast_kernels, prepare_network
from medtl.errors import UsageError
from medtl.features.extract import BATCH, before_head
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.runs import record

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / os.environ.get("MEDTL_SHARED", "../shared")
AIMS = {"first": 480.0, "second": 20.0, "rate": 0.9, "compare": 20.0}
RECIPE_EPOCHS = 100
DRAWN = {"training": 470, "validation": 78, "test": 76}


def prepared(shared: Path, folder: Path) -> str:
    """Prepare BreastMNIST into a folder, or draw as many pictures; what it is, in words."""
    raw = shared / "data" / "breastmnist"
    if raw.is_dir():
        words = ["-m", "data_prep", "breastmnist", "--raw", str(raw), "--out", str(folder)]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return "BreastMNIST"
    draw(folder)
    return "drawings"


def draw(folder: Path) -> None:
    """Write a data list of noise."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    splits = {}
    for split, size in DRAWN.items():
        splits[split] = []
        for number in range(size):
            path = folder / "images" / f"{split}{number}.png"
            Image.fromarray(random.integers(0, 256, (128, 128), np.uint8)).save(path)
            entry = {"image": f"images/{path.name}", "label": number % 2, "patient": f"{split}{number}"}
            splits[split].append({**entry, "source": "drawn", "sha256": file_hash(path)})
    datalist.write(DataList("drawn", ("a", "b"), 1, "none", "benchmarks/probe.py", False, **splits), folder)


def known(names: str) -> list[str]:
    """Those of the networks that medtl has."""
    found = []
    for name in names.split(","):
        try:
            found.append(backbone_of(name).name)
        except UsageError:
            print(f"{name}: not known, left out")
    return found


def seconds(words: list[str], cache: Path) -> float:
    """How long a medtl command takes, imports included."""
    since = time.perf_counter()
    command = [sys.executable, "-m", "medtl", *words]
    done = subprocess.run(command, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - since


def bare_rate(backbone: str, size: int, rounds: int = 5) -> float:
    """Images a second of the network alone, on a batch that lies ready: the median of some rounds."""
    torch.manual_seed(0)
    fast_kernels()
    network = prepare_network(build_classifier(backbone, 2, image_size=size).eval().requires_grad_(False))
    images = torch.randn(BATCH["cpu"], 3, size, size).contiguous(memory_format=torch.channels_last)
    took = []
    with torch.inference_mode():
        before_head(network, backbone, images)
        for _ in range(rounds):
            since = time.perf_counter()
            before_head(network, backbone, images)
            took.append(time.perf_counter() - since)
    return len(images) / statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--backbones", default="resnet18,resnet50,vit_s14,vit_b16")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fractions", default="1.0,0.25,0.1")
    parser.add_argument("--compare_epochs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    backbones = known(args.backbones)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        what = prepared(args.shared, folder / "data")
        count = sum(1 for _ in datalist.read(folder / "data"))
        print(f"{count} pictures ({what}) at {args.image_size}²; {', '.join(backbones)} on {os.cpu_count()} cores")
        common = ["probe", str(folder / "data"), "--starts", "random", "--backbones", ",".join(backbones)]
        common += ["--fractions", args.fractions, "--image_size", str(args.image_size), "--device", "cpu"]
        for call, first in (("first", 0), ("second", args.seeds)):
            seeds = ",".join(map(str, range(first, first + args.seeds)))
            found[call] = seconds([*common, "--seeds", seeds, "--out", str(folder / call)], folder / "cache")
        ratios = []
        for backbone in backbones:
            cell = next((folder / "first" / "cells").glob(f"{backbone}_random_*"))
            rate = count / record.read(cell).times["embed_s"]
            bare = bare_rate(backbone, args.image_size)
            ratios.append(rate / bare)
            print(f"{backbone:12} {rate:7.1f} images/s, bare {bare:7.1f}: {rate / bare:.2f}")
        found["rate"] = min(ratios)
        if args.compare_epochs:
            words = ["compare", "folder", "--dataset_dir", str(folder / "data"), "--backbones", backbones[0]]
            words += ["--inits", "random", "--image_size", str(args.image_size), "--device", "cpu"]
            words += ["--epochs", str(args.compare_epochs), "--out", str(folder / "grid")]
            took = seconds(words, folder / "cache") * RECIPE_EPOCHS / args.compare_epochs
            found["compare"] = took / (found["first"] / len(backbones))
    for name, value in found.items():
        met = value <= AIMS[name] if name in ("first", "second") else value >= AIMS[name]
        unit = " s" if name in ("first", "second") else ""
        print(f"{name:8} {value:8.2f}{unit}  aim {AIMS[name]:g}{unit}: {'met' if met else 'NOT met'}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
