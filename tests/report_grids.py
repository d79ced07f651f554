"""Grids of runs as ``medtl compare`` leaves them, drawn at random with a known order of the starts: for the tests of
reports. Nothing of medtl is used here, so that the reports are read against an independent source."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

THREE = ("normal", "bacterial", "viral")
TWO = ("normal", "tuberculosis")
STRENGTH = {"random": 0.8, "imagenet": 1.4, "cpmid": 2.0}
LONG = {"train": "training", "val": "validation", "test": "test"}
ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
ONCE = "opened once, after the best epoch was chosen on validation"


def truth(classes: Sequence[str], n: int, split: str, seed: int = 0) -> list[tuple[str, str, int]]:
    """(image, patient, label) of a split; every third patient has two images of one class."""
    random = np.random.default_rng((seed, *split.encode()))
    rows, patient = [], 0
    while len(rows) < n:
        label = int(random.integers(len(classes)))
        for view in range(2 if patient % 3 == 0 else 1):
            rows.append((f"images/{split}/{patient:04d}_{view}.png", f"made/{split}{patient:04d}", label))
        patient += 1
    return rows[:n]


def guesses(rows: Sequence[tuple[str, str, int]], n_classes: int, strength: float, seed: Sequence[int]) -> np.ndarray:
    """(n, n_classes) probabilities; the larger ``strength``, the better they tell the classes."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(rows), n_classes))
    logits[np.arange(len(rows)), [label for *_, label in rows]] += strength
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def record(name: str, classes: Sequence[str], entries: Mapping[str, int], **changes: Any) -> dict[str, Any]:
    """A run.json as the bundles write it, with the paths of somebody's machine."""
    recipe = {
        "backbone": "resnet18", "init": "random", "fold": None, "train_fraction": 1.0, "freeze": "none", "epochs": 12,
        "batch_size": 64, "image_size": 224, "learning_rate": 0.0003, "num_workers": 2, "device": "cuda", "seed": 0,
    }  # fmt: skip
    recipe |= {key: changes.pop(key) for key in [*changes] if key in recipe}
    made = {
        "status": "finished",
        "bundle": {"name": name, "version": "0.1.0"},
        "started": "2025-01-01T00:00:00+00:00",
        "versions": {"medtl": "0.1.0", "python": "3.11.9", "monai": "1.6.1", "torch": "2.13.0"},
        "device": "NVIDIA RTX 3090",
        "seed": recipe["seed"],
        "recipe": recipe,
        "data": {
            "name": name,
            "sample": False,
            "sha256": "5a1e" * 16,
            "entries": {LONG[split]: n for split, n in entries.items()},
            "classes": list(classes),
            "licence": "CC BY 4.0",
        },
        "command": [
            "run", "--config_file", f"/home/jane doe/medtl/bundles/{name}/configs/train.json", "--dataset_dir",
            "/home/jane doe/data/secret", "--output_dir", "/scratch/jane/run", "--init", str(recipe["init"]),
            "--seed", str(recipe["seed"]),
        ],
        "config": {"dataset_dir": "/home/jane doe/data/secret"},
        "start": {"init": recipe["init"], "file": None, "sha256": None, "coverage": 0.0},
        "duration_s": 754.2,
        "best_epoch": 9,
        "epochs": 12,
        "test": ONCE,
        "not for clinical use": True,
    }  # fmt: skip
    if recipe["init"] != "random":
        made["start"] |= {"file": f"{recipe['init']}.safetensors", "sha256": "c0ffee" * 10 + "abcd", "coverage": 0.998}
    data = changes.pop("data", {})
    made |= changes
    made["data"] = made["data"] | data
    return made


