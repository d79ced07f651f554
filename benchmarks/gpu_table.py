"""Print the figures that benchmarks/gpu.sh left in a folder as one Markdown table.

python benchmarks/gpu_table.py FOLDER
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def spread(rates: list[float]) -> str:
    """Return the median and the range of the rounds."""
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def rows(name: str, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (step, what, figure) of one step's JSON."""
    if "networks" in found:
        return [
            (name, network, f"bare {spread(each['images_per_second']['bare'])}, medtl "
             f"{spread(each['images_per_second']['medtl'])} images/s, medtl/bare {each['medtl/bare']:.2f}")
            for network, each in found["networks"].items()
        ]  # fmt: skip
    if "runs" in found:
        return [(name, run, ", ".join(f"{k} {v}" for k, v in each.items())) for run, each in found["runs"].items()]
    table = [(name, way, f"{spread(rates)} images/s") for way, rates in found["images_per_second"].items()]
    table += [(name, what, f"{each['value']:.2f}, aim {each['aim']:g}") for what, each in found["ratios"].items()]
    if found.get("peak_gpu_gib"):
        table.append((name, "peak memory", f"{found['peak_gpu_gib']:.1f} GiB"))
    return table


def main() -> None:
    folder = Path(sys.argv[1])
    print("| step | what | figure |\n|---|---|---|")
    for path in sorted(folder.glob("*.json")):
        for row in rows(path.stem, json.loads(path.read_text(encoding="utf-8"))):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
