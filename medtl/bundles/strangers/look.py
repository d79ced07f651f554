"""What a bundle would execute, and what in it reaches further than known packages. Nothing of it is run or imported."""

from pathlib import Path
from typing import Any

from medtl.bundles.strangers import configs, logging_conf, weights
from medtl.bundles.strangers.finding import Finding
from medtl.bundles.strangers.judge import Seen, judge, place_of
from medtl.bundles.strangers.tree import shadows, shipped_modules, tree


def look(folder: Path) -> Seen:
    """Look at every file of a bundle's folder.

    Args:
        folder: the bundle, as it was got or as unpack left it.

    Raises:
        OSError: a file cannot be opened.
    """
    there = tree(folder)
    modules = shipped_modules(there.files)
    seen = Seen(whole=not there.leaves, notes=there.notes, faults=[*there.faults, *shadows(modules)])
    contents: dict[str, Any] = {}
    for name, path in there.files.items():
        suffix = Path(name).suffix.lower()
        if suffix in configs.SUFFIXES:
            try:
                contents[name], twice = configs.content(path)
                seen.notes += [Finding(place_of(name), key, "stands there twice; the last one counts") for key in twice]
            except configs.UnreadableError as error:
                seen.faults.append(Finding(place_of(name), "", str(error)))
        elif suffix in logging_conf.SUFFIXES:
            faults, notes = logging_conf.findings(path, place_of(name))
            seen.faults += faults
            seen.notes += notes
        elif (found := weights.looked_at(path, there.starts[name], name)) is not None:
            kind, reasons = found
            seen.files.append(Finding(name, "", kind))
            seen.faults += [Finding(name, "", reason) for reason in reasons]
    judge(seen, contents, modules, frozenset(there.files))
    return seen
