"""What a comparison consists of: its request, and the cells of its grid by name and in a stable order. Pure."""

import hashlib
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIMENSIONS = ("backbone", "init", "seed", "fold", "train_fraction")
PATH_SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt", ".ts", ".bin")


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        name: of its folder and its row.
        backbone: name of the trunk.
        init: a named start, or the short form of a path (``short_init``).
        seed: a whole number from 0.
        fold: that is validated on; None where no folds are asked for.
        train_fraction: share of the training patients, above 0 and up to 1; None where none is asked for.
    """

    name: str
    backbone: str
    init: str
    seed: int
    fold: int | None = None
    train_fraction: float | None = None


@dataclass(frozen=True)
class Request:
    """What one ``medtl compare`` command asks for, checked word by word.

    Attributes:
        bundle: a fine-tune bundle's folder.
        dataset_dir: a data_prep output.
        backbones, inits, seeds, folds, fractions: the dimensions of the grid, in the order given; the last two may be
            empty.
        ids: further ids of the bundle's config that reach every cell, with their values as text.
        out: the grid's folder.
        jobs: cells that run at a time, from 1.
    """

    bundle: Path
    dataset_dir: Path
    backbones: tuple[str, ...]
    inits: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    folds: tuple[int, ...] = ()
    fractions: tuple[float, ...] = ()
    ids: Mapping[str, str] | None = None
    jobs: int = 1


def cells_of(request: Request) -> list[Cell]:
    """Every cell of a request: fractions, then backbones, inits, folds and seeds, the seeds varying fastest."""
    found = []
    for fraction, backbone, init, fold, seed in itertools.product(
        request.fractions or (None,), request.backbones, request.inits, request.folds or (None,), request.seeds
    ):
        short = short_init(init)
        name = cell_name(backbone, short, seed, fold, fraction)
        found.append(Cell(name, backbone, short, seed, fold, fraction))
    return list(dict.fromkeys(found))  # a file may have been named in two ways


def cell_name(backbone: str, init: str, seed: int, fold: int | None, fraction: float | None) -> str:
    """``<backbone>_<init>_seed<S>``, with ``_fold<K>`` and ``_frac<F>`` where there are any."""
    name = f"{_safe(backbone)}_{_safe(init)}_seed{seed}"
    name += "" if fold is None else f"_fold{fold}"
    return name if fraction is None else f"{name}_frac{fraction}"


def is_path(init: str) -> bool:
    """Whether an init names a file or folder and not a kind of start (random, imagenet, …)."""
    return "/" in init or init.endswith(PATH_SUFFIXES)


def short_init(init: str) -> str:
    """A named init as it is; a path as its last two names and eight digits of its text's SHA-256, so that two files of
    one name stay apart and no folder of this machine is told."""
    if not is_path(init):
        return init
    path = Path(os.path.normpath(init))
    names = "-".join((path.parent.name, path.stem) if path.parent.name else (path.stem,))
    return f"{_safe(names)}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).lstrip(".-") or "x"


def overrides_of(request: Request, cell: Cell) -> dict[str, str]:
    """The ids of the bundle's config that a cell sets, with their values as text, all paths absolute."""
    arguments = {short_init(init): _absolute(init) if is_path(init) else init for init in request.inits}
    found = {
        "dataset_dir": os.path.abspath(request.dataset_dir),
        "output_dir": os.path.abspath(folder_of(request.out, cell)),
        "backbone": cell.backbone,
        "init": arguments.get(cell.init, cell.init),
        "seed": str(cell.seed),
    }
    if cell.fold is not None:
        found["fold"] = str(cell.fold)
    if cell.train_fraction is not None:
        found["train_fraction"] = str(cell.train_fraction)
    return {**found, **(request.ids or {})}


def run_words(request: Request, overrides: Mapping[str, str]) -> list[str]:
    """The words after ``python -m monai.bundle`` that train the request's bundle with these ids."""
    words = ["run", "--config_file", str((request.bundle / "configs" / "train.json").resolve())]
    for id_, value in overrides.items():
        words += [f"--{id_}={value}"] if value.startswith("-") else [f"--{id_}", value]
    return words


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def folder_of(out: Path, cell: Cell) -> Path:
    """The run folder of a cell."""
    return out / "cells" / cell.name


def as_row(cell: Cell) -> dict[str, Any]:
    """A cell's dimensions as grid.json holds them."""
    row = {"name": cell.name, "backbone": cell.backbone, "init": cell.init, "seed": cell.seed, "fold": cell.fold}
    return row if cell.train_fraction is None else {**row, "train_fraction": cell.train_fraction}


def from_row(row: Mapping[str, Any]) -> Cell:
    """The cell of a row of grid.json.

    Raises:
        KeyError: the row lacks a dimension.
    """
    return Cell(row["name"], row["backbone"], row["init"], row["seed"], row["fold"], row.get("train_fraction"))
