"""What a ``$`` expression of a config would execute, from its syntax tree, against the reviewed names."""

import ast
import builtins
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from medtl.bundles.audit.references import VARIABLES, substituted
from medtl.bundles.audit.reviewed import UNKNOWN, Reviewed, shape

LONGEST = 20_000  # characters; nobody writes longer ones, and Python's parser is not made for them
BEFORE_IMPORTS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI's own
Names = Mapping[str, frozenset[str]]
PLAIN = (
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Slice,
    ast.Starred,
    ast.Compare,
    ast.UnaryOp,
    ast.JoinedStr,
    ast.FormattedValue,
)
UNPARSED = (SyntaxError, ValueError, MemoryError, RecursionError)


@dataclass
class Reading:
    """What was seen in one expression.

    Attributes:
        faults: what of it is unreviewed, each a piece of it and the reason.
        kind: what it gives, as far as the text tells; empty where it does not.
        texts: the strings in it.
        imports: whether it is an import.
    """

    faults: list[tuple[str, str]] = field(default_factory=list)
    kind: str = ""
    texts: list[str] = field(default_factory=list)
    imports: bool = False


def read(
    text: str, place: tuple[str, ...], names: Names, known: Reviewed, referred: Callable[[str], str] = lambda id_: ""
) -> Reading:
    """Read an expression as MONAI would evaluate it.

    Args:
        text: with its ``$``.
        place: the parts of its id.
        names: what the imports of the bundle's configs bind, each to the full names it may stand for.
        known: the reviewed names.
        referred: what kind of thing an ``@id`` is; empty where that is not known.
    """
    if VARIABLES in text:
        return Reading([(text, f"names MONAI's own {VARIABLES}")])
    try:
        statements = parsed(text, place)
        if len(statements) != 1 or not isinstance(statements[0], ast.Import | ast.ImportFrom | ast.Expr):
            return Reading([(text, "is no single expression")])
        if not isinstance(statements[0], ast.Expr):
            return _import(statements[0], known)
        reader = _Reader(names, known, referred)
        reader.reading.texts = [
            node.value
            for node in ast.walk(statements[0])
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        as_a_whole = known.expressions.get(shape(statements[0].value))
        reader.reading.kind = as_a_whole if as_a_whole is not None else reader.kind(statements[0].value)
    except UNPARSED as error:
        detail = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        return Reading([(text, f"cannot be parsed, so nobody can tell what it does: {detail}")])
    return reader.reading


def parsed(text: str, place: tuple[str, ...]) -> list[ast.stmt]:
    """Return the statements of an expression's text.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it cannot be parsed.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    with warnings.catch_warnings(action="ignore"):  # of escapes that are none
        return ast.parse(substituted(text, place).strip()).body


def bound(text: str) -> dict[str, str]:
    """Return the name that an import binds, with the full name of what it stands for; empty for other expressions."""
    try:
        statements = parsed(text, ())
    except UNPARSED:
        return {}
    if not statements or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return {}
    alias = statements[0].names[0]  # MONAI takes the first one only
    if isinstance(statements[0], ast.Import) and not alias.asname:
        return {alias.name.split(".")[0]: alias.name.split(".")[0]}
    return {alias.asname or alias.name: _full_name(statements[0], alias)}


def _full_name(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    if isinstance(statement, ast.Import):
        return alias.name
    return f"{'.' * statement.level}{statement.module or ''}.{alias.name}"


def _import(statement: ast.Import | ast.ImportFrom, known: Reviewed) -> Reading:
    """Read an import: of modules that reviewed names are in, and of these names."""
    reading = Reading(imports=True)
    for alias in statement.names:
        if (name := _full_name(statement, alias)) not in known.modules and name not in known.names:
            reading.faults.append((ast.unparse(statement), "imports what is not on the list"))
    return reading


class _Reader:
    """Follows what each part of an expression gives, and notes what is not reviewed."""

    def __init__(self, names: Names, known: Reviewed, referred: Callable[[str], str]) -> None:
        self.names, self.known, self.referred = names, known, referred
        self.own: list[set[str]] = []
        self.reading = Reading()

    def fault(self, node: ast.AST, why: str) -> str:
        if (entry := (ast.unparse(node), why)) not in self.reading.faults:
            self.reading.faults.append(entry)
        return ""

    def kind(self, node: ast.expr) -> str:
        """Return what kind of thing a part of the expression gives, having read all that is in it."""
        if isinstance(node, ast.Constant):
            return "text" if isinstance(node.value, str) else "number"
        if isinstance(node, ast.Name | ast.Attribute) and (full := self.full_names(node)):
            return self.handed_on(node, full)
        reader = getattr(self, f"of_{type(node).__name__}", None)
        if reader is not None:
            return str(reader(node))
        if not isinstance(node, PLAIN):
            return self.fault(node, f"is what no expression needs ({type(node).__name__})")
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.expr):
                self.kind(inner)
        return {"List": "list", "Tuple": "list", "Set": "list", "JoinedStr": "text"}.get(type(node).__name__, "")

    def full_names(self, node: ast.expr) -> frozenset[str]:
        """Return the full names that a chain of attributes may stand for; none for what begins with a value."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or any(node.id in names for names in self.own):
            return frozenset()
        # beside an import of its name: the config that imports it may be another one than is run
        built_in = frozenset({f"builtins.{node.id}"}) if hasattr(builtins, node.id) else frozenset()
        return frozenset(".".join([root, *parts]) for root in self.names.get(node.id, frozenset()) | built_in)

    def handed_on(self, node: ast.expr, full: frozenset[str]) -> str:
        """Read a name that is used, not called."""
        for name in sorted(full):
            if (found := self.known.names.get(name)) is None:
                return self.fault(node, f"{name.removeprefix('builtins.')} is not on the list")
            if found.rules:
                return self.fault(node, f"hands on {name}, which is reviewed for some arguments only")
        # the kind is that of what calling it gives; a name itself is called by its name alone
        return "text" if name in ("os.sep", "os.linesep", "os.path.sep") else ""

    def of_Name(self, node: ast.Name) -> str:
        if not any(node.id in names for names in self.own):
            self.fault(node, "is a name that no import of the bundle explains")
        return ""

    def of_Attribute(self, node: ast.Attribute) -> str:
        owner = self.kind(node.value)
        for who in (owner, "*"):
            if (result := self.known.values.get(f"{who}.{node.attr}")) is not None:
                return result
        return self.fault(node, f"takes .{node.attr} of {_told(owner)}")

    def of_Subscript(self, node: ast.Subscript) -> str:
        if isinstance(node.value, ast.Name) and node.value.id == VARIABLES:
            return self.referred(str(node.slice.value)) if isinstance(node.slice, ast.Constant) else ""
        if full := self.full_names(node.value):
            return self.called(node, node.value, full, {"0": _literal(node.slice)})
        self.kind(node.value)
        self.kind(node.slice)
        return ""

    def of_Call(self, node: ast.Call) -> str:
        given: dict[str, object] = {str(number): _literal(each) for number, each in enumerate(node.args)}
        given |= {word.arg: _literal(word.value) for word in node.keywords if word.arg}
        full = self.full_names(node.func)
        if full:
            packed = [each for each in node.args if isinstance(each, ast.Starred)]
            if packed or any(word.arg is None for word in node.keywords):
                given["*"] = UNKNOWN
            result = self.called(node, node.func, full, given)
        elif isinstance(node.func, ast.Attribute):
            owner = self.kind(node.func.value)
            found = self.known.values.get(f"{owner}.{node.func.attr}()")
            result = self.fault(node, f"calls .{node.func.attr} of {_told(owner)}") if found is None else found
        else:
            found = self.known.values.get(f"{self.kind(node.func)}()")
            result = self.fault(node, "calls what the text does not name") if found is None else found
        for value in [*node.args, *(word.value for word in node.keywords)]:
            self.kind(value)
        return result

    def called(self, node: ast.expr, func: ast.expr, full: frozenset[str], given: Mapping[str, object]) -> str:
        """Read the call of a name."""
        kinds = set()
        for name in sorted(full):
            if (found := self.known.names.get(name)) is None:
                return self.fault(func, f"{name.removeprefix('builtins.')} is not on the list")
            if found.rules:
                # an argument that has a rule could stand at any later place, or in what is unpacked
                hidden = "*" in given or (not any(rule.isdecimal() for rule in found.rules) and "1" in given)
                if why := "is called with arguments that are not told" if hidden else found.fault(given):
                    return self.fault(node, f"{name} {why}")
            kinds.add(found.kind)
        return kinds.pop() if len(kinds) == 1 else ""

    def of_BinOp(self, node: ast.BinOp) -> str:
        left, right = self.kind(node.left), self.kind(node.right)
        if isinstance(node.op, ast.Mod) and left == "text":
            return "text"
        if isinstance(node.op, ast.Div) and left == "path":
            return "path"
        return left if left == right else ""

    def of_BoolOp(self, node: ast.BoolOp) -> str:
        kinds = {self.kind(value) for value in node.values}
        return kinds.pop() if len(kinds) == 1 else ""

    def of_IfExp(self, node: ast.IfExp) -> str:
        self.kind(node.test)
        kinds = {self.kind(node.body), self.kind(node.orelse)}
        return kinds.pop() if len(kinds) == 1 else ""

    def of_Dict(self, node: ast.Dict) -> str:
        for each in [*node.keys, *node.values]:
            if each is not None:
                self.kind(each)
        return "dict"

    def of_Lambda(self, node: ast.Lambda) -> str:
        spec = node.args
        for default in [*spec.defaults, *(value for value in spec.kw_defaults if value is not None)]:
            self.kind(default)
        several = [argument for argument in (spec.vararg, spec.kwarg) if argument]
        with self.scope({argument.arg for argument in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *several]}):
            self.kind(node.body)
        return "lambda"

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> str:
        self.kind(node.generators[0].iter)  # evaluated outside, before anything is bound
        targets = [part for made in node.generators for part in ast.walk(made.target)]
        for part in targets:
            if isinstance(part, ast.Attribute | ast.Subscript):
                self.fault(part, "is assigned to by a loop")
        with self.scope({part.id for part in targets if isinstance(part, ast.Name)}):
            for number, made in enumerate(node.generators):
                for inner in [*([made.iter] if number else []), *made.ifs]:
                    self.kind(inner)
            for result in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
                self.kind(result)
        return "dict" if isinstance(node, ast.DictComp) else "list"

    of_ListComp = of_SetComp = of_DictComp = of_GeneratorExp = comprehension

    @contextmanager
    def scope(self, names: set[str]) -> Iterator[None]:
        self.own.append(names)
        yield
        self.own.pop()


def _literal(node: ast.expr) -> object:
    """Return a literal of a call; UNKNOWN where it is none."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _told(kind: str) -> str:
    return f"a {kind}, which is not on the list" if kind else "a value that the text does not tell"
