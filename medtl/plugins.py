"""Files of one's own that extend medtl without a change to it: those of the folders that $MEDTL_PLUGINS names.

``FOLDER/KIND/NAME.py`` is imported as ``medtl.plugins.KIND.NAME``, here as in every worker process, so that what it
defines can be pickled. It is code and is run: name only folders whose every file you trust.
"""

import functools
import hashlib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from medtl.errors import UsageError

VARIABLE = "MEDTL_PLUGINS"
KINDS = ("networks", "decoders", "sources", "metrics", "data_prep", "methods", "protocols")


def folders() -> list[Path]:
    """Return the folders that $MEDTL_PLUGINS names, absolute, each once.

    Raises:
        UsageError: one of them is no folder.
    """
    named = [Path(word).absolute() for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]
    for folder in named:
        if not folder.is_dir():
            raise UsageError(f"${VARIABLE}: {folder} is no folder; expected folders joined by {os.pathsep!r}")
    return list(dict.fromkeys(named))


def files(kind: str) -> list[Path]:
    """Return ``FOLDER/KIND/*.py`` of each folder of $MEDTL_PLUGINS, in the order in which these are named, sorted
    within each; files whose names begin with an underscore are left to the others to import.

    Args:
        kind: one of ``KINDS``.

    Raises:
        UsageError: a name cannot be imported, or occurs in two folders.
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
    found: dict[str, Path] = {}
    for path in (file for folder in folders() for file in sorted((folder / kind).glob("[!_.]*.py"))):
        if not path.stem.isidentifier():
            raise UsageError(f"{path} cannot be imported: expected a name of letters, digits and underscores")
        if path.stem in found:
            raise UsageError(f"{path} and {found[path.stem]} have one name; rename one of them")
        found[path.stem] = path
    return list(found.values())


def modules(kind: str) -> tuple[ModuleType, ...]:
    """Import and return the modules of ``files(kind)``.

    Raises:
        UsageError: a file cannot be imported; the message names it and says why.
    """
    global __path__
    wanted = files(kind)
    __path__ = _search_path()
    importlib.invalidate_caches()
    return tuple(_module(kind, path) for path in wanted)


def digest(*kinds: str) -> str:
    """Return the SHA-256 of all Python files of some kinds, those that the others import (``_NAME.py``) among them, as
    they were when it was first asked for in this process: what is imported stays as it was, too.

    Args:
        kinds: some of ``KINDS``.

    Raises:
        UsageError: a folder of $MEDTL_PLUGINS is none.
    """
    return _digest(tuple(folders()), kinds)


@functools.cache
def _digest(named: tuple[Path, ...], kinds: tuple[str, ...]) -> str:
    whole = hashlib.sha256()
    for folder in named:
        for path in sorted(file for kind in kinds for file in (folder / kind).rglob("[!.]*.py") if file.is_file()):
            content = path.read_bytes()
            whole.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def _module(kind: str, path: Path) -> ModuleType:
    name = f"{__name__}.{kind}.{path.stem}"
    known = sys.modules.get(name)
    if known is not None and str(known.__file__) != str(path):  # of a folder that was named before
        del sys.modules[name]
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {reason}") from error


def _search_path() -> list[str]:
    return [str(Path(word).absolute()) for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]


__path__ = _search_path()  # makes this module a package, whose parts lie in those folders
