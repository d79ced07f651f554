"""Published designs as data: ``protocols/NAME.json`` here, and in the folders of $MEDTL_PLUGINS.

A file says networks, starts, seeds and settings, the ids of a bundle that all cells set, the batch for small data sets
beside the paper's, the normalisation and split of the paper, and what is wrong with the paper or left open by it, which
is told whenever the design is used. Whatever a command says takes the place of what the file says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from medtl import plugins
from medtl.bundles.inspect import resolves
from medtl.compare.checks import Bundle, read_bundle, read_data
from medtl.compare.plan import ONE_SETTING, Request, Setting, as_text
from medtl.datalist import SPLITS, DataList, with_fold
from medtl.errors import MedtlError, UsageError, tell
from medtl.files import read_object
from medtl.registry import did_you_mean
from medtl.runs.changes import literal

OWN = Path(__file__).with_name("protocols")
NORMALISATIONS = ("own", "paper")
PAPER = "paper"  # the word of --batch_size, too
NEAR = 0.02  # of a split's share, within which it is the paper's


@dataclass(frozen=True)
class Protocol:
    """One file.

    Attributes:
        name: of the file.
        title: for people.
        source: the publication.
        backbones, inits, seeds: of the grid.
        settings: name to the ids that the cells of that setting set; empty for one setting.
        ids: that all cells set.
        batch: ``paper``, and ``small`` for less than ``below`` training images; empty where the bundle says.
        split: share of the images in training, validation and test.
        normalisation: ``mean`` and ``std`` of the three channels for values 0..1, and ``order`` of the channels, RGB or
            BGR; empty where the paper names none.
        faults: of the paper, a sentence each.
        left_open: by the paper, and what is done instead, a sentence each.
        figures: of the paper, to compare with.
    """

    name: str
    title: str
    source: str
    backbones: tuple[str, ...]
    inits: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ids: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)
    split: tuple[float, ...] = ()
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def files() -> dict[str, Path]:
    """Return the file of each protocol by its name: medtl's own, then those of $MEDTL_PLUGINS.

    Raises:
        UsageError: two files have one name.
    """
    found: dict[str, Path] = {}
    for folder in (OWN, *(folder / "protocols" for folder in plugins.folders())):
        for path in sorted(folder.glob("*.json")):
            if path.stem in found:
                raise UsageError(f"{path} and {found[path.stem]} have one name; rename one of them")
            found[path.stem] = path
    return found


def read(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        UsageError: there is none of that name, or its file is no protocol; names the file and the key.
    """
    known = files()
    if name not in known:
        hint = did_you_mean(name, tuple(known))
        raise UsageError(f"--protocol {name} is not one of {', '.join(known)}{hint}")
    try:
        content = read_object(known[name])
    except MedtlError as error:
        raise UsageError(str(error)) from None
    usual = {each.name: each for each in fields(Protocol)}
    given: dict[str, Any] = {"name": name}
    for key, value in content.items():
        if key not in usual or key == "name":
            raise UsageError(f"{known[name]} has the key {key!r}{did_you_mean(key, tuple(usual))}")
        kind = "object" if "Mapping" in str(usual[key].type) else "list" if "tuple" in str(usual[key].type) else "text"
        if not isinstance(value, {"object": dict, "list": list, "text": str}[kind]):
            raise UsageError(f"{known[name]}: {key} is {value!r:.40}; expected {kind}")
        given[key] = tuple(value) if kind == "list" else value
    missing = [key for key in ("title", "source", "backbones", "inits") if not given.get(key)]
    if missing:
        raise UsageError(f"{known[name]} lacks {', '.join(missing)}")
    return Protocol(**given)


