"""Does pretraining without labels on a few medical pictures make a better start than random weights or ImageNet's?

    python benchmarks/selfsupervised.py --out STUDY [--shared SHARED] [--steps data,leaks,…] [--epochs 40] [--list]

Jigsaw puzzles, context restoration and masked pictures, each on chestxray2017, tnbc and chase_db1 of SHARED/data, then
probed beside random and ImageNet on breastmnist, as published and dealt anew (which tests on more pictures); and masked
pictures on three numbers of pictures with equally many updates. A step is commands that can also be typed one by one:
each is printed before it runs. The same call goes on where an earlier one stopped or was killed. ``table`` prints the
gains, and draws the AUC over the number of pictures into sizes.png.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import selfsupervised_sizes
from following import ROOT, follow, options, parsed

CONFIG = ROOT / "bundles" / "pretrain" / "configs" / "train.json"
BATCH = 128
METHODS = {"jigsaw": "jigsaw(permutations=100)", "context": "context", "masked": "masked"}
SIZES = (500, 1500)  # pictures of each set, beside all of them
SEEDS = "0,1,2,3,4"
RUNS = (*METHODS, *(f"masked{size}" for size in SIZES))
STEPS = ("data", "leaks", *RUNS, "probe", "table")
REDEALT = "breastmnist_redealt"
OF_REDEALT = ("--name", REDEALT, "--classes", "malignant,normal_or_benign", "--licence", "CC BY 4.0")
TARGETS = ("breastmnist", REDEALT)


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--steps", default=",".join(STEPS), help=f"some of {','.join(STEPS)}")
    parser.add_argument("--epochs", type=int, default=40, help="over all pictures; fewer pictures get more epochs")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=0, help="most pictures of each set, for a trial; 0 for all")
    return parsed(parser, {"steps": STEPS})


def write_table(data: Path, table: Path) -> None:
    """The pictures of tnbc and chase_db1 as a table: the set is the class, a slide or a child the patient."""
    rows = [
        (path.relative_to(data).as_posix(), "tnbc", f"tnbc {path.stem.partition('_')[0]}")
        for path in sorted((data / "tnbc" / "images").glob("*.png"))
    ]
    rows += [
        (path.relative_to(data).as_posix(), "chase_db1", f"chase {path.stem[len('Image_') : -1]}")
        for path in sorted((data / "chase_db1" / "CHASEDB1").glob("*.jpg"))
    ]
    table.parent.mkdir(parents=True, exist_ok=True)
    with open(table, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "patient"), *rows])


def mixes(asked: argparse.Namespace) -> dict[str, int]:
    """Name of each mix and the most pictures of each set in it, 0 for all."""
    return {"mix": asked.samples, **{f"mix{size}": size for size in SIZES}}


def data(asked: argparse.Namespace) -> Iterator[list[str]]:
    """Prepared sets, and the mixes of them without what the target holds."""
    made, raw = asked.out / "data", asked.shared / "data"
    for name in ("breastmnist", "chestxray2017"):
        yield ["data_prep", name, "--raw", str(raw / name), "--out", str(made / name)]
    dealt = str(made / f"{REDEALT}.csv")
    yield [str(ROOT / "benchmarks" / "deal_breastmnist.py"), str(made / "breastmnist"), dealt]
    words = ["data_prep", "folder", "--raw", str(made / "breastmnist"), "--table", dealt, "--key-file", dealt]
    yield [*words, *OF_REDEALT, "--out", str(made / REDEALT)]
    table = made / "others.csv"
    if not asked.list:
        write_table(raw, table)
    # the pictures are public, so the key to their patients' hashes need be no secret: the table is the key
    words = ["data_prep", "folder", "--raw", str(raw), "--table", str(table), "--key-file", str(table)]
    yield [*words, "--name", "others", "--test-fraction", "0", "--out", str(made / "others")]
    lists = f"chest={made / 'chestxray2017'},others={made / 'others'}"
    for name, samples in mixes(asked).items():
        words = ["data_prep", "mix", "--lists", lists, "--exclude", str(made / "breastmnist"), "--name", name]
        yield [*words, "--samples", str(samples), "--out", str(made / name)]


def pretraining(step: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    """One run; a mix of fewer pictures is seen so much oftener that the number of updates is about the same."""
    method = step.rstrip("0123456789")
    mix = "mix" + step.removeprefix(method)
    epochs = asked.epochs
    if mix != "mix" and not asked.list:
        whole, part = (training_pictures(asked.out / "data" / name) for name in ("mix", mix))
        epochs = round(epochs * max(1, whole // BATCH) / max(1, part // BATCH))
    where = ["--dataset_dir", str(asked.out / "data" / mix), "--output_dir", str(asked.out / step), "--resume", "auto"]
    words = ["--method", METHODS[method], "--epochs", str(epochs), "--image_size", str(asked.image_size)]
    more = ["--batch_size", str(BATCH), "--learning_rate", "0.05", "--num_workers", "0", "--device", "cpu"]
    yield ["monai.bundle", "run", "--config_file", str(CONFIG), *where, *words, *more]


def training_pictures(folder: Path) -> int:
    from medtl import datalist

    return len(datalist.read(folder).training)


def probe(asked: argparse.Namespace) -> Iterator[list[str]]:
    """What the frozen features of each start tell of breast ultrasounds, with intervals by patient."""
    runs = [asked.out / run for run in RUNS]
    starts = ",".join(["random", "imagenet", *(str(run) for run in runs if asked.list or (run / "model.pt").is_file())])
    words = ["--starts", starts, "--backbones", "resnet18", "--seeds", SEEDS, "--image_size", str(asked.image_size)]
    for target in TARGETS:
        where = str(asked.out / "probe" / target)
        yield ["medtl", "probe", str(asked.out / "data" / target), *words, "--heads", "logistic", "--out", where]
        yield ["medtl", "report", where]


def show(asked: argparse.Namespace) -> None:
    """Print the table of the probes; draw them over the numbers of pictures."""
    probes = {target: asked.out / "probe" / target for target in TARGETS}
    print("\n".join(selfsupervised_sizes.lines(probes)))
    sizes = {"masked": "mix", **{f"masked{size}": f"mix{size}" for size in SIZES}}
    pictures = {run: training_pictures(asked.out / "data" / mix) for run, mix in sizes.items()}
    if selfsupervised_sizes.draw(probes, pictures, asked.out / "sizes.png"):
        print(f"drawn: {asked.out / 'sizes.png'}")


def commands(step: str, asked: argparse.Namespace) -> Iterator[list[str]]:
    """What a step runs: modules and their words."""
    if step == "data":
        return data(asked)
    if step == "leaks":
        made = asked.out / "data"
        return iter(
            [["medtl", "check", str(made / "breastmnist"), "--against", str(made / name)] for name in mixes(asked)]
        )
    return probe(asked) if step == "probe" else pretraining(step, asked)


def main() -> int:
    asked = parse()
    asked.shared, asked.out = asked.shared.resolve(), asked.out.resolve()
    wanted = asked.steps
    steps = ((step, words) for step in wanted if step != "table" for words in commands(step, asked))
    status = follow(steps, asked.shared, asked.list)
    if not status and "table" in wanted and not asked.list:
        show(asked)
    return status


if __name__ == "__main__":
    sys.exit(main())
