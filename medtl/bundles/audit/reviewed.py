"""Read ``reviewed.txt``: the names, methods and expressions that a bundle may use without a word."""

import ast
import copy
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from medtl.bundles.audit.references import substituted

UNKNOWN = object()  # an argument that the text does not tell


@dataclass(frozen=True)
class Name:
    """A reviewed name.

    Attributes:
        kind: what calling it gives.
        rules: the arguments that are told, by name or place, each to the patterns of what they may be.
        needed: those of them that must be given.
    """

    kind: str
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()

    def fault(self, arguments: Mapping[str, object]) -> str:
        """Return what is wrong with arguments, in words; empty where nothing is.

        Args:
            arguments: literals by name or place (``"0"``); UNKNOWN where the text does not tell one, and ``":kind"``
                for the value of an expression.
        """
        for argument, patterns in self.rules.items():
            if argument not in arguments:
                if argument in self.needed:
                    return f"is reviewed with {argument}={'|'.join(patterns)} only"
            elif not _allowed(arguments[argument], patterns):
                return f"is reviewed with {argument}={'|'.join(patterns)} only"
        return ""


@dataclass(frozen=True)
class Reviewed:
    """The list.

    Attributes:
        names: dotted names.
        bare: MONAI's names as a ``_target_`` may give them, without their package, to the full ones.
        modules: what may be imported: the packages that the names are in.
        values: what may be done with a kind (``text.lower()``), to the kind that it gives.
        expressions: shapes of whole expressions, to the kind that they give.
        operators: of TorchScript.
    """

    names: Mapping[str, Name]
    bare: Mapping[str, str]
    modules: frozenset[str]
    values: Mapping[str, str]
    expressions: Mapping[str, str]
    operators: frozenset[str]


def shape(tree: ast.expr) -> str:
    """Return an expression with its numbers, texts and references left out."""

    class Blank(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            plain = isinstance(node.value, str | int | float) and not isinstance(node.value, bool)
            return ast.Constant("" if isinstance(node.value, str) else 0) if plain else node

    return ast.dump(Blank().visit(copy.deepcopy(tree)))


@cache
def reviewed() -> Reviewed:
    """Return the list, as the file has it."""
    names: dict[str, Name] = {}
    values: dict[str, str] = {}
    expressions: dict[str, str] = {}
    operators: set[str] = set()
    section = kind = ""
    for line in files("medtl.bundles.audit").joinpath("reviewed.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section, _, kind = line.strip("[]").partition(" ")
        elif section == "values":
            done, _, result = line.partition(" ")
            values[done] = result
        elif section == "expressions":
            result, _, text = line.partition(": ")
            expressions[shape(ast.parse(substituted("$" + text, ()), mode="eval").body)] = result
        elif section == "torchscript":
            package, _, words = line.partition(": ")
            operators |= {f"{package}.{word}" for word in words.split()}
        elif ": " in line:
            package, _, words = line.partition(": ")
            for word in _facade() if words == "*" else words.split():
                names.setdefault(f"{package}.{word}", Name(kind))
        else:
            full, *rules = line.split(" ")
            names[full] = _ruled(kind, rules)
    bare: dict[str, str] = {}
    for name in names:
        if name.startswith("monai."):
            bare.setdefault(name.rpartition(".")[2], name)
    modules = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    return Reviewed(names, bare, frozenset(modules - {"builtins"}), values, expressions, frozenset(operators))


def _ruled(kind: str, rules: list[str]) -> Name:
    """Return a name with rules, each ``argument=a|b`` or ``argument==a``."""
    found: dict[str, tuple[str, ...]] = {}
    needed: set[str] = set()
    for rule in rules:
        argument, _, patterns = rule.partition("=")
        if patterns.startswith("="):
            needed.add(argument)
        found[argument] = tuple(patterns.removeprefix("=").split("|"))
    return Name(kind, found, frozenset(needed))


def _allowed(value: object, patterns: tuple[str, ...]) -> bool:
    if isinstance(value, list | tuple):
        return all(_allowed(each, patterns) for each in value)
    if value is None:
        return True
    if not isinstance(value, str | bool) or (isinstance(value, str) and set(value) & set("/\\@$%")):
        return False
    return any(fnmatch.fnmatchcase(str(value), pattern) for pattern in patterns)


def _facade() -> list[str]:
    """Return what medtl offers to configs; its source is read, not imported."""
    for statement in ast.parse((Path(__file__).parents[1] / "facade.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return list(ast.literal_eval(statement.value))
    raise AssertionError("facade.py has no __all__")
