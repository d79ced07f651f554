"""Near-duplicates: how often ``medtl check --against`` is wrong, either way, on real chest X-rays.

    python benchmarks/near_duplicates.py [--copies N]

False alarms: every pair of pictures of different people, among the children of ChestXRay2017 and the adults in
CheXpert's folders. Misses: copies of N pictures, each changed in one way that a picture changes on its way from one
collection into another. Pictures are looked for in $MEDTL_SHARED (../shared beside the repository).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import argparse
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.table import Table

from medtl import leaks
from medtl.readers.picture import read_picture
from medtl.signatures import Listed, fine_structure, perceptual_hash, sign

ROOT = Path(__file__).resolve().parents[1]
PERSON = re.compile(r"(?:person|IM-|patient)\d+")
CANDIDATE_BITS = 18


def _saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)


def _gamma(image: Image.Image, power: float) -> Image.Image:
    return image.point([round(255 * (value / 255) ** power) for value in range(256)])


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 75": lambda image: _saved(image, 75),
    "JPEG quality 30": lambda image: _saved(image, 30),
    "half the size": lambda image: _scaled(image, 0.5),
    "1.5 times the size": lambda image: _scaled(image, 1.5),
    "96 × 96 pixels": lambda image: image.resize((96, 96)),
    "three quarters of the height": lambda image: image.resize((image.width, image.height * 3 // 4)),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "25 % brighter, clipped": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "contrast 0.7": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "gamma 0.8": lambda image: _gamma(image, 0.8),
    "gamma 1.5": lambda image: _gamma(image, 1.5),
    "0.7 of the size, 8 % brighter, JPEG 75": lambda image: _saved(
        _scaled(ImageEnhance.Brightness(image).enhance(1.08), 0.7), 75
    ),
    "2 % cut off each side": lambda image: _cropped(image, 0.02),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def signed(paths: list[Path]) -> Listed:
    """The pictures as one list; of ``patients`` the number that the path names."""
    own = [sign(path) for path in paths]
    people = [PERSON.findall(str(path))[-1] for path in paths]
    return Listed(
        name="pictures",
        parts=("all",) * len(own),
        images=tuple(map(str, paths)),
        patients=tuple(people),
        sha256=tuple(one.sha256 for one in own),
        pixels=tuple(one.pixels for one in own),
        phashes=np.array([one.phash for one in own], dtype=np.uint64),
        details=np.stack([one.detail for one in own]),
    )


def false_alarms(pictures: Listed, console: Console) -> None:
    """Pairs of different people that pass the first step, both, and how far the closest is from passing."""
    people = np.array(pictures.patients)
    pairs = hashed = 0
    for start in range(0, len(people), 512):
        other = np.triu(people[start : start + 512, np.newaxis] != people, k=start + 1)
        bits = np.bitwise_count(pictures.phashes[start : start + 512, np.newaxis] ^ pictures.phashes)
        pairs += int(other.sum())
        hashed += int((other & (bits <= leaks.MOST_BITS)).sum())
    near = [
        (bits, correlation)
        for i, j, bits, correlation in leaks.near_pairs(pictures, pictures, CANDIDATE_BITS, 0.4)
        if i < j and people[i] != people[j] and pictures.pixels[i] != pictures.pixels[j]
    ]
    passed = [c for bits, c in near if bits <= leaks.MOST_BITS and c >= leaks.LEAST_CORRELATION]
    closest = max((c for bits, c in near if bits <= leaks.MOST_BITS), default=0.0)
    wide = max((c for _, c in near), default=0.0)
    console.print(
        f"{pairs:,} pairs of different people: {hashed:,} within {leaks.MOST_BITS} bits, {len(passed)} reported\n"
        f"highest correlation of a pair: {closest:.3f} within {leaks.MOST_BITS} bits, {wide:.3f} within"
        f" {CANDIDATE_BITS} bits; {leaks.LEAST_CORRELATION} is asked for",
        highlight=False,
        soft_wrap=True,
    )


def misses(pictures: Listed, places: np.ndarray, console: Console) -> None:
    """Copies found, for each change."""
    table = Table(title=f"copies of {len(places)} pictures")
    for column in ("change", "found", "most bits", "lowest correlation"):
        table.add_column(column, justify="left" if column == "change" else "right")
    originals = [read_picture(Path(pictures.images[place])) for place in places]
    for name, change in CHANGES.items():
        bits, correlations = [], []
        for place, grey in zip(places, originals, strict=True):
            copy = np.asarray(change(Image.fromarray(grey)))
            bits.append((perceptual_hash(copy) ^ int(pictures.phashes[place])).bit_count())
            x, y = fine_structure(copy).astype(float), pictures.details[place].astype(float)
            correlations.append(float(x @ y / np.sqrt((x @ x) * (y @ y))))
        found = (np.array(bits) <= leaks.MOST_BITS) & (np.array(correlations) >= leaks.LEAST_CORRELATION)
        table.add_row(name, f"{found.mean():.1%}", str(max(bits)), f"{min(correlations):.2f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=400, help="pictures that are copied")
    wanted = parser.parse_args().copies
    data = ROOT / os.environ.get("MEDTL_SHARED", "../shared") / "data"
    paths = sorted([*data.glob("chestxray2017/chest_xray/*/*/*"), *data.glob("chexpert/*/*/*/*/*.jpg")])
    if not paths:
        sys.exit("near_duplicates: real images are absent: set MEDTL_SHARED to the folder that holds data/")
    console = Console(width=100)
    pictures = signed(paths)
    false_alarms(pictures, console)
    misses(pictures, np.random.default_rng(0).choice(len(paths), min(wanted, len(paths)), replace=False), console)


if __name__ == "__main__":
    main()
