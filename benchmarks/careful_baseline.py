"""What a careful user gets without medtl: a plain PyTorch loop on a data list of medtl's, beside a finished comparison.

    python benchmarks/careful_baseline.py DATA --starts random,imagenet --seeds 0,1,2,3,4 --out OUT
        [--epochs 20] [--image_size 128] [--backbone resnet18] [--compare GRID]

The loop: all pictures resized once and kept in memory; AdamW, learning rate 1e-4 for pretrained and 3e-4 for random
weights, one cycle up to three times that; loss weighted by class; random flip, rotation, scale and shift; batches of
32; the epoch with the best AUC on validation. Network and start are medtl's, so that the two differ in the recipe
alone. OUT/START-seedN holds predictions.csv (as ``medtl test`` reads it) and metrics.json of each training; what is
there is not done again. The table has a column for each setting of GRID, which ``medtl compare`` wrote; a second
table has the differences with their intervals.
"""

import argparse
import copy
import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object, write_json
from medtl.metrics import bootstrap, classification
from medtl.metrics.compare import across_seeds
from medtl.networks.classifier import build_classifier
from medtl.runs.predictions import Sample, read_predictions
from medtl.weights.starts import Start, apply, resolve
from medtl.writers.tables import Table, write_predictions

BATCH = 32
RATES = {True: 3e-4, False: 1e-4}  # of a random start, of a pretrained one
PEAK = 3.0  # of the one-cycle schedule, times the rate
ROTATE, SCALE, SHIFT = math.radians(10), 0.1, 0.05  # largest; the shift as a share of the picture
SHOWN = ("auc", "accuracy", "f1_macro")

Pictures = tuple[torch.Tensor, torch.Tensor]  # of a split: bytes and class indices


def pictures(listed: DataList, entries: Sequence[Entry], size: int) -> Pictures:
    """(n, 3, size, size) bytes of the pictures, and (n,) class indices."""
    mode = "L" if listed.channels == 1 else "RGB"
    read = []
    for entry in entries:
        with Image.open(listed.folder / entry["image"]) as image:
            resized = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR).convert("RGB")
        read.append(torch.from_numpy(np.array(resized)).permute(2, 0, 1))
    return torch.stack(read), torch.tensor([entry["label"] for entry in entries])


def augmented(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, rows, columns) pictures flipped, turned, scaled and shifted at random; black comes in from outside."""
    count = len(images)
    turn, shift = (torch.rand(count) * 2 - 1) * ROTATE, (torch.rand(count, 2) * 2 - 1) * 2 * SHIFT
    scale = 1 + (torch.rand(count) * 2 - 1) * SCALE
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(turn) * scale, torch.sin(turn) * scale
    rows = [torch.stack([cosine * flip, -sine, shift[:, 0]], 1), torch.stack([sine * flip, cosine, shift[:, 1]], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def batches(count: int) -> Iterator[torch.Tensor]:
    """Indices of an epoch; a last batch of a single picture is left out, of which no batch norm can learn."""
    return (part for part in torch.randperm(count).split(BATCH) if len(part) > 1)


def chances(network: nn.Module, images: torch.Tensor, normalise: nn.Module) -> np.ndarray:
    """(n, n_classes) probabilities."""
    network.eval()
    with torch.no_grad():
        parts = [network(normalise(part)).softmax(1) for part in images.split(4 * BATCH)]
    return torch.cat(parts).double().numpy()


class Normalise(nn.Module):
    """Bytes to what the weights expect."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.mean, self.std = (torch.tensor(values).view(1, -1, 1, 1) for values in (start.mean, start.std))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() / 255 - self.mean) / self.std


