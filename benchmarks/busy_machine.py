"""Images a second of the main job on a quiet machine and beside busy processes: it should keep half of its speed beside
one.

    python benchmarks/busy_machine.py [--busy 0,1] [--epochs 3]

Trains bundles/cpmid_resnet18 on the built-in sample (phantoms) for a few epochs, once for each number of busy
processes, and reads the rate of the last epoch from the lines that it prints, and its threads from run.json.
OMP_NUM_THREADS, which would choose the threads, is taken out of its environment.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[1] / "bundles" / "cpmid_resnet18" / "configs" / "train.json"
RATE = re.compile(r"([\d,]+) images/s")
SETTLE = 1.0  # seconds


def burn() -> None:
    """Use one core until killed."""
    while True:
        pass


def main_job(epochs: int, out: Path) -> tuple[int, int]:
    """Return images a second of the last epoch, and the number of threads."""
    words = [
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(CONFIG),
        "--epochs",
        str(epochs),
        "--output_dir",
        str(out),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=True)
    rates = [int(found.replace(",", "")) for found in RATE.findall(done.stdout + done.stderr)]
    return rates[-1], json.loads((out / "run.json").read_text(encoding="utf-8"))["threads"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", default="0,1", help="numbers of busy processes; the first is the base")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    base = 0
    with tempfile.TemporaryDirectory(prefix="medtl-busy-") as folder:
        main_job(1, Path(folder) / "warm")  # makes the sample, packs it
        for word in args.busy.split(","):
            others = [multiprocessing.get_context("fork").Process(target=burn, daemon=True) for _ in range(int(word))]
            for other in others:
                other.start()
            time.sleep(SETTLE)
            rate, threads = main_job(args.epochs, Path(folder) / word)
            for other in others:
                other.kill()
            base = base or rate
            told = f"{rate:,} images/s, {threads} thread(s), {rate / base:.2f} of the first"
            print(f"beside {word} busy process(es): {told}")


if __name__ == "__main__":
    main()
