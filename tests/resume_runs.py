"""Bundle runs as processes that can be killed, forked from one that has imported everything already."""

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from bundle_runs import draw

from medtl import datalist
from medtl.bundles import facade
from medtl.datalist import DataList
from medtl.writers import checkpoint

PRELOADED = ["monai.bundle", "monai.engines", "monai.handlers", "torch.utils.tensorboard", "medtl.handlers.checkpoints"]
CONTEXT = multiprocessing.get_context("forkserver")
OWN = ["medtl.bundles.facade", "medtl.runs.resume", "medtl.handlers.segmentation", "fire"]
COMPILER = "torch._dynamo"  # which every optimiser loads, for seconds
CONTEXT.set_forkserver_preload([*PRELOADED, *OWN, COMPILER])
SECONDS = 240.0


def small_list(folder: Path, name: str, classes: tuple[str, ...], test: int = 0) -> Path:
    """A data list of 40 training, 11 validation and some test pictures."""
    pictures = {
        split: [draw(folder, f"{split}{n:02d}.png", n % len(classes), len(split)) for n in range(size)]
        for split, size in {"training": 40, "validation": 11, "test": test}.items()
    }
    datalist.write(DataList(name, classes, 1, "none", "test", False, **pictures), folder)
    return folder


def free_port() -> str:
    """Below the range from which the system gives out ports by itself: nobody else can get it in between."""
    for port in random.Random().sample(range(20000, 32000), 100):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return str(port)
    raise RuntimeError("no free port among a hundred")


def run_bundle(words: list[str]) -> None:
    """``python -m monai.bundle`` with these words."""
    import fire
    import monai.bundle

    sys.argv = ["monai.bundle", *words]
    try:
        fire.Fire(vars(monai.bundle))
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(facade.end(error))  # as the excepthook of a command does
    finally:
        atexit._run_exitfuncs()  # a forked process leaves without


def _child(what: Callable[[], object], log: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # a loader's processes end with the one that uses them
    what()


class Run:
    """Something that runs in one process or several.

    Args:
        what: is called in each; a partial of a function that a new process can import, which it cannot from a test.
        log: all it prints is appended there.
        processes: that find each other as torchrun's do.
    """

    def __init__(self, what: Callable[[], object], log: Path, processes: int = 1) -> None:
        self.log = log
        environments: list[dict[str, str]] = [{}]
        if processes > 1:
            shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
            ranks = map(str, range(processes))
            environments = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ranks]
        self.processes: list[BaseProcess] = [
            CONTEXT.Process(target=_child, args=(what, log, environment)) for environment in environments
        ]
        for process in self.processes:
            process.start()

    def wait(self) -> int:
        """The first process's exit status (all have ended by then); below 0 the signal that ended it."""
        for process in self.processes:
            process.join(SECONDS)
            assert process.exitcode is not None, self.log.read_text()
        return self.processes[0].exitcode or 0

    def kill(self) -> None:
        """As a power cut would."""
        for process in self.processes:
            process.kill()
            process.join(SECONDS)

    def tell(self, number: signal.Signals) -> None:
        """Send the last process a signal."""
        pid = self.processes[-1].pid
        assert pid is not None
        os.kill(pid, number)

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for something, looking all the time; whether it came before the run's end."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and any(process.is_alive() for process in self.processes):
            if condition():
                return True
            time.sleep(0.0005)
        return condition()


def together(*words: str, log: Path) -> tuple[int, str]:
    """``python -m monai.bundle WORDS`` in two processes, without torchrun and what three starts of Python take: exit
    status (of the one that failed, if one did) and all that was printed."""
    run = Run(functools.partial(run_bundle, list(words)), log, 2)
    run.wait()
    return next((process.exitcode for process in run.processes if process.exitcode), 0), log.read_text()


def record(run: Path) -> dict:
    """run.json."""
    return json.loads((run / "run.json").read_text())


def iteration(out: Path) -> int:
    """Of the newest checkpoint."""
    return max(
        (checkpoint.facts(path).get("iteration", 0) for path in checkpoint.found(out / "checkpoints")), default=0
    )


def undisturbed_runs(training: Callable[[Path, int], Run], folder: Path) -> Callable[[int], Path]:
    """Gives, for a number of processes, the folder of a run that nobody disturbed; trained when first asked for."""

    @functools.cache
    def trained(processes: int) -> Path:
        out = folder / f"undisturbed_{processes}"
        run = training(out, processes)
        assert run.wait() == 0, run.log.read_text()
        return out

    return trained


def leaves(value: object, name: str = "") -> dict[str, object]:
    """Everything in a nested state, by name."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in leaves(inner, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for key, inner in enumerate(value) for k, v in leaves(inner, f"{name}.{key}").items()}
    return {name: value}


def differences(one: object, other: object) -> list[str]:
    """The names of what is not the same to the last bit in two nested states."""
    first, second = leaves(one), leaves(other)
    names = [name for name in first if name not in second] + [name for name in second if name not in first]
    return names + [name for name in first.keys() & second.keys() if not same(first[name], second[name])]


def same(one: object, other: object) -> bool:
    """Equal to the last bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and np.array_equal(one.numpy().tobytes(), other.numpy().tobytes())
    return type(one) is type(other) and bool(one == other)
