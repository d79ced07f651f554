"""Which start is best for a few hundred images, and does the probe say so? The tables of docs/results.md and
docs/transfer_study.md.

    python benchmarks/starts_study.py --out STUDY [--shared SHARED] [--sets breastmnist,busi] [--networks resnet18]
        [--steps data,probe,tune,report,ranks,fractions,table] [--selfsupervised OTHER] [--list]

Real images of SHARED/data are prepared; each start's frozen features are probed, and the same starts are fine-tuned on
the same patients, at 128 pixels. A step is commands that can also be typed one by one: each is printed before it runs.
What an earlier call has finished is not done again. A start is left out where it has seen the set's images.
``--selfsupervised`` adds what ``selfsupervised.py --out OTHER`` has pretrained to ResNet-18's starts.

``fractions`` probes each start on all training patients, a quarter and a tenth of them, drawn by five seeds; ``table``
prints the gains over random weights of the same network, and draws them into fractions.png.

``ranks`` reads what was measured. A set gives Spearman's correlation of the probe's and the fine-tuning's test AUC over
the starts. The mean over the sets has an interval of both chances: sets are drawn, and in each set patients.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import starts_fractions
from following import ROOT, follow, options, parsed
from numpy.typing import NDArray

from medtl.metrics.bootstrap import percentile
from medtl.report.arms import study
from medtl.report.collect import collect
from medtl.report.frozen import rank_agreement
from medtl.report.page import evaluate

STEPS = ("data", "probe", "tune", "report", "ranks", "fractions", "table")


@dataclass(frozen=True)
class Set:
    """A target.

    Attributes:
        raw: folder of SHARED/data.
        bundle: that fine-tunes on it.
        more: words for data_prep; {data} is the folder of the prepared sets.
        seeds: of the fine-tuning.
        fraction: of the training patients, so that some 400 pictures or fewer are trained on.
    """

    raw: str
    bundle: str
    more: str = ""
    seeds: str = "0,1,2"
    fraction: str = "1.0"


SETS = {
    "breastmnist": Set("breastmnist", "breastmnist", seeds="0,1,2,3,4"),
    "chestxray2017": Set("chestxray2017", "chestxray2017", "--test-fraction 0.15", seeds="0,1,2,3,4", fraction="0.1"),
    "busi": Set("busi", "busi", "--test-fraction 0.4"),
    "ham10000": Set("ham10000", "folder", "--test-fraction 0.25"),
    "covid_radiography": Set("covid_radiography", "covid_radiography", "--chestxray2017 {data}/chestxray2017"),
}
# what a network starts from, and which sets these weights have seen
STARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "timm/mobilenetv2_100": {"random": (), "imagenet": ()},
    "resnet18": {"random": (), "imagenet": (), "mini": ("chestxray2017", "covid_radiography")},
    "timm/tf_efficientnet_lite0": {"random": (), "imagenet": ()},
}
# runs of selfsupervised.py, which has seen what mini has seen of the sets here
SELFSUPERVISED = ("jigsaw", "context", "masked")
DRAWS, SHARES = "0,1,2,3,4", "1.0,0.25,0.1"
RECIPE = ("--image_size", "128", "--epochs", "5", "--batch_size", "64")  # batches as when the tables were made


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--networks", default=",".join(STARTS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--selfsupervised", type=Path, metavar="OTHER", help="folder of selfsupervised.py's study")
    return parsed(parser, {"sets": SETS, "networks": STARTS, "steps": STEPS})


def data(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    prepared = asked.out / "data"
    raw = str(asked.shared / "data" / SETS[name].raw)
    more = SETS[name].more.format(data=prepared).split()
    yield ["data_prep", name, "--raw", raw, *more, "--out", str(prepared / name)]


def starts(name: str, network: str, selfsupervised: Path | None) -> str:
    """Those of a network that have not seen the set."""
    known = STARTS[network]
    if selfsupervised is not None and network == "resnet18":
        known = known | {str(selfsupervised.resolve() / run): known["mini"] for run in SELFSUPERVISED}
    return ",".join(init for init, seen in known.items() if name not in seen)


def probe(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    for network in asked.networks:
        where = [str(asked.out / "data" / name), "--out", str(asked.out / name / "probe" / Path(network).name)]
        what = ["--backbones", network, "--starts", starts(name, network, asked.selfsupervised), "--heads", "logistic"]
        draws = ["--seeds", SETS[name].seeds, "--fractions", SETS[name].fraction, *RECIPE[:2]]
        yield ["medtl", "probe", *where, *what, *draws]


def tune(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    for network in asked.networks:
        where = ["--dataset_dir", str(asked.out / "data" / name)]
        where += ["--out", str(asked.out / name / "tuned" / Path(network).name)]
        what = ["--backbones", network, "--inits", starts(name, network, asked.selfsupervised)]
        draws = ["--seeds", SETS[name].seeds, "--fractions", SETS[name].fraction, *RECIPE]
        yield ["medtl", "compare", str(ROOT / "bundles" / SETS[name].bundle), *where, *what, *draws]


def report(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    yield ["medtl", "report", str(asked.out / name)]


def fractions(name: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    for network in asked.networks:
        where = [str(asked.out / "data" / name), "--out", str(asked.out / "fractions" / name / Path(network).name)]
        what = ["--backbones", network, "--starts", starts(name, network, asked.selfsupervised), "--heads", "logistic"]
        draws = ["--seeds", DRAWS, "--fractions", SHARES, *RECIPE[:2]]
        yield ["medtl", "probe", *where, *what, *draws]


COMMANDS = {"data": data, "probe": probe, "tune": tune, "report": report, "fractions": fractions}


@dataclass(frozen=True, eq=False)
class Measured:
    """A set's starts: ``rows`` holds for each its label and the test AUC of the probe and of the fine-tuning with 95 %
    intervals; ``drawn`` (2, starts, replicates) the same on drawn patients."""

    rows: list[tuple[str, tuple[float, float, float], tuple[float, float, float]]]
    drawn: NDArray[np.float64]

    @property
    def rank(self) -> float:
        values = np.array([[frozen[0], tuned[0]] for _, frozen, tuned in self.rows]).T
        return float(rank_agreement(values[0][:, None], values[1][:, None])[0])


def measured(folder: Path) -> Measured:
    """Read a set's runs: the starts that were both probed and fine-tuned."""
    results = evaluate(study(collect(folder)), None, "auc")
    rows, drawn = [], []
    for (row, init), arm in results.scored.items():
        other = results.scored.get((f"{row}, frozen", init))
        if other is None:
            continue
        both = [(each.value, each.low, each.high) for each in (other.estimate("auc"), arm.estimate("auc"))]
        rows.append((f"{row} {init}", *both))
        drawn.append([other.replicates("auc"), arm.replicates("auc")])
    return Measured(rows, np.array(drawn).transpose(1, 0, 2))


