"""run.json: enough to say later what a run was: versions, seed, config, data hash, device, duration."""

import atexit
import datetime
import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

import medtl
from medtl import datalist
from medtl.bundle.overrides import effective_config
from medtl.datalist import DataList
from medtl.writers.atomic import write_text

PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "scikit-learn", "pillow")


class RunRecord:
    """What is known when a run starts; ``open`` writes it, ``close`` adds what came out.

    Args:
        bundle: its name and version, from metadata.
        listed: the data list.
        recipe: the hyperparameters by id, as used.
    """

    def __init__(self, bundle: Mapping[str, str], listed: DataList, recipe: Mapping[str, Any]) -> None:
        self._started = time.monotonic()
        sizes = {split: len(getattr(listed, split)) for split in datalist.SPLITS}
        self._content: dict[str, Any] = {
            "status": "running",
            "bundle": dict(bundle),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {
                "medtl": medtl.__version__,
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "device": device_name(str(recipe["device"])),
            "seed": recipe["seed"],
            "recipe": dict(recipe),
            "data": {
                "name": listed.name,
                "sample": listed.sample,
                "sha256": datalist.file_hash(listed.folder / datalist.FILE_NAME),
                "entries": sizes,
                "classes": list(listed.classes),
                "licence": listed.licence,
            },
            "command": sys.argv[1:],
            "config": effective_config(),
            "not for clinical use": True,
        }

    def open(self, folder: str) -> None:
        """Write run.json with status "running", on the first process."""
        if idist.get_rank() == 0:
            atexit.register(self._fail, Path(folder))
            self._write(Path(folder))

    def close(self, folder: Path, **outcome: Any) -> None:
        """Write run.json with status "finished", the duration and the outcome."""
        seconds = round(time.monotonic() - self._started, 1)
        self._content |= {"status": "finished", "duration_s": seconds, **outcome}
        self._write(folder)

    def _fail(self, folder: Path) -> None:
        """At the process's end: a run that is not closed by then has failed, and its folder may be used again."""
        if self._content["status"] == "running" and folder.is_dir():
            self._content["status"] = "failed"
            self._write(folder)

    def _write(self, folder: Path) -> None:
        write_text(folder / "run.json", json.dumps(self._content, indent=1, ensure_ascii=False, default=str) + "\n")


def device_name(device: str) -> str:
    """A device in words: the GPU's name, or the CPU's architecture and threads."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"
