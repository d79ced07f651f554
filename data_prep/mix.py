"""medtl-mini: several prepared data lists in one, for pretraining; what a later target holds can be left out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import mix_masks, mix_shares, options, sample
from data_prep.folder import check_name
from data_prep.mix_pictures import process
from data_prep.mix_shares import Shares
from data_prep.work import Rejected, Source, Work
from medtl import datalist, leaks
from medtl.cards import DatasetCard
from medtl.datalist import REGRESSION, DataList, Entry
from medtl.errors import UsageError, tell
from medtl.places import paths_of
from medtl.signatures import Listed, sign_readable

CARD = DatasetCard(
    name="mix",
    title="medtl-mini, prepared data lists in one",
    task="classification",
    classes=(),
    licence="those of its parts, joined",
    citation="those of its parts",
    url="",
    how_to_get="Prepare each part, then name them all; what fine-tuning will test on can be left out.",
    disk_gb=None,
    layout="--lists NAME=DIR,NAME=DIR of prepared folders",
)

NAME = "medtl-mini"
ENTRIES_A_PIECE = 256


class Task(StrEnum):
    """What the collection is for."""

    CLASSIFICATION = "classification"
    SEGMENTATION = mix_masks.SEGMENTATION


@dataclass(frozen=True)
class Part:
    """One prepared data list.

    Attributes:
        name: put before its classes.
        listed: the list.
        entries: what is taken of it, each with its new class name as ``label``.
        left_out: (entries, patients) that an excluded list has too.
        rejected: pictures that could not be compared with the excluded lists, and so are left out.
    """

    name: str
    listed: DataList
    entries: tuple[Entry, ...]
    left_out: tuple[int, int] = (0, 0)
    rejected: tuple[Rejected, ...] = ()


@options.dealt
def command(
    lists: Annotated[
        str,
        typer.Option(
            help="Mix prepared folders, NAME=DIR,…: NAME stands before their classes; DIR 'sample': phantoms."
        ),
    ],
    out: options.Out,
    take: Annotated[str, typer.Option(help="Take these of their splits, comma-separated.")] = "training",
    per_class_limit: Annotated[int, typer.Option(min=0, help="Take at most this many per class; 0: all.")] = 0,
    samples: Annotated[
        int, typer.Option(min=0, help="Take at most this many of each list, classes in proportion; 0: all.")
    ] = 0,
    shares: Annotated[
        Shares, typer.Option(help="Take all, or of every list as many as the smallest has left.")
    ] = Shares.ALL,
    drop_class: Annotated[
        str,
        typer.Option("--drop_class", help="Leave classes out, comma-separated: NAME of every list, or PART/NAME."),
    ] = "",
    exclude: Annotated[
        str | None,
        typer.Option(help="Leave out patients and images of these prepared folders, comma-separated."),
    ] = None,
    licences: Annotated[
        str,
        typer.Option(help="Give licences that the lists lack or state wrongly: 'NAME=TEXT;NAME=TEXT'."),
    ] = "",
    name: Annotated[str, typer.Option(help="Name the collection.")] = NAME,
    task: Annotated[
        Task, typer.Option(help="Make classes of the lists, or keep the masks and classes of lists that have masks.")
    ] = Task.CLASSIFICATION,
    **how: Any,
) -> None:
    check_name(name)
    masks = task is Task.SEGMENTATION
    if masks and (per_class_limit or drop_class):
        option = "per-class-limit" if per_class_limit else "drop_class"
        raise UsageError(f"--{option}: not with --task segmentation, whose pictures show several classes at once")
    folders = _folders(lists)
    splits = _splits(take)
    others = paths_of(exclude or "")
    if exclude is not None and not others:  # an unset variable must not let the targets in
        raise UsageError("--exclude names no prepared folder")
    terms = _terms(licences, folders)
    dropped = [word.strip() for word in drop_class.split(",") if word.strip()]
    seed, workers = how["seed"], how["workers"] or options.CPUS
    parts = look(folders, splits, per_class_limit, others, dropped, masks=masks, seed=seed, workers=workers)
    taken = mix_shares.shared([part.entries for part in parts], samples, shares is Shares.EQUAL, seed)
    parts = [replace(part, entries=entries) for part, entries in zip(parts, taken, strict=True)]
    for part in parts:
        lost = (
            f"; {part.left_out[0]:,} entries of {part.left_out[1]:,} patients left out, whom --exclude has, too"
            if others
            else ""
        )
        tell(f"data_prep: {part.name}: {len(part.entries):,} entries of {part.listed.name}{lost}")
    card = own_card(parts, name, terms, masks)
    options.finish(
        card,
        [find(part, card.classes if masks else ()) for part in parts],
        out,
        choices={
            "name": name,
            "lists": ",".join(folders),
            "take": ",".join(splits),
            "per-class-limit": per_class_limit or None,
            "samples": samples or None,
            "shares": shares.value if shares is Shares.EQUAL else None,
            "drop_class": ",".join(dropped) or None,
            "licences": licences or None,
            "exclude": ",".join(datalist.read(other).name for other in others) or None,
            "task": task.value if masks else None,
        },
        is_sample=any(part.listed.sample for part in parts),
        command=CARD.name,
        deal=mix_masks.dealer(how["validation_fraction"], seed) if masks else None,
        **how,
    )


def _splits(take: str) -> tuple[str, ...]:
    """Return the long names of the splits in ``training,test``, each once."""
    long = {short: name for name, short in datalist.SHORT_NAMES.items()}
    splits = tuple(long.get(word.strip(), word.strip()) for word in take.split(",") if word.strip())
    wrong = [name for name in splits if name not in datalist.SPLITS]
    if wrong or not splits:
        named = f"names {wrong[0]!r}" if wrong else "names no split"
        raise UsageError(f"--take {named}: expected some of {', '.join(datalist.SPLITS)}")
    twice = next((name for name in splits if splits.count(name) > 1), None)
    if twice:
        raise UsageError(f"--take names {twice} twice")
    return splits


def _folders(lists: str) -> dict[str, Path]:
    """Name to folder of ``NAME=DIR,NAME=DIR``."""
    folders: dict[str, Path] = {}
    words: list[str] = []
    for piece in filter(str.strip, lists.split(",")):  # without "=" it is of the path before it, which has a comma
        words.append(piece if "=" in piece or not words else f"{words.pop()},{piece}")
    for word in map(str.strip, words):
        name, equals, place = (part.strip() for part in word.partition("="))
        if not equals or not place:
            raise UsageError(f"--lists {word!r}: expected NAME=DIR, a name for the classes and a prepared folder")
        check_name(name)
        if name in folders:
            raise UsageError(f"--lists names {name!r} twice")
        folders[name] = sample.prepared(name) if place == sample.WORD else Path(place)
    if not folders:
        raise UsageError("--lists names no data list: expected NAME=DIR,NAME=DIR")
    return folders


def look(
    folders: Mapping[str, Path],
    take: Sequence[str],
    per_class_limit: int,
    exclude: Sequence[Path],
    drop: Sequence[str] = (),
    *,
    masks: bool = False,
    seed: int,
    workers: int,
) -> list[Part]:
    """Return what of each list enters the collection.

    Args:
        folders: name to prepared folder.
        take: splits.
        per_class_limit: most entries a class, 0 for all; many patients are preferred to many images of few.
        exclude: prepared folders whose patients and images must not enter.
        drop: classes that must not enter, of every list or as PART/NAME.
        masks: lists have masks, which are kept; the label of an entry is then the list's name.
        seed: of the choice under a limit.
        workers: processes that look for excluded images.

    Raises:
        UsageError: a list is absent, has no such split, or labels that are lists; no list has a dropped class.
        MedtlError: it is not valid.
    """
    targets = [(str(path), datalist.read(path)) for path in exclude]  # mistakes are told before the work
    lists = {name: datalist.read(folder) for name, folder in folders.items()}
    if masks:
        parts = [Part(name, listed, mix_masks.entries_of(name, listed, take)) for name, listed in lists.items()]
    else:
        parts = [_part(name, listed, take) for name, listed in lists.items()]
    if drop:
        mix_shares.check_names(drop, [entry["label"] for part in parts for entry in part.entries])
        parts = [replace(part, entries=mix_shares.without(part.entries, drop)) for part in parts]
    signed = []
    uncompared: list[Rejected] = []
    for name, listed in targets:
        signatures, unreadable = sign_readable(listed, name, workers)
        signed.append(signatures)
        uncompared += [Rejected(f"excluded {listed.name}: {image}", why) for image, why in unreadable.items()]
    for number, part in enumerate(parts):
        if signed:
            part = _without(part, signed, workers, uncompared if number == 0 else [])
        if per_class_limit:
            part = replace(part, entries=mix_shares.limited(part.entries, per_class_limit, seed))
        parts[number] = part
    return parts


def _without(part: Part, signed: Sequence[Listed], workers: int, rejected: Sequence[Rejected]) -> Part:
    """What is taken of a list, without the patients of the excluded ones, and what cannot be compared with these."""
    own, unreadable = sign_readable(_taken(part), part.name, workers)
    known = {own.patients[leak.first] for other in signed for leak in leaks.compare(own, other).leaks}
    there = [entry for entry in part.entries if entry["image"] not in unreadable]
    kept = tuple(entry for entry in there if entry["patient"] not in known)
    return replace(
        part,
        entries=kept,
        left_out=(len(there) - len(kept), len({entry["patient"] for entry in there} & known)),
        rejected=(*rejected, *(Rejected(image, why) for image, why in unreadable.items())),
    )


def _part(name: str, listed: DataList, take: Sequence[str]) -> Part:
    if listed.task == "multilabel":
        raise UsageError(
            f"--lists {name}: its labels are lists (multi-label); a class is needed for each image: prepare it again,"
            " chexpert with --rule exactly-one"
        )
    if listed.task == REGRESSION:
        raise UsageError(f"--lists {name}: its labels are numbers (regression); a class is needed for each image")
    entries = [
        {**entry, "label": f"{name}/{_class_name(entry, listed)}"}
        for split in take
        for entry in listed.split(split)
        if "areas" not in entry or any(entry["areas"].values())  # slices beyond the organs show little or nothing
    ]
    if not entries:
        raise UsageError(f"--lists {name}: its {' and '.join(take)} split is empty")
    return Part(name, listed, tuple(entries))


def _taken(part: Part) -> DataList:
    """Return what is taken of a list, as a list."""
    return replace(part.listed, training=list(part.entries), validation=[], test=[])


def _class_name(entry: Entry, listed: DataList) -> str:
    label = entry["label"]
    return str(entry.get("sequence", "slice")) if isinstance(label, str) else listed.classes[label]


def _terms(licences: str, folders: Mapping[str, Path]) -> dict[str, str]:
    """Name to licence of ``NAME=TEXT;NAME=TEXT``."""
    terms: dict[str, str] = {}
    for word in (word.strip() for word in licences.split(";") if word.strip()):
        name, _, text = (part.strip() for part in word.partition("="))
        if name not in folders or not text:
            raise UsageError(f"--licences {word!r}: expected NAME=TEXT with a name of --lists ({', '.join(folders)})")
        terms[name] = text
    return terms


def own_card(parts: Sequence[Part], name: str, terms: Mapping[str, str], masks: bool = False) -> DatasetCard:
    """Return the collection's card: classes list by list in the order of each, licences of all.

    Args:
        parts: the lists.
        name: the collection's.
        terms: licences by list, where they are not what the list says.
        masks: it is a segmentation.
    """
    lists = [(part.name, part.listed) for part in parts]
    classes = mix_masks.classes_of(lists) if masks else tuple(label for part in parts for label in _classes(part))
    licences = "; ".join(
        f"{part.name}: {terms.get(part.name) or part.listed.licence or 'not stated'}" for part in parts
    )
    task = mix_masks.SEGMENTATION if masks else CARD.task
    return replace(CARD, name=name, classes=classes, licence=licences, task=task)


def _classes(part: Part) -> Iterator[str]:
    there = {entry["label"] for entry in part.entries}
    if part.listed.task == "segmentation":
        yield from sorted(there)
    else:
        yield from (label for label in (f"{part.name}/{name}" for name in part.listed.classes) if label in there)


def find(part: Part, classes: Sequence[str] = ()) -> Source:
    """Return the work of one list: chunks of its entries; ``classes`` are those of a mix with masks."""
    if classes:
        return mix_masks.find(part.name, part.listed, part.entries, part.rejected, classes)
    works = []
    channels = part.listed.channels
    for number, start in enumerate(range(0, len(part.entries), ENTRIES_A_PIECE)):
        entries = part.entries[start : start + ENTRIES_A_PIECE]
        rows = [[entry[key] for key in ("image", "label", "patient", "source", "sha256")] for entry in entries]
        files = tuple(part.listed.folder / entry["image"] for entry in entries)
        works.append(Work(f"{number:05d}", files, (part.name, channels, rows)))
    return Source(
        name=part.name,
        raw=part.listed.folder,
        works=tuple(works),
        process=process,
        options={},
        found=Counter(entry["label"] for entry in part.entries),
        unit="images",
        rejected=part.rejected,
    )
