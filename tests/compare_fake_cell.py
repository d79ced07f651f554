"""One fake cell of a grid as a program: what a run leaves, after a while, or an error. Standard library alone, so that
it takes no time.

It trains for four steps, each of which changes what it will have measured in the end, and saves itself after each as a
real run does. What else it does is told by files in its dataset folder that hold the names of cells: ``early`` (those
that stop for a minute before they write anything), ``slow`` (those that do so half-way), ``brief`` (for a moment),
``deaf`` (those that do not hear that they are told to stop), ``told`` (those that somebody tells to stop, once for each
time that the name stands there) and ``fail``; it appends to ``ran`` when it begins, to ``steps`` after each step and
to ``ended`` when it has finished.
"""

import hashlib
import json
import signal
import sys
import time
from pathlib import Path

STEPS = 4
SAVED = 75


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def merged(config: dict, ids: dict) -> dict:
    """A config with overrides in their places, as a run records it."""
    for id_, value in ids.items():
        *outer, last = id_.split("#")
        place = config
        for part in outer:
            place = place[int(part) if isinstance(place, list) else part]
        place[last] = json.loads(value) if outer else value
    return config


def note(file: Path, name: str) -> None:
    """Append a name and the time."""
    with open(file, "a") as opened:
        opened.write(f"{name} {time.monotonic()}\n")


def count(file: Path, name: str) -> int:
    """How often a file names a cell."""
    return file.read_text().split().count(name) if file.exists() else 0


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, as real runs write."""
    part = path.with_name(f".{path.name}.medtl-part")
    part.write_text(text)
    part.replace(path)


def save(folder: Path, step: int, state: str) -> None:
    """A checkpoint after a step, with its hash beside it."""
    path = folder / "checkpoints" / f"epoch_{step:04d}.pt"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, state)
    write_whole(path.with_suffix(".json"), json.dumps({"sha256": digest(state)}))


def newest(folder: Path) -> tuple[int, str]:
    """Step and state of the last checkpoint that is whole; 0 where there is none."""
    for path in sorted((folder / "checkpoints").glob("epoch_*.json"), reverse=True):
        state = path.with_suffix(".pt").read_text()
        if digest(state) == json.loads(path.read_text())["sha256"]:
            return int(path.stem.removeprefix("epoch_")), state
    return 0, ""


class Cell:
    """The run of the cell whose ids are the first argument, as JSON; the second is the bundle's train.json."""

    def __init__(self, ids: dict, config: Path, resumes: bool) -> None:
        self.folder, self.data = Path(ids["output_dir"]), Path(ids["dataset_dir"])
        self.name = self.folder.name
        self.stopped = False
        before = self.folder / "run.json"
        if not resumes and (before.exists() or (self.folder / "model.pt").exists()):
            sys.exit("error: holds another run")
        note(self.data / "ran", self.name)
        self.wait("early", 60)
        self.step, self.state = newest(self.folder) if resumes else (0, "")
        self.record = {
            "bundle": {"name": "made_bundle", "version": "0.1.0"},
            "seed": int(ids["seed"]),
            "recipe": {"key_metric": "auc", "epochs": int(ids["epochs"])},
            "data": {"name": "made", "sha256": digest((self.data / "datalist.json").read_text())},
            "config": merged(json.loads(config.read_text()), ids),
            "start": {"sha256": "" if ids["init"] == "random" else digest(ids["init"] + ids["backbone"])},
            **(json.loads(before.read_text()) if resumes else {}),
        }
        if resumes:
            self.record["resumed"] = [*self.record.get("resumed", []), self.step]
        else:
            self.state = self.name + ids["epochs"]

    def write(self, status: str, **more: object) -> None:
        """run.json."""
        write_whole(self.folder / "run.json", json.dumps({**self.record, "status": status, **more}))

    def named(self, file: str) -> bool:
        """Whether a file names this cell."""
        return count(self.data / file, self.name) > 0

    def wait(self, file: str, seconds: float) -> None:
        """So long where a file names this cell, or until it is told to stop."""
        end = time.monotonic() + (seconds if self.named(file) else 0)
        while time.monotonic() < end and not self.stopped:
            time.sleep(0.02)

    def stop(self, *_: object) -> None:
        """Somebody tells it to stop."""
        self.stopped = not self.named("deaf")

    def run(self) -> None:
        """Train, from the first step or the next one."""
        self.write("running")
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self.stop)
        print("training", flush=True)
        while self.step < STEPS:
            self.train_a_step()
        metrics = {"val_accuracy": 0.5, "val_auc": int(digest(self.state)[:6], 16) / 16**6}
        (self.folder / "predictions.csv").write_text(self.state)
        (self.folder / "metrics.json").write_text(json.dumps(metrics))
        self.write("finished", duration_s=6.0, metrics=metrics)
        note(self.data / "ended", self.name)

    def train_a_step(self) -> None:
        """One step and its checkpoint, and what may come between it and the next."""
        self.step += 1
        self.state = digest(f"{self.state} {self.step}")
        note(self.data / "steps", f"{self.name}:{self.step}")
        (self.folder / "model.pt").write_text(self.state)
        save(self.folder, self.step, self.state)
        if self.step == STEPS // 2:
            if self.named("fail"):
                self.write("failed")
                print(f"error: --dataset_dir {self.data}: a.png cannot be read\nthe end", flush=True)
                sys.exit(3)
            self.wait("slow", 60)
            self.wait("brief", 0.3)
        if count(self.data / "ran", self.name) <= count(self.data / "told", self.name):
            self.stopped = True
        if self.stopped:
            self.write("interrupted")
            sys.exit(SAVED)


if __name__ == "__main__":
    Cell(json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["--resume", "auto"]).run()
