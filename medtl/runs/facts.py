"""What every run.json says of its data, its start, its software and its device. No torch until a device is named."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from medtl import datalist
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.runs.record import Data, Start
from medtl.version import __version__

if TYPE_CHECKING:
    from medtl.weights import starts

PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "scikit-learn", "pillow")


def data_of(listed: DataList) -> Data:
    """Return what is recorded of a data list, with what its splits share."""
    return Data(
        name=listed.name,
        sha256=file_hash(listed.folder / datalist.FILE_NAME),
        classes=tuple(listed.classes),
        channels=listed.channels,
        sample=listed.sample,
        entries={split: len(getattr(listed, split)) for split in datalist.SPLITS},
        sources=tuple(sorted({str(entry.get("source", "")) for _, entry in listed} - {""})),
        training_images=datalist.class_counts(listed, "training"),
        licence=listed.licence,
        overlaps=tuple(datalist.overlaps(listed)),
        positive=listed.positive,
    )


def start_of(start: starts.Start, coverage: float | None = None, used: float | None = None) -> Start:
    """Return what is recorded of a start.

    Args:
        start: where the weights were found.
        coverage: share of the trunk's parameters that came from there; None where the network keeps what it has.
        used: share of the file's trunk that was taken.
    """
    return Start(
        init=start.init if start.path is None or "/" not in start.init else start.path.name,
        file=start.path.name if start.path else None,
        sha256=start.sha256,
        coverage=float(bool(start.sha256)) if coverage is None else coverage,
        used=used,
        licence=start.licence,
        trained_on=tuple(start.trained_on),
        mean=tuple(start.mean),
        std=tuple(start.std),
    )


def seen_before(start: starts.Start, name: str) -> str:
    """Return the warning that weights know a data set already; empty where nothing says so.

    Args:
        start: where the weights were found.
        name: of the data set.
    """
    if name not in start.trained_on:
        return ""
    return (
        f"WARNING: these weights were trained on {name}, too: test images may be among what they have seen;"
        " medtl check DATA --against THEIR_DATA finds out"
    )


def versions() -> dict[str, str]:
    """Return the versions of the software that results depend on."""
    packages = {package: version(package) for package in PACKAGES}
    return {"medtl": __version__, "python": platform.python_version(), **packages}


def now() -> str:
    """Return date and time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def device_name(device: str) -> str:
    """Return a device in words: the GPU's name, or the CPU's architecture and threads."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"
