"""One's own pictures with masks: which mask file belongs to which picture, and what its values mean."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep import masked, private
from data_prep.masked import Mask, Row
from data_prep.work import Rejected, Source
from medtl.errors import UsageError
from medtl.readers.find import below, images

SPEC = re.compile(r"(?P<name>[^=#]+?)\s*(?:=\s*(?P<value>\d+|#[0-9a-fA-F]{6}))?")
SEPARATORS = "_-. ("
MARKS = ("mask", "label", "labels", "seg", "segmentation", "gt", "groundtruth", "annotation", "manual1", "roi")


@dataclass(frozen=True)
class Classes:
    """What the values of masks mean.

    Attributes:
        names: in index order, from index 1 of the masks written.
        values: value of each name in the files; empty where they are the indices, or every value is the one class.
        colour: whether the values are colours.
    """

    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    colour: bool = False


def classes_of(text: str) -> Classes:
    """Return the classes that ``--classes`` names: ``vessel``; ``disc,cup`` for masks of 1 and 2; ``disc=128,cup=255``;
    or ``disc=#ff0000,cup=#00ff00`` for masks in colours.

    Raises:
        UsageError: it cannot be understood.
    """
    found = [SPEC.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found):
        raise UsageError(f"--classes {text}: expected names by commas, each with =VALUE or =#RRGGBB or none with one")
    names = tuple(match["name"].strip() for match in found if match)
    said = [match["value"] for match in found if match and match["value"]]
    if len(set(names)) < len(names) or len(said) not in (0, len(names)) or len({one[0] == "#" for one in said}) > 1:
        raise UsageError(f"--classes {text}: expected different names, and values of one kind for all or for none")
    colour = bool(said) and said[0][0] == "#"
    return Classes(names, tuple(int(one[1:], 16) if colour else int(one) for one in said), colour)


def find(
    name: str, raw: Path, masks: Path, classes: Classes, pattern: re.Pattern[str] | None, secret: bytes
) -> tuple[Source, dict[str, tuple[str, str]]]:
    """Return the work of a folder of pictures and one of masks, and image to file and patient, which is private.

    A mask belongs to the picture of its name, also with a word behind it (``p01.jpg`` and ``p01_mask.png``). With
    several classes, a word that is a class's name says that the file shows this class alone (``p01_cup.png``).

    Args:
        name: of the set.
        raw: folder of the pictures; masks may lie in a folder below it.
        masks: folder of the masks.
        classes: what their values mean.
        pattern: on the picture's path below ``raw``; its first group is the patient. None: each picture is a patient.
        secret: key of the patients' hashes.

    Raises:
        UsageError: there is no picture, or no mask.
    """
    root = raw if masks.resolve().is_relative_to(raw.resolve()) else _common(raw, masks)
    inside = masks.resolve()
    tree = images(raw, ("raster",))
    rejected = [Rejected(_from(root, raw / one.name), one.reason) for one in tree.refused]
    pictures = [file for file in tree.files if not file.path.resolve().is_relative_to(inside)]
    if not pictures:
        raise UsageError(f"--raw {raw} holds no picture beside the masks")
    if not below(masks).files:
        raise UsageError(f"--masks {masks} holds no file")
    partners = _partners([file.name for file in pictures], masks, raw, classes)
    rows, used, mapping = [], set(), {}
    for count, file in enumerate(pictures):
        own = partners.get(file.name, [])
        used |= {path for path, _ in own}
        place = _from(root, file.path)
        match = pattern.search(file.name) if pattern else None
        if pattern and match is None:
            rejected.append(Rejected(place, "the patient pattern does not match its path"))
        elif not own:
            rejected.append(Rejected(place, "has no mask of its name"))
        else:
            patient = match.group(1) if match else PurePosixPath(file.name).with_suffix("").as_posix()
            layers = tuple(_mask(_from(root, path), number, classes) for path, number in own)
            code = private.keyed_hash(secret, f"patient {patient}")
            rows.append(Row(place, layers, code, name=f"{count:06d}"))
            mapping[f"images/{name}/{count:06d}.png"] = (place, patient)
    for mask in images(masks, ("raster",)).files:
        if mask.path not in used:
            rejected.append(Rejected(_from(root, mask.path), "is a mask without its picture"))
    return masked.source(name, root, rows, rejected, classes.names), mapping


def _mask(file: str, number: int, classes: Classes) -> Mask:
    if number or (len(classes.names) == 1 and not classes.values):
        return Mask(file, number or 1)
    values = tuple(zip(classes.values, range(1, len(classes.names) + 1), strict=True)) if classes.values else ()
    return Mask(file, 0, values, classes.colour)


def _partners(pictures: Sequence[str], masks: Path, raw: Path, classes: Classes) -> dict[str, list[tuple[Path, int]]]:
    """Return each picture's mask files, with the class that one shows alone, or 0."""
    stems: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        stems[PurePosixPath(picture).stem.casefold()].append(picture)
    ordered = sorted(stems, key=len, reverse=True)  # p01_left before p01
    numbers = {one.casefold(): number for number, one in enumerate(classes.names, 1)}
    found: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for mask in images(masks, ("raster",)).files:
        stem = PurePosixPath(mask.name).stem.casefold()
        owner = next((one for one in ordered if stem == one or _is_behind(stem, one, numbers)), None)
        if owner is None:
            continue
        word = stem[len(owner) :].strip(SEPARATORS + ")")
        chosen = _nearest(stems[owner], mask.name)
        found[chosen].append((mask.path, numbers.get(word, 0) if len(numbers) > 1 else 0))
    return found


def _is_behind(stem: str, picture: str, classes: dict[str, int]) -> bool:
    """Whether a mask's name is a picture's with a known word behind it."""
    rest = stem[len(picture) :] if stem.startswith(picture) else ""
    return (
        rest[:1] in SEPARATORS and rest.strip(SEPARATORS + ")0123456789") in {*MARKS, *classes, ""} if rest else False
    )


def _nearest(pictures: Sequence[str], mask: str) -> str:
    """Return, of pictures of one name, the one whose folders are most like the mask's."""
    folders = set(PurePosixPath(mask).parts[:-1])
    return max(pictures, key=lambda picture: len(folders & set(PurePosixPath(picture).parts[:-1])))


def _common(raw: Path, masks: Path) -> Path:
    """Return the folder above both."""
    one, other = raw.resolve(), masks.resolve()
    return next(folder for folder in (one, *one.parents) if other.is_relative_to(folder))


def _from(root: Path, path: Path) -> str:
    return path.resolve().relative_to(root.resolve()).as_posix()
