"""run.json of a run that goes on: opened when it starts, filled with what becomes known, closed when it ends."""

import atexit
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from filelock import FileLock

from medtl.datalist import DataList
from medtl.errors import UsageError, tell
from medtl.files import file_hash
from medtl.runs import workflow
from medtl.runs.facts import data_of, device_name, now, seen_before, start_of, versions
from medtl.runs.preprocessing import described
from medtl.runs.record import FAILED, FINISHED, INTERRUPTED, RUNNING, Bundle, RunRecord, Start
from medtl.weights import starts
from medtl.weights.load import LoadReport

RANDOM = Start(init="random")


class Recorder:
    """What is known when a run starts; ``open`` writes it, ``close`` adds what came out.

    Args:
        bundle: its name and version, from metadata.
        listed: the data list.
        recipe: the hyperparameters by id, as used.
        running: what is run; by default the workflow that makes this.
    """

    def __init__(
        self,
        bundle: Mapping[str, str],
        listed: DataList,
        recipe: Mapping[str, Any],
        running: workflow.Workflow | None = None,
    ) -> None:
        self._started = time.monotonic()
        self._seconds = 0.0  # of what a resumed run took before
        self._folder: Path | None = None
        self.lock: FileLock | None = None  # on the run's folder
        running = running or workflow.current()
        self.record = RunRecord(
            status=RUNNING,
            bundle=Bundle(str(bundle["name"]), str(bundle["version"])),
            command=running.command,
            config_files=tuple(path.name for path in running.config_files),
            overrides=workflow.plain(running.overrides),
            config=_without_resuming(running.config),
            task=listed.task,
            start=RANDOM,
            data=data_of(listed),
            recipe=dict(recipe),
            seed=recipe["seed"],
            versions=versions(),
            device=device_name(str(recipe["device"])),
            threads=torch.get_num_threads(),
            started=now(),
        )

    def open(self, folder: str) -> None:
        """Write run.json with status "running", on the first process."""
        if idist.get_rank() == 0:
            self._folder = Path(folder)
            atexit.register(self._fail)
            workflow.keep(self)
            self._write()

    def go_on(self, folder: str, before: RunRecord, checkpoint: str) -> None:
        """Write run.json of a run that is resumed: as it was begun, and from where it goes on.

        Args:
            folder: the run's.
            before: its run.json.
            checkpoint: name of the file.
        """
        if before.threads and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(before.threads)  # others would round otherwise in the last digit
        threads, step = torch.get_num_threads(), {"at": now(), "from": checkpoint}
        if before.threads not in (None, threads):
            step["threads_before"] = str(before.threads)
            if idist.get_rank() == 0:
                tell(f"warning: begun with {before.threads} threads, now there are {threads}: last digits may differ")
        self.record = replace(
            self.record,
            started=before.started,
            command=before.command,
            config_files=before.config_files,
            overrides=before.overrides,
            config=before.config,
            start=before.start,
            resumed=(*before.resumed, step),
            device=device_name(str(self.record.recipe["device"])),
            threads=threads,
        )
        self.open(folder)

    def started_from(self, start: starts.Start, loaded: LoadReport | None, folder: str) -> None:
        """Add what the network started from, and say so where those weights know this data set already.

        Args:
            start: where the weights were found.
            loaded: what of them fitted; None where the network keeps what it has.
            folder: the run's.

        Raises:
            UsageError: a resumed run was begun from other weights.
        """
        before = self.record.start
        if self.record.resumed and before is not None and before.sha256 != start.sha256:
            raise UsageError(f"--resume: {start.path or start.init} holds other weights than the run was begun from")
        self._add(start=start_of(start, loaded.coverage if loaded else None, loaded.used if loaded else None))
        name = self.record.data.name if self.record.data else ""
        if idist.get_rank() == 0 and (warning := seen_before(start, name)):
            tell(warning)

    def decoder_from(self, share: float) -> None:
        """Add which share of a segmentation's decoder came from the weights that it started from, 0..1."""
        assert self.record.start is not None
        self._add(start=replace(self.record.start, decoder=share))

    def evaluates(self, weights: str) -> None:
        """Add the weights that are evaluated, all of which the network has taken."""
        path = Path(weights)
        digest = file_hash(path) if path.is_file() else ""
        self._add(start=Start(init=path.name, file=path.name, sha256=digest, coverage=1.0))

    def describe(self, network: Mapping[str, Any], dataset: Any, normalisation: Any = None) -> None:
        """Add the literal network, and what is done to a picture before it sees it.

        Args:
            network: its definition, as values (``facade.literal``).
            dataset: of validation pictures: packed, or with MONAI's transforms.
            normalisation: of whole batches, where pictures are packed.
        """
        preprocessing = described(dataset, normalisation)
        size = preprocessing.image_size if preprocessing else self.record.recipe.get("image_size")
        network = {**network, "image_size": network.get("image_size") or size}
        start = self.record.start or RANDOM
        if preprocessing is not None and start.mean is None:  # nobody asks for another one
            start = replace(start, mean=preprocessing.mean, std=preprocessing.std)
        self._add(network=network, preprocessing=preprocessing, start=start)

    def close(self, folder: Path, **outcome: Any) -> None:
        """Write run.json with status "finished", the duration and the outcome."""
        self._folder = folder
        self._add(status=FINISHED, duration_s=self._duration(), **outcome)
        self._let_go()

    def interrupt(self, folder: Path) -> None:
        """Write run.json with status "interrupted": saved, and waiting to go on."""
        self._folder = folder
        self._add(status=INTERRUPTED, duration_s=self._duration())

    def ended(self, error: BaseException) -> None:
        """Write run.json of a run that an error or Ctrl-C ended, and let others use its folder."""
        self._fail(INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED)
        self._let_go()

    def _let_go(self) -> None:
        atexit.unregister(self._fail)
        if self.lock is not None:
            self.lock.release()

    def state_dict(self) -> dict[str, Any]:
        """Return how long the run has taken, for a checkpoint."""
        return {"seconds": self._duration()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Count from there."""
        self._seconds, self._started = state["seconds"], time.monotonic()

    def _duration(self) -> float:
        return round(self._seconds + time.monotonic() - self._started, 1)

    def _fail(self, status: str = FAILED) -> None:
        """A run that is not closed by its end, or by the process's, has failed, and its folder may be used again."""
        if self.record.status == RUNNING and self._folder is not None and self._folder.is_dir():
            self.record = replace(self.record, status=status, duration_s=self._duration())
            with suppress(OSError):  # a full disk has been reported by now
                self._write()

    def _add(self, **known: Any) -> None:
        self.record = replace(self.record, **known)
        if idist.get_rank() == 0:
            self._write()

    def _write(self) -> None:
        if self._folder is not None:
            self.record.write(self._folder)


def _without_resuming(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it would be without ``--resume``: the run is the same."""
    return {**config, "resume": ""} if "resume" in config else dict(config)
