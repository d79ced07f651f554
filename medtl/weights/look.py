"""What a weight file is, without running anything in it: whose layout, which network, code, and normalisation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medtl.errors import BadFileError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import BACKBONES, LIBRARIES, Backbone, backbone_of
from medtl.readers.picture import find_pictures, read_picture
from medtl.weights import evidence
from medtl.weights.contract import Contract, contract_of, of_another, settings_of
from medtl.weights.evidence import Evidence
from medtl.weights.layouts import is_a_head
from medtl.weights.load import LoadReport, judge
from medtl.weights.names import COUNTERS
from medtl.weights.read import Checkpoint, read_checkpoint
from medtl.weights.refusals import why_not
from medtl.weights.sources import SOURCES

TRIED = 6  # networks of libraries whose names look like the file's
SHORTEST = 5  # letters of such a name
USUAL = 224  # pixels
NO_PICTURES = "no pictures to compare with: --images DIR, of a kind like those that the weights were trained on"


@dataclass(frozen=True)
class Look:
    """What is known of a weight file.

    Attributes:
        file: its name.
        networks: backbones that it fills whole, and that use all of its trunk; mostly one.
        layout: whose names its tensors have; empty where they are MONAI's own, or nobody's that is known.
        reason: why it fits no network, where that is known; empty where it fits one.
        tensors, parameters: counts, without counters of batch norm; parameters without running statistics.
        head: name and number of classes of its classification head; empty and 0 without one.
        classes: names of these, where a card states them.
        code: classes and functions of programs that it names; none was run.
        told: sentences on what was chosen among several state dicts.
        contract: what is stated or assumed of normalisation, licence and training data.
        evidence: what its first batch norm says.
        doubt: a sentence where the two disagree.
    """

    file: str
    networks: tuple[str, ...]
    layout: str
    reason: str
    tensors: int
    parameters: int
    head: str
    head_classes: int
    classes: tuple[str, ...]
    code: tuple[str, ...]
    told: tuple[str, ...]
    contract: Contract
    evidence: Evidence
    doubt: str = ""


def look(path: Path, images: Path | None = None, option: str = "FILE") -> Look:
    """Return what a weight file is.

    Args:
        path: a weight file, a bundle's folder or its zip.
        images: a picture, or a folder of them, for the normalisation.
        option: the argument that errors name.

    Raises:
        UsageError: no such file or pictures. MedtlError: the file is damaged or hostile; says what.
    """
    checkpoint = read_checkpoint(path, option)
    found = _networks(checkpoint, path)
    head, count = _head(checkpoint.state)
    contract = contract_of(path, "", found[0][0].name, option) if found else settings_of(path, option)
    kept = {name: tensor for name, tensor in checkpoint.state.items() if COUNTERS not in name}
    looked = Look(
        file=path.name,
        networks=tuple(card.name for card, _ in found),
        layout=found[0][1].layout if found else "",
        reason="" if found else why_not(checkpoint.state) or "it fills none of the networks that were tried",
        tensors=len(kept),
        parameters=sum(t.numel() for name, t in kept.items() if ".running_" not in f".{name}"),
        head=head,
        head_classes=count,
        classes=contract.classes,
        code=checkpoint.code,
        told=checkpoint.told,
        contract=contract,
        evidence=Evidence(evidence.CANNOT, NO_PICTURES),
    )
    return looked if images is None else _weighed(looked, checkpoint, pictures(images))


def _weighed(looked: Look, checkpoint: Checkpoint, shown: torch.Tensor) -> Look:
    """The same with what the first layers say of pictures."""
    found, contract = evidence.weigh(checkpoint.state, shown), looked.contract
    doubt = ""
    if contract.mean:
        turned = shown.flip(1) if contract.bgr else shown
        mean, std = (values[:: -1 if contract.bgr else 1] for values in (contract.mean, contract.std))
        doubt = evidence.doubt(checkpoint.state, turned, mean, std)
    return replace(looked, evidence=found, doubt=doubt)


def pictures(images: Path) -> torch.Tensor:
    """Return up to 64 pictures of a folder, evenly chosen: (n, 3, 64, 64), values 0..1.

    Raises:
        UsageError: there are none that can be read.
    """
    found = find_pictures(images).pictures
    step = max(1, len(found) // evidence.MOST)
    read = []
    for picture in found[::step][: evidence.MOST]:
        try:
            pixels = torch.from_numpy(np.array(read_picture(picture.path, picture.index, channels=3)))
        except BadFileError:
            continue
        read.append(evidence.shrunk(pixels.permute(2, 0, 1)[None]))
    if not read:
        raise UsageError(f"--images {images}: none of its pictures can be read")
    return torch.cat(read)


def _networks(checkpoint: Checkpoint, path: Path) -> list[tuple[Backbone, LoadReport]]:
    """The networks that a file fills whole: of medtl's own records, else of the libraries' those of a like name."""
    own = [card.name for card in BACKBONES.records()]
    for names in (lambda: own, lambda: _listed_for(path.name), lambda: _like(path, checkpoint)):
        if found := _fitting(checkpoint, names(), path):
            return found
    return []


def _fitting(checkpoint: Checkpoint, names: Sequence[str], path: Path) -> list[tuple[Backbone, LoadReport]]:
    found = []
    for name in names:
        try:
            card = backbone_of(name)
            with torch.device("meta"):
                network = build_classifier(name, 2, image_size=max(USUAL, card.least_size))
        except UsageError:
            continue
        report, _ = judge(network, checkpoint, card, path.name)
        if report.fits and not of_another(card, checkpoint.library, path, "FILE"):
            found.append((card, report))
    return found


def _listed_for(file: str) -> list[str]:
    """Names of libraries' networks for which some maker's record lists a file of this name."""
    return [
        backbone
        for source in SOURCES.records()
        for backbone, published in source.files.items()
        if "/" in backbone and any(file in (one.file, *one.names) for one in published)
    ]


def _like(path: Path, checkpoint: Checkpoint) -> list[str]:
    """Names of libraries' networks that are in a file's name, or that settings beside it name; the longest first."""
    said = settings_of(path, "FILE").architecture
    words = [_plain(path.stem), _plain(path.parent.name), *([_plain(said)] if said else [])]
    found: dict[str, int] = {}
    for library in LIBRARIES.records():
        for name in library.list():
            plain = {_plain(name), _plain(name.removeprefix("tf_"))}
            lengths = [len(one) for one in plain for word in words if len(one) >= SHORTEST and one in word]
            if lengths:
                found[f"{library.name}/{name}"] = max(lengths)
    return sorted(found, key=lambda name: -found[name])[:TRIED]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _head(state: dict[str, torch.Tensor]) -> tuple[str, int]:
    """Name and number of classes of the last layer that is some library's classification head."""
    heads = [(name, len(t)) for name, t in state.items() if is_a_head(name) and name.endswith("weight") and t.ndim > 1]
    return heads[-1] if heads else ("", 0)