def write_run(
    folder: Path,
    classes: Sequence[str] = THREE,
    splits: Mapping[str, Sequence[tuple[str, str, int]]] | None = None,
    strength: float | None = None,
    name: str = "made",
    **changes: Any,
) -> dict[str, np.ndarray]:
    """One run's folder; the probabilities of each split, as they can be read back."""
    splits = splits or {"val": truth(classes, 60, "val"), "test": truth(classes, 120, "test")}
    made = record(name, classes, {"train": 300, **{split: len(rows) for split, rows in splits.items()}}, **changes)
    recipe = made["recipe"]
    strength = STRENGTH.get(str(recipe["init"]), 1.0) if strength is None else strength
    folder.mkdir(parents=True)
    lines, metrics, found = [], {}, {}
    for number, (split, rows) in enumerate(splits.items()):
        key = (recipe["seed"], number, *str(recipe["init"]).encode(), *recipe["backbone"].encode())
        values = [[f"{v:.7g}" for v in row] for row in guesses(rows, len(classes), strength, key)]
        found[split] = np.array(values, dtype=float)
        lines += [[image, p, split, label, *row] for (image, p, label), row in zip(rows, values, strict=True)]
        right = found[split].argmax(axis=1) == [label for *_, label in rows]
        metrics[f"{split}_accuracy"] = float(right.mean())
    write_rows(
        folder / "predictions.csv", ["image", "patient", "split", "label", *(f"prob_{c}" for c in classes)], lines
    )
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.json").write_text(json.dumps(made))
    random = np.random.default_rng((recipe["seed"], *str(recipe["init"]).encode()))
    epochs = np.arange(1, 13)
    loss = (1.1 + 0.1 * len(classes)) * np.exp(-epochs * 0.12 * strength) + 0.1 + 0.02 * random.normal(size=12)
    auc = 1 - 0.45 * np.exp(-epochs * 0.2 * strength) + 0.01 * random.normal(size=12)
    table = [[e, f"{a:.5f}", "0.0003", f"{b:.5f}"] for e, a, b in zip(epochs, loss, auc, strict=True)]
    write_rows(folder / "history.csv", ["epoch", "train_loss", "learning_rate", "val_auc"], table)
    return found


def write_grid(
    folder: Path,
    classes: Sequence[str] = THREE,
    backbones: Sequence[str] = ("resnet18", "resnet50"),
    inits: Sequence[str] = ("random", "imagenet", "cpmid"),
    seeds: Sequence[int] = (0, 1, 2),
    sizes: Mapping[str, int] | None = None,
    failed: Sequence[str] = (),
    **changes: Any,
) -> dict[str, dict[str, np.ndarray]]:
    """A grid; cell name to split to probabilities of those that did not fail."""
    splits = {split: truth(classes, n, split) for split, n in (sizes or {"val": 60, "test": 120}).items()}
    cells, found = [], {}
    for backbone in backbones:
        for init in inits:
            for seed in seeds:
                name = f"{backbone}_{init}_seed{seed}"
                cell = {"name": name, "backbone": backbone, "init": init, "seed": seed, "fold": None}
                if name in failed:
                    error = "error: /home/jane doe/weights/cpmid.pt: 3 of 102 tensors do not fit"
                    cells.append({**cell, "status": "failed", "error": error})
                    continue
                cells.append({**cell, "status": "finished", "error": ""})
                place = folder / "cells" / name
                found[name] = write_run(place, classes, splits, backbone=backbone, init=init, seed=seed, **changes)
    grid = {"bundle": "made", "dataset": "made", "ids": {"epochs": 12}, "cells": cells}
    (folder / "grid.json").write_text(json.dumps(grid))
    return found


def write_organ_run(
    folder: Path,
    cases: Sequence[tuple[str, str]],
    level: float,
    organs: Sequence[str] = ORGANS,
    distances: bool = False,
    **changes: Any,
) -> np.ndarray:
    """A segmentation's folder over (case, patient); (cases, organs) IoU, the last of several organs of the first case
    blank. With distances, the Hausdorff distance is 40 mm times 1 - IoU."""
    made = record("chaos", organs, {"train": 10, "val": len(cases)}, **changes)
    recipe = made["recipe"]
    random = np.random.default_rng((recipe["seed"], recipe["fold"] or 0, *recipe["init"].encode()))
    harder = np.array([np.random.default_rng([*p.encode()]).normal(0, 0.05) for _, p in cases])
    iou = np.clip(level + harder[:, np.newaxis] + random.normal(0, 0.02, (len(cases), len(organs))), 0.01, 0.99)
    iou = np.round(iou, 5)
    if len(organs) > 1:
        iou[0, -1] = np.nan
    dice = 2 * iou / (1 + iou)
    folder.mkdir(parents=True)
    measured = {"iou": iou, "dice": dice} | ({"hd95": 40 * (1 - iou)} if distances else {})
    header = ["case", "patient", "split", *(f"{kind}_{organ}" for kind in measured for organ in organs)]
    shown = [["" if np.isnan(v) else f"{v:.7g}" for v in row] for row in np.hstack(list(measured.values()))]
    write_rows(folder / "predictions.csv", header, [[*c, "val", *row] for c, row in zip(cases, shown, strict=True)])
    (folder / "metrics.json").write_text(json.dumps({"val_iou_mean": float(np.nanmean(iou))}))
    (folder / "run.json").write_text(json.dumps(made))
    return iou
