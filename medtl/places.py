"""Where bundles, weights and caches lie. No torch."""

import os
from pathlib import Path

from medtl.errors import UsageError
from medtl.files import private_folder
from medtl.registry import did_you_mean

PACKED = "packed"
SHIPPED = Path(__file__).resolve().parent / "weights" / "shipped"  # comes with medtl, in a wheel too
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")


def bundle_roots() -> list[Path]:
    """Return ``bundles/`` of the working directory, then that of medtl's own checkout and what a wheel installs; each
    once."""
    own = Path(__file__).resolve().parent
    return list(dict.fromkeys((Path.cwd() / "bundles", own.parent / "bundles", own / "_bundles")))


def bundle_folder(name: str) -> Path:
    """Return the folder of a bundle, from any working directory.

    Args:
        name: of the bundle.

    Raises:
        UsageError: there is none of that name; suggests one that is spelt alike.
    """
    folders = {folder.name: folder for folder in bundle_folders()}
    if name not in folders:
        known = tuple(folders)
        raise UsageError(f"bundle {name!r} is not one of {', '.join(known)}{did_you_mean(name, known)}")
    return folders[name]


def bundle_of_word(word: str | Path) -> Path:
    """Return the folder of a bundle that a command names, by its path or by its name.

    Raises:
        UsageError: there is neither; suggests a name that is spelt alike.
    """
    path = Path(word)
    is_path = path.name != str(path) or (path / "configs").is_dir()
    return path if is_path else bundle_folder(str(word))


def bundle_folders() -> list[Path]:
    """Return the bundles in ``bundles/`` of the working directory, then medtl's own; each name once."""
    found: dict[str, Path] = {}
    for root in bundle_roots():
        for metadata in sorted(root.glob("*/configs/metadata.json")):
            found.setdefault(metadata.parents[1].name, metadata.parents[1])
    return list(found.values())


def paths_of(words: str) -> list[Path]:
    """Return the paths of a comma-separated list; a comma belongs to a path where that is there."""
    parts, found = words.split(","), []
    while parts:
        lengths = range(len(parts), 0, -1)
        count = next((n for n in lengths if Path(",".join(parts[:n]).strip()).exists()), 1)
        word = ",".join(parts[:count]).strip()
        parts = parts[count:]
        found += [Path(word)] if word else []
    return found


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/medtl, by default ~/.cache/medtl."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtl"


def private_cache(name: str) -> Path:
    """Return a folder of medtl's cache, made where it is absent; its owner alone may enter it, and the cache."""
    private_folder(cache_folder())
    return private_folder(cache_folder() / name)


def packed_folder() -> Path:
    """Return $MEDTL_PACKED, by default ``packed`` in medtl's cache."""
    return Path(os.environ.get("MEDTL_PACKED") or cache_folder() / PACKED)


def cache_folders() -> list[Path]:
    """Return the folders that hold caches: medtl's own, and that of $MEDTL_PACKED where it lies elsewhere."""
    own, packed = cache_folder(), packed_folder()
    return [own] if packed.resolve().is_relative_to(own.resolve()) else [own, packed]
