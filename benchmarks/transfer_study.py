"""How mini was trained and judged by fine-tuning, from the real images of SHARED: prepare, look for leaks, pretrain,
compare. docs/transfer_study.md says what came out.
SHARED/data/chexpert must hold ChestX-ray14 in CheXpert's layout.

    python benchmarks/transfer_study.py --out STUDY [--shared SHARED] [--steps data,leaks,breastmnist] [--list]

A step is commands that can also be typed one by one: each is printed before it runs, and ends the study if it fails.
What an earlier call has finished is not done again. ``breastmnist`` and ``chaos`` start from the weights in
bundles/medtl_mini_resnet18; the step ``mini`` trains such weights anew and is run only where --steps names it.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from following import ROOT, follow, options, parsed

BUNDLES = ROOT / "bundles"
DEAL = ROOT / "benchmarks" / "deal_breastmnist.py"
REDEALT = "breastmnist_redealt"
OF_REDEALT = ("--name", REDEALT, "--classes", "malignant,normal_or_benign", "--licence", "CC BY 4.0")
LICENCES = "nih=NIH Clinical Center: free use with credit (Wang et al. 2017)"
AS_MINI = "--batch_size 128 --learning_rate 0.06"
ON_A_CPU = "--num_workers 0 --device cpu"


@dataclass(frozen=True)
class Source:
    """A folder of SHARED/data and what reads it; ``chestxray`` deals itself a test split, since the official one is not
    at hand."""

    raw: str
    reader: str
    more: str = ""


SOURCES = {
    "breastmnist": Source("breastmnist", "breastmnist"),
    "chaos": Source("chaos", "chaos"),
    "chestxray2017": Source("chestxray2017", "chestxray2017", "--test-fraction 0.15"),
    "chestxray": Source("chestxray2017", "chestxray2017"),
    "nih": Source("chexpert", "chexpert"),
    "msd": Source("msd", "msd"),
    "lidc": Source("lidc", "lidc"),
}
# what is pretrained on: parts, and the targets whose patients and pictures are left out
MIXES = {
    "mini": ("chestxray2017=chestxray,nih=nih,msd=msd,lidc=lidc", "breastmnist,chaos"),
    "mini_without_chestxray2017": ("nih=nih,msd=msd,lidc=lidc", "chestxray2017,breastmnist,chaos"),
}


@dataclass(frozen=True)
class Pretraining:
    """A mix, the words that say how long and by what it is learnt, the bundle that learns it, and the pixels a side."""

    mix: str
    words: str
    bundle: str = "medtl_mini_resnet18"
    image_size: int = 64


PRETRAININGS = {
    "mini": Pretraining("mini", f"--epochs 20 {AS_MINI}"),
    "mini_without_chestxray2017": Pretraining("mini_without_chestxray2017", f"--epochs 40 {AS_MINI}"),
    "labels_alone": Pretraining("mini_without_chestxray2017", f"--epochs 40 --method supervised+0*simclr {AS_MINI}"),
    "views_alone": Pretraining("mini_without_chestxray2017", f"--epochs 40 --method 0*supervised+simclr {AS_MINI}"),
    "mini_labels_alone": Pretraining("mini", f"--epochs 20 --method supervised+0*simclr {AS_MINI}"),
    "mini_labels_alone_128": Pretraining("mini", f"--epochs 20 --method supervised+0*simclr {AS_MINI}", image_size=128),
    "imagenet_then_labels": Pretraining(
        "mini_without_chestxray2017",
        "--init imagenet --key_metric accuracy --epochs 40 --batch_size 32 --learning_rate 0.0001",
        bundle="folder",
    ),
}
SMALL_BATCHES = "--batch_size 16 --image_size 64"
FIVE, NEXT_FIVE = "--seeds 0,1,2,3,4", "--seeds 5,6,7,8,9"
TEN = f"{FIVE},5,6,7,8,9"


@dataclass(frozen=True)
class Grid:
    """Starts compared on a target: some of PRETRAININGS, ``random`` and ``imagenet``."""

    bundle: str
    target: str
    starts: str
    words: str


OF_MINI = "random,imagenet,mini"
OF_OTHERS = "random,imagenet,mini_without_chestxray2017"
OF_RECIPES = "mini_without_chestxray2017,labels_alone,views_alone"
OF_NEXT = "mini_labels_alone,mini_labels_alone_128,imagenet_then_labels"
OF_128 = "random,imagenet,mini,mini_labels_alone,mini_labels_alone_128"
CHESTXRAY, BREAST = ("chestxray2017", "chestxray2017"), ("breastmnist", REDEALT)
GRIDS = {
    "breastmnist": Grid(
        "breastmnist", "breastmnist", OF_MINI, f"{FIVE} --fractions 1.0,0.25,0.1 --epochs 20 {SMALL_BATCHES}"
    ),
    "breastmnist_short": Grid(
        "breastmnist", "breastmnist", OF_MINI, f"{FIVE} --fractions 0.25,0.1 --epochs 5 {SMALL_BATCHES}"
    ),
    "breastmnist_trunk01": Grid(
        "breastmnist",
        "breastmnist",
        "imagenet,mini",
        f"{FIVE} --fractions 0.1 --epochs 20 --trunk_multiplier 0.1 {SMALL_BATCHES}",
    ),
    REDEALT: Grid(*BREAST, OF_MINI, f"{FIVE} --fractions 0.5,0.25 --epochs 20 {SMALL_BATCHES}"),
    f"{REDEALT}_short/first": Grid(*BREAST, OF_MINI, f"{FIVE} --fractions 0.5,0.25 --epochs 5 {SMALL_BATCHES}"),
    f"{REDEALT}_short/again": Grid(*BREAST, OF_MINI, f"{NEXT_FIVE} --fractions 0.5,0.25 --epochs 5 {SMALL_BATCHES}"),
    f"{REDEALT}_recipes": Grid(
        *BREAST, f"random,{OF_RECIPES}", f"{FIVE} --fractions 0.5,0.25 --epochs 5 {SMALL_BATCHES}"
    ),
    f"{REDEALT}_next": Grid(*BREAST, f"{OF_MINI},{OF_NEXT}", f"{TEN} --fractions 0.5,0.25 --epochs 5 {SMALL_BATCHES}"),
    f"{REDEALT}_128": Grid(*BREAST, OF_128, f"{FIVE} --fractions 0.5,0.25 --epochs 5 --batch_size 16 --image_size 128"),
    "chestxray2017": Grid(*CHESTXRAY, OF_OTHERS, f"{FIVE} --fractions 0.1 --epochs 10 {SMALL_BATCHES}"),
    "chestxray2017_quarter": Grid(*CHESTXRAY, OF_OTHERS, f"{FIVE} --fractions 0.25 --epochs 4 {SMALL_BATCHES}"),
    "chestxray2017_all": Grid(*CHESTXRAY, OF_OTHERS, f"{FIVE} --epochs 1 {SMALL_BATCHES}"),
    "chaos": Grid(
        "chaos_deeplabv3",
        "chaos",
        OF_MINI,
        f"{FIVE} --folds 0,1,2 --epochs 8 --image_size 64 --output_stride 16 --decoder deeplabv3plus",
    ),
}
DEFAULT_STEPS = ("data", "leaks", *(name for name in PRETRAININGS if name != "mini"), *GRIDS)


def parse() -> argparse.Namespace:
    parser, steps = options(__doc__), ("mini", *DEFAULT_STEPS)
    parser.add_argument("--steps", default=",".join(DEFAULT_STEPS), help=f"some of {','.join(steps)}")
    parser.add_argument("--jobs", type=int, default=2, help="cells trained at a time")
    return parsed(parser, {"steps": steps})


def under(names: str, folder: Path) -> str:
    """``a=b,c`` as ``a=FOLDER/b,FOLDER/c``."""
    parts = [name.rpartition("=") for name in names.split(",")]
    return ",".join(f"{key}{equals}{folder / value}" for key, equals, value in parts)


def data(shared: Path, out: Path) -> Iterator[list[str]]:
    """Prepared sets and the two mixes of them. The images dealt anew are public, so the key to their hashes need be no
    secret, and another table would be another study: the table itself is the key."""
    for name, source in SOURCES.items():
        words = ["data_prep", source.reader, "--raw", str(shared / "data" / source.raw), *source.more.split()]
        yield [*words, "--out", str(out / "data" / name)]
    redealt = out / "data" / REDEALT
    table = str(redealt.with_suffix(".csv"))
    yield [str(DEAL), str(out / "data" / "breastmnist"), table]
    words = ["data_prep", "folder", "--raw", str(out / "data" / "breastmnist"), "--table", table, *OF_REDEALT]
    yield [*words, "--key-file", table, "--out", str(redealt)]
    for name, (parts, excluded) in MIXES.items():
        lists = ["--lists", under(parts, out / "data"), "--exclude", under(excluded, out / "data")]
        yield ["data_prep", "mix", *lists, "--licences", LICENCES, "--out", str(out / "data" / name)]


def leaks(out: Path) -> Iterator[list[str]]:
    """No target shares a patient or a picture with what its weights were pretrained on."""
    pairs = [(grid.target, PRETRAININGS[start].mix) for grid in GRIDS.values() for start in pretrained(grid)]
    for target, mix in dict.fromkeys(pairs):
        yield ["medtl", "check", str(out / "data" / target), "--against", str(out / "data" / mix)]


def pretraining(name: str, out: Path) -> Iterator[list[str]]:
    of = PRETRAININGS[name]
    where = ["--dataset_dir", str(out / "data" / of.mix), "--output_dir", str(out / name), "--resume", "auto"]
    config = BUNDLES / of.bundle / "configs" / "train.json"
    words = [*of.words.split(), "--image_size", str(of.image_size), *ON_A_CPU.split()]
    yield ["monai.bundle", "run", "--config_file", str(config), *where, *words]


def pretrained(grid: Grid) -> list[str]:
    return [start for start in grid.starts.split(",") if start in PRETRAININGS]


def comparison(name: str, out: Path, jobs: int) -> Iterator[list[str]]:
    """A grid of starts and its report; a repetition is reported together with what it repeats, too."""
    grid = GRIDS[name]
    trained_here = set(PRETRAININGS) - {"mini"}
    inits = ",".join(str(out / start) if start in trained_here else start for start in grid.starts.split(","))
    where = ["--dataset_dir", str(out / "data" / grid.target), "--out", str(out / "grids" / name)]
    words = [*where, "--backbones", "resnet18", "--inits", inits, "--jobs", str(jobs), *grid.words.split()]
    yield ["medtl", "compare", str(BUNDLES / grid.bundle), *words]
    yield ["medtl", "report", str(out / "grids" / name)]
    if name.endswith("/again"):
        yield ["medtl", "report", str((out / "grids" / name).parent)]


def commands(step: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    """What a step runs: modules and their words."""
    if step == "data":
        return data(asked.shared, asked.out)
    if step == "leaks":
        return leaks(asked.out)
    if step in PRETRAININGS:
        return pretraining(step, asked.out)
    return comparison(step, asked.out, asked.jobs)


def main() -> int:
    asked = parse()
    asked.shared, asked.out = asked.shared.resolve(), asked.out.resolve()
    steps = ((step, words) for step in asked.steps for words in commands(step, asked))
    return follow(steps, asked.shared, asked.list)


if __name__ == "__main__":
    sys.exit(main())
