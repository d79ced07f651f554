"""Where a dotted name of an installed package leads, found by reading the packages' source; nothing is imported.

``torch.load`` is ``torch.serialization.load``, ``monai.utils.module.import_module`` is Python's own: how far a name
reaches is told by where it was made, not by where it was found.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

MOST_STEPS = 20  # imports of imports that are followed
# of a text that begins with a line break: many times faster than ^ in every line of MONAI
TOP_LEVEL = re.compile(r"\n(?:async def|def|class) (\w+)")
ALIASES = re.compile(r"\n((?:[^\W\d]\w* = )+)(?:\(\n\s+)?(lambda\b|[^\W\d]\w*(?=\n))")  # SpacingD = Spacingd


@dataclass(frozen=True)
class Meaning:
    """What a dotted name stands for.

    Attributes:
        name: where it was made, as far as the source tells.
        is_module: whether it is a module as a whole.
    """

    name: str
    is_module: bool


@dataclass(frozen=True)
class _Module:
    """What a module's top level says.

    Attributes:
        names: what it binds to where that came from, each a module and a name in it (none for the module itself); no
            source where it was made here.
        all_of: the modules whose every name is imported.
    """

    names: dict[str, tuple[tuple[str, str], ...]]
    all_of: tuple[str, ...]


def meanings(name: str) -> list[Meaning]:
    """What a dotted name may stand for: several things where a module imports it in more than one way; itself where
    nothing is known of it."""
    module, *rest = name.split(".")
    return _within(module, rest, MOST_STEPS)


def _within(module: str, rest: list[str], steps: int) -> list[Meaning]:
    """The meanings of the name ``rest`` in a module, which is known to be one."""
    unknown = [Meaning(".".join([module, *rest]), is_module=False)]
    if _place(module) is None:
        return unknown
    while rest:
        part, *after = rest
        inner = f"{module}.{part}"
        content = _content(module)
        sources = content.names.get(part)
        if sources == ():
            return [Meaning(".".join([module, *rest]), is_module=False)]
        elsewhere = [source for source in sources or () if source not in ((inner, ""), (module, part))]
        if elsewhere and steps:
            found = [_within(source, [*([name] if name else []), *after], steps - 1) for source, name in elsewhere]
            return [meaning for each in found for meaning in each]
        if _place(inner) is None:
            for source in content.all_of if steps else ():
                if part in _content(source).names:
                    return _within(source, rest, steps - 1)
            return [Meaning(".".join([module, *rest]), is_module=False)]
        module, rest = inner, after
    return [Meaning(module, is_module=True)]


@cache
def _spec(package: str) -> ModuleSpec | None:
    """A top-level module's spec, for which nothing is imported."""
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


@cache
def _place(module: str) -> Path | None:
    """The source file or, of a namespace, the folder of an installed module; None where there is neither."""
    outer, _, last = module.rpartition(".")
    if not outer:
        spec = _spec(module) if module.isidentifier() else None
        if spec is None:
            return None
        if spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
        return Path(next(iter(spec.submodule_search_locations))) if spec.submodule_search_locations else None
    above = _place(outer)
    if above is None or not last.isidentifier() or (above.suffix == ".py" and above.name != "__init__.py"):
        return None
    folder = above if above.suffix != ".py" else above.parent
    for path in (folder / last / "__init__.py", folder / f"{last}.py"):
        if path.is_file():
            return path
    return folder / last if (folder / last).is_dir() else None


@cache
def _content(module: str) -> _Module:
    """What stands at a module's top level, in conditions and attempts too; empty where it cannot be read."""
    place = _place(module)
    if place is None or place.suffix != ".py":
        return _Module({}, ())
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(place.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return _Module({}, ())
    names: dict[str, tuple[tuple[str, str], ...]] = {}
    all_of: list[str] = []
    package = module if place.name == "__init__.py" else module.rpartition(".")[0]
    for node in _top_level(tree):
        if isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            all_of += [source for alias in node.names if alias.name == "*"]
            for alias in node.names:
                bound = alias.asname or alias.name
                names[bound] = (*names.get(bound, ()), (source, alias.name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                names[bound] = (*names.get(bound, ()), (alias.name if alias.asname else bound, ""))
        else:
            for bound in _made_here(node):
                names.setdefault(bound, ())
    return _Module(names, tuple(all_of))


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements of a module, and those in its conditions, but not those within functions and classes."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler | ast.For | ast.While):
            yield from _top_level(node)


def _made_here(node: ast.AST) -> list[str]:
    """The names that a statement defines or assigns."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a ``from … import`` names, relative ones made absolute."""
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])


@cache
def monai_components() -> dict[str, str]:
    """Bare name, as a config's ``_target_`` may have it, to the full one; empty where MONAI is not installed."""
    place = _place("monai")
    if place is None:
        return {}
    found: dict[str, str] = {}
    for path in sorted(place.parent.rglob("*.py")):
        parts = path.relative_to(place.parent.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = "\n" + path.read_text(encoding="utf-8", errors="replace")
        here = dict.fromkeys(TOP_LEVEL.findall(text))
        for aliases, original in ALIASES.findall(text):
            if original in here or original == "lambda":
                here |= dict.fromkeys(aliases.removesuffix(" = ").split(" = "))
        for name in here:
            found.setdefault(name, f"{module}.{name}")
    return found
