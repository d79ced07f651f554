"""Published weights into the cache, with a card beside them of what is known by the name that their maker gave them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl.files import write_json
from medtl.weights.archive import CARD
from medtl.weights.contract import Contract, contract_of
from medtl.weights.fetch import SUFFIXES, install
from medtl.weights.load import refuse_others
from medtl.weights.sources import Official, official


@dataclass(frozen=True)
class Installed:
    """Weights that are in the cache now.

    Attributes:
        path: of the file.
        sha256: of the file.
        official: what was asked for.
        contract: what is known of it.
    """

    path: Path
    sha256: str
    official: Official
    contract: Contract


def get(start: str, backbone: str, folder: Path, given: Path | None = None) -> Installed:
    """Put the weights that a word of ``--init`` means for a network into a folder, from a copy or by downloading them.

    A card beside them keeps what the maker's file name says and ours does not: normalisation, licence, and which data
    sets the weights have seen. The folder holds one file of a word and a network: one of another format, got before,
    is deleted, because it would be found first or the card would be wrong for it.

    Args:
        start: the word.
        backbone: the network's name.
        folder: made where it is missing.
        given: a copy at hand; it is checked by its hash or, where none is known, by whether it fills the network.

    Raises:
        UsageError: no such word, network or copy, or nothing can be downloaded.
        MedtlError: the copy is of another network, or the network fails, or the file is another one.
    """
    source = official(start, backbone, given)
    contract = None
    if given is not None and given.is_file():
        if not source.sha256:
            refuse_others(given, backbone, "--from")
        contract = contract_of(given, start, backbone, "--from")
    path, digest = install(source, folder, given)
    contract = contract or contract_of(path, start, backbone, "--init")
    for suffix in SUFFIXES:
        if path.with_suffix(suffix) != path:
            path.with_suffix(suffix).unlink(missing_ok=True)
    write_json(path.with_name(f"{path.stem}.{CARD}"), _card(contract))
    return Installed(path, digest, source, contract)


def _card(contract: Contract) -> dict[str, Any]:
    """What is certain, in the words of a bundle's card."""
    card: dict[str, Any] = {"licence": contract.licence}
    if not contract.assumed:
        order = "bgr" if contract.bgr else "rgb"
        card["input"] = {"mean": list(contract.mean), "std": list(contract.std), "channel_order": order}
    if contract.trained_on:
        card["data"] = {"name": contract.trained_on[0], "sources": list(contract.trained_on[1:])}
    return card
