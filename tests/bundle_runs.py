"""Running a bundle as a user does, and reading what it wrote; for the tests of bundles."""

import contextlib
import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from data_prep.cpmid import CARD as CPMID
from medtl.bundles import facade
from medtl.files import file_hash

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "cpmid_resnet18"
CPU = ("--num_workers", "0", "--device", "cpu")
SMALL = ("--epochs", "1", "--image_size", "32", "--batch_size", "20", "--num_workers", "0")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node")
PROBABILITIES = [f"prob_{name}" for name in CPMID.classes]


def config(*names: str, folder: Path = BUNDLE) -> str:
    """The --config_file value of one or several of a bundle's configs."""
    paths = [str(folder / "configs" / f"{name}.json") for name in names]
    return paths[0] if len(paths) == 1 else str(paths)


def bundle(*words: str, cwd: Path | None = None, processes: int = 0) -> tuple[int, str]:
    """``python -m monai.bundle …``, under torchrun where ``processes`` asks; exit status and all that was printed."""
    launcher = (*TORCHRUN, str(processes)) if processes else ()
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "monai.bundle", *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


def bundle_here(*words: str, cwd: Path | None = None) -> tuple[int, str]:
    """The same inside this process, which has imported everything already: a second instead of ten."""
    import fire
    import monai.bundle
    import torch

    torch.set_num_threads(1)
    status = 0
    printed = io.StringIO()
    before = sys.argv
    sys.argv = ["monai.bundle", *words]  # where --debug is looked for
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(cwd or Path()))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(printed))
        stack.enter_context(mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}))
        try:
            fire.Fire(vars(monai.bundle))
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException as error:
            status = facade.end(error)  # as the excepthook of a command does
        finally:
            sys.argv = before
    return status, printed.getvalue()


def last_line(printed: str) -> str:
    """The last line of what was printed."""
    return printed.strip().splitlines()[-1]


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV's rows."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def probabilities(table: list[dict[str, str]]) -> np.ndarray:
    """(rows, 20) probabilities of a predictions.csv."""
    return np.array([[float(row[name]) for name in PROBABILITIES] for row in table])


def draw(folder: Path, name: str, kind: int, seed: int) -> dict:
    """Write one picture whose class can be seen; its entry."""
    random = np.random.default_rng((kind, seed))
    pixels = random.integers(0, 60, (40, 48), dtype=np.uint8)
    pixels[2 * kind : 2 * kind + 3, :] = 220
    path = folder / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    patient = f"made/{name.split('.')[0]}"
    sha256 = file_hash(path)
    return {"image": f"images/{name}", "label": kind, "patient": patient, "source": "made", "sha256": sha256}
