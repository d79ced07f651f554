"""What a pretraining method is, where methods are found, and how ``--method`` names one or a weighted sum of several.

Each method is a frozen data class, called ``METHOD`` by the file of this folder that holds it, or by a file
``FOLDER/methods/*.py`` of $MEDTL_PLUGINS. Its fields are its options.
"""

import ast
import dataclasses
import difflib
import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, cast

import ignite.distributed as idist
from torch import Tensor, nn

from medtl import plugins
from medtl.errors import UsageError, tell
from medtl.transforms.batch import BatchTransform

PACKAGE = "medtl.pretraining"
HOW = "expected a method or a sum such as supervised+0.5*simclr, or with options jigsaw(permutations=1000)"

OPTION_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "int": ("whole number", (int,)),
    "float": ("number", (int, float)),
    "str": ("word in quotes", (str,)),
}

Shown = Tensor | Mapping[str, Tensor]
Views = Callable[[Tensor, Tensor, int], Shown]


@dataclass(frozen=True)
class Trunk:
    """What a head stands on.

    Attributes:
        network: the classifier, on its device.
        backbone: its name.
        image_size: of the packed images, in pixels.
        width: of the pooled features.
        map_shape: (channels, rows, columns) of the last feature map of one image; (0, 0, 0) for methods that do not
            take the map.
    """

    network: nn.Module
    backbone: str
    image_size: int
    width: int
    map_shape: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Seen:
    """What a batch of n images came to.

    Attributes:
        answers: of the head, float32.
        labels: (n,) class indices, or (n, n_classes) multi-hot.
        targets: what the method's views added to the pictures, by name.
    """

    answers: Tensor
    labels: Tensor
    targets: Mapping[str, Tensor]


class Method(Protocol):
    """A pretraining method; its data fields are options that ``--method NAME(option=value)`` sets.

    Attributes:
        name: the word of ``--method``.
        needs_labels: whether the loss looks at the labels.
        takes: what its head stands on: "pooled" features, the last feature "map", or "logits": then the classifier's
            own head answers, is kept, and validation chooses the epoch. Without a method that takes logits the last
            epoch is kept, with a classifier's head as it was at the start.
        shows_whole: whether each picture that it shows is of the whole image, so that labels hold for it; in a sum,
            methods that take logits then look at these pictures instead of their own.

    A method that takes logits may also have ``comparable``, False where its logits of different classes mean nothing
    side by side, so that validation chooses no epoch; it then gets the target ``sources``.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool]
    takes: ClassVar[Literal["logits", "pooled", "map"]]
    shows_whole: ClassVar[bool]

    def views(self, plain: BatchTransform) -> Views:
        """Return what is done to a batch: (images (n, 1 or 3, rows, columns) uint8, index (n,), epoch) to pictures
        (k n, 3, r, c), or to ``{"image": pictures, …}`` with targets of the loss, all on the images' device.

        What happens to an image depends on (seed, epoch, index) alone.

        Args:
            plain: normalises without any augmentation, with the run's mean, SD, dtype, memory format and seed; to be
                changed by ``dataclasses.replace``.
        """
        ...

    def head(self, trunk: Trunk) -> nn.Module:
        """Return the module that answers from what the method takes; it is thrown away afterwards. Not called for
        methods that take logits."""
        ...

    def loss(self, seen: Seen) -> Tensor:
        """Return the loss of a batch, a scalar: the mean over its images."""
        ...

    def describe(self) -> str:
        """Return what the log says at the start, one line: what is asked, and the loss of guessing where it is
        known."""
        ...


def methods() -> dict[str, type[Method]]:
    """Return all methods by name: medtl's own, then those of $MEDTL_PLUGINS.

    Raises:
        UsageError: a plugin's file cannot be imported or holds no method, or two have one name.
    """
    package = importlib.import_module(PACKAGE)
    own = [importlib.import_module(f"{PACKAGE}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    result: dict[str, type[Method]] = {}
    for module in (*own, *plugins.modules("methods")):
        method: Any = getattr(module, "METHOD", None)
        if method is None and module in own:
            continue
        if not isinstance(method, type) or not dataclasses.is_dataclass(method) or not hasattr(method, "name"):
            raise UsageError(f"{module.__file__} holds no METHOD; expected the data class of a pretraining method")
        if method.name in result:
            raise UsageError(f"{module.__file__}: there is another pretraining method called {method.name}")
        result[method.name] = cast(type[Method], method)
    return result


@dataclass(frozen=True)
class Part:
    """One method of a sum and the weight of its loss."""

    method: Method
    weight: float = 1.0


@dataclass(frozen=True)
class Pass:
    """Parts of a sum that look at the same pictures.

    Attributes:
        shown_by: the method whose views these are.
        parts: in the order of the sum.
    """

    shown_by: Method
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class MethodSum:
    """One or several methods that a network learns by at once; the loss is their weighted sum."""

    parts: tuple[Part, ...]

    @property
    def trains_classifier(self) -> bool:
        """Return whether the classifier's head learns to compare all classes, so that a metric on validation can choose
        the epoch."""
        return any(part.weight and getattr(part.method, "comparable", True) for part in self._classifying)

    @property
    def _classifying(self) -> list[Part]:
        return [part for part in self.parts if part.weight and part.method.takes == "logits"]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Return what is shown to the network, one forward pass each."""
        whole = next((p.method for p in self.parts if p.method.shows_whole and p.method.takes != "logits"), None)
        grouped: dict[str, tuple[Method, list[Part]]] = {}
        for part in self.parts:
            shown_by = whole if whole is not None and part.method.takes == "logits" else part.method
            grouped.setdefault(shown_by.name, (shown_by, []))[1].append(part)
        return tuple(Pass(shown_by, tuple(parts)) for shown_by, parts in grouped.values())

    def describe(self) -> str:
        """Return what the log says at the start, a line for each method and one for what is kept."""
        lines = []
        for part in self.parts:
            weight = "" if part.weight == 1 else f"{part.weight:g} × "
            labels = "with labels" if part.method.needs_labels else "labels are not looked at"
            lines.append(f"method: {weight}{part.method.name} ({labels}): {part.method.describe()}")
        if self._classifying and not self.trains_classifier:
            lines.append(
                "method: validation compares classes of all sources, which is not learnt: the last epoch is kept"
            )
        elif not self.trains_classifier:
            lines.append(
                "method: the classifier's head stays random: its validation scores say nothing, the last epoch is kept"
            )
        return "\n".join(lines)


