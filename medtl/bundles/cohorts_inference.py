"""Inference of a survival: one risk for each file of features, or the reason why it has none."""

from pathlib import Path

import torch

from medtl.bundles import ids, start
from medtl.errors import BadFileError, MedtlError, PartlyRejected, UsageError, tell
from medtl.files import write_csv
from medtl.readers.find import OTHER, Passed, below, counted
from medtl.survival.bags import READERS, Bag, padded, read_bag, thinned
from medtl.survival.network import RiskNetwork
from medtl.weights.read import read_state_dict
from medtl.writers.tables import write_rejected

COLUMNS = ("file", "risk")
REJECTED = "rejected.csv"


def begin_survival_inference() -> None:
    """Check input, weights and options of an inference.

    Raises:
        UsageError: one of them cannot be used.
    """
    start.begin_inference("a folder or file of features (.npz, .npy, .pt, .h5)")


def read_width(weights: str) -> int:
    """Return the width of the features that weights were trained on.

    Raises:
        UsageError: there is no such file. MedtlError: it cannot be read, or holds no network of this recipe.
    """
    mean = read_state_dict(Path(str(weights))).get("mean")
    if mean is None or mean.ndim != 1:
        raise MedtlError(f"--weights {weights} holds no network that bundles/survival trained")
    return len(mean)


def infer_risks(network: RiskNetwork) -> None:
    """Write ``predictions.csv`` (``file,risk``) of every file of features below ``--input``.

    Raises:
        UsageError: there is no such input, or nothing in it.
        PartlyRejected: some cannot be used; ``rejected.csv`` names each with its reason.
    """
    source, out, width = Path(str(ids.value("input"))), Path(ids.value("output_dir")), len(network.mean)
    files, refused = _files(source)
    rows: list[tuple[str, ...]] = [COLUMNS]
    network.eval()
    for path, name in files:
        try:
            bag: Bag = read_bag(path, ids.value("init"))
            if bag.shape[1] != width:
                raise BadFileError(f"has features of width {bag.shape[1]}; the network was trained on {width}")
        except BadFileError as error:
            refused.append((name, str(error)))
            continue
        whole = padded([thinned(bag, ids.value("most_instances"))], width).to(network.mean.device)
        with torch.no_grad():
            rows.append((name, f"{float(network(whole)[0, 0]):.7g}"))
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "predictions.csv", rows)
    tell(f"{len(rows) - 1:,} risks in {out / 'predictions.csv'}; a higher risk is an earlier event")
    if refused:
        write_rejected(out / REJECTED, refused)
        name, reason = refused[0]
        raise PartlyRejected(f"{len(refused):,} rejected, each named in {REJECTED}; the first: {name} {reason}")


def _files(source: Path) -> tuple[list[tuple[Path, str]], list[tuple[str, str]]]:
    if source.is_file():
        return [(source, source.name)], []
    if not source.is_dir():
        raise UsageError(f"--input {source}: no such file or folder")
    tree = below(source)
    files = [(file.path, file.name) for file in tree.files if file.path.suffix in READERS]
    others = [Passed(file.name, OTHER) for file in tree.files if file.path.suffix not in READERS]
    if passed := counted([*tree.passed, *others]):
        tell(f"passed over: {passed}")
    refused = [(name, reason) for name, reason in tree.refused]
    if not files and not refused:
        raise UsageError(f"--input {source} holds no features; expected {', '.join(READERS)}")
    return sorted(files, key=lambda pair: pair[1]), refused
