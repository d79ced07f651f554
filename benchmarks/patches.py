"""Memory of a segmentation by the size of its pictures: on patches, and whole at the pictures' own size.

    python benchmarks/patches.py [--sides 512,1024,2048] [--patch-size 128] [--pictures 6]

Draws some pictures a size and, in a process of its own each, trains one epoch and predicts every picture by ResNet-18
and U-Net's decoder. Prints the peak of resident memory beside that of the smallest pictures, as a Markdown table.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from PIL import Image

from medtl import datalist
from medtl.data import patches, slices
from medtl.data.slices import SliceLoader
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.losses_segmentation import pixel_loss
from medtl.networks.segmenter import build_segmenter
from medtl.transforms.batch import BatchTransform, normalisation
from medtl.transforms.joint import JointTransform

BATCH = 4


def drawn(folder: Path, side: int, pictures: int) -> DataList:
    """Return a data list of drawn pictures with a bright disc each, all for training."""
    random = np.random.default_rng(side)
    rows, columns = np.mgrid[0:side, 0:side]
    entries = []
    for number in range(pictures):
        centre = random.uniform(0.3 * side, 0.7 * side, 2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (side / 8) ** 2
        picture = np.where(disc[..., None], 180, 60).astype(np.uint8) + random.integers(
            0, 40, (side, side, 3), np.uint8
        )
        Image.fromarray(picture).save(folder / f"{number}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / f"{number}_mask.png")
        case = {"case": str(number), "slice": 0, "spacing": [1.0, 1.0, 1.0], "patient": str(number), "source": "drawn"}
        case["sha256"] = file_hash(folder / f"{number}.png")
        entries.append({"image": f"{number}.png", "label": f"{number}_mask.png", **case})
    datalist.write(DataList("drawn", ("disc",), 3, "CC0-1.0", "drawn", True, entries, [], []), folder)
    return datalist.read(folder)


def peak(folder: Path, patch_size: int) -> float:
    """Return the peak of this process's resident memory in MiB after an epoch and a prediction of every picture.

    Args:
        folder: of a data list.
        patch_size: rows and columns; 0 takes the pictures whole, at their own size.
    """
    listed = datalist.read(folder)
    network, loss = build_segmenter("resnet18", 2, output_stride=32, decoder="unet"), pixel_loss("ce")
    optimiser = torch.optim.SGD(network.parameters(), 1e-3)
    augmented, plain = JointTransform(BatchTransform(seed=0)), JointTransform(normalisation())
    if patch_size:
        whole = patches.stored(listed, "train", patch_size)
        batches = patches.PatchLoader(patches.patches(whole, 4), BATCH, augmented, shuffle=True)
        predicted, infer = patches.WholeLoader(whole, plain), SlidingWindowInferer((patch_size, patch_size), BATCH)
    else:
        with Image.open(listed.absolute("train")[0]["image"]) as image:
            packed = slices.pack(listed, "train", image.size[0])
        batches = SliceLoader(packed, BATCH, augmented, shuffle=True)
        predicted, infer = SliceLoader(packed, 1, plain), lambda pictures, network: network(pictures)
    network.train()
    for batch in batches:
        optimiser.zero_grad()
        loss(network(batch["image"]), batch["label"]).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        for batch in predicted:
            infer(batch["image"], network).argmax(dim=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(side: int, patch_size: int, pictures: int) -> float:
    """Return ``peak`` in a process of its own, on pictures of side × side."""
    with tempfile.TemporaryDirectory() as folder:
        drawn(Path(folder), side, pictures)
        command = [sys.executable, __file__, "--of", folder, "--patch-size", str(patch_size)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Print the table, or with ``--of`` one peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="512,1024,2048")
    parser.add_argument("--patch-size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--whole-up-to", type=int, default=1024, help="largest side that is also taken whole")
    parser.add_argument("--of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.of:
        print(peak(Path(options.of), options.patch_size))
        return
    sides = [int(side) for side in options.sides.split(",")]
    print("| pictures | on patches, MiB | whole, MiB |\n|---|---|---|")
    for side in sides:
        whole = f"{measured(side, 0, options.pictures):,.0f}" if side <= options.whole_up_to else "–"
        patched = measured(side, options.patch_size, options.pictures)
        print(f"| {side} × {side} | {patched:,.0f} | {whole} |", flush=True)


if __name__ == "__main__":
    main()