def over_sets(sets: list[Measured]) -> tuple[float, float, float]:
    """Mean rank correlation of the sets, with its interval from drawn sets and drawn patients."""
    each = np.array([rank_agreement(*found.drawn) for found in sets])
    chosen = np.random.default_rng(0).integers(0, len(sets), size=(len(sets), each.shape[1]))
    return float(np.mean([found.rank for found in sets])), *percentile(np.take_along_axis(each, chosen, 0).mean(0))


def shown(figure: tuple[float, float, float]) -> str:
    value, low, high = figure
    return f"{value:.3f}" + (f" ({low:.3f}–{high:.3f})" if math.isfinite(low) else "")


def ranks(asked: argparse.Namespace) -> None:
    """Print the table, and write it into ranks.json."""
    found = {name: measured(asked.out / name) for name in asked.sets}
    print("| set | start | probe, test AUC | fine-tuned, test AUC |\n|---|---|---|---|")
    for name, of_set in found.items():
        for label, frozen, tuned in sorted(of_set.rows, key=lambda row: -row[2][0]):
            print(f"| {name} | {label} | {shown(frozen)} | {shown(tuned)} |")
    kept: dict[str, object] = {}
    print("\n| set | starts | Spearman (95 % interval of the patients) |\n|---|---|---|")
    for name, of_set in found.items():
        ends = percentile(rank_agreement(*of_set.drawn))
        print(f"| {name} | {len(of_set.rows)} | {of_set.rank:.2f} ({ends[0]:.2f} to {ends[1]:.2f}) |")
        kept[name] = {"starts": of_set.rows, "spearman": of_set.rank, "interval": ends}
    mean = over_sets(list(found.values()))
    print(f"| mean of {len(found)} sets | | {mean[0]:.2f} ({mean[1]:.2f} to {mean[2]:.2f}: sets and patients) |")
    (asked.out / "ranks.json").write_text(json.dumps({**kept, "mean": mean}, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    asked = parse()
    asked.shared, asked.out = asked.shared.resolve(), asked.out.resolve()
    steps = [(step, name) for step in COMMANDS if step in asked.steps for name in asked.sets]
    commands = ((f"{step} of {name}", words) for step, name in steps for words in COMMANDS[step](name, asked))
    status = follow(commands, asked.shared, asked.list)
    if status:
        return status
    if "ranks" in asked.steps and not asked.list:
        ranks(asked)
    if "table" in asked.steps and not asked.list:
        sets = {name: starts_fractions.probed(asked.out / "fractions" / name) for name in asked.sets}
        print("\n".join(starts_fractions.lines(sets)))
        starts_fractions.draw(sets, asked.out / "fractions.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
