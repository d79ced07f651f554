"""One's own pictures with masks: which mask file belongs to which picture, and what its values mean."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from data_prep import masked, private
from data_prep.folder_people import People, Person, patient_in
from data_prep.folder_rows import Row as Listed
from data_prep.masked import Mask, Row
from data_prep.work import Done, Rejected, Source, Work
from medtl.errors import UsageError
from medtl.readers.find import File, Passed, images

SPEC = re.compile(r"(?P<name>[^=#]+?)\s*(?:=\s*(?P<value>\d+|#[0-9a-fA-F]{6}))?")
SEPARATORS = "_-. ("
MARKS = ("mask", "label", "labels", "seg", "segmentation", "gt", "groundtruth", "annotation", "manual", "roi")
# what folders of pictures and masks are called, beside the patients' and splits' whose names tell pictures apart
KINDS = {*MARKS, "masks", "image", "images", "img", "imgs", "picture", "pictures"}
NO_PARTNER, SEVERAL = "is a mask without its picture", "is a mask that fits several pictures of one name"
TWICE = "is one of several masks of a picture, in different folders"


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


@dataclass(frozen=True)
class Pairing:
    """How pictures, masks and patients are told.

    Attributes:
        name: of the data set.
        classes: what the masks' values mean.
        people: whose pictures they are.
        suffix: what a mask's name has behind its picture's; empty where ``MARKS`` and the classes' names are looked
            for.
        secret: key of the patients' hashes.
    """

    name: str
    classes: Classes
    people: People
    suffix: str
    secret: bytes


@dataclass(frozen=True)
class Places:
    """Where pictures and masks lie, by those names of folders that may tell one file from another.

    Attributes:
        pictures, masks: names of a file's folders, from above.
        shared: names that both sides have.
        apart: whether none of these tells files apart, so that names of files alone say whose a mask is.
    """

    pictures: Mapping[str, tuple[str, ...]]
    masks: Mapping[str, tuple[str, ...]]
    shared: frozenset[str]
    apart: bool

    def nearest(self, pictures: Sequence[str], mask: str) -> list[str]:
        """Return, of pictures of one name, those in the mask's own folders, or else those whose folders do not
        contradict it."""
        same = [picture for picture in pictures if self.pictures[picture] == self.masks[mask]]
        return same or [picture for picture in pictures if self._fit(self.pictures[picture], self.masks[mask])]

    def of_one_folder(self, picture: str, masks: Sequence[tuple[int, File]]) -> list[tuple[int, File]]:
        """Return a picture's masks, of each class those in the picture's own folders, if there; none where masks of one
        class lie in different folders, which may be of different pictures."""
        kept = []
        for number in {number for number, _ in masks}:
            own = [one for one in masks if one[0] == number]
            near = [one for one in own if self.masks[one[1].name] == self.pictures[picture]] or own
            if len({PurePosixPath(mask.name).parent for _, mask in near}) > 1:
                return []
            kept += near
        return kept

    def _fit(self, picture: tuple[str, ...], mask: tuple[str, ...]) -> bool:
        """Whether a mask may be a picture's by their folders: what both sides know agrees, and one of the two has
        nothing else, unless the sides are apart. A mask in no folder may be any's."""
        known = [tuple(name for name in own if name in self.shared) for own in (picture, mask)]
        return not mask or (known[0] == known[1] and (self.apart or known[0] == picture or known[1] == mask))


@dataclass(frozen=True)
class Telling:
    """What in the name of a file tells a person.

    Attributes:
        start: the pictures' folder, before their paths.
        pattern: of ``People``.
        given: file to the patient whom the table names.
        secret: key of the patients' hashes.
    """

    start: str
    pattern: re.Pattern[str] | None
    given: Mapping[str, str]
    secret: bytes

    def hidden(self, row: Rejected) -> Rejected:
        """Return a rejected file without the word that tells its patient."""
        patient = self.given.get(row.file) or self._in(row.file)
        if not patient:
            return row
        code = private.keyed_hash(self.secret, f"patient {patient}")
        return Rejected(*(private.masked(text, [patient], code) for text in (row.file, row.reason)))

    def _in(self, file: str) -> str | None:
        found = patient_in(file.removeprefix(f"{self.start}/"), self.pattern) if self.pattern else None
        if found:
            return found
        # a mask of no picture, or a picture without a row, may be a known patient's all the same
        words = sorted(set(self.given.values()), key=len, reverse=True)
        return next((one for one in words if re.search(rf"(?i)(?<![^\W_]){re.escape(one)}(?![^\W_])", file)), None)


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
    values = tuple(int(one[1:], 16) if colour else int(one) for one in said)
    if len(set(values)) < len(values) or 0 in values:
        raise UsageError(f"--classes {text}: expected a different value for each, and none of 0, the background")
    return Classes(names, values, colour)


