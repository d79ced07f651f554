"""The audit of a bundle as a whole: all its configs together, for an import of one explains the names of another."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medtl.bundles.audit import configs, expressions, logging_conf, paths
from medtl.bundles.audit.configs import Id, UnreadableError, Values, flat, macro
from medtl.bundles.audit.files import tree
from medtl.bundles.audit.finding import Finding
from medtl.bundles.audit.references import RELATIVE, split
from medtl.bundles.audit.reviewed import reviewed
from medtl.errors import MedtlError
from medtl.weights.archive import sums_of, sums_on_card

CONFIGS = "configs/"
METADATA = "configs/metadata.json"
LARGE_FILES = "large_files."  # .yml: what MONAI downloads into a bundle, and where to
META = "_meta_"  # the id that MONAI gives to the metadata
UNFIT_FOR_KEYS = frozenset("'\"()[]{}\\;=,\n")
PATHS_LEAD_OUT = "leads out of the bundle"


@dataclass
class Audit:
    """What was seen in a bundle.

    Attributes:
        whole: whether the folder may be walked through: no link leaves it, nothing but files is in it.
        classes, expressions, imports: what the configs would call, evaluate and import, each with its places.
        weights: files of weights, each with its kind.
        notes: what should be known and is on the list.
        unreviewed: what is not.
    """

    whole: bool = True
    classes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    expressions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    imports: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    weights: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    unreviewed: list[Finding] = field(default_factory=list)


def audit(folder: Path) -> Audit:
    """Read every file of a bundle's folder, and compare what it would execute with the reviewed names.

    Nothing of the bundle is run, imported or unpickled.

    Args:
        folder: the bundle, as it was got or as unpack left it.

    Raises:
        OSError: a file cannot be opened.
    """
    try:
        listed = frozenset({**sums_on_card(folder), **sums_of(folder)})
    except (MedtlError, OSError):
        listed = frozenset()
    there = tree(folder, listed)
    seen = Audit(whole=not there.leaves, weights=there.weights, notes=there.notes, unreviewed=there.unreviewed)
    everything: list[tuple[str, Id, Any]] = []
    for name, path in there.files.items():
        suffix = path.suffix.lower() if not path.is_symlink() else Path(name).suffix.lower()
        try:
            if suffix in configs.SUFFIXES:
                everything += [(name, id_, value) for id_, value in flat(configs.content(path))]
            elif suffix in logging_conf.SUFFIXES:
                seen.unreviewed += logging_conf.findings(path, _told(name))
        except UnreadableError as error:
            seen.unreviewed.append(Finding(_told(name), "", str(error)))
    _Audit(seen, everything).all()
    return seen


def _told(name: str) -> str:
    """Return how a file of the bundle is told: configs by their names alone."""
    return name.removeprefix(CONFIGS)


class _Audit:
    def __init__(self, seen: Audit, everything: list[tuple[str, Id, Any]]) -> None:
        self.seen, self.everything, self.known = seen, everything, reviewed()
        self.values = Values()
        for name, id_, value in everything:
            self.values.add(id_, value)
            if name == METADATA:
                self.values.add((META, *id_), value)
        self.names = _names(value for _, _, value in everything)
        self.kinds: dict[Id, str] = {}

    def fault(self, place: str, what: object, why: str) -> None:
        finding = Finding(place, str(what), why)
        if finding not in self.seen.unreviewed:
            self.seen.unreviewed.append(finding)

    def all(self) -> None:
        relative = False
        for name, id_, value in self.everything:
            place = f"{_told(name)}: {'#'.join(id_)}"
            if id_[-1:] == ("_target_",):
                self.target(place, id_, value)
            elif id_[-1:] == ("_mode_",) and value not in (None, "default", "callable"):
                self.fault(place, value, "starts Python's debugger, or nobody knows what")
            elif id_[-1:] == ("_debug_",) and value not in (None, False):
                self.fault(place, value, "starts Python's debugger")
            elif isinstance(value, str) and value.startswith("$"):
                self.expression(place, id_, value)
            elif isinstance(value, str) and value.startswith("%"):
                self.macro(place, id_, value)
            elif isinstance(value, str) and (name.startswith(LARGE_FILES) or _is_config(name)):
                self.text(place, id_, value, in_list=name.startswith(LARGE_FILES))
            relative |= isinstance(value, str) and value.startswith("$") and _is_relative(value)
        if relative:  # MONAI writes the ids around an expression into its text
            for name, id_, _ in self.everything:
                if any(UNFIT_FOR_KEYS & set(part) for part in id_):
                    self.fault(
                        f"{_told(name)}: {'#'.join(id_)}", "", "is an id that relative references take in as code"
                    )

    def target(self, place: str, id_: Id, value: Any) -> None:
        """Judge a ``_target_`` with all arguments that any config gives beside it."""
        if not isinstance(value, str) or value[:1] in ("$", "@", "%"):
            self.fault(place, value, "is a class whose name is computed: nobody can tell what is called")
            return
        full = self.known.bare.get(value, value)
        self.seen.classes[full].append(place)
        found = self.known.names.get(full)
        if found is None or full.startswith("os.environ"):
            self.fault(place, value, "is not on the list")
            return
        beside = self.values.below(id_[:-1])
        given: dict[str, object] = {key: self.argument((*id_[:-1], key)) for key in found.rules if key in beside}
        if why := found.fault(given):
            self.fault(place, value, why)
        if found.rules and any(mode not in (None, "default") for mode in self.values.at((*id_[:-1], "_mode_"))):
            self.fault(place, value, "is handed on, and reviewed for some arguments only")

    def argument(self, id_: Id) -> list[object]:
        """Return all that an argument may be; of an expression its kind."""
        return [
            f":{self.reading(place, value).kind}" if isinstance(value, str) and value.startswith("$") else value
            for place, value in self.values.under(id_)
        ]

    def reading(self, id_: Id, text: str) -> expressions.Reading:
        return expressions.read(text, id_, self.names, self.known, lambda other: self.kind(tuple(split(other))))

    def kind(self, id_: Id) -> str:
        """Return what kind of thing an id is; empty where the configs do not tell, or differ."""
        if id_ not in self.kinds:
            self.kinds[id_] = ""  # of an id that leads to itself
            if self.values.at((*id_, "_target_")):
                names = [self.known.bare.get(str(name), str(name)) for name in self.values.at((*id_, "_target_"))]
                kinds = {self.known.names[name].kind if name in self.known.names else "" for name in names}
                kinds |= {"" for mode in self.values.at((*id_, "_mode_")) if mode != "default"}
                kinds |= {self.kind_of(id_, value) for value in self.values.at(id_) if not isinstance(value, dict)}
            else:
                kinds = {self.kind_of(id_, value) for value in self.values.at(id_)}
            self.kinds[id_] = kinds.pop() if len(kinds) == 1 else ""
        return self.kinds[id_]

    def kind_of(self, id_: Id, value: Any) -> str:
        if isinstance(value, dict | list):
            return "dict" if isinstance(value, dict) else "list"
        if not isinstance(value, str):
            return "number"
        if value.startswith("$"):
            return self.reading(id_, value).kind
        if value.startswith(("@", "%")):
            return "" if _is_relative(value) else self.kind(tuple(split(value[1:])))
        return "text"

    def expression(self, place: str, id_: Id, text: str) -> None:
        reading = self.reading(id_, text)
        (self.seen.imports if reading.imports else self.seen.expressions)[text].append(place)
        for what, why in reading.faults:
            self.fault(place, what, why)
        for inner in reading.texts:
            if paths.is_address(inner) or paths.is_absolute(inner):
                self.seen.notes.append(Finding(place, inner, "is an address or an absolute path"))

    def macro(self, place: str, id_: Id, text: str) -> None:
        """Judge a ``%id``, which MONAI replaces by a copy of what is there."""
        of_file, copied = macro(text)
        if of_file:
            self.fault(place, text, "copies from another file, which MONAI finds from the working directory")
        elif _is_relative(text) or not self.values.at(copied):
            self.fault(place, text, "copies from an id that no config has")
        elif self.values.below(id_) or any(_is_relative(str(value)) for _, value in self.values.under(copied)):
            self.fault(place, text, "copies what comes to mean something else in its new place")

    def text(self, place: str, id_: Id, text: str, *, in_list: bool) -> None:
        """Judge a plain text as a path or an address."""
        if paths.is_address(text):
            self.seen.notes.append(Finding(place, text, "is an address"))
        elif paths.is_absolute(text) and not in_list:
            self.seen.notes.append(Finding(place, text, "is an absolute path"))
        elif paths.is_absolute(text) or paths.leads_out(text):
            if paths.PLACES.search("#".join(id_)):
                self.seen.notes.append(Finding(place, text, PATHS_LEAD_OUT))
            else:
                self.fault(place, text, PATHS_LEAD_OUT)


def _is_config(name: str) -> bool:
    return name.startswith(CONFIGS) and name != METADATA


def _is_relative(text: str) -> bool:
    return bool(RELATIVE.search(text.replace("#", "::")))


def _names(values: Iterator[Any]) -> expressions.Names:
    """Return what the imports of all configs bind, beside what MONAI brings."""
    names: dict[str, frozenset[str]] = {name: frozenset({full}) for name, full in expressions.BEFORE_IMPORTS.items()}
    for value in values:
        if isinstance(value, str) and value.startswith("$") and "import" in value:
            for name, full in expressions.bound(value).items():
                names[name] = names.get(name, frozenset()) | {full}
    return names