def as_plain(looked: Look) -> dict[str, Any]:
    """Return the same as plain data, ready for JSON."""
    contract, found = looked.contract, looked.evidence
    return {
        "file": looked.file,
        "networks": list(looked.networks),
        "layout": looked.layout,
        "reason": looked.reason,
        "tensors": looked.tensors,
        "parameters": looked.parameters,
        "head": {"name": looked.head, "classes": looked.head_classes, "names": list(looked.classes)},
        "code": list(looked.code),
        "told": list(looked.told),
        "trained_on": list(contract.trained_on),
        "licence": contract.licence,
        "normalisation": {
            "stated": {
                "mean": list(contract.mean),
                "std": list(contract.std),
                "channels": "bgr" if contract.bgr else "rgb",
                "assumed": contract.assumed,
            },
            "evidence": {
                "verdict": found.verdict,
                "reason": found.reason,
                "ranked": [{"name": name, "divergence": value} for name, value in found.ranked],
            },
            "doubt": looked.doubt,
        },
    }


def lines(looked: Look) -> list[str]:
    """Return the same in words, a line a fact."""
    contract, found = looked.contract, looked.evidence
    networks = ", ".join(looked.networks) or f"none that is known: {looked.reason}"
    classes = f" ({', '.join(looked.classes)})" if looked.classes else ""
    head = f"{looked.head}, {looked.head_classes} classes{classes}" if looked.head else "none"
    code = f"{', '.join(looked.code)}; not run" if looked.code else "none"
    stated = "not stated"
    if contract.mean:
        stated = f"mean {_listed(contract.mean)}, SD {_listed(contract.std)}{', channels BGR' if contract.bgr else ''}"
        stated += f" ({contract.assumed})" if contract.assumed else ""
    verdict = f"{found.verdict}{f': {found.reason}' if found.reason else ''}"
    told = [
        looked.file,
        f"network: {networks}",
        f"layout: {looked.layout or ('our own' if looked.networks else 'unknown')}",
        f"parameters: {looked.parameters:,} in {looked.tensors:,} tensors",
        f"head: {head}",
        f"code: {code}",
        *(f"note: {sentence}" for sentence in looked.told),
        f"trained on: {', '.join(contract.trained_on) or 'not stated'}",
        f"licence: {contract.licence}",
        f"normalisation, stated: {stated}",
        f"normalisation, by evidence: {verdict}",
        *(f"  {value:12.3f}  {name}" for name, value in found.ranked),
    ]
    return [*told, f"warning: {looked.doubt}"] if looked.doubt else told


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values))
