"""Is the fine-tuning recipe as good as a careful user's own loop, and in which batches? The tables of docs/results.md.

    python benchmarks/recipe_study.py --out STUDY [--shared SHARED] [--studies breastmnist,…] [--steps data,…] [--list]

ResNet-18, 128 pixels, 20 epochs. Real images of SHARED/data are prepared and dealt (``deal_parts.py``). On the same
lists ``medtl compare`` trains with each batch size and ``careful_baseline.py`` its plain loop. A step is commands that
can also be typed one by one: each is printed before it runs. What an earlier call has finished is not done again.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import careful_baseline
from following import ROOT, follow, options, parsed

from medtl.files import read_object

STEPS = ("data", "medtl", "plain", "table")
STARTS, BATCHES = "random,imagenet", "64,32"
RECIPE = ("--epochs", "20", "--image_size", "128")


@dataclass(frozen=True)
class Study:
    """Lists on which recipes are compared.

    Attributes:
        bundle: that fine-tunes, and the name of the data set.
        lists: folders below STUDY/data, and the seeds of the trainings on each.
        prepare: further words for data_prep.
        deal: words for deal_parts.py; none where the list is taken as it is.
        more: ids of medtl's trainings.
    """

    bundle: str
    lists: tuple[tuple[str, str], ...]
    prepare: tuple[str, ...] = ()
    deal: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


STUDIES = {
    "breastmnist": Study("breastmnist", (("breastmnist", "0,1,2,3,4"),)),
    "breastmnist_parts": Study(
        "breastmnist",
        tuple((f"breastmnist_parts/{part}", str(part)) for part in range(5)),
        deal=("--parts", "5"),
        more=("--precision", "bf16"),
    ),
    "chestxray2017_tenth": Study(
        "chestxray2017",
        (("chestxray2017_tenth", "0,1,2"),),
        prepare=("--test-fraction", "0.15"),
        deal=("--fraction", "0.1"),
    ),
}


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--steps", default=",".join(STEPS))
    return parsed(parser, {"studies": STUDIES, "steps": STEPS})


def data(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    study = STUDIES[name]
    raw, prepared = (str(folder / "data" / study.bundle) for folder in (asked.shared, asked.out))
    yield ["data_prep", study.bundle, "--raw", raw, *study.prepare, "--out", prepared]
    if study.deal:
        yield [str(ROOT / "benchmarks" / "deal_parts.py"), prepared, str(asked.out / "data" / name), *study.deal]


def medtl(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    study = STUDIES[name]
    for place, seeds in study.lists:
        where = ["--dataset_dir", str(asked.out / "data" / place), "--out", str(asked.out / "medtl" / place)]
        what = ["--backbones", "resnet18", "--inits", STARTS, "--seeds", seeds, *RECIPE, *study.more]
        yield ["medtl", "compare", study.bundle, *where, *what, "--vary", f"batch_size={BATCHES}"]


def plain(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    for place, seeds in STUDIES[name].lists:
        what = ["--starts", STARTS, "--seeds", seeds, *RECIPE]
        where = [str(asked.out / "data" / place), "--out", str(asked.out / "plain" / name)]
        yield [str(ROOT / "benchmarks" / "careful_baseline.py"), *where, *what]


COMMANDS = {"data": data, "medtl": medtl, "plain": plain}


def table(name: str, out: Path) -> str:
    """Markdown: the plain loop beside medtl's batch sizes, mean and SD over the seeds, which are those of all lists;
    of what has been trained so far."""
    own: dict[str, dict[int, dict[str, float]]] = {}
    grids: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    for place, seeds in STUDIES[name].lists:
        for start in STARTS.split(","):
            for seed in map(int, seeds.split(",")):
                cell = out / "plain" / name / f"{start}-seed{seed}" / "metrics.json"
                if cell.is_file():
                    own.setdefault(start, {})[seed] = read_object(cell)
        for setting, starts in careful_baseline.of_grid(out / "medtl" / place).items():
            for start, cells in starts.items():
                grids.setdefault(setting, {}).setdefault(start, {}).update(cells)
    return careful_baseline.table(own, grids)


def main() -> int:
    asked = parse()
    asked.shared, asked.out = asked.shared.resolve(), asked.out.resolve()
    steps = [(step, name) for step in COMMANDS if step in asked.steps for name in asked.studies]
    commands = ((f"{step} of {name}", words) for step, name in steps for words in COMMANDS[step](name, asked))
    status = follow(commands, asked.shared, asked.list)
    if not status and "table" in asked.steps and not asked.list:
        for name in asked.studies:
            print(f"\n{name}\n\n{table(name, asked.out)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
