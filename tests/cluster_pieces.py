"""Pieces of work with a fate, for the workers of a Dask cluster: they import this file by its name."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

from data_prep.work import Done, Source, Work
from medtl.files import write_bytes

LABEL = "Heart"
at_once: list[int] = []  # how many pieces were in work whenever one began
_in_work: set[str] = set()


def source(raw: Path, *names: str) -> Source:
    """One piece a name: ``fatal`` ends its worker, ``unlucky`` the first time only, ``slow`` waits for raw/go."""
    works = []
    for name in names:
        if not (raw / name).exists():
            (raw / name).write_text(name)
        works.append(Work(name, (raw / name,), name))
    return Source("fates", raw, tuple(works), process, options={}, found={LABEL: len(names)}, unit="cases")


def process(work: Work, raw: Path, out: Path) -> Done:
    _in_work.add(f"{threading.get_ident()} {work.id}")
    at_once.append(len(_in_work))
    try:
        return _process(work, raw, out)
    finally:
        _in_work.discard(f"{threading.get_ident()} {work.id}")


def _process(work: Work, raw: Path, out: Path) -> Done:
    begun = raw / f"{work.id}.begun"
    again = begun.exists()
    begun.touch()
    while work.id == "slow" and not (raw / "go").exists():
        time.sleep(0.01)
    time.sleep(0.01)
    target, content = f"images/fates/{work.id}.png", work.files[0].read_bytes()
    write_bytes(out / target, content)
    if work.id == "fatal" or (work.id == "unlucky" and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    entry = {"image": target, "label": LABEL, "patient": f"fates/{work.id}", "source": "fates"}
    return Done([{**entry, "sha256": hashlib.sha256(content).hexdigest()}])
