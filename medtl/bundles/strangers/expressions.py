"""What a ``$`` expression of a config would execute, from its syntax tree."""

import ast
import builtins
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeGuard

from medtl.bundles.strangers import known
from medtl.bundles.strangers.judgement import UNKNOWN, is_module, reasons
from medtl.bundles.strangers.references import VARIABLES, substituted

LONGEST = 20_000  # characters; nobody writes longer ones, and Python's parser is not made for them
BEFORE_IMPORTS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI's own
PLATFORM = "torch.backends"  # what setattr may change, and what of it
SWITCHES = frozenset({"benchmark", "deterministic", "enabled", "allow_tf32"})
WRITING_MODES = frozenset("wax+")
TEXT_METHODS = ("eval", "query")  # of data frames they run text; of networks eval takes nothing
Names = Mapping[str, frozenset[str]]


@dataclass
class Reading:
    """What was seen in one expression.

    Attributes:
        faults: what speaks against it, each a piece of it and the reason.
        names: the full dotted names that it uses.
        texts: the strings in it.
        node: its syntax tree; None where it has none.
    """

    faults: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    node: ast.expr | ast.Import | ast.ImportFrom | None = None


def read(text: str, place: tuple[str, ...], names: Names) -> Reading:
    """Read an expression as MONAI would evaluate it.

    Args:
        text: with its ``$``.
        place: the parts of its id.
        names: what the imports of the bundle's configs bind, each to the full names it may stand for.
    """
    if VARIABLES in text:
        return Reading([(text, f"names MONAI's own {VARIABLES}")])
    try:
        statements = _parsed(text, place)
        statement = statements[0] if statements else None
        if isinstance(statement, ast.Import | ast.ImportFrom):
            reading = _import(statement)
        elif isinstance(statement, ast.Expr):
            reader = _Reader(names)
            reader.visit(statement.value)
            reading = reader.reading
            reading.node = statement.value
        else:
            return Reading([(text, "is a statement or nothing, where an expression should be")])
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        detail = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        return Reading([(text, f"cannot be parsed, so nobody can tell what it does: {detail}")])
    if len(statements) > 1:
        reading.faults.append((text, "hides statements behind another one"))
    return reading


def bound(text: str) -> dict[str, str]:
    """The name that an import expression binds, to the full name of what it stands for; empty for other expressions."""
    try:
        statements = _parsed(text, ())
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    if not statements or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return {}
    (alias, *_) = statements[0].names  # MONAI takes the first one only
    full = _full_name(statements[0], alias)
    if isinstance(statements[0], ast.Import) and not alias.asname:
        return {alias.name.split(".")[0]: alias.name.split(".")[0]}
    return {alias.asname or alias.name: full}


