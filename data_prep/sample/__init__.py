"""The built-in sample: phantom downloads in the official layouts, and what data preparation makes of them.

Both are made when first asked for and kept in the cache ($XDG_CACHE_HOME/medtl). The cache's name carries a hash of
the code that makes it, so a changed phantom or reader never meets an old sample. Phantoms are drawings: no figure
measured on them says anything about patients.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from data_prep import run, sets
from medtl import plugins
from medtl.errors import UsageError, tell
from medtl.files import private_folder
from medtl.places import cache_folder, private_cache

WORD = "sample"
CPMID_PARTS = ("chexpert", "msd", "lidc")
SAMPLE_VALIDATION_FRACTION = 0.25  # a tenth of so few patients would leave some classes with a handful of images


def download(name: str) -> Path:
    """Return the folder of the phantom download of one data set, made if it is not there.

    Raises:
        UsageError: there is no such phantom, or the cache cannot be written.
    """
    place = _place("downloads", name)
    with _made_once(place) as folder:
        if folder:
            _phantom(name)(folder)
    return place


def _phantom(name: str) -> Callable[[Path], None]:
    """Return what draws a data set's download: ``data_prep.sample.NAME.make``, or the set's own ``make_sample``."""
    if importlib.util.find_spec(f"data_prep.sample.{name}"):
        make: Callable[[Path], None] = importlib.import_module(f"data_prep.sample.{name}").make
        return make
    own: Callable[[Path], None] | None = getattr(sets.module_of(name), "make_sample", None)
    if own is None:
        raise UsageError(f"there is no phantom download of {name!r}: its file has no function make_sample(folder)")
    return own


def prepared(name: str) -> Path:
    """Return the folder with the data list that ``python -m data_prep NAME --raw sample`` writes, made if it is not
    there.

    Raises:
        UsageError: there is no such sample, or the cache cannot be written.
    """
    place = _place("prepared", name)
    with _made_once(place) as folder:
        if folder:
            for part in CPMID_PARTS if name == "cpmid" else (name,):
                _phantom(part)  # or there is no sample
            tell(f"making the built-in sample of {name} (once, kept in the cache)")
            _make_downloads(CPMID_PARTS if name == "cpmid" else (name,))
            _prepare(name, folder)
    return place


def _prepare(name: str, out: Path) -> None:
    """Prepare what the command does with its defaults, without its table."""
    module = sets.module_of(name)
    if hasattr(module, "prepare_sample"):
        module.prepare_sample(download(name), out)
        return
    folders = {part: download(part) for part in (CPMID_PARTS if name == "cpmid" else (name,))}
    sources = module.find(folders) if name == "cpmid" else [module.find(folders[name])]
    run.prepare(
        module.CARD,
        sources,
        out,
        classes=module.CARD.classes or sorted(sources[0].found),
        created_by=f"python -m data_prep {name}, built-in sample",
        sample=True,
        workers=1,  # worker processes would import the caller's script, which may have no __main__ guard
        seed=0,
        validation_fraction=SAMPLE_VALIDATION_FRACTION,
        test_fraction=getattr(module, "TEST_FRACTION", 0.0),  # of sets whose publisher made no test split
    )


def _make_downloads(names: tuple[str, ...]) -> None:
    """Make the absent downloads side by side, each in a process of its own: drawing is all Python and numpy."""
    absent = [name for name in names if not _place("downloads", name).exists()]
    script = "import sys; from data_prep import sample; sample.download(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", script, name]) for name in absent[1:]]
    if absent:
        download(absent[0])
    for process in running:
        process.wait()
    for name in absent:
        download(name)  # made by now; in case a process failed, here its error is seen


@contextlib.contextmanager
def _made_once(final: Path) -> Iterator[Path | None]:
    """Yield a temporary folder to fill if ``final`` is absent, None if it is there; only one process fills it."""
    if final.exists():
        yield None
        return
    try:
        private_cache(_cache().name)
        private_folder(final.parent)
        with FileLock(final.with_name(f".{final.name}.lock")):
            if final.exists():
                yield None
                return
            part = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
            try:
                part.mkdir()
                yield part
                os.replace(part, final)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except PermissionError:
        raise UsageError(f"cannot write the cache {final.parent}; set XDG_CACHE_HOME to a folder of yours") from None


def _place(kind: str, name: str) -> Path:
    """Return the folder of one data set in the cache; of a set of $MEDTL_PLUGINS named by a hash of its file, too."""
    own = [path for path in plugins.files("data_prep") if path.stem == name]
    return _cache() / kind / "-".join([name, *(hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in own)])


@functools.cache
def _cache() -> Path:
    """Return the sample's folder in the cache, named by a hash of all code that decides its content."""
    root = Path(__file__).resolve().parents[2]
    code = sorted([*(root / "data_prep").rglob("*.py"), *(root / "medtl" / "readers").glob("*.py")])
    code += sorted((root / "medtl" / "transforms").glob("*.py"))
    code += [root / "medtl" / name for name in ("datalist.py", "writers/images.py")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:12]
    return cache_folder() / f"sample-{digest}"
