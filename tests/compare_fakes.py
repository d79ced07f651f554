"""A bundle whose cells take no time, for the tests of comparisons; as a program, a comparison of it.

Its words: FOLDER JOBS [SCHEDULER].
"""

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_fake_cell

from medtl.compare.plan import Request
from medtl.compare.run import compare
from medtl.compare.task import Task
from medtl.datalist import FILE_NAME
from medtl.errors import UsageError, guarded

CONFIG = {
    "dataset_dir": "$sample.prepared('made')",
    "output_dir": "$resuming.output_dir(@bundle_root, @resume)",
    "resume": "",
    "save_interval": 600,
    "seed": 0,
    "backbone": "resnet18",
    "init": "random",
    "fold": None,
    "train_fraction": 1.0,
    "epochs": "$8 if @data.sample else @published#epochs",
    "image_size": 64,
    "published": {"epochs": 100},
    "train": {"trainer": {"amp": True}},
}


def request_of(folder: Path) -> Request:
    """Two networks × two seeds."""
    return Request(
        folder / "made_bundle",
        folder / "data",
        ("resnet18", "resnet34"),
        ("random",),
        (0, 1),
        folder / "grid",
        ids={"epochs": "3"},
    )


def make(folder: Path) -> Request:
    """A bundle and a data list in ``folder``, and their request."""
    request = request_of(folder)
    configs = request.bundle / "configs"
    configs.mkdir(parents=True)
    (configs / "train.json").write_text(json.dumps(CONFIG))
    (configs / "metadata.json").write_text(json.dumps({"version": "0.1.0"}))
    request.dataset_dir.mkdir()
    entry = {"image": "a.png", "label": 0, "patient": "made/a", "source": "made", "sha256": "0"}
    listed = {"training": [{**entry, "fold": fold} for fold in (0, 1)], "validation": [entry], "test": [entry]}
    (request.dataset_dir / FILE_NAME).write_text(json.dumps({"name": "made", "classes": ["one", "two"], **listed}))
    return request


def command(task: Task, resumes: bool) -> list[str]:
    """Of a fake cell; without site-packages, which it has no use for."""
    words = [json.dumps(dict(task.overrides)), str(task.bundle.folder / "configs" / "train.json")]
    return [sys.executable, "-S", "-E", compare_fake_cell.__file__, *words, *(["--resume", "auto"] if resumes else [])]


def resolve(init: str, backbone: str) -> str | None:
    """A hash for every start but one that resnet34 has not."""
    if init == "cpmid" and backbone == "resnet34":
        raise UsageError("--inits cpmid: no weights of resnet34 in /somewhere/else")
    return None if init == "random" else compare_fake_cell.digest(init + backbone)


def preflight(config: Path, overrides: Mapping[str, str]) -> str:
    """What is wrong with all cells: nothing but no epochs."""
    return "--epochs 0: expected a whole number of at least 1" if overrides.get("epochs") == "0" else ""


def run(request: Request, **changes: Any) -> int:
    """Compare with fake cells, the request changed."""
    return compare(replace(request, **changes), command=command, resolve=resolve, preflight=preflight)


def attempts(request: Request) -> list[str]:
    """The names of the cells that were begun, in order, with repetition."""
    ran = request.dataset_dir / "ran"
    return [line.split()[0] for line in ran.read_text().splitlines()] if ran.exists() else []


def steps(request: Request) -> list[str]:
    """``cell:step`` for each step that was trained, in order, with repetition."""
    return [line.split()[0] for line in (request.dataset_dir / "steps").read_text().splitlines()]


def records(request: Request) -> dict[str, dict[str, Any]]:
    """What each cell says of itself."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(request.out.glob("cells/*/run.json"))}


def results(request: Request) -> dict[str, str]:
    """What each finished cell measured."""
    return {path.parent.name: path.read_text() for path in sorted(request.out.glob("cells/*/metrics.json"))}


def main() -> None:
    """Compare as a process of its own, which can be told to stop."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
    request = request_of(Path(sys.argv[1]))
    dask = sys.argv[3] if len(sys.argv) > 3 else None
    seeds = tuple(map(int, sys.argv[4:])) or request.seeds
    guarded(lambda: sys.exit(run(request, jobs=int(sys.argv[2]), dask=dask, seeds=seeds)), "medtl")


if __name__ == "__main__":
    main()
