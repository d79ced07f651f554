"""run.json: enough to say later what a run was: versions, seed, config, data hash, device, duration."""

import atexit
import datetime
import json
import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

import medtl
from medtl import datalist
from medtl.bundle.boundary import one_line
from medtl.bundle.overrides import effective_config
from medtl.console import tell
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.weights.load import LoadReport
from medtl.weights.starts import Start
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
        self._seconds = 0.0  # of what a resumed run took before
        self.lock: object = None  # on the run's folder, held as long as this lives
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
                "sources": sorted({str(entry.get("source", "")) for _, entry in listed} - {""}),
                "training_images": datalist.class_counts(listed, "training"),
                "channels": listed.channels,
                "licence": listed.licence,
                "overlaps": datalist.overlaps(listed),
            },
            "command": sys.argv[1:],
            "config": _without_resuming(effective_config()),
            "not for clinical use": True,
        }

    @property
    def content(self) -> Mapping[str, Any]:
        """What run.json holds."""
        return self._content

    def open(self, folder: str) -> None:
        """Write run.json with status "running", on the first process."""
        if idist.get_rank() == 0:
            atexit.register(self._fail, Path(folder))
            self._write(Path(folder))

    def go_on(self, folder: str, before: Mapping[str, Any], checkpoint: str) -> None:
        """Write run.json of a run that is resumed: as it was begun, and from where it goes on.

        Args:
            folder: the run's.
            before: its run.json.
            checkpoint: name of the file.
        """
        kept = {name: before[name] for name in ("started", "command", "config", "start") if name in before}
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        resumed = [*before.get("resumed", ()), {"at": now, "from": checkpoint}]
        self._content |= {**kept, "resumed": resumed}
        self.open(folder)

    @one_line
    def started_from(self, start: Start, loaded: LoadReport | None, folder: str) -> None:
        """Add what the network started from, and say so where those weights know this data set already.

        Args:
            start: where the weights were found.
            loaded: what of them fitted; None for a random start.
            folder: the run's.

        Raises:
            UsageError: a resumed run was begun from other weights.
        """
        before = self._content.get("start", {}).get("sha256", start.sha256)
        if before != start.sha256:
            raise UsageError(f"--resume: {start.path or start.init} holds other weights than the run was begun from")
        self._content["start"] = {
            "init": start.init if start.path is None or "/" not in start.init else start.path.name,
            "file": start.path.name if start.path else None,
            "sha256": start.sha256,
            "licence": start.licence,
            "coverage": loaded.coverage if loaded else 0.0,
            "mean": list(start.mean),
            "std": list(start.std),
            "trained_on": list(start.trained_on),
        }
        if idist.get_rank() > 0:
            return
        name = self._content["data"]["name"]
        if name in start.trained_on:
            tell(
                f"WARNING: these weights were trained on {name}, too: test images may be among what they have seen;"
                " medtl check DATA --against THEIR_DATA finds out"
            )
        self._write(Path(folder))

    def close(self, folder: Path, **outcome: Any) -> None:
        """Write run.json with status "finished", the duration and the outcome."""
        self._content |= {"status": "finished", "duration_s": self._duration(), **outcome}
        self._write(folder)

    def interrupt(self, folder: Path) -> None:
        """Write run.json with status "interrupted": saved, and waiting to go on."""
        self._content |= {"status": "interrupted", "duration_s": self._duration()}
        self._write(folder)

    def state_dict(self) -> dict[str, Any]:
        """How long the run has taken, for a checkpoint."""
        return {"seconds": self._duration()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Count from there."""
        self._seconds, self._started = state["seconds"], time.monotonic()

    def _duration(self) -> float:
        return round(self._seconds + time.monotonic() - self._started, 1)

    def _fail(self, folder: Path) -> None:
        """At the process's end: a run that is not closed by then has failed, and its folder may be used again."""
        if self._content["status"] == "running" and folder.is_dir():
            self._content["status"] = "failed"
            with suppress(OSError):  # a full disk has been reported by now
                self._write(folder)

    def _write(self, folder: Path) -> None:
        write_text(folder / "run.json", json.dumps(self._content, indent=1, ensure_ascii=False, default=str) + "\n")


def _without_resuming(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it would be without ``--resume``: the run is the same."""
    return {**config, "resume": ""} if "resume" in config else config


def device_name(device: str) -> str:
    """A device in words: the GPU's name, or the CPU's architecture and threads."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"