def full_names(node: ast.AST, names: Names, own: Set[str] = frozenset()) -> frozenset[str]:
    """The full names that a name or a chain of attributes may stand for; none for what cannot be told.

    Args:
        node: of an expression.
        names: what the bundle's imports bind.
        own: the names that the expression binds itself, which hide those.
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id in own:
        return frozenset()
    built_in = frozenset({f"builtins.{node.id}"}) if hasattr(builtins, node.id) else frozenset()
    return frozenset(".".join([root, *parts]) for root in names.get(node.id, built_in))


def is_reference(node: ast.AST) -> TypeGuard[ast.Subscript]:
    """Whether a node is what MONAI writes for an ``@id``."""
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == VARIABLES


def _parsed(text: str, place: tuple[str, ...]) -> list[ast.stmt]:
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    with warnings.catch_warnings(action="ignore"):  # of escapes that are none
        return ast.parse(substituted(text, place).strip()).body


def _full_name(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    if isinstance(statement, ast.Import):
        return alias.name
    return f"{'.' * statement.level}{statement.module or ''}.{alias.name}"


def _import(statement: ast.Import | ast.ImportFrom) -> Reading:
    """What an import statement brings in."""
    reading = Reading(node=statement)
    for alias in statement.names:
        name = _full_name(statement, alias)
        reading.names.add(name)
        # weights_only is a matter of the calls, not of the import
        reading.faults += [(ast.unparse(statement), why) for why in reasons(name, {"weights_only": True})]
    return reading


class _Reader(ast.NodeVisitor):
    """Collects what an expression uses, with the names that it binds itself kept apart."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.scopes: list[set[str]] = []
        self.assigned: set[str] = set()
        self.reading = Reading()

    def fault(self, node: ast.AST, why: str) -> None:
        if (entry := (ast.unparse(node), why)) not in self.reading.faults:
            self.reading.faults.append(entry)

    @contextmanager
    def scope(self, bound_here: set[str]) -> Iterator[None]:
        self.scopes.append(bound_here)
        yield
        self.scopes.pop()

    def full_names(self, node: ast.AST) -> frozenset[str]:
        return full_names(node, self.names, {name for scope in self.scopes for name in scope})

    def judge(self, node: ast.AST, full: frozenset[str], arguments: Mapping[str, object], *, called: bool) -> None:
        self.reading.names |= full
        for name in sorted(full):
            for why in reasons(name, arguments):
                self.fault(node, why)
            if not called and is_module(name):
                self.fault(node, f"hands on the module {name} as a whole")
            if not called and name in known.JUDGED_BY_ARGUMENTS:
                self.fault(node, f"hands on {name.removeprefix('builtins.')}, to be called with what is not read here")

    def visit_Name(self, node: ast.Name) -> None:
        if full := self.full_names(node):
            self.judge(node, full, {}, called=False)
        elif node.id == VARIABLES or not any(node.id in scope for scope in (*self.scopes, self.assigned)):
            self.fault(node, "is a name that no import of the bundle explains")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if full := self.full_names(node):
            self.judge(node, full, {}, called=False)
        else:
            self.attribute(node, node.attr)
            self.visit(node.value)

    def attribute(self, node: ast.AST, name: str) -> None:
        """Judge an attribute of something that the text does not tell."""
        if name in known.REACHING_ATTRIBUTES:
            self.fault(node, f"touches the machine (.{name})")
        elif name.startswith("__") and name not in known.FINE_DUNDERS:
            self.fault(node, f"looks behind an object ({name})")

    def visit_Call(self, node: ast.Call) -> None:
        full = self.full_names(node.func)
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if "builtins.getattr" in full:
            given = self.looked_up(node)
        elif "builtins.setattr" in full or (isinstance(node.func, ast.Attribute) and node.func.attr == "__setattr__"):
            given = self.changed(node, full)
        elif full & {"os.getenv", "os.environ.get"} and _is_rank(node.args[:1]):
            return
        elif full:
            self.judge(node.func, full, _arguments(node, full), called=True)
        else:
            self.visit(node.func)
            self.method(node)
        for value in given:
            self.visit(value)

    def looked_up(self, node: ast.Call) -> list[ast.expr]:
        """``getattr``: as an attribute where its name is written, a fault where it is computed."""
        if len(node.args) < 2 or not isinstance(name := _constant(node.args[1]), str) or not name.isidentifier():
            self.fault(node, "looks up a computed attribute")
            return node.args
        self.visit(ast.Attribute(value=node.args[0], attr=name, ctx=ast.Load()))
        return node.args[2:]

    def changed(self, node: ast.Call, full: frozenset[str]) -> list[ast.expr]:
        """``setattr``: for torch's switches only."""
        given = [*node.args] if "builtins.setattr" in full else [getattr(node.func, "value", node.func), *node.args]
        subjects = self.full_names(given[0]) if given else frozenset()
        self.reading.names |= subjects
        on_platform = all(f"{name}.".startswith(f"{PLATFORM}.") for name in subjects)
        if subjects and on_platform and len(given) == 3 and _constant(given[1]) in SWITCHES:
            return given[2:]
        self.fault(node, "changes an attribute")
        return given

    def method(self, node: ast.Call) -> None:
        """Judge a method of something that the text does not tell, by its name and arguments."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in TEXT_METHODS and (node.args or node.keywords):
            self.fault(node, f"may run text (.{name})")
        if name == "replace" and len(node.args) + len(node.keywords) == 1:  # a path's; a text's takes two
            self.fault(node, "moves a file")
        if name == "open" and isinstance(node.func, ast.Attribute):
            given = [*node.args, *(word.value for word in node.keywords)]
            modes = [value for value in map(_constant, given) if isinstance(value, str)]
            if not is_reference(node.func.value) or any(map(_writes, modes)):
                self.fault(node, "opens a file")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if is_reference(node) or ("os.environ" in self.full_names(node.value) and _is_rank([node.slice])):
            return
        key = _constant(node.slice)
        if isinstance(key, str) and key.startswith("__") and key not in known.FINE_DUNDERS:
            self.fault(node, f"looks behind an object ({key})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.reading.texts.append(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.assigned.add(node.target.id)  # hides nothing: it may be evaluated later than it stands
        self.visit(node.value)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        spec = node.args
        for default in [*spec.defaults, *(value for value in spec.kw_defaults if value is not None)]:
            self.visit(default)
        several = [argument for argument in (spec.vararg, spec.kwarg) if argument]
        with self.scope({argument.arg for argument in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *several]}):
            self.visit(node.body)

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)  # evaluated outside, before anything is bound
        parts = [part for made in node.generators for part in ast.walk(made.target)]
        for part in parts:
            if isinstance(part, ast.Attribute | ast.Subscript):
                self.fault(part, "changes an attribute")  # a loop's target is assigned to, whatever it is
        with self.scope({part.id for part in parts if isinstance(part, ast.Name)}):
            for number, made in enumerate(node.generators):
                for inner in [*([made.iter] if number else []), *made.ifs]:
                    self.visit(inner)
            for result in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
                self.visit(result)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension


def _arguments(node: ast.Call, full: frozenset[str]) -> dict[str, object]:
    """What a call gives by name, as far as the text tells; of numpy.load also what it gives by place."""
    given = {word.arg: _constant(word.value) for word in node.keywords if word.arg}
    if "numpy.load" in full:
        packed = any(word.arg is None for word in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args)
        if packed:
            given["allow_pickle"] = UNKNOWN
        elif len(node.args) > 2:
            given["allow_pickle"] = _constant(node.args[2])
    return given


def _constant(node: ast.AST) -> object:
    return node.value if isinstance(node, ast.Constant) else UNKNOWN


def _writes(mode: str) -> bool:
    return set(mode) <= set("rbtU") | WRITING_MODES and bool(set(mode) & WRITING_MODES)


def _is_rank(nodes: list[ast.expr]) -> bool:
    return bool(nodes) and _constant(nodes[0]) in known.RANKS
