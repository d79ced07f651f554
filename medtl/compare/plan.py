"""What a comparison consists of: its request, and the cells of its grid by name and in a stable order. Pure data."""

import hashlib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medtl.errors import UsageError
from medtl.runs.changes import is_path, literal


@dataclass(frozen=True)
class Setting:
    """Ids of the config that some cells of a grid set, and others set otherwise.

    Attributes:
        name: of the setting in a cell's name; empty where a grid has one setting only.
        ids: id and value as text, in the order in which they are given.
    """

    name: str = ""
    ids: tuple[tuple[str, str], ...] = ()


ONE_SETTING = (Setting(),)


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        name: of its folder and its row.
        backbone: name of the trunk; empty where the bundle trains on stored features and has none.
        init: a named start, or the short form of a path (``short_init``); empty where features of one start are stored.
        seed: a whole number from 0.
        fold: that is validated on; None where no folds are asked for.
        train_fraction: share of the training patients, above 0 and up to 1; None where none is asked for.
        setting: further ids that it sets.
    """

    name: str
    backbone: str
    init: str
    seed: int
    fold: int | None = None
    train_fraction: float | None = None
    setting: Setting = Setting()


@dataclass(frozen=True)
class Request:
    """What one ``medtl compare`` command asks for, checked word by word.

    Attributes:
        bundle: a bundle's folder.
        dataset_dir: a data_prep output.
        backbones, inits, seeds, folds, fractions, settings: the dimensions of the grid, in the order given; folds and
            fractions may be empty.
        out: the grid's folder.
        ids: further ids of the bundle's config that reach every cell, with their values as text.
        jobs: cells that run at a time, from 1.
        dask: address of a Dask scheduler on whose workers they run; None for this machine.
        protocol: name of the published design that the request follows; empty for none.
    """

    bundle: Path
    dataset_dir: Path
    backbones: tuple[str, ...]
    inits: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    folds: tuple[int, ...] = ()
    fractions: tuple[float, ...] = ()
    settings: tuple[Setting, ...] = ONE_SETTING
    ids: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    dask: str | None = None
    protocol: str = ""


def settings_of(axes: Mapping[str, tuple[str, ...]]) -> tuple[Setting, ...]:
    """Return the settings of ``--vary``: every combination of the values of each id, the last id varying fastest.

    Args:
        axes: id to its values as text.
    """
    pairs = [[(id_, value) for value in values] for id_, values in axes.items()]
    return tuple(
        Setting("_".join(f"{id_.rpartition('#')[2]}-{value}" for id_, value in chosen), chosen)
        for chosen in itertools.product(*pairs)
    )


def cells_of(request: Request) -> list[Cell]:
    """Return every cell of a request: fractions, then backbones, inits, settings, folds and seeds, these varying
    fastest.

    Raises:
        UsageError: two cells would have one folder.
    """
    found = []
    for fraction, backbone, init, setting, fold, seed in itertools.product(
        request.fractions or (None,),
        request.backbones,
        request.inits,
        request.settings,
        request.folds or (None,),
        request.seeds,
    ):
        short = short_init(init)
        named = "_".join(_safe(word) for word in (backbone, short, setting.name) if word)
        named = f"{named}_seed{seed}".lstrip("_")
        named += ("" if fold is None else f"_fold{fold}") + ("" if fraction is None else f"_frac{fraction}")
        found.append(Cell(named, backbone, short, seed, fold, fraction, setting))
    cells = list(dict.fromkeys(found))  # a file may have been named in two ways
    named_before: dict[str, Cell] = {}
    for cell in cells:
        other = named_before.setdefault(cell.name.casefold(), cell)
        if other is not cell:
            one, two = (
                " ".join((each.backbone, each.init, *map("=".join, each.setting.ids))) for each in (other, cell)
            )
            raise UsageError(
                f"the cells of {one} and of {two} would both have the folder cells/{cell.name}; leave one of them out"
            )
    return cells


def as_named_before(cells: Sequence[Cell], former: Sequence[Cell]) -> list[Cell]:
    """Return cells as an earlier command has named them: all training patients are the same ones whether ``--fractions
    1.0`` was given or nothing."""
    known = {_of_all(cell): cell for cell in reversed(former) if cell.train_fraction in (None, 1.0)}
    return [known.get(_of_all(cell), cell) if cell.train_fraction in (None, 1.0) else cell for cell in cells]


def _of_all(cell: Cell) -> Cell:
    return replace(cell, name="", train_fraction=None)


def short_init(init: str) -> str:
    """Return a named init as it is; of a path its last two names and eight digits of its text's SHA-256, so that two
    files of one name stay apart and no folder of this machine is told."""
    if not is_path(init):
        return init
    path = Path(os.path.normpath(init))
    names = "-".join((path.parent.name, path.stem) if path.parent.name else (path.stem,))
    return f"{_safe(names)}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).lstrip(".-") or "x"


def overrides_of(request: Request, cell: Cell) -> dict[str, str]:
    """Return the ids of the bundle's config that a cell sets, with their values as text, all paths absolute."""
    arguments = {short_init(init): _absolute(init) if is_path(init) else init for init in request.inits}
    found = {
        "dataset_dir": os.path.abspath(request.dataset_dir),
        "output_dir": os.path.abspath(folder_of(request.out, cell)),
    }
    found |= {"backbone": cell.backbone} if cell.backbone else {}
    found |= {"init": arguments.get(cell.init, cell.init)} if cell.init else {}
    found["seed"] = str(cell.seed)
    if cell.fold is not None:
        found["fold"] = str(cell.fold)
    if cell.train_fraction is not None:
        found["train_fraction"] = str(cell.train_fraction)
    return {**found, **request.ids, **dict(cell.setting.ids)}


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def folder_of(out: Path, cell: Cell) -> Path:
    """Return the run folder of a cell."""
    return out / "cells" / cell.name


def as_row(cell: Cell) -> dict[str, Any]:
    """Return a cell's dimensions as grid.json holds them."""
    row: dict[str, Any] = {"name": cell.name, "backbone": cell.backbone, "init": cell.init, "seed": cell.seed}
    row |= {"fold": cell.fold}
    row |= {} if cell.train_fraction is None else {"train_fraction": cell.train_fraction}
    if cell.setting.ids:
        row |= {"setting": cell.setting.name, "ids": {id_: literal(value) for id_, value in cell.setting.ids}}
    return row


def from_row(row: Mapping[str, Any]) -> Cell:
    """Return the cell of a row of grid.json.

    Raises:
        KeyError: the row lacks a dimension.
    """
    ids = tuple((id_, as_text(value)) for id_, value in row.get("ids", {}).items())
    setting = Setting(row["setting"], ids) if ids else Setting()
    return Cell(row["name"], row["backbone"], row["init"], row["seed"], row["fold"], row.get("train_fraction"), setting)


def as_text(value: Any) -> str:
    """Return a value as the word of a command line that python-fire reads as this value."""
    return value if isinstance(value, str) else repr(value)
