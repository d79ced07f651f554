"""The judgement of all configs of a bundle together: an import of one explains the names of another."""

import ast
import builtins
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from medtl.bundles.strangers import expressions, paths
from medtl.bundles.strangers.configs import Item, UnreadableError, found, items, macro
from medtl.bundles.strangers.finding import Finding
from medtl.bundles.strangers.judgement import is_module, package, reasons
from medtl.bundles.strangers.known import words
from medtl.bundles.strangers.references import RELATIVE, absolute, split
from medtl.bundles.strangers.sources import monai_components

CONFIGS = "configs/"
METADATA = "configs/metadata.json"
LARGE_FILES = "large_files."  # .yml: what MONAI downloads into a bundle, and where to
META = "_meta_"  # the id that MONAI gives to the metadata
UNFIT_FOR_KEYS = frozenset("'\"()[]{}\\;=,\n")
MODES = {"debug": "stops in Python's debugger", "callable": "is handed on to be called later"}
MOST_HOPS = 10  # references to references
BROUGHT_ALONG = "is Python that comes with the bundle, which nothing here reads"
COMPUTED = "is a class whose name is computed: it cannot be told what is called"
SYSTEM_FOLDERS = words("bin boot dev etc home lib proc root run sbin sys usr var Users Windows")


@dataclass
class Seen:
    """What was seen in a bundle.

    Attributes:
        whole: whether the folder may be walked through: no link leaves it, nothing but files is in it.
        configs: the files that MONAI would read as configs, metadata aside.
        classes, expressions, imports: what they would call, evaluate and import, each with its places.
        files: weights, archives and arrays, each with its kind.
        notes: what should be known and is no danger by itself.
        faults: what is one.
        packages: what of known packages the configs use.
    """

    whole: bool = True
    configs: set[str] = field(default_factory=set)
    classes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    expressions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    imports: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)


def place_of(name: str) -> str:
    """How a file of the bundle is told: configs by their names alone."""
    return name.removeprefix(CONFIGS)


def judge(seen: Seen, contents: dict[str, Any], modules: dict[str, str], files: frozenset[str]) -> None:
    """Judge what the configs would execute, into ``seen``.

    Args:
        seen: takes what is found.
        contents: path within the bundle to what a JSON or YAML file holds.
        modules: the modules that the bundle brings along.
        files: the paths of all its files.
    """
    everything: list[tuple[str, Item]] = []
    for name, content in contents.items():
        try:
            everything += [(name, item) for item in items(place_of(name), content)]
        except UnreadableError as error:
            seen.faults.append(Finding(place_of(name), "", str(error)))
    _Judge(seen, contents, modules, files, everything).all()


