"""medtl: from raw public medical-imaging downloads to shareable pretrained MONAI bundles. Not for clinical use.

The names below are found when they are first used: importing medtl imports neither torch nor MONAI.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medtl.version import __version__

if TYPE_CHECKING:
    from medtl.api.data import load_data
    from medtl.api.evaluating import evaluate
    from medtl.api.fitting import fit
    from medtl.api.model import build, load_weights
    from medtl.api.probing import probe
    from medtl.api.run import Run
    from medtl.errors import MedtlError, UsageError

PLACES = {
    "MedtlError": "medtl.errors",
    "Run": "medtl.api.run",
    "UsageError": "medtl.errors",
    "build": "medtl.api.model",
    "evaluate": "medtl.api.evaluating",
    "fit": "medtl.api.fitting",
    "load_data": "medtl.api.data",
    "load_weights": "medtl.api.model",
    "probe": "medtl.api.probing",
}
__all__ = [
    "MedtlError", "Run", "UsageError", "__version__", "build", "evaluate", "fit", "load_data", "load_weights", "probe",
    "report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "report":  # a package that can be called
        return import_module("medtl.report")
    if name not in PLACES:
        raise AttributeError(f"module 'medtl' has no attribute {name!r}")
    found = getattr(import_module(PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