def find(raw: Path, masks: Path, pairing: Pairing) -> tuple[Source, dict[str, tuple[str, str]], Telling]:
    """Return the work of a folder of pictures and one of masks, picture to file and patient, which is private, and what
    names may not show.

    A mask belongs to the picture of its name, also with a word behind it (``p01.jpg`` and ``p01_mask.png``). With
    several classes, a word that is a class's name says that the file shows this class alone (``p01_cup.png``).

    Args:
        raw: folder of the pictures; masks may lie in a folder below it.
        masks: folder of the masks.
        pairing: how they are told.

    Raises:
        UsageError: there is no picture, or no mask.
    """
    root = Path(os.path.commonpath((_absolute(raw), _absolute(masks))))
    tree, others = images(raw, ("raster",)), images(masks, ("raster",))
    pictures = [file for file in tree.files if not _is_in(file.path, masks)]
    if not pictures:
        raise UsageError(f"--raw {raw} holds no picture beside the masks")
    if not others.files and not others.refused:
        raise UsageError(f"--masks {masks} holds no picture")
    people = pairing.people
    if people.pattern and not any(patient_in(file.name, people.pattern) for file in pictures):
        raise UsageError(f"--patient-pattern {people.pattern.pattern!r} fits no path, such as {pictures[0].name}")
    partners, lost, passed = _partners([file.name for file in pictures], others.files, pairing)
    ruled_out = [
        *((masks / file, reason) for file, reason in lost),
        *((masks / one.name, one.reason) for one in others.refused),
        *((raw / one.name, one.reason) for one in tree.refused if not _is_in(raw / one.name, masks)),
    ]
    passed += tuple(one for one in tree.passed if not _is_in(raw / one.name, masks)) + others.passed
    listed = people.unused([*(file.path for file in pictures), *(path for path, _ in ruled_out)])
    rejected = [Rejected(_from(root, path), reason) for path, reason in ruled_out]
    rejected += [Rejected(_listed(row, root), reason) for row, reason in listed]
    given = {_listed(row, root): row.patient for row, _ in listed if row.patient}
    rows, mapping = [], {}
    whose = people.of(pictures)
    for count, file in enumerate(pictures):
        place, own, person = _from(root, file.path), partners.get(file.name, []), whose[file.name]
        if isinstance(person, str):
            rejected.append(Rejected(place, person))
        elif person and not own:
            rejected.append(Rejected(place, "has no mask of its name"))
        elif person:
            layers = tuple(_mask(_from(root, path), number, pairing.classes) for path, number in own)
            who = f"patient {person.patient}" if person.patient else f"image {pairing.name} {place}"
            code = private.keyed_hash(pairing.secret, who)
            rows.append(Row(place, layers, code, person.split, f"{count:06d}", person.group))
            mapping[f"images/{pairing.name}/{count:06d}.png"] = (place, person.patient)
        if people.table and isinstance(person, Person) and person.patient:
            given[place] = person.patient
    source = masked.source(pairing.name, root, rows, rejected, pairing.classes.names)
    telling = Telling(_from(root, raw), people.pattern, given, pairing.secret)
    hidden = tuple(map(telling.hidden, rejected))
    work = partial(process, telling=telling)
    return replace(source, process=work, rejected=hidden, passed=passed, private=True), mapping, telling


def process(work: Work, raw: Path, out: Path, *, telling: Telling) -> Done:
    """Check and write one chunk of pictures with their masks; what is rejected does not name the patient."""
    done = masked.process(work, raw, out)
    return Done(done.entries, [telling.hidden(row) for row in done.rejected])


