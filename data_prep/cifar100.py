"""CIFAR-100: photographs of 32 pixels in a hundred classes, from the binary version (the Python version is pickled, and
reading it would run it)."""

from collections import Counter
from pathlib import Path

import numpy as np

from data_prep import listed
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.files import file_hash
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="cifar100",
    title="CIFAR-100, photographs of 32 pixels",
    task="classification",
    classes=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
        "willow_tree", "wolf", "woman", "worm",
    ),
    licence="not stated; for research",
    citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    how_to_get="Download the binary version, cifar-100-binary.tar.gz, and unpack it.",
    disk_gb=0.2,
    layout="cifar-100-binary/{train.bin,test.bin,fine_label_names.txt}",
    seen=False,
)  # fmt: skip
SIDE = 32
RECORD = 2 + 3 * SIDE * SIDE  # coarse label, fine label, then red, green and blue plane, row by row
RECORDS_A_PIECE = 1000
SPLITS = {"train": "", "test": "test"}


def find(raw: Path) -> Source:
    """Return the work of a download: chunks of records.

    Raises:
        UsageError: a file is absent or no whole number of records, or its class names are not CIFAR-100's.
    """
    names = listed.below(raw, "fine_label_names.txt", CARD)
    if tuple(names.read_text(encoding="utf-8").split()) != CARD.classes:
        raise UsageError(f"{names} does not hold CIFAR-100's class names in their order")
    works = []
    found: Counter[str] = Counter()
    for part in SPLITS:
        path = names.with_name(f"{part}.bin")
        if not path.is_file() or path.stat().st_size == 0 or path.stat().st_size % RECORD:
            raise UsageError(f"{path}: expected records of {RECORD} bytes of the binary version")
        labels = np.memmap(path, np.uint8, "r").reshape(-1, RECORD)[:, 1]
        found.update(CARD.classes[label] for label in labels if label < len(CARD.classes))
        place = path.relative_to(raw).as_posix()
        works += [
            Work(f"{part}{start:06d}", (path,), (place, part, start))
            for start in range(0, len(labels), RECORDS_A_PIECE)
        ]
    return Source(CARD.name, raw, tuple(works), process, {}, found, "images")


def process(work: Work, raw: Path, out: Path) -> Done:
    """Write one chunk of records as PNG."""
    place, part, start = work.payload
    records = np.memmap(raw / place, np.uint8, "r").reshape(-1, RECORD)[start : start + RECORDS_A_PIECE]
    done = Done()
    for number, record in enumerate(records, start):
        file = f"{part}/{number:05d}.png"
        if record[1] >= len(CARD.classes):
            done.rejected.append(Rejected(f"{place}#{number}", f"its class {record[1]} is not below 100"))
            continue
        target = f"images/{CARD.name}/{file}"
        write_png(out / target, np.moveaxis(record[2:].reshape(3, SIDE, SIDE), 0, 2))
        entry = {
            "image": target,
            "label": CARD.classes[record[1]],
            "patient": f"{CARD.name}/{file}",
            "source": CARD.name,
            "sha256": file_hash(out / target),
            "channels": 3,
        }
        done.entries.append(entry | ({"split": SPLITS[part]} if SPLITS[part] else {}))
    return done


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: four pictures a class, one of them for test."""
    rng = np.random.default_rng(0)
    place = folder / "cifar-100-binary"
    place.mkdir(parents=True)
    for part, count in (("train", 3), ("test", 1)):
        records = rng.integers(0, 200, (count * len(CARD.classes), RECORD), dtype=np.uint8)
        records[:, 0] = 0
        records[:, 1] = np.arange(len(records)) % len(CARD.classes)
        (place / f"{part}.bin").write_bytes(records.tobytes())
    (place / "fine_label_names.txt").write_text("\n".join(CARD.classes) + "\n", encoding="utf-8")


command = listed.command_of(CARD, find)
