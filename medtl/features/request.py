"""What a probe is asked for, checked word by word before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.features.heads import HEADS, check_heads
from medtl.networks.registry import backbone_of
from medtl.runs.record import PROBE, find

TASKS = ("classification", "multilabel", "regression")
SIZE, SAMPLE_SIZE = 224, 64
CELLS = "cells"
OWN = (CELLS, "transferability.csv", "fine_tuning", "report.html", "report.md", "report.csv")


@dataclass(frozen=True)
class Request:
    """One ``medtl probe`` command.

    Attributes:
        dataset_dir: a data_prep output.
        starts: words of ``--init`` or paths of weights.
        backbones: names of networks.
        seeds, fractions, folds: of the draws; the last two may be empty.
        heads: of ``heads.HEADS``; the first one ranks the starts.
        features: files of features that another program computed.
        image_size: rows and columns; None for 224, on the built-in sample 64.
        device: "cpu", "cuda" …; None for a GPU where there is one.
        out: the probe's folder.
        then: how many starts are fine-tuned afterwards.
        ids: of bundles/folder, for that fine-tuning.
    """

    dataset_dir: Path
    out: Path
    starts: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ("resnet18",)
    seeds: tuple[int, ...] = (0,)
    fractions: tuple[float, ...] = ()
    folds: tuple[int, ...] = ()
    heads: tuple[str, ...] = HEADS
    features: tuple[Path, ...] = ()
    image_size: int | None = None
    device: str | None = None
    then: int = 0
    ids: Mapping[str, str] | None = None

    def words(self) -> tuple[str, ...]:
        """Return the command, as words after ``medtl``."""
        found = ["probe", str(self.dataset_dir)]
        lists = {"starts": self.starts, "backbones": self.backbones if self.starts else (), "seeds": self.seeds}
        lists |= {"fractions": self.fractions, "folds": self.folds, "heads": self.heads, "features": self.features}
        found += [word for name, items in lists.items() if items for word in (f"--{name}", ",".join(map(str, items)))]
        found += ["--image_size", str(self.image_size)] if self.image_size else []
        return (*found, "--out", str(self.out))

    def size(self, listed: DataList) -> int:
        """Return the rows and columns of the pictures."""
        return self.image_size or (SAMPLE_SIZE if listed.sample else SIZE)


def check(request: Request) -> DataList:
    """Return the data list of a request that can be done.

    Raises:
        UsageError: it cannot; names the option and what was expected.
        MedtlError: the data list is not valid.
    """
    if request.ids and not request.then:
        name, value = next(iter(request.ids.items()))
        raise UsageError(f"--{name} {value}: medtl probe has no such option, and without --then nothing is fine-tuned")
    if not request.starts and not request.features:
        raise UsageError("--starts is missing: expected words such as imagenet,mini or paths of weights, or --features")
    check_heads(request.heads)
    listed = datalist.read(request.dataset_dir)
    if listed.task not in TASKS:
        raise UsageError(f"{request.dataset_dir} is for {listed.task}; a probe is of {', '.join(TASKS)}")
    for name in request.backbones if request.starts else ():
        card, size = backbone_of(name), request.size(listed)
        if not card.takes(size):
            raise UsageError(f"--image_size {size}: {name} needs {card.sizes}")
    for fold in request.folds or (None,):
        for fraction in request.fractions or (1.0,):
            _check_draw(listed, fold, fraction, request.seeds)
    _check_out(request.out)
    return listed


def _check_draw(listed: DataList, fold: int | None, fraction: float, seeds: tuple[int, ...]) -> None:
    try:
        own = datalist.with_fold(listed, fold)
        for seed in seeds:
            datalist.with_fraction(own, fraction, seed)
    except UsageError as error:
        text = str(error).replace("--fold ", "--folds ", 1).replace("--train_fraction ", "--fractions ", 1)
        raise UsageError(text) from None
    for split in ("training", "validation"):
        if not getattr(own, split):
            hint = "; it is dealt into folds: name some, --folds 0,1" if any("fold" in e for e in own.training) else ""
            raise UsageError(f"{listed.folder / datalist.FILE_NAME} has no entries in its {split} split{hint}")


def _check_out(out: Path) -> None:
    """A folder that is empty, not there yet, or of an earlier probe."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    if not out.is_dir():
        return
    others = [path.name for path in sorted(out.iterdir()) if path.name not in OWN and not path.name.startswith(".")]
    cells = [find(folder) for folder in sorted((out / CELLS).glob("*"))]
    if others or any(cell is not None and cell.bundle.name != PROBE for cell in cells):
        what = others[0] if others else CELLS
        raise UsageError(f"--out {out} holds {what}, which no probe has written; choose another folder")


def check_same_data(out: Path, sha256: str) -> None:
    """Refuse to put cells of one data list beside those of another.

    Raises:
        UsageError: the folder's cells are of another one.
    """
    for folder in sorted((out / CELLS).glob("*")):
        there = find(folder)
        if there is not None and there.data is not None and there.data.sha256 != sha256:
            raise UsageError(
                f"--out {out} is of another data list (sha256 {there.data.sha256[:12]}…, now {sha256[:12]}…); choose"
                " another folder"
            )
