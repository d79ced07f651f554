"""Ids of the running config, looked up by name: what is the same in every bundle is not written in each of them."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from monai.bundle import ConfigParser

from medtl.bundles.known_ids import COMPUTED, MEANT, PLACES
from medtl.errors import MedtlError
from medtl.runs import workflow

T = TypeVar("T")

AUTO = "auto"
USUAL_METRIC = {"classification": "auc", "multilabel": "auc", "regression": "mae"}

_kept: "weakref.WeakKeyDictionary[ConfigParser, dict[str, Any]]" = weakref.WeakKeyDictionary()


def has(id_: str) -> bool:
    """Return whether the running config has an id."""
    parser = workflow.running_parser()
    return parser is not None and id_ in parser


def value(id_: str, *usual: Any) -> Any:
    """Return what an id of the running config is, evaluated.

    Args:
        id_: nested ids joined by ``#``.
        usual: at most one value, for a config without that id.

    Raises:
        MedtlError: there is no such id, and nothing usual.
    """
    parser = _parser()
    if id_ in parser:
        return parser.ref_resolver.get_resolved_content(id_)
    if not usual:
        raise MedtlError(f"the config has no id {id_!r}, which this recipe needs")
    return usual[0]


def once(name: str, make: Callable[[], T]) -> T:
    """Return what ``make`` made when it was first asked for under this name in the running workflow."""
    kept = _kept.setdefault(_parser(), {})
    if name not in kept:
        kept[name] = make()
    found: T = kept[name]
    return found


def forget() -> None:
    """Begin anew: a workflow that is initialised again makes its parts again."""
    _kept.pop(_parser(), None)


def key_metric() -> str:
    """Return the metric that chooses the epoch: ``--key_metric``, or of a recipe that says ``auto`` the usual one of
    the data list's task."""
    named = value("key_metric")
    return USUAL_METRIC[value("data").task] if named == AUTO else str(named)


def recipe() -> dict[str, Any]:
    """Return the hyperparameters of the running config by id, evaluated: what run.json records and a resumed run must
    have again."""
    config: Mapping[str, Any] = _parser().config
    names = [name for name, given in config.items() if _is_plain(given) or name in COMPUTED]
    hyperparameters = [name for name in names if name not in PLACES and not name.startswith("_")]
    found = {name: value(MEANT[name] if MEANT.get(name) in config else name) for name in hyperparameters}
    return found | ({"key_metric": key_metric()} if found.get("key_metric") == AUTO else {})


def _is_plain(given: Any) -> bool:
    """Return whether a value is written out: a number, a switch, null, or a word that is no expression or reference."""
    if isinstance(given, str):
        return not given.startswith(("$", "@", "%"))
    return given is None or isinstance(given, bool | int | float)


def _parser() -> ConfigParser:
    parser = workflow.running_parser()
    if parser is None:
        raise MedtlError("only a running MONAI config can call this")
    return parser