class _Judge:
    def __init__(
        self,
        seen: Seen,
        contents: dict[str, Any],
        modules: dict[str, str],
        files: frozenset[str],
        everything: list[tuple[str, Item]],
    ) -> None:
        self.seen, self.contents, self.modules, self.files, self.everything = seen, contents, modules, files, everything
        self.names = _names(item.value for _, item in everything)
        self.judged: set[tuple[str, str, str]] = set()

    def all(self) -> None:
        self.seen.configs |= {name for name in self.contents if name.startswith(CONFIGS) and name != METADATA}
        for name, item in self.everything:
            executes = self.item(name, item)
            if executes and name != METADATA:
                self.seen.configs.add(name)
        self.keys()

    def fault(self, place: str, what: str, why: str) -> None:
        if (place, what, why) not in self.judged:
            self.judged.add((place, what, why))
            self.seen.faults.append(Finding(place, what, why))

    def note(self, place: str, what: str, why: str) -> None:
        self.seen.notes.append(Finding(place, what, why))

    def item(self, name: str, item: Item) -> bool:
        """Judge one value; whether MONAI would do something with it."""
        text = item.value
        if item.id[-1:] == ("_target_",):
            self.target(item, text, 0)
        if item.id[-1:] == ("_mode_",) and (mode := MODES.get(text if isinstance(text, str) else "")):
            self.note(item.place, str(text), mode)
        if not isinstance(text, str):
            return True
        if text.startswith("$"):
            self.expression(item, text)
        elif text.startswith("%"):
            self.macro(item, text)
        elif name.startswith(LARGE_FILES) or (name.startswith(CONFIGS) and name != METADATA):
            self.text(item, text)
        return text.startswith(("$", "%")) or item.id[-1:] == ("_target_",)

    # classes

    def target(self, item: Item, target: Any, hops: int) -> None:
        """Judge a ``_target_``: a name, an expression, or a reference to either."""
        if not isinstance(target, str) or hops > MOST_HOPS:
            self.fault(item.place, f"{target!r}", COMPUTED)
        elif target.startswith("$"):
            reading = expressions.read(target, item.id, self.names)
            if reading.node is not None and not self.is_callable(item, reading.node, hops):
                self.fault(item.place, target, COMPUTED)
        elif target.startswith(("@", "%")):
            candidates = list(self.referred(item, target))
            for candidate in candidates:
                self.target(item, candidate, hops + 1)
            if not candidates:
                self.fault(item.place, target, "is a class that is named by what no config has")
        else:
            self.named(item, ".".join(part for part in target.split(".") if part))  # MONAI passes over empty parts

    def is_callable(self, item: Item, node: ast.AST, hops: int) -> bool:
        """Whether an expression gives something to call, and no text that MONAI would take for a name. An attribute of
        an object may be one."""
        if isinstance(node, ast.Call):
            return expressions.full_names(node.func, self.names) == {"functools.partial"}
        if expressions.is_reference(node):
            self.target(item, f"@{getattr(node.slice, 'value', '')}", hops + 1)
            return True
        return isinstance(node, ast.Lambda) or bool(expressions.full_names(node, self.names))

    def referred(self, item: Item, text: str) -> Iterator[Any]:
        """What the configs have where an ``@id`` or a ``%file::id`` leads."""
        try:
            plain = absolute(text, item.id)
        except ValueError:
            return
        file, id_ = macro(plain) if plain.startswith("%") else ("", split(plain[1:]))
        for name, content in self.contents.items():
            if file and posixpath.basename(file) != posixpath.basename(name):
                continue
            if name == METADATA and id_[:1] == [META]:
                content = {META: content}
            if (value := found(content, id_)) is not None:
                yield value

    def named(self, item: Item, name: str) -> None:
        """Judge a class or function by its name."""
        root = name.split(".")[0]
        full = name
        if "." not in name and root not in self.modules:
            full = monai_components().get(name) or ("builtins." + name if hasattr(builtins, name) else name)
        against = [BROUGHT_ALONG] if root in self.modules else reasons(full, item.arguments)
        if not against and is_module(full):
            against = ["is no class but a module, which is imported"]
        for why in against:
            self.fault(item.place, name, why)
        if not against:
            self.seen.packages.add(package(full))
        self.seen.classes[full].append(item.place)

    # texts

    def expression(self, item: Item, text: str) -> None:
        reading = expressions.read(text, item.id, self.names)
        is_import = isinstance(reading.node, ast.Import | ast.ImportFrom)
        (self.seen.imports if is_import else self.seen.expressions)[text].append(item.place)
        own = [name for name in reading.names if name.split(".")[0] in self.modules]
        for what, why in reading.faults:
            self.fault(item.place, what, BROUGHT_ALONG if own and "outside the known packages" in why else why)
        if not reading.faults and not is_import:
            self.seen.packages |= {package(name) for name in reading.names if not name.startswith("builtins.")}
        for inner in reading.texts:
            first = inner.strip("/\\").split("/")[0]
            if paths.is_address(inner):
                self.note(item.place, inner, "is an address")
            elif paths.leads_out(inner) or inner.startswith("~") or (inner[:1] == "/" and first in SYSTEM_FOLDERS):
                self.note(item.place, inner, "leads out of the bundle")

    def macro(self, item: Item, text: str) -> None:
        """Judge a ``%file::id``."""
        file, _ = macro(text)
        if not file:
            return
        if paths.is_absolute(file) or paths.leads_out(file):
            self.fault(item.place, text, "reads a config from outside the bundle")
        elif not {posixpath.normpath(file), CONFIGS + posixpath.normpath(file)} & self.files:
            self.note(item.place, text, "reads a config that is not in the bundle, from the working directory")
        else:
            self.note(item.place, text, "reads another config of the bundle")

    def text(self, item: Item, text: str) -> None:
        """Judge a plain text as a path or an address."""
        may_lead_out = bool(paths.PLACES.search("#".join(item.id)))
        if paths.is_address(text):
            self.note(item.place, text, "is an address")
        elif paths.is_absolute(text) and not item.file.startswith(LARGE_FILES):
            self.note(item.place, text, "is an absolute path")
        elif paths.is_absolute(text) or paths.leads_out(text):
            (self.note if may_lead_out else self.fault)(item.place, text, "leads out of the bundle")

    def keys(self) -> None:
        """MONAI writes the ids around an expression into its text where that has a relative reference."""
        texts = [item.value for _, item in self.everything if isinstance(item.value, str)]
        if any(text.startswith("$") and RELATIVE.search(text.replace("#", "::")) for text in texts):
            for _, item in self.everything:
                if any(UNFIT_FOR_KEYS & set(part) for part in item.id):
                    self.fault(item.place, "", "is an id with quotes or brackets, which relative references take in")


def _names(values: Iterator[Any]) -> expressions.Names:
    """What the imports of all configs bind, beside what MONAI brings."""
    names: dict[str, frozenset[str]] = {name: frozenset({full}) for name, full in expressions.BEFORE_IMPORTS.items()}
    for value in values:
        if isinstance(value, str) and value.startswith("$") and "import" in value:
            for name, full in expressions.bound(value).items():
                names[name] = names.get(name, frozenset()) | {full}
    return names
