"""A run becomes a bundle that stands alone: literal network, plain weights, card, hashes; stock MONAI opens it."""

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from safetensors.torch import save_file

from medtl.bundles import hub, release_configs, release_docs, release_masks, release_segmentation, segmentation_docs
from medtl.bundles.finished import FinishedRun, architecture, input_contract, is_segmentation, read_run
from medtl.bundles.stock_parts import Config, networks
from medtl.cards import dataset_cards
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash, read_object, replacing, replacing_folder, write_text
from medtl.runs.record import Start
from medtl.weights.archive import SUMS
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard
from medtl.weights.read import StateDict, disagreements, read_state_dict

NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
PLAIN_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9a-z]+)*")
UNSAID = ("device", "num_workers", "debug", "init", "seed")  # of the machine, or said elsewhere on the card
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
TRIALS, TRIAL_SEED = 16, 0
UNSTATED, OWN_LICENCE = "not stated", "that of the images"  # the second: what data_prep folder writes if not told
PHANTOMS = "phantoms drawn by medtl (Apache-2.0)"
INTENDED_USE = "Research: a start for fine-tuning, and a reference for comparison. Not for clinical use."


@dataclass(frozen=True)
class Released:
    """What a release wrote.

    Attributes:
        card: of the weights.
        folder: the bundle.
        zip: the same as one file, where it was asked for.
        difference: of half precision, the largest change of a logit on random pictures.
    """

    card: WeightsCard
    folder: Path
    zip: Path | None
    difference: float | None


def release(
    run_folder: Path, out: Path, *, as_zip: bool = False, half: bool = False, licence: str = "", for_hub: bool = False
) -> Released:
    """Write a stand-alone bundle from a finished run, whole or not at all.

    Args:
        run_folder: a training run of one of medtl's bundles.
        out: the bundle's folder, absent or empty; its name becomes the bundle's.
        as_zip: also write ``out`` with ``.zip`` added, the same bytes for the same run.
        half: store float16; networks compute in float32 all the same.
        licence: of the images; by default what the data list said.
        for_hub: also write a model card and config.json, as the Hugging Face Hub reads them.

    Raises:
        UsageError: no run there, ``out`` cannot be used, or half precision is asked of a segmentation.
        MedtlError: the run did not finish, or its weights are not those of its network.
    """
    folder = out.resolve()
    archive = folder.with_name(f"{folder.name}.zip") if as_zip else None
    _check_place(folder, archive, out)
    run = read_run(run_folder)
    if half and is_segmentation(run):
        raise UsageError("--half: a segmentation's TorchScript model computes in float32; release it without --half")
    card, state, difference = described(run, folder.name, half, licence)
    with replacing_folder(folder) as part:
        card = _write(part, run, card, state, for_hub)
        if archive:
            with replacing(archive) as zipped:
                _zip(part, zipped, folder.name)
    return Released(card, folder, archive, difference)


def _check_place(folder: Path, archive: Path | None, out: Path) -> None:
    """Refuse a name that no bundle can have, and to write over anything."""
    if not NAME.fullmatch(folder.name):
        raise UsageError(f"--out {out}: {folder.name!r} is no name for a bundle; use letters, digits, _, - and .")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--out {out} is not an empty folder; nothing was written")
    if archive and archive.exists():
        raise UsageError(f"--zip would write over {archive}; nothing was written")


def described(
    run: FinishedRun, name: str, half: bool, licence: str = ""
) -> tuple[WeightsCard, StateDict, float | None]:
    """Return a run's card and weights as they are stored, and, of half precision, the largest change of a logit.

    Raises:
        UsageError: a number is too large for half precision. MedtlError: the weights are not those of the network.
    """
    card = card_of(run, name, licence)
    state = _weights(run, card)
    if not half:
        return card, state, None
    small = {key: _halved(key, tensor) for key, tensor in state.items()}
    return replace(card, dtype="float16"), small, _largest_difference(card, state, small)