def _listed(row: Listed, root: Path) -> str:
    """Return what rejected.csv calls a picture of the table: where it lies below the folders' common one, if there."""
    path = _absolute(row.path)
    return (
        _from(root, path)
        if path != root and path.is_relative_to(root) and path.name == Path(row.file).name
        else row.file
    )


def _mask(file: str, number: int, classes: Classes) -> Mask:
    """Return a mask file; ``number`` is the class that it shows alone, or 0."""
    if number or (len(classes.names) == 1 and not classes.values):
        return Mask(file, number or 1)
    values = tuple(zip(classes.values, range(1, len(classes.names) + 1), strict=True)) if classes.values else ()
    return Mask(file, 0, values, classes.colour)


def _partners(
    pictures: Sequence[str], masks: Sequence[File], pairing: Pairing
) -> tuple[dict[str, list[tuple[Path, int]]], list[tuple[str, str]], tuple[Passed, ...]]:
    """Return each picture's mask files, each with the class that it shows alone or 0; masks of no picture, with the
    reason; and files that are passed over because of the suffix."""
    stems: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        stems[PurePosixPath(picture).stem.casefold()].append(picture)
    names = pairing.classes.names
    numbers = {one.casefold(): number for number, one in enumerate(names, 1)} if len(names) > 1 else {}
    suffix = pairing.suffix.casefold()
    places = _places(pictures, [mask.name for mask in masks])
    found: dict[str, list[tuple[int, File]]] = defaultdict(list)
    lost, passed = [], []
    for mask in masks:
        stem = PurePosixPath(mask.name).stem.casefold()
        if suffix and not stem.endswith(suffix):
            passed.append(Passed(mask.name, f"without {pairing.suffix} in the folder of masks"))
            continue
        owner, word = (stem.removesuffix(suffix), "") if suffix else _owner(stem, stems, {*MARKS, *numbers})
        chosen = places.nearest(stems.get(owner, []), mask.name)
        if len(chosen) == 1:
            found[chosen[0]].append((numbers.get(word, 0), mask))
        else:
            lost.append((mask.name, SEVERAL if chosen else NO_PARTNER))
    partners = {}
    for picture, own in found.items():
        kept = places.of_one_folder(picture, own)
        lost += [(mask.name, TWICE) for number, mask in own if (number, mask) not in kept]
        if kept:  # classes in index order: a later one lies above
            partners[picture] = [(mask.path, number) for number, mask in sorted(kept)]
    return partners, lost, tuple(passed)


def _places(pictures: Sequence[str], masks: Sequence[str]) -> Places:
    """Return where files lie, without names such as ``images``, and without those that all of one side have and none of
    the other."""
    sides = [{name: PurePosixPath(name.casefold()).parts[:-1] for name in names} for names in (pictures, masks)]
    some = [set().union(*side.values()) - KINDS for side in sides]
    every = [
        {name for name in some[k] if all(name in parts for parts in side.values())} for k, side in enumerate(sides)
    ]
    told = [some[k] - (every[k] - some[1 - k]) for k in (0, 1)]
    left = [
        {name: tuple(part for part in parts if part in told[k]) for name, parts in side.items()}
        for k, side in enumerate(sides)
    ]
    shared = some[0] & some[1]
    return Places(left[0], left[1], frozenset(shared), shared <= every[0] & every[1])


def _owner(stem: str, stems: Mapping[str, Sequence[str]], words: set[str]) -> tuple[str, str]:
    """Return the picture's name that a mask's name begins with, the longest, and the word behind it."""
    if stem in stems:
        return stem, ""
    for end in range(len(stem) - 1, 0, -1):
        # a number behind the word counts masks; one in front of it is of another picture's name
        word = stem[end:].lstrip(SEPARATORS).rstrip(f"{SEPARATORS})0123456789")
        if stem[end] in SEPARATORS and word in words and stem[:end] in stems:
            return stem[:end], word
    return "", ""


def _is_in(path: Path, folder: Path) -> bool:
    """Whether a file lies below a folder, by whatever way it was reached; what a link to it leads to does not count."""
    return path.parent.resolve().is_relative_to(folder.resolve())


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _from(root: Path, path: Path) -> str:
    return _absolute(path).relative_to(root).as_posix()
