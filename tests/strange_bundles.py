"""Bundles that would do harm, made by hand; for the tests of what looks into them."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medtl.bundles.strangers.judge import Seen

IMPORTS = ["$import os", "$import sys", "$import pathlib", "$import functools", "$import pandas as pd", "$import glob"]


class Payload:
    """Pickled, it runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def bundle(folder: Path, train: Any = None, **files: bytes | str) -> Path:
    """A bundle's folder; ``train`` is its train.json, beside imports."""
    (folder / "configs").mkdir(parents=True)
    config = {"imports": IMPORTS, **train} if isinstance(train, dict) else train
    (folder / "configs" / "train.json").write_text(json.dumps(config if config is not None else {}))
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def told(seen: Seen) -> str:
    return "\n".join(f"{each.place} | {each.what} | {each.why}" for each in seen.faults)


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()
