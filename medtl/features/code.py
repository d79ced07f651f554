"""The code that turns pictures into features, named so that other code's features are other features. No torch."""

from importlib.metadata import PackageNotFoundError, version

from medtl import plugins
from medtl.networks.registry import backbone_of, is_own
from medtl.registry import KINDS
from medtl.version import __version__
from medtl.weights.layouts import LAYOUTS


def code_of(backbone: str, sha256: str) -> dict[str, str]:
    """Return what features depend on besides pictures, weights and how these are shown: the versions of medtl, of MONAI
    and of the packages that the network needs; for random weights that of torch, which draws them; and the SHA-256 of
    the files of $MEDTL_PLUGINS where one of them brings the network, its library, or a layout of its weights.

    Args:
        backbone: name of the network.
        sha256: of its weights; empty for random ones.

    Raises:
        UsageError: there is no such network.
    """
    card = backbone_of(backbone)
    found = {"medtl": __version__}
    for package in ("monai", *card.requires, *(() if sha256 else ("torch",))):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # building the network says so
            found[package] = ""
    layouts = [layout.name for layout in LAYOUTS.records() if sha256 and layout.family == card.family]
    if not is_own(backbone) or not all(map(LAYOUTS.is_own, layouts)):
        found["plugins"] = plugins.digest(*KINDS)
    return found