def parse(words: str) -> MethodSum:
    """Return what ``--method`` names: ``NAME``, ``NAME(option=value)``, or a sum of these with weights before them.

    Raises:
        UsageError: it cannot be read, or there is no such method or option, or a value cannot be.
    """
    try:
        tree = ast.parse(str(words).strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise UsageError(f"--method {words}: {HOW}") from None
    known = methods()
    parts = tuple(_part(term, words, known) for term in _terms(tree))
    names = [part.method.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--method {words} names {name} twice")
    if not any(part.weight for part in parts):
        raise UsageError(f"--method {words}: expected a weight above 0")
    return MethodSum(parts)


def announce(methods: MethodSum) -> None:
    """Say on the first process what is learnt, and how much guessing achieves."""
    if idist.get_rank() == 0:
        for line in methods.describe().splitlines():
            tell(line)


def _terms(tree: ast.expr) -> list[ast.expr]:
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        return [*_terms(tree.left), *_terms(tree.right)]
    return [tree]


def _part(term: ast.expr, words: str, known: Mapping[str, type[Method]]) -> Part:
    weight: Any = 1.0
    if isinstance(term, ast.BinOp) and isinstance(term.op, ast.Mult) and isinstance(term.left, ast.Constant):
        weight, term = term.left.value, term.right
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise UsageError(f"--method {words}: expected weights of 0 or more, not {weight}")
    options: dict[str, Any] = {}
    if isinstance(term, ast.Call) and not term.args:
        for keyword in term.keywords:
            if keyword.arg is None or not isinstance(keyword.value, ast.Constant):
                raise UsageError(f"--method {words}: {HOW}")
            options[keyword.arg] = keyword.value.value
        term = term.func
    if not isinstance(term, ast.Name):
        raise UsageError(f"--method {words}: {HOW}")
    if term.id not in known:
        raise UsageError(f"--method {words}: {term.id} is not one of {', '.join(known)}{_alike(term.id, known)}")
    return Part(_made(known[term.id], options, words), float(weight))


def _made(kind: type[Method], options: Mapping[str, Any], words: str) -> Method:
    """A method with its options set."""
    fields = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in options.items():
        if name not in fields:
            there = f"it has {', '.join(fields)}{_alike(name, fields)}" if fields else "it has none"
            raise UsageError(f"--method {words}: {kind.name} has no option {name}; {there}")
        expected, types = OPTION_TYPES.get(getattr(fields[name], "__name__", str(fields[name])), ("", ()))
        if types and (isinstance(value, bool) or not isinstance(value, types)):
            raise UsageError(f"--method {words}: {name} {value!r}: expected a {expected}")
    try:
        return kind(**options)
    except UsageError as error:
        raise UsageError(f"--method {words}: {error}") from None


def _alike(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
