"""Weights put into the bundle that trained them: ``--init`` finds it by name, and it predicts without ``--weights``."""

from dataclasses import replace
from pathlib import Path

import torch

from medtl.bundles.finished import is_segmentation, read_run
from medtl.bundles.release import Released, described
from medtl.errors import UsageError
from medtl.files import file_hash, read_object, replacing, write_text
from medtl.weights.archive import CARD, SUMS

WEIGHTS = "models/model.pt"  # the one name that MONAI's model zoo asks for; tensors only, read with weights_only=True
OLD_WEIGHTS = "models/model.safetensors"


def ship(run_folder: Path, bundle: Path, *, half: bool = False, licence: str = "") -> Released:
    """Write a finished run's weights and card into its own bundle, in the place of those that are there.

    Args:
        run_folder: a training run.
        bundle: the folder of the bundle that trained it.
        half: store float16; networks compute in float32 all the same.
        licence: of the images; by default what the data list said.

    Raises:
        UsageError: no run there, ``bundle`` did not train it or is a stand-alone one, or half precision is asked of a
            segmentation. MedtlError: the run did not finish, or its weights are not those of its network.
    """
    run, folder = read_run(run_folder), bundle.resolve()
    metadata = folder / "configs" / "metadata.json"
    if not metadata.is_file():
        raise UsageError(f"--into {bundle} is no bundle: it has no configs/metadata.json")
    name = read_object(metadata).get("name")
    if name != run.record.bundle.name:
        raise UsageError(f"--into {bundle}: {run_folder} was trained by {run.record.bundle.name}, not {name}")
    if (folder / SUMS).is_file():
        raise UsageError(f"--into {bundle} is a released bundle, which stays as it is; release into a new one by --out")
    if is_segmentation(run):
        raise UsageError("--into: a segmentation is released by --out alone, with its TorchScript")
    card, state, difference = described(run, str(name), half, licence)
    with replacing(folder / WEIGHTS) as part:
        torch.save(state, part)
        card = replace(card, sha256={WEIGHTS: file_hash(part)})
    write_text(folder / CARD, card.to_json())
    (folder / OLD_WEIGHTS).unlink(missing_ok=True)  # else two files of different trainings would lie there
    return Released(card, folder, None, difference)
