"""``--resume``: which run goes on and from which checkpoint, or one line that says why it cannot."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from filelock import FileLock, Timeout
from torch.utils.tensorboard import SummaryWriter

from medtl.errors import MedtlError, NothingToDo, UsageError, tell
from medtl.files import remove_leftovers
from medtl.runs import folder as run_folder
from medtl.runs import record as records
from medtl.runs.changes import changes, leaves, within
from medtl.runs.record import RunRecord
from medtl.runs.recorder import Recorder
from medtl.writers import checkpoint

AUTO = "auto"
MAY_CHANGE = ("num_workers", "device", "debug")
DYING_SECONDS = 10.0  # that a killed run's loading processes need to notice
LAUNCHED = "multi_gpu_train.json"  # the number of processes is compared instead of this file, and of what it sets
LAUNCHES = ("imports", "distributed", "sync_batchnorm", "train#network")


@dataclass(frozen=True)
class Decision:
    """What all processes do.

    Attributes:
        checkpoint: from which the run goes on; empty for a new one.
        before: run.json of the run that goes on.
        error: that ends the run.
    """

    checkpoint: str = ""
    before: RunRecord | None = None
    error: MedtlError | None = None


def output_dir(bundle_root: str, resume: str) -> str:
    """Return the default of ``--output_dir``: a new folder, or that of the run which goes on.

    Args:
        bundle_root: the bundle's folder.
        resume: empty; ``auto``, for the newest run of the bundle that has a checkpoint and neither finished nor runs;
            or a run's folder, or a checkpoint in it.
    """
    _check(resume)
    if resume not in ("", AUTO):
        return str(_folder_of(Path(resume)))
    folder = ""
    if resume == AUTO and idist.get_rank() == 0:
        folder = str(next(_unfinished(run_folder.runs(bundle_root)), ""))
    return _agreed(folder) or run_folder.new(bundle_root)


def open_run(output_dir: str, resume: str, record: Recorder) -> str:
    """Make the run's folder, or find the checkpoint that the run in it goes on from; write run.json.

    Nobody else may write into the folder as long as ``record`` lives.

    Args:
        output_dir: the run's folder.
        resume: empty, ``auto``, a run's folder, or a checkpoint in it. With ``auto`` a run that is not there yet, or
            died before its first checkpoint, begins.
        record: of this run.

    Returns:
        The checkpoint; empty for a new run.

    Raises:
        UsageError: the folder holds another run, one that was begun differently, or one that still runs; or this
            process does not see what the first one wrote there.
        NothingToDo: the run has finished.
        MedtlError: no checkpoint is whole.
    """
    run_folder.check_name(output_dir)
    _check(resume)
    decision = Decision()
    if idist.get_rank() == 0:
        try:
            decision = _decide(Path(output_dir), resume, record)
        except MedtlError as error:
            decision = Decision(error=error)
    decision = _agreed(decision)
    if decision.error is not None:
        raise decision.error
    if not _lock_of(Path(output_dir)).exists():
        raise UsageError(
            f"--output_dir {output_dir} is not the folder that the first process writes: several machines need a "
            "shared one, under the same path"
        )
    if decision.before is None:
        record.open(output_dir)
    else:
        record.go_on(output_dir, decision.before, Path(decision.checkpoint).name)
    return decision.checkpoint


def board(output_dir: str, checkpoint_path: str) -> SummaryWriter | None:
    """Return the TensorBoard writer of a run, on the first process; None on the others. What an interrupted run wrote
    after the checkpoint that it goes on from is hidden."""
    if idist.get_rank():
        return None
    step = checkpoint.facts(Path(checkpoint_path)).get("iteration", 0) + 1 if checkpoint_path else None
    return SummaryWriter(str(Path(output_dir) / "tensorboard"), purge_step=step)


def _decide(folder: Path, resume: str, record: Recorder) -> Decision:
    if not resume:
        problem = run_folder.problem_of(folder)
        if problem:
            hint = ", or go on with a run that has not finished by --resume auto"
            raise UsageError(f"--output_dir {folder} {problem}{hint if problem == run_folder.OTHER_RUN else ''}")
        record.lock = _locked(folder, 0)
        return Decision()
    if resume != AUTO and _folder_of(Path(resume)).resolve() != folder.resolve():
        raise UsageError(f"--output_dir {folder}: a run goes on in its own folder; leave this out, or name that one")
    before = records.find(folder)
    if before is not None and before.status == records.FINISHED:
        raise _finished(folder)
    if before is not None:
        _refuse_changes(folder, before, record.record)
    elif any((folder / name).exists() for name in ("model.pt", "predictions.csv", "checkpoints", "run.json")):
        raise UsageError(f"--resume: {folder} holds files of a run, but no run.json that can be read")
    elif resume != AUTO:
        raise UsageError(f"--resume {resume}: there is no run")
    problem = run_folder.unwritable(folder)
    if problem:
        raise UsageError(f"--output_dir {folder} {problem}")
    record.lock = _locked(folder, DYING_SECONDS)
    if _status(folder) == records.FINISHED:  # by a process that was about to end
        raise _finished(folder)
    remove_leftovers(folder)
    path = _newest(folder) if resume == AUTO or Path(resume).is_dir() else _named(Path(resume))
    if path is None:
        tell(f"nothing to resume in {folder}: the run begins")
        return Decision()
    known = checkpoint.facts(path)
    world = idist.get_world_size()
    if known.get("processes", world) != world:
        raise UsageError(f"--resume: {folder} was trained by {known['processes']} processes, now there are {world}")
    tell(f"going on from {path}: epoch {known['epoch']}, iteration {known['iteration']}")
    return Decision(str(path), before)


def _finished(folder: Path) -> NothingToDo:
    return NothingToDo(f"{folder} holds a finished run: nothing is left to do")


def _newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is none at all.

    Raises:
        MedtlError: there are some, and none is whole.
    """
    listed = checkpoint.found(folder / "checkpoints")
    for path in listed:
        problem = checkpoint.problem_of(path)
        if not problem:
            return path
        tell(f"{path} {problem}: looking at the one before")
    if any("was not written" not in checkpoint.problem_of(path) for path in listed):
        raise MedtlError(f"--resume: no checkpoint in {folder / 'checkpoints'} is whole; begin in another folder")
    return None