def applied(request: Request, name: str | None, normalisation: str | None = None) -> Request:
    """Return a request with what its command leaves to a protocol, and tell what that is and what is wrong with it.

    Args:
        request: with empty dimensions where the command says nothing.
        name: of the protocol; None for none, which needs networks and starts.
        normalisation: "own" (None) or "paper".

    Raises:
        UsageError: something is missing, or the bundle or the data cannot do what the protocol asks.
    """
    if name is None:
        if "backbone" not in read_bundle(request.bundle).config:
            if request.backbones:
                names = ",".join(request.backbones)
                raise UsageError(
                    f"--backbones {names}: {request.bundle.name} trains on stored features; leave --backbones out"
                )
            return replace(request, backbones=("",), inits=request.inits or ("",), seeds=request.seeds or (0,))
        for option, value in (("--backbones", request.backbones), ("--inits", request.inits)):
            if not value:
                raise UsageError(f"{option} is missing: expected names, comma-separated, or --protocol NAME")
        if normalisation is not None:
            raise UsageError(f"--normalisation {normalisation} needs --protocol NAME")
        return replace(request, seeds=request.seeds or (0,))
    design, bundle = read(name), read_bundle(request.bundle)
    listed = read_data(bundle, request)
    listed = with_fold(listed, request.folds[0]) if request.folds else listed
    ids = dict(design.ids) | _normalised(design, normalisation or "own", listed)
    settings = request.settings
    if settings == ONE_SETTING and design.settings:
        settings = tuple(
            Setting(title, tuple((id_, as_text(value)) for id_, value in own.items()))
            for title, own in design.settings.items()
        )
    _check_ids(design, bundle, {*ids, *(id_ for setting in settings for id_, _ in setting.ids)})
    varied = {id_ for setting in settings for id_, _ in setting.ids}  # by the command, in the place of one value
    images = max(1, round(len(listed.training) * min(request.fractions or (1.0,))))
    given = dict(request.ids)
    if design.batch and ("batch_size" in given or "batch_size" not in varied):
        batch = design.batch["small" if images < design.batch["below"] else PAPER]
        asked = given.get("batch_size", str(batch))
        given["batch_size"] = str(design.batch[PAPER]) if asked == PAPER else asked
    text = {id_: as_text(value) for id_, value in ids.items() if id_ not in varied} | given
    _tell(design, listed, images, text)
    return replace(
        request,
        backbones=request.backbones or design.backbones,
        inits=request.inits or design.inits,
        seeds=request.seeds or design.seeds,
        settings=settings,
        ids=text,
        protocol=name,
    )


def substitutes(name: str, backbones: Sequence[str]) -> list[str]:
    """Return the networks, each once, that a protocol does not name, and that stand for those that it does."""
    known = read(name).backbones
    return [backbone for backbone in dict.fromkeys(backbones) if backbone not in known]


def _check_ids(design: Protocol, bundle: Bundle, ids: set[str]) -> None:
    for id_ in sorted(ids):
        if not resolves(bundle.config, id_):
            raise UsageError(
                f"--protocol {design.name} sets the id {id_!r}, which configs/train.json of {bundle.name} lacks"
            )


def _normalised(design: Protocol, which: str, listed: DataList) -> dict[str, Any]:
    """The ids by which pictures come as they came in the paper; none for "own", each start's normalisation."""
    if which not in NORMALISATIONS:
        raise UsageError(f"--normalisation {which} is not one of {', '.join(NORMALISATIONS)}")
    if which == "own":
        return {}
    if not design.normalisation:
        raise UsageError(f"--normalisation {which}: the paper of protocol {design.name} names none; leave it out")
    if design.normalisation.get("order") == "BGR" and listed.channels != 1:
        raise UsageError(
            f"--normalisation {which}: protocol {design.name} exchanges red and blue, which is the same for grey "
            f"pictures only; {listed.name} has {listed.channels} channels"
        )
    mean, std = (list(map(float, design.normalisation[key])) for key in ("mean", "std"))
    return {"start": f"$facade.start(mean={mean}, std={std})"}


def _tell(design: Protocol, listed: DataList, images: int, ids: Mapping[str, str]) -> None:
    """Say what is followed, how many updates it makes, how the data differ, and the paper's faults."""
    tell(f"protocol {design.name}: {design.title} ({design.source})")
    batch, epochs = (literal(ids.get(id_)) for id_ in ("batch_size", "epochs"))
    if isinstance(batch, int) and isinstance(epochs, int) and batch > 0:
        an_epoch = max(1, images // batch)
        paper = design.batch.get(PAPER, batch)
        whose = "" if paper == batch else f" (the paper's is {paper}: --batch_size paper)"
        tell(
            f"  batch {batch}{whose}, {images:,} training images: {an_epoch:,} updates an epoch, "
            f"{an_epoch * epochs:,} in {epochs} epochs"
        )
    sizes = [len(getattr(listed, split)) for split in SPLITS]
    shares = [size / max(1, sum(sizes)) for size in sizes]
    if design.split and any(abs(a - b) > NEAR for a, b in zip(shares, design.split, strict=True)):
        there, here = ("/".join(f"{share:.0%}" for share in each) for each in (design.split, shares))
        tell(f"  split: {there} training/validation/test in the paper, {here} of the images of this data list")
    for what, sentences in (("fault of the paper", design.faults), ("left open by the paper", design.left_open)):
        for sentence in sentences:
            tell(f"  {what}: {sentence}")
