"""Peak memory of packing a set and of an epoch over it, as the set grows tenfold: it should not grow along.

    python benchmarks/memory.py [--images N]

Each figure comes from a process of its own. A mapped file's pages count as resident while the system has room to spare
and are given back when it has not, so beside the peak the part that is not backed by files is shown (Linux only).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZE = 224
FACTOR = 10


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400, help="of the small set; the large one has ten times as many")
    parser.add_argument("--job", choices=("pack", "epoch"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def draw(folder: Path, count: int) -> None:
    """A data list of ``count`` grey PNG files, each of noise of its own."""
    from PIL import Image

    from medtl.datalist import DataList, write
    from medtl.files import file_hash

    entries = []
    for number in range(count):
        path = folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(np.kron(rough, np.ones((SIZE // 16, SIZE // 16), np.uint8))).save(path)
        entry = {"image": path.name, "label": number % 2, "patient": f"drawn/{number}", "source": "drawn"}
        entries.append({**entry, "sha256": file_hash(path)})
    write(DataList("drawn", ("a", "b"), 1, "", "", True, entries, [], [], folder), folder)


def anonymous() -> float:
    """MiB of this process that no file backs, now; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


def job(name: str, folder: Path) -> dict[str, float]:
    """Do one thing and tell the peak (MiB) of this process: before, after, and the anonymous part."""
    from medtl.data.packed import pack
    from medtl.data.packed_loader import PackedLoader
    from medtl.datalist import read
    from medtl.readers import picture  # noqa: F401  (imported now, so that it does not count)
    from medtl.transforms.batch import BatchTransform

    listed = read(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    highest = anonymous()
    packed = pack(listed, "train", SIZE, folder / "cache", 1)
    if name == "epoch":
        for batch in PackedLoader(packed, 32, shuffle=True, transform=BatchTransform()):
            highest = max(highest, anonymous())
            del batch
    highest = max(highest, anonymous())
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "anonymous": highest}


def main() -> None:
    args = parse()
    if args.job:
        print(json.dumps(job(args.job, args.folder)))
        return
    print(f"{'':8} {'images':>8} {'pixels':>10} {'peak':>10} {'without mapped files':>22}")
    with tempfile.TemporaryDirectory(prefix="medtl-memory-") as root:
        found: dict[str, list[float]] = {"pack": [], "epoch": []}
        for count in (args.images, FACTOR * args.images):
            folder = Path(root) / str(count)
            draw(folder, count)
            for name in ("pack", "epoch"):
                command = [sys.executable, __file__, "--job", name, "--folder", str(folder)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                numbers = json.loads(told.splitlines()[-1])
                found[name].append(numbers["anonymous"])
                pixels = count * SIZE**2 / 2**20
                row = f"{name:8} {count:8,} {pixels:6,.0f} MiB {numbers['peak']:6,.0f} MiB"
                print(f"{row} {numbers['anonymous']:18,.0f} MiB")
    for name, (small, large) in found.items():
        print(f"{name}: {FACTOR} times the images, {large / small:.2f} times the memory (aim: at most 1.1)")


if __name__ == "__main__":
    main()
