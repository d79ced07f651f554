"""One cell as its runner needs it, and whether what its folder holds is the beginning, or end, of just that."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medtl.compare.checks import RESUME, Bundle
from medtl.compare.plan import Cell, Request, folder_of, overrides_of, short_init
from medtl.compare.state import BEGUN, CHECKPOINTS, look, without_paths
from medtl.errors import UsageError
from medtl.runs.changes import changes, leaves, literal, within
from medtl.runs.record import INTERRUPTED, RUNNING, Data, RunRecord, find


@dataclass(frozen=True)
class Task:
    """What a command says of a cell.

    Attributes:
        cell: which cell.
        folder: its run folder, absolute.
        bundle: the bundle, its folder absolute.
        dataset, sha256: name of the data list and hash of its file.
        overrides: ids that the cell sets, with their values as text.
        start: SHA-256 of the weights that it starts from; None for a random start, or where they are not known.
        named: whether the command names its start; of another one, a path, it knows the short form alone.
    """

    cell: Cell
    folder: Path
    bundle: Bundle
    dataset: str
    sha256: str
    overrides: Mapping[str, str]
    start: str | None = None
    named: bool = True

    def difference(self) -> str:
        """Return how the run in the cell's folder was begun otherwise than the command says, as "was made with X, this
        command says Y"; empty where it was not. Only what its record says is compared."""
        record = self._record()
        data = record.data or Data()
        for what, old, new in (
            ("bundle", record.bundle.name, self.bundle.name),
            ("bundle version", record.bundle.version, self.bundle.version),
            ("data set", data.name, self.dataset),
            ("seed", record.seed, self.cell.seed),
        ):
            if old not in (None, "", new):
                return _told(what, old, new)
        if data.sha256 not in ("", self.sha256):
            return f"was made with another data list (sha256 {data.sha256[:12]}…, now {self.sha256[:12]}…)"
        began = record.start.sha256 if record.start else ""
        if began and self.start and began != self.start:
            return f"started from other weights (sha256 {began[:12]}…, now {self.start[:12]}…)"
        return self._config_difference(record) if record.config else ""

    def _config_difference(self, record: RunRecord) -> str:
        asked = {id_.replace("::", "#"): literal(value) for id_, value in self.overrides.items()}
        old, new = leaves(record.config), leaves(self.bundle.config, asked)
        found = changes(old, new, () if self.named else ("init",), hashed=bool(record.start and record.start.sha256))
        for change in sorted(found, key=lambda each: not within(each.id_, asked)):
            id_, was = change.id_, change.was
            if within(id_, asked):
                computed = str(was).startswith(("$", "@"))
                return _told(id_, record.recipe.get(id_, was) if computed else was, change.now)
            if within(id_, record.overrides):
                return f"was made with {id_} {without_paths(str(was))}, this command leaves it to the bundle"
            if any(within(name, [id_]) for name in (*asked, *record.overrides)):  # into a list, which is taken whole
                return f"was made with another {id_}"
            return f"was made with another {id_.partition('#')[0]!r} in configs/train.json"
        return ""

    def is_worth_keeping(self) -> bool:
        """Return whether the cell was cut off with work that could go on; what failed may be what the command now puts
        right."""
        return self._record().status in (RUNNING, INTERRUPTED) and self._has_checkpoints()

    def refuse_other(self) -> None:
        """Refuse to go on with, or to count, a run that was begun otherwise.

        Raises:
            UsageError: the cell has finished, or can go on, and was begun with something else than the command says.
        """
        finished = look(self.folder) == "finished"
        if not (finished or self.is_worth_keeping()) or not (differs := self.difference()):
            return
        which, more = ("", "") if finished else (f", {BEGUN},", f", or remove {self.folder} to begin it anew")
        raise UsageError(f"cell {self.cell.name}{which} {differs}; choose another --out{more}")

    def goes_on(self) -> bool:
        """Return whether what the cell's folder holds is the beginning of just the run that the command asks for, with
        a checkpoint to go on from. Anything else that is unfinished begins anew."""
        if not self._has_checkpoints() or look(self.folder) != "unfinished" or self.difference():
            return False
        from medtl.writers import checkpoint  # imports torch

        return any(not checkpoint.problem_of(path) for path in checkpoint.found(self.folder / CHECKPOINTS))

    def _record(self) -> RunRecord:
        """What the cell's folder says; of one without a record nothing."""
        return find(self.folder) or RunRecord("")

    def _has_checkpoints(self) -> bool:
        # its JSON is written when a checkpoint is whole
        return RESUME in self.bundle.config and any((self.folder / CHECKPOINTS).glob("epoch_*.json"))


def task_of(request: Request, bundle: Bundle, cell: Cell, dataset: str, sha256: str, start: str | None) -> Task:
    """Return what a command says of a cell; arguments as of ``Task``. Its folders are absolute, because a worker of a
    cluster was started elsewhere."""
    folder, whole = folder_of(request.out, cell).absolute(), replace(bundle, folder=bundle.folder.resolve())
    named = cell.init in map(short_init, request.inits)
    return Task(cell, folder, whole, dataset, sha256, overrides_of(request, cell), start, named)


def command_of(task: Task, resumes: bool) -> list[str]:
    """Return the command of a cell: ``python -m monai.bundle run`` with the ids that it sets.

    Args:
        task: the cell.
        resumes: whether it goes on with what is in its folder.
    """
    config = str(task.bundle.folder / "configs" / "train.json")
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config]
    for id_, value in {**task.overrides, **({RESUME: "auto"} if resumes else {})}.items():
        words += [f"--{id_}={value}"] if value.startswith("-") else [f"--{id_}", value]
    return words


def _told(what: str, old: Any, new: Any) -> str:
    return f"was made with {what} {without_paths(str(old))}, this command says {without_paths(str(new))}"
