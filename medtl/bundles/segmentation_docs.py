"""What a released segmentation says of itself: metadata.json and its README. Pure functions of a WeightsCard; no
torch."""

from collections.abc import Mapping
from typing import Any

from medtl.bundles import release_docs
from medtl.bundles.release_docs import cell, measured, numbers, origin, warning
from medtl.bundles.stock_parts import Config
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard

TRAINING_ON = (
    "Training on needs medtl: stock MONAI has no DeepLabV3, and models/model.ts, its TorchScript, is for prediction."
)
NEEDS = ("pytorch-ignite", "nibabel")


def _parts(card: WeightsCard) -> tuple[SegmentationArchitecture, VolumeContract]:
    """Return the network and input of a segmentation's card."""
    assert isinstance(card.architecture, SegmentationArchitecture)
    assert isinstance(card.input, VolumeContract)
    return card.architecture, card.input


def metadata(card: WeightsCard, recipe: Mapping[str, Any]) -> Config:
    """Return metadata.json.

    Args:
        card: of the released weights.
        recipe: metadata of the bundle that trained them.
    """
    what, pixels = _parts(card)
    size = [what.image_size, what.image_size]
    common = release_docs.metadata(card, recipe)
    wanted = {**recipe.get("required_packages_version", {}), **card.versions}
    low, high = pixels.percentiles
    content = {
        **common,
        "required_packages_version": {name: wanted[name] for name in NEEDS if name in wanted},
        "description": common["description"].replace(
            what.backbone, f"{what.network} ({what.decoder}) on {what.backbone}, output stride {what.output_stride},", 1
        ),
        "data_type": "NIfTI",
        "image_classes": f"8-bit grey slice between the {low:g}th and {high:g}th percentile of its volume's non-zero"
        " voxels, fitted into a square, repeated, divided by 255, normalised by mean and standard deviation",
        "label_classes": "index of each pixel, in the order of channel_def",
        "pred_classes": "logits of each pixel, in the order of channel_def",
    }
    content["network_data_format"]["outputs"]["pred"] |= {"format": "segmentation", "spatial_shape": size}
    return content


def readme(card: WeightsCard) -> str:
    """Return docs/README.md: the card as text, and the commands."""
    what, pixels = _parts(card)
    sizes = ", ".join(f"{count:,} {split}" for split, count in card.data["entries"].items())
    low, high = pixels.percentiles
    largest = card.recipe.get("postprocess") == "largest"
    skimage = " scikit-image" if largest else ""
    lines = [
        f"# {card.name}",
        "",
        f"{what.network} on {what.backbone}: {what.num_classes} classes of each pixel, slices of {what.in_channels} ×"
        f" {what.image_size} × {what.image_size}. **Not for clinical use.**",
        "",
        *warning(card),
        "| | |",
        "|---|---|",
        f"| network | {what.network}, trunk {what.backbone}, output stride {what.output_stride}, decoder {what.decoder}"
        f"{', auxiliary head' if what.auxiliary else ''} |",
        f"| classes, in index order | {', '.join(cell(name) for name in card.classes)} |",
        f"| input | grey between the {low:g}th and {high:g}th percentile of the **whole volume's** non-zero voxels, 0"
        f" to {pixels.scale:g}; transverse slices, rows from the front, columns from the patient's right; fitted into a"
        f" {what.image_size} × {what.image_size} square ({pixels.resize}, smoothed before shrinking, aspect ratio kept,"
        f" black around), rounded; divided by {pixels.scale:g}; mean {numbers(pixels.mean)} and standard deviation"
        f" {numbers(pixels.std)} a channel |",
        "| masks | logits enlarged to each slice's own size (bilinear), the largest taken"
        f"{', the largest piece of each organ kept' if largest else ''}; on the volume's axes, with its affine |",
        f"| trained on | {'PHANTOMS: the built-in sample of ' if card.data['sample'] else ''}{cell(card.data['name'])}"
        f" ({sizes} slices) |",
        *origin(card),
        "",
        card.intended_use,
        "",
        "## Measured",
        "",
        *warning(card),
        *measured(card.metrics),
        "",
        "## Use",
        "",
        "Needs no medtl:",
        "",
        "```",
        f"pip install monai torch pytorch-ignite nibabel{skimage} fire",
        "```",
        "",
        "From this folder (from elsewhere add `--bundle_root DIR`):",
        "",
        "```",
        "python -m monai.bundle run --config_file configs/inference.json --dataset_dir VOLUMES --output_dir OUT",
        "```",
        "",
        "VOLUMES is a folder (or one file) of MR volumes as NIfTI; OUT/masks gets a mask of each, of the same name."
        " Masks equal those of medtl's own inference for **whole volumes**: grey is scaled by the volume, so a slice or"
        " a crop by itself looks different to the network. Nothing is passed over here: CT, which the network does not"
        " know, is for you to leave out. For DICOM use medtl.",
        "",
        f"`models/model.ts` is TorchScript: pictures (n, {what.in_channels}, rows, columns) of any size from 32 pixels,"
        f" prepared as above, to logits (n, {what.num_classes}, rows, columns). `models/model.pt` and"
        " `models/model.safetensors` hold the same weights for medtl.",
        "",
        "**Training on needs medtl**: stock MONAI has no DeepLabV3 to build these weights into, and a TorchScript"
        " module cannot be given another trunk or other organs. So there is no train.json here; medtl's recipe"
        f" {card.source['name']} trains, evaluates (`--weights models/model.pt`) and reads DICOM.",
        "",
        "`sha256sum -c SHA256SUMS` shows that no file was changed. Configs of a bundle are code: run only those that"
        " you trust.",
    ]
    return "\n".join(lines) + "\n"