def warnings_of(card: WeightsCard) -> list[str]:
    """Return what to think of before weights are shared: a licence that nobody stated, and images that are no public
    data set."""
    data = card.data
    if data["sample"]:
        return []
    sources = data.get("sources") or [data["name"]]
    public = {name for name, one in dataset_cards().items() if one.url}
    warnings = []
    if UNSTATED in card.licence or OWN_LICENCE in card.licence:
        warnings.append("the data list states no licence of the images: without --licence nobody may use the weights")
    if own := [str(name) for name in sources if name not in public]:
        warnings.append(
            f"{', '.join(own)} is no public data set that medtl knows: weights can remember the images that they"
            " were trained on, so ask the people who answer for the data before you share them"
        )
    return warnings


def card_of(run: FinishedRun, name: str, licence: str = "") -> WeightsCard:
    """Return what a run's records say of its weights, and ``licence`` of its images where their list said too little;
    the weights' hashes are added when they are written."""
    record, what = run.record, architecture(run)
    told = ("name", "sample", "entries", "sources", "training_images", "licence", "sha256")
    data = {key: getattr(run.data, key) for key in told}
    start = {key: value for key, value in asdict(record.start or Start()).items() if key not in ("mean", "std")}
    known = dataset_cards().get(str(data["name"]))
    metadata = read_object(run.source / "configs" / "metadata.json")
    classes, intended_use = run.data.classes, INTENDED_USE
    if is_segmentation(run):
        classes, intended_use = ("background", *classes), f"{intended_use} {segmentation_docs.TRAINING_ON}"
    licence = f"images: {PHANTOMS if data['sample'] else licence or data['licence'] or UNSTATED}"
    return WeightsCard(
        name=name,
        version=str(metadata.get("version", record.bundle.version)),
        architecture=what,
        classes=classes,
        task=str(record.task),
        input=input_contract(run, what.in_channels),
        dtype="float32",
        data=data | {"sample": bool(data["sample"])},
        start=start,
        metrics={key: value for key, value in run.metrics.items() if isinstance(value, int | float)},
        recipe={
            key: value if value in (what.backbone, *classes) else _unplaced(value)  # timm/NAME is no path
            for key, value in record.recipe.items()
            if key not in UNSAID
        },
        seed=int(record.seed or 0),
        source=asdict(record.bundle),
        versions={key: _plain(str(value)) for key, value in record.versions.items()},
        sha256={},
        licence=f"{licence}; start: {start['licence']}" if start.get("licence") else licence,
        citation=known.citation if known else "; ".join(metadata.get("references", [])),
        intended_use=intended_use,
    )


def _unplaced(value: Any) -> Any:
    """Return a hyperparameter without the folders of the machine it was set on."""
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value


def _plain(version: str) -> str:
    """Return 2.13.0+cpu as 2.13.0: MONAI's metadata knows no local versions."""
    match = PLAIN_VERSION.match(version)
    return match[0] if match else version


def _weights(run: FinishedRun, card: WeightsCard) -> StateDict:
    """Return the run's weights, if they are those of the released network.

    Raises:
        MedtlError: a name or shape disagrees, or a number is none.
    """
    path = run.folder / "model.pt"
    state = {name: tensor.contiguous() for name, tensor in read_state_dict(path, "the run's").items()}
    with torch.device("meta"):
        wanted = _network(card).state_dict()
    if found := disagreements(state, wanted):
        raise MedtlError(f"{path} does not fit {card.architecture.backbone}: {found}")
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise MedtlError(f"{path} is broken: {len(broken)} tensors hold NaN or infinity (first {broken[0]})")
    return state


