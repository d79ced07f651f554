"""What an installed wheel does without the checkout: find its bundles, train on the sample, compare and report.

    python -I tests/wheel_alone.py FOLDER

Run by ``tox -e wheel`` in an environment that holds nothing but the wheel and what it needs. Python only, no pytest.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SHORT = ("--epochs", "1", "--num_workers", "0", "--device", "cpu")


def run(folder: Path, *words: str) -> str:
    """What a command prints that is run in a folder; its errors end this."""
    done = subprocess.run([sys.executable, "-P", "-m", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"wheel_alone.py: {' '.join(words)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    import medtl

    place = Path(medtl.__file__).resolve()
    if CHECKOUT in place.parents and Path(sysconfig.get_path("purelib")).resolve() not in place.parents:
        sys.exit(f"wheel_alone.py: medtl comes from the checkout ({place}), not from a wheel")
    bundle = Path(run(folder, "medtl", "path", "cpmid_resnet18").strip())
    assert place.parent in bundle.parents, bundle
    listed = json.loads(run(folder, "medtl", "list", "--json"))
    assert len(listed["bundles"]) > 10, listed["bundles"]
    config = str(bundle / "configs" / "train.json")
    run(folder, "monai.bundle", "run", "--config_file", config, "--output_dir", "run", *SHORT)
    metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["val_accuracy"] <= 1, metrics
    run(folder, "data_prep", "breastmnist", "--raw", "sample", "--out", "data")
    grid = ("--dataset_dir", "data", "--backbones", "resnet18", "--inits", "mini", "--seeds", "0", "--out", "grid")
    run(folder, "medtl", "compare", "folder", *grid, "--epochs", "1", "--image_size", "32")
    run(folder, "medtl", "report", "grid")
    assert (folder / "grid" / "report.html").stat().st_size > 10_000
    print(f"{place.parent}: {len(listed['bundles'])} bundles, trained (accuracy {metrics['val_accuracy']:.3f}),"
          " compared and reported without the checkout")  # fmt: skip


if __name__ == "__main__":
    main()
