"""A bundle like another one with another network: the same recipe, named and cited as what it is."""

import shutil
from pathlib import Path

from medtl.bundle.inspect import REQUIRED_FILES
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object, replacing_folder
from medtl.networks.registry import backbone_of, names

TEXT = (".json", ".md", ".txt", ".conf", "")  # LICENSE has no suffix
COPIED = ("LICENSE", "configs", "docs")  # weights are of the old network and stay behind


def derive(bundle: Path, backbone: str, out: Path) -> list[str]:
    """Copy a pretraining bundle's configs and documents, with another network in them.

    Replaced are the network's name in the configs, the bundle's name (by that of the new folder), the network's title
    and its reference. Weights and their card are not copied.

    Args:
        bundle: the folder of a bundle whose configs name one network.
        backbone: the new network, a network's name, as of ``build_classifier``.
        out: the new bundle's folder, which must not exist; made whole or not at all.

    Returns:
        What was done, a line each.

    Raises:
        UsageError: an argument is wrong. MedtlError: a config cannot be read, or names no network.
    """
    try:
        new = backbone_of(backbone)
    except UsageError as error:
        raise UsageError(f"--backbone {backbone}: {error}") from None
    missing = [name for name in (*REQUIRED_FILES, "configs/train.json") if not (bundle / name).is_file()]
    if missing:
        raise UsageError(f"{bundle} is not a bundle: {missing[0]} is missing")
    if out.exists():
        raise UsageError(f"--out {out} exists already; name a new folder")
    old = _backbone(bundle)
    name = bundle.resolve().name
    changes = _changes(old, backbone, name, out.name)
    with replacing_folder(out) as made:
        for part in COPIED:
            for source in sorted(path for path in (bundle / part, *(bundle / part).rglob("*")) if path.is_file()):
                target = made / source.relative_to(bundle)
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.suffix in TEXT:
                    target.write_text(_replaced(source, changes), encoding="utf-8", newline="")
                else:
                    shutil.copyfile(source, target)
    title = new.title
    return [
        f"{out}: bundle {out.name}, {title} with the recipe of {name}",
        f"its documents are those of {name}: figures measured with that network are not of this one",
        f"check it with: medtl check {out}",
    ]


def _backbone(bundle: Path) -> str:
    """The network that a bundle's training config names."""
    path = bundle / "configs" / "train.json"
    try:
        named = read_object(path)["network_def"]["backbone"]
    except (KeyError, TypeError):
        raise MedtlError(f"{path} names no network: expected network_def#backbone") from None
    if str(named).startswith(("@", "$")):
        raise UsageError(f"{bundle} takes any network already: run it with --backbone NAME")
    if named not in names():
        raise MedtlError(f"{path}: network_def#backbone {named} is not one of {', '.join(names())}")
    return str(named)


def _changes(old: str, new: str, old_name: str, new_name: str) -> list[tuple[str, str]]:
    """What is replaced by what, in this order: the bundle's name may hold the network's."""
    cards = (backbone_of(old), backbone_of(new))
    return [
        (old_name, new_name),
        (f'"backbone": "{old}"', f'"backbone": "{new}"'),
        (cards[0].title, cards[1].title),
        (cards[0].reference, cards[1].reference),
    ]


def _replaced(source: Path, changes: list[tuple[str, str]]) -> str:
    try:
        text = source.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise MedtlError(f"{source} is not UTF-8 text") from None
    for old, new in changes:
        text = text.replace(old, new)
    return text