def _named(path: Path) -> Path:
    problem = checkpoint.problem_of(path)
    if problem:
        raise MedtlError(f"--resume {path} {problem}")
    return path


def _check(resume: Any) -> None:
    if not isinstance(resume, str):
        raise UsageError(f"--resume {resume}: expected auto, a run's folder or a checkpoint in it")


def _folder_of(path: Path) -> Path:
    """The run's folder for it, its checkpoints or one of them."""
    if path.is_file() and checkpoint.NAME.fullmatch(path.name) and path.parent.name == "checkpoints":
        return path.parent.parent
    if path.is_dir():
        return path.parent if path.name == "checkpoints" else path
    raise UsageError(f"--resume {path}: expected auto, a run's folder or one of its checkpoints/epoch_….pt")


def _unfinished(runs: Path) -> Iterator[Path]:
    """Run folders that can go on, the newest first."""
    folders = [path for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    known = [(found, path) for path in folders if (found := records.find(path)) is not None]
    for found, path in sorted(known, key=lambda each: (each[0].started, each[1]), reverse=True):
        if found.started and found.status != records.FINISHED and checkpoint.found(path / "checkpoints"):
            try:
                _locked(path, 0).release()
            except UsageError:
                continue
            yield path


def _locked(folder: Path, timeout: float) -> FileLock:
    """Keep others out of a run's folder until the lock is released or this process ends, however it ends.

    Raises:
        UsageError: somebody holds it for as many seconds.
    """
    (folder / "checkpoints").mkdir(exist_ok=True)
    lock = FileLock(_lock_of(folder))
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise UsageError(f"--output_dir {folder}: another process trains there") from None
    return lock


def _lock_of(folder: Path) -> Path:
    return folder / "checkpoints" / ".lock"


def _status(folder: Path) -> str:
    found = records.find(folder)
    return "" if found is None else found.status


def _refuse_changes(folder: Path, before: RunRecord, now: RunRecord) -> None:
    """Only the same run goes on.

    Raises:
        UsageError: names what differs.
    """
    where = f"--resume: the run in {folder} was begun with"
    data, data_now = (each.data or records.Data() for each in (before, now))
    for what, then, there in (
        ("bundle", before.bundle.name, now.bundle.name),
        ("bundle version", before.bundle.version, now.bundle.version),
        ("data set", data.name, data_now.name),
    ):
        if then not in ("", there):
            raise UsageError(f"{where} {what} {then}, this is {there}")
    if data.sha256 != data_now.sha256:
        raise UsageError(f"{where} another data list than --dataset_dir names now")
    launched = [LAUNCHED in record.config_files for record in (before, now)]
    apart = MAY_CHANGE if launched[0] == launched[1] else (*MAY_CHANGE, *LAUNCHES)
    recipe = _as_written(now.recipe)
    hashed = bool(before.start and before.start.sha256)  # which is compared when the start is loaded
    for change in changes({name: before.recipe.get(name) for name in recipe}, recipe, apart, hashed):
        more = " (the learning rate follows a schedule over all epochs)" if change.id_ == "epochs" else ""
        told = f"{change.id_} {change.was}, this command says {change.now}{more}"
        raise UsageError(f"{where} {told}; only the same run can go on")
    _refuse_configs(where, before, now, (*apart, *recipe))


def _refuse_configs(where: str, before: RunRecord, now: RunRecord, apart: Sequence[str]) -> None:
    files = [[name for name in record.config_files if name != LAUNCHED] for record in (before, now)]
    if all(files) and files[0] != files[1]:
        raise UsageError(f"{where} the configs {', '.join(files[0])}; only the same run can go on")
    given = [_as_written(record.overrides) for record in (before, now)]
    values = [leaves(record.config, own) for record, own in zip((before, now), given, strict=True)]
    for change in changes(values[0], values[1], apart):
        told = f"another {change.id_} in {' or '.join(files[1]) or 'its config'}"
        either = [name for own in given for name in own]
        name = next((name for name in either if within(change.id_, [name]) or within(name, [change.id_])), None)
        if name is not None:
            words = [f"--{name} {own[name]}" if name in own else f"no --{name}" for own in given]
            told = f"{words[0]}, this command has {words[1]}"
        raise UsageError(f"{where} {told}; only the same run can go on")


def _as_written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as run.json gives them back."""
    return dict(json.loads(json.dumps(values, default=str)))


def _agreed(value: Any) -> Any:
    """The first process's value, on all of them."""
    if idist.get_world_size() == 1:
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]
