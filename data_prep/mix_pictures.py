"""The pictures of a mix: linked from the prepared sets, unless they are not what these list."""

import os
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_prep.folder_pixels import COLOURED
from data_prep.work import Done, Rejected, Work
from medtl.files import file_hash
from medtl.readers.raster import opened_picture


def process(work: Work, raw: Path, out: Path) -> Done:
    """Link (or, on another disk, copy) one chunk of pictures, unless they are not what was listed."""
    name, channels, rows = work.payload
    done = Done()
    for image, label, patient, source, sha256 in rows:
        inside = image.removeprefix("images/")
        target = f"images/{name}/{inside.removeprefix(f'{name}/')}"
        path = raw / image
        wrong = fault(image, path, sha256)
        if wrong:
            done.rejected.append(Rejected(image, wrong))
            continue
        link(path, out / target)
        entry: dict[str, Any] = {
            "image": target,
            "label": label,
            "patient": patient,
            "source": source,
            "sha256": sha256,
            "channels": 3 if channels == 3 and coloured(path) else 1,
        }
        done.entries.append(entry)
    return done


def fault(file: str, path: Path, sha256: str, what: str = "") -> str | None:
    """Return why a file of a data list cannot be used, or None.

    Args:
        file: as the list names it.
        path: where it lies.
        sha256: that it should have; empty for any.
        what: stands before the reason, where the file is not what the reason is told of.
    """
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        return f"{what}leads out of the data list's folder"
    if not path.is_file():
        return f"{what}is missing"
    return None if not sha256 or file_hash(path) == sha256 else f"{what}differs from what was listed (sha256)"


def link(path: Path, target: Path) -> None:
    """Link a file, or copy it where that cannot be; one that is there already stays."""
    if target.exists():
        return  # an image with several labels
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another disk, or one without links
        target.write_bytes(path.read_bytes())


def coloured(path: Path) -> bool:
    """Return whether a picture's channels differ."""
    with opened_picture(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return int((pixels.max(axis=2) - pixels.min(axis=2)).max()) > COLOURED
