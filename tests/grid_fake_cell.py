"""One fake cell of a grid as a program: what a run leaves, after a while, or an error. Standard library alone, so that
it takes no time.

What it does is told by files in its dataset folder that hold the names of cells: ``early`` (those that stop for a
minute before they write anything), ``slow`` (those that do so half-way), ``brief`` (for a moment) and ``fail``; it
appends to ``ran`` when it begins and to ``ended`` when it has finished.
"""

import hashlib
import json
import sys
import time
from pathlib import Path


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def note(file: Path, name: str) -> None:
    """Append a name and the time."""
    with open(file, "a") as opened:
        opened.write(f"{name} {time.monotonic()}\n")


def named(file: Path, name: str) -> bool:
    """Whether a file names a cell."""
    return file.exists() and name in file.read_text().split()


def write_record(folder: Path, record: dict) -> None:
    """run.json, whole or not at all as the real one."""
    part = folder / ".run.json.medtl-part"
    part.write_text(json.dumps(record))
    part.replace(folder / "run.json")


def main() -> None:
    """Run the cell whose ids are the first argument, as JSON; the second is the bundle's train.json."""
    ids = json.loads(sys.argv[1])
    folder, data = Path(ids["output_dir"]), Path(ids["dataset_dir"])
    if (folder / "model.pt").exists() or (folder / "run.json").exists():
        sys.exit("error: holds another run")
    note(data / "ran", folder.name)
    time.sleep(60 if named(data / "early", folder.name) else 0)
    record = {
        "status": "running",
        "bundle": {"name": "made_bundle", "version": "0.1.0"},
        "seed": int(ids["seed"]),
        "recipe": {"key_metric": "auc", "epochs": int(ids["epochs"])},
        "data": {"name": "made", "sha256": digest((data / "datalist.json").read_text())},
        "config": {**json.loads(Path(sys.argv[2]).read_text()), **ids},
        "start": {"sha256": "" if ids["init"] == "random" else digest(ids["init"] + ids["backbone"])},
    }
    write_record(folder, record)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "epoch1.pt").write_text("half")
    (folder / "model.pt").write_text("best so far")
    print("training", flush=True)
    if named(data / "fail", folder.name):
        write_record(folder, {**record, "status": "failed"})
        print(f"error: --dataset_dir {data}: a.png cannot be read\nthe end", flush=True)
        sys.exit(3)
    time.sleep(60 if named(data / "slow", folder.name) else 0.3 if named(data / "brief", folder.name) else 0)
    name = folder.name + ids["epochs"]
    metrics = {"val_accuracy": 0.5, "val_auc": int(digest(name)[:6], 16) / 16**6}
    for file_name in ("model.pt", "predictions.csv"):
        (folder / file_name).write_text(name)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    record |= {"status": "finished", "duration_s": 6.0, "metrics": metrics}
    write_record(folder, record)
    note(data / "ended", folder.name)


if __name__ == "__main__":
    main()
