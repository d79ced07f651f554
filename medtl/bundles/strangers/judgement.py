"""What speaks against a dotted name that a bundle would call."""

from collections.abc import Iterator, Mapping
from functools import cache

from medtl.bundles.strangers import known
from medtl.bundles.strangers.sources import meanings

UNKNOWN = object()  # an argument whose value the text does not tell
KNOWN_ROOTS = known.KNOWN_PACKAGES | known.HARMLESS_PYTHON | {*known.HARMLESS_PARTS, "builtins"}
PLAIN_MACHINE = known.MACHINE - KNOWN_ROOTS
LOADS = ("torch.load", "torch.serialization.load")


def reasons(name: str, arguments: Mapping[str, object]) -> list[str]:
    """Why a name should not be called unseen; empty where it stays within known packages and reaches no further.

    Args:
        name: dotted and full, such as ``torch.optim.AdamW`` or ``builtins.len``.
        arguments: what is given by name, as far as it is told; none where the name is not called.
    """
    found = [*_of_name(name), *_of_arguments(name, arguments)]
    for meaning in meanings(name):
        if meaning.name != name:
            found += [f"it is {meaning.name}, which {reason}" for reason in _of_meaning(name, meaning.name)]
            found += _of_arguments(meaning.name, arguments)
    return list(dict.fromkeys(found))


def is_module(name: str) -> bool:
    """Whether a name is a module as a whole: handed on, it can be asked for anything."""
    return name in KNOWN_ROOTS or name == "os.path" or any(meaning.is_module for meaning in meanings(name))


def package(name: str) -> str:
    """The known package that a name belongs to; of Python's own that reach the machine, the harmless part."""
    root, *rest = name.split(".")
    return f"{root}.{rest[0]}" if root in known.HARMLESS_PARTS and rest else root


@cache
def _of_name(name: str) -> tuple[str, ...]:
    return tuple(_walk(name))


def _walk(name: str) -> Iterator[str]:
    """What the parts of a name say by themselves."""
    root, *rest = name.split(".")
    if root == "builtins" and rest and rest[0] in known.BUILTINS_THAT_REACH:
        yield "runs text, opens files or looks behind names"
    elif root in PLAIN_MACHINE or (rest and rest[0] not in known.HARMLESS_PARTS.get(root, rest)):
        yield f"touches the machine ({root})"
    elif root not in KNOWN_ROOTS:
        yield "comes from outside the known packages"
    else:
        yield from _of_parts(root, rest)
        yield from _reaching(name)


def _of_parts(root: str, rest: list[str]) -> Iterator[str]:
    """What speaks against the attributes that are taken from a known package."""
    for part in rest:
        if part in known.MACHINE:
            yield f"reaches {part} by way of {root}"
        elif part in known.REACHING_ATTRIBUTES:
            yield f"touches the machine (.{part})"
        elif part.startswith("_") and part not in known.FINE_DUNDERS:
            yield f"reaches into the private {part}"


def _reaching(name: str) -> Iterator[str]:
    """Why a name of a known package is on the list of those that run, fetch or write by themselves."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if why := known.REACHING_NAMES.get(".".join(parts[:length])):
            yield why
            return
    if parts[0] == "data_prep" and not f"{name}.".startswith(f"{known.ALLOWED_OF_DATA_PREP}."):
        yield "reads and writes whole data sets"


def _of_meaning(name: str, meant: str) -> tuple[str, ...]:
    """What speaks against where a name was made. Private modules are a package's own affair there, as is C's part of
    Python's own: functools.partial is made in _functools."""
    root = meant.split(".")[0]
    if root.removeprefix("_") == name.split(".")[0]:
        return tuple(_reaching(meant))
    return _of_name(meant)


def _of_arguments(name: str, arguments: Mapping[str, object]) -> Iterator[str]:
    """Loading is a matter of how."""
    if name in LOADS and arguments.get("weights_only") is not True:
        yield "unpickles whatever is in the file: weights_only=True is missing"
    elif arguments.get("weights_only", True) is not True:
        yield "is told weights_only and not True: it may unpickle whatever is in a file"
    if arguments.get("allow_pickle", False) is not False:
        yield "is told allow_pickle: it may unpickle whatever is in a file"
