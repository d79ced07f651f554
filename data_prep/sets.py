"""Where a data set's code is: the module that its card's name names, imported when it is wanted and not before."""

import importlib
import importlib.util
from types import ModuleType

from medtl import plugins
from medtl.cards import dataset_cards
from medtl.errors import UsageError


def module_of(name: str) -> ModuleType:
    """Import and return the module of a data set: ``data_prep.NAME``, or that of a file of $MEDTL_PLUGINS.

    Raises:
        UsageError: there is no such data set, or its file cannot be imported, or has no ``command``.
    """
    known = dataset_cards()
    if name not in known:
        raise UsageError(f"there is no data set {name!r}; there are {', '.join(known)}")
    if importlib.util.find_spec(f"data_prep.{name}"):
        found = importlib.import_module(f"data_prep.{name}")
    else:
        (found,) = (module for module in plugins.modules("data_prep") if module.__name__.split(".")[-1] == name)
    if not callable(getattr(found, "command", None)):
        raise UsageError(f"{found.__file__} has a card and no function command(…), which data_prep calls")
    return found
