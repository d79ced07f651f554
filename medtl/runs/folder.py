"""The folder that a run writes into: found or made before anything is loaded, and never another run's."""

import datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from medtl.errors import UsageError
from medtl.runs import record

OTHER_RUN = "holds another run; choose another folder"


def new(bundle_root: str) -> str:
    """Return ``runs/<bundle>/<date-time>`` in the working directory (in the bundle's own folder: beside all bundles,
    because nothing is ever written into a bundle); of several processes all get the first one's."""
    folder = str(runs(bundle_root) / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}")
    return str(idist.broadcast(folder)) if idist.get_world_size() > 1 else folder


def runs(bundle_root: str) -> Path:
    """Return where a bundle's runs lie unless they are told to lie elsewhere."""
    root = Path(bundle_root)
    base = root.parents[1] if Path.cwd().is_relative_to(root) else Path()
    return base / "runs" / root.name


def create(output_dir: str) -> None:
    """Make the run's folder on the first process, and stop all of them where that cannot be done.

    Raises:
        UsageError: it holds another run, or cannot be made or written.
    """
    check_name(output_dir)
    folder = Path(output_dir)
    problem = problem_of(folder) if idist.get_rank() == 0 else ""
    if idist.get_world_size() > 1:
        problem = str(idist.broadcast(problem or "none", safe_mode=True)).removeprefix("none")
    if problem:
        raise UsageError(f"--output_dir {folder} {problem}")


def check_name(output_dir: Any) -> None:
    """Refuse what is not the name of a folder."""
    if not isinstance(output_dir, str) or not output_dir:
        raise UsageError(f"--output_dir {output_dir}: expected the name of a folder; write a number as ./{output_dir}")


def problem_of(folder: Path) -> str:
    """Return why a new run cannot write here; empty when it can."""
    if folder.is_file():
        return "is a file; expected a folder"
    left = any((folder / name).exists() for name in ("model.pt", "predictions.csv"))
    if left or any(folder.glob("checkpoints/*.pt")) or _in_use(folder):
        return OTHER_RUN
    return unwritable(folder)


def unwritable(folder: Path) -> str:
    """Make a folder and try to write there; why that cannot be done, empty when it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return ""


def _in_use(folder: Path) -> bool:
    """Whether a folder's run.json belongs to a run that goes on or has ended well; one that failed may be replaced."""
    found = record.find(folder)
    return (folder / record.FILE_NAME).exists() if found is None else found.status != record.FAILED