def trained(
    network: nn.Module, normalise: Normalise, training: Pictures, validation: Pictures, rate: float, epochs: int
) -> int:
    """Train a network in place, leave the weights of its best epoch in it, and return that epoch, from 1."""
    images, labels = training
    width = network(normalise(images[:2])).shape[1]
    counts = torch.bincount(labels, minlength=width)
    loss_of = nn.CrossEntropyLoss(weight=len(labels) / (width * counts.clamp(min=1).float()))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    steps = epochs * sum(1 for _ in range(0, len(labels) - 1, BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK * rate, total_steps=steps)
    best, kept, at = -math.inf, network.state_dict(), 0
    for epoch in range(1, epochs + 1):
        network.train()
        for index in batches(len(labels)):
            optimiser.zero_grad()
            loss_of(network(normalise(augmented(images[index].float()))), labels[index]).backward()
            optimiser.step()
            schedule.step()
        found = classification.single_label(validation[1].numpy(), chances(network, validation[0], normalise))["auc"]
        if found > best or not at:
            best, kept, at = found, copy.deepcopy(network.state_dict()), epoch
    network.load_state_dict(kept)
    return at


def cell(
    listed: DataList, init: str, seed: int, asked: argparse.Namespace, splits: Callable[[], dict[str, Pictures]]
) -> dict[str, float]:
    """Metrics of one training, from its folder where it is there already.

    Raises:
        UsageError: the one that is there was made with other epochs or pictures.
    """
    folder = asked.out / f"{Path(init).stem}-seed{seed}"
    asked_for = {"epochs": asked.epochs, "image_size": asked.image_size}
    if (folder / "metrics.json").is_file():
        there = read_object(folder / "metrics.json")
        if {key: there.get(key) for key in asked_for} != asked_for:
            raise UsageError(f"--out {asked.out}: {folder.name} was made with other --epochs or --image_size")
        return there
    torch.manual_seed(seed)
    start = resolve(init, asked.backbone, "--starts")
    network = build_classifier(asked.backbone, len(listed.classes), image_size=asked.image_size)
    apply(network, start, asked.backbone)
    normalise, rate, read = Normalise(start), RATES[start.path is None], splits()
    found: dict[str, float] = {**asked_for, "learning_rate": rate}
    found["best_epoch"] = trained(network, normalise, read["training"], read["validation"], rate, asked.epochs)
    tables = []
    for name in ("validation", "test"):
        said, short = chances(network, read[name][0], normalise), datalist.SHORT_NAMES[name]
        tables.append(Table(short, getattr(listed, name), said))
        scores = classification.single_label(read[name][1].numpy(), said)
        found |= {f"{short}_{key}": value for key, value in scores.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", tables, listed.classes)
    write_json(folder / "metrics.json", found)
    return found


def of_grid(grid: Path) -> dict[str, dict[str, dict[int, dict[str, Any]]]]:
    """What each start and seed of a comparison reached, by setting; of a comparison without settings one, called
    "medtl"."""
    found: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for told in read_object(grid / "grid.json")["cells"]:
        if told["status"] == "finished":
            metrics = {"name": told["name"], **read_object(grid / "cells" / told["name"] / "metrics.json")}
            setting = found.setdefault(told.get("setting") or "medtl", {})
            setting.setdefault(told["init"], {})[told["seed"]] = metrics
    if not found:
        raise UsageError(f"--compare {grid} holds no finished cells; expected a folder that medtl compare wrote")
    return found


def told(values: Sequence[float]) -> str:
    """Mean and standard deviation of the seeds."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread} (n {len(values)})"


def table(mine: dict[str, dict[int, dict[str, float]]], grid: dict[str, dict[str, dict[int, dict[str, float]]]]) -> str:
    """Markdown: test metrics of the plain loop beside those of medtl, mean and SD of the seeds."""
    lines = [f"| start | metric | plain loop | {' | '.join(grid)} |", "|---|---|---|" + "---|" * len(grid)]
    for init, seeds in mine.items():
        for metric in SHOWN:
            columns = [seeds, *(setting.get(init, {}) for setting in grid.values())]
            key = f"test_{metric}"
            values = [[cell[key] for cell in column.values() if key in cell] for column in columns]
            lines.append(f"| {init} | {metric} | {' | '.join(map(told, values))} |")
    return "\n".join(lines)


def differences(out: Path, grid: Path, classes: Sequence[str]) -> str:
    """Markdown: the AUC of medtl less the plain loop's on the same test images, with the 95 % interval of patients and
    trainings; of the seeds that both have."""
    lines = ["| start | setting | AUC less the plain loop's | p |", "|---|---|---|---|"]
    for setting, starts in of_grid(grid).items():
        for start, seeds in starts.items():
            common = sorted(seed for seed in seeds if (out / f"{start}-seed{seed}" / "predictions.csv").is_file())
            if not common:
                continue
            theirs = [_tested(grid / "cells" / str(seeds[seed]["name"]), classes) for seed in common]
            mine = [_tested(out / f"{start}-seed{seed}", classes) for seed in common]
            if len({sample.names for sample in (*theirs, *mine)}) > 1:
                raise UsageError(f"--compare {grid}: its test images are not those of {out}")
            first, second = (np.stack([sample.values for sample in side]) for side in (theirs, mine))
            scores, others = ([_auc(sample) for sample in side] for side in (theirs, mine))
            drawn = bootstrap.paired_difference(mine[0].labels, first, second, mine[0].patients)["auc"]
            both = across_seeds(scores, others, drawn.se, len(set(mine[0].patients)))
            shown = f"{both.value:+.3f} ({both.both_low:+.3f} to {both.both_high:+.3f})"
            lines.append(f"| {start} | {setting} | {shown} | {both.both_p:.3f} |")
    return "\n".join(lines)


def _auc(sample: Sample) -> float:
    return classification.single_label(sample.labels, sample.values)["auc"]


def _tested(folder: Path, classes: Sequence[str]) -> Sample:
    return read_predictions(folder / "predictions.csv", classes, "classification")["test"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--starts", default="random,imagenet")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--compare", type=Path, metavar="GRID")
    asked = parser.parse_args()
    listed = datalist.read(asked.data)
    if listed.task != "classification":
        raise UsageError(f"{asked.data} is a data list of {listed.task}; expected one class an image")
    splits = functools.cache(
        lambda: {name: pictures(listed, getattr(listed, name), asked.image_size) for name in datalist.SPLITS}
    )
    grid = of_grid(asked.compare) if asked.compare else {}
    mine: dict[str, dict[int, dict[str, float]]] = {}
    for seed in map(int, asked.seeds.split(",")):
        for init in asked.starts.split(","):
            found = mine.setdefault(init, {})[seed] = cell(listed, init, seed, asked, splits)
            line = f"test AUC {found['test_auc']:.3f}, accuracy {found['test_accuracy']:.3f}"
            print(f"{init} seed {seed}: {line} (epoch {found['best_epoch']} of {found['epochs']})", flush=True)
    print(table(mine, grid))
    if asked.compare:
        print(differences(asked.out, asked.compare, listed.classes))


if __name__ == "__main__":
    try:
        main()
    except MedtlError as error:
        raise SystemExit(f"careful_baseline.py: {error}") from None