def _network(card: WeightsCard) -> torch.nn.Module:
    """Return the network as a released config makes it, or as its TorchScript model is made, giving logits."""
    if isinstance(card.architecture, SegmentationArchitecture):
        return release_segmentation.network(card.architecture)
    parser = ConfigParser({**networks(card), "device": torch.get_default_device().type})
    network: torch.nn.Module = parser.get_parsed_content("network")
    return network


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return tensors as float16, unless the numbers are counts.

    Raises:
        UsageError: a number is too large for it.
    """
    if not tensor.is_floating_point():
        return tensor
    small = tensor.half()
    if not torch.isfinite(small).all():
        raise UsageError(f"--half: {name} holds numbers beyond float16; release it without --half")
    return small


def _largest_difference(card: WeightsCard, full: StateDict, small: StateDict) -> float:
    """Return the largest change of a logit, on random pictures of the network's value range."""
    network = _network(card).eval()
    what, (low, high) = card.architecture, card.input.value_range
    shape = (TRIALS, what.in_channels, what.image_size, what.image_size)
    pictures = torch.rand(shape, generator=torch.Generator().manual_seed(TRIAL_SEED)) * (high - low) + low
    logits = []
    with torch.no_grad():
        for state in (full, small):
            network.load_state_dict(state)
            logits.append(torch.cat([network(picture[None]) for picture in pictures]))
    return float((logits[0] - logits[1]).abs().max())


def _write(folder: Path, run: FinishedRun, card: WeightsCard, state: StateDict, for_hub: bool) -> WeightsCard:
    """Write every file of the bundle, SHA256SUMS last; return the card with the weights' hashes."""
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir()
    torch.save(state, folder / "models" / "model.pt")
    save_file(state, folder / "models" / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "models" / "model.pt", folder / "models" / "model.safetensors")
    files = ["models/model.pt", "models/model.safetensors"]
    if isinstance(card.architecture, SegmentationArchitecture):
        files.append("models/model.ts")
        network = release_segmentation.network(card.architecture)
        network.load_state_dict(state)
        release_segmentation.export(network, card.architecture, folder / "models" / "model.ts")
    card = replace(card, sha256={name: file_hash(folder / name) for name in files})
    recipe = read_object(run.source / "configs" / "metadata.json")
    configs, readme = _told(card, recipe)
    for name, content in configs.items():
        write_text(folder / "configs" / f"{name}.json", json.dumps(content, indent=4, ensure_ascii=False) + "\n")
    write_text(folder / "configs" / "logging.conf", release_configs.LOGGING)
    write_text(folder / "card.json", card.to_json())
    write_text(folder / "docs" / "README.md", readme)
    for name, text in hub.files(card, configs["inference"], readme).items() if for_hub else ():
        write_text(folder / name, text)
    terms = run.source / "docs" / "data_license.txt"
    told = terms.read_text(encoding="utf-8") if terms.is_file() else "nothing\n"
    write_text(folder / "docs" / "data_license.txt", release_docs.data_license(card, told))
    if not (run.source / "LICENSE").is_file():
        raise MedtlError(f"{run.source} has no LICENSE to release under")
    shutil.copyfile(run.source / "LICENSE", folder / "LICENSE")
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in _hashes(folder).items()))
    return card


def _told(card: WeightsCard, recipe: Mapping[str, Any]) -> tuple[dict[str, Config], str]:
    """Return the configs by name, and the README."""
    if isinstance(card.architecture, SegmentationArchitecture):
        metadata = segmentation_docs.metadata(card, recipe)
        room = release_segmentation if isinstance(card.input, VolumeContract) else release_masks
        inference = room.inference_config(card)
        return {"metadata": metadata, "inference": inference}, segmentation_docs.readme(card)
    configs = {
        "metadata": release_docs.metadata(card, recipe),
        "inference": release_configs.inference_config(card),
        "evaluate": release_configs.evaluate_config(card),
        "train": release_configs.train_config(card),
    }
    return configs, release_docs.readme(card)


def _hashes(folder: Path) -> Mapping[str, str]:
    """Return a mapping from path to SHA-256 of every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _zip(folder: Path, target: Path, name: str) -> None:
    """Write a folder as a zip with one outermost folder: stored, sorted and undated, so that its bytes depend on
    nothing but the files (compressors differ between machines, and weights hardly shrink)."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in _files(folder):
            info = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", ZIP_TIME)
            info.create_system = 3  # Unix, whose permissions follow
            info.external_attr = 0o100644 << 16
            info.file_size = path.stat().st_size
            with open(path, "rb") as source, archive.open(info, "w") as member:
                shutil.copyfileobj(source, member, 2**20)
