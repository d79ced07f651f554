"""Rules and scalings as pure functions; the MONAI transforms on top are imported when first asked for (MONAI takes
seconds)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medtl.transforms.dictionary import CTWindowd, KeySliced, LoadPictured, MRPercentilesd, SlicesToVolumed

__all__ = ["CTWindowd", "KeySliced", "LoadPictured", "MRPercentilesd", "SlicesToVolumed"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from medtl.transforms import dictionary

    return getattr(dictionary, name)
