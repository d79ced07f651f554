"""What a released segmentation says of itself: metadata.json and its README. Pure functions of a WeightsCard; no
torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medtl.bundles import release_docs
from medtl.bundles.release_docs import cell, measured, numbers, origin, warning
from medtl.bundles.stock_parts import Config
from medtl.weights.card import InputContract, SegmentationArchitecture, VolumeContract, WeightsCard

TIMM = "timm/"  # before the name of a trunk of timm
TRAINING_ON = (
    "Training on needs medtl: stock MONAI has no such network, and models/model.ts, its TorchScript, is for prediction."
)


@dataclass(frozen=True)
class Told:
    """What is said of volumes in other words than of pictures.

    Attributes:
        packages: that reading files needs beside MONAI and torch.
        data_type: of the files.
        image_classes: what a number of the network's input is.
        unit: what a data list's entries are.
        read: how a file becomes a square, without what is the same for both.
        masks: what a mask lies on.
        folder: of what is predicted on, in commands.
        use: what that folder holds, and what is to be heeded.
        also: what the recipe does beside training and evaluation.
    """

    packages: tuple[str, ...]
    data_type: str
    image_classes: str
    unit: str
    read: str
    masks: str
    folder: str
    use: str
    also: str


def metadata(card: WeightsCard, recipe: Mapping[str, Any]) -> Config:
    """Return metadata.json.

    Args:
        card: of the released weights.
        recipe: metadata of the bundle that trained them.
    """
    what, told = _network(card), _told(card.input)
    size = [what.image_size, what.image_size]
    common = release_docs.metadata(card, recipe)
    wanted = {**recipe.get("required_packages_version", {}), **card.versions}
    needs = ("pytorch-ignite", *told.packages)
    content = {
        **common,
        "required_packages_version": {name: wanted[name] for name in needs if name in wanted},
        "description": common["description"].replace(
            what.backbone, f"{what.network} ({what.decoder}) on {what.backbone}, output stride {what.output_stride},", 1
        ),
        "data_type": told.data_type,
        "image_classes": f"{told.image_classes}, {_way(card)[0]}, repeated, divided by 255, normalised by mean and"
        " standard deviation",
        "label_classes": "index of each pixel, in the order of channel_def",
        "pred_classes": "logits of each pixel, in the order of channel_def",
    }
    content["network_data_format"]["outputs"]["pred"] |= {"format": "segmentation", "spatial_shape": size}
    return content


def _way(card: WeightsCard) -> tuple[str, str]:
    """Return how a picture comes to the network's size, in short and in full."""
    what = _network(card)
    sides = f"{what.image_size} × {what.image_size}"
    if card.recipe.get("patch_size"):
        return "at its own size", f"at its own size, through a window of {sides} that slides over it"
    full = f"({card.input.resize}, smoothed before shrinking, aspect ratio kept, black around), rounded"
    return "fitted into a square", f"fitted into a {sides} square {full}"


def _network(card: WeightsCard) -> SegmentationArchitecture:
    """Return the network of a segmentation's card."""
    assert isinstance(card.architecture, SegmentationArchitecture)
    return card.architecture


def _told(pixels: InputContract) -> Told:
    """Return what is said of volumes, or of pictures."""
    if isinstance(pixels, VolumeContract):
        low, high = pixels.percentiles
        return Told(
            packages=("nibabel",),
            data_type="NIfTI",
            image_classes=f"8-bit grey slice between the {low:g}th and {high:g}th percentile of its volume's non-zero"
            " voxels",
            unit="slices",
            read=f"grey between the {low:g}th and {high:g}th percentile of the **whole volume's** non-zero voxels, 0 to"
            f" {pixels.scale:g}; transverse slices, rows from the front, columns from the patient's right",
            masks="logits enlarged to each slice's own size (bilinear), the largest taken{}; on the volume's axes, with"
            " its affine",
            folder="VOLUMES",
            use="VOLUMES is a folder (or one file) of MR volumes as NIfTI; OUT/masks gets a mask of each, of the same"
            " name. Masks equal those of medtl's own inference for **whole volumes**: grey is scaled by the volume, so"
            " a slice or a crop by itself looks different to the network. Nothing is passed over here: CT, which the"
            " network does not know, is for you to leave out. For DICOM use medtl.",
            also="and reads DICOM",
        )
    colours = "RGB" if pixels.file_channels == 3 else "grey"
    return Told(
        packages=("pillow",),
        data_type="8-bit PNG and JPEG",
        image_classes=f"8-bit {colours}",
        unit="pictures",
        read=f"PNG or JPEG read as {colours}, 0 to {pixels.scale:g}",
        masks="logits at each picture's own size (enlarged bilinearly from a square), the largest taken{}; a PNG of"
        " class indices",
        folder="PICTURES",
        use="PICTURES is a folder (or one file) of PNG and JPEG; OUT/masks gets a mask of each, of the same name and"
        " size, whose values are the classes' indices. Masks equal those of medtl's own inference, but pictures are"
        " taken as they are stored: turn those that only an EXIF entry turns before you predict. medtl also writes"
        " overlays.",
        also="and writes overlays",
    )


def readme(card: WeightsCard) -> str:
    """Return docs/README.md: the card as text, and the commands."""
    what, pixels, told = _network(card), card.input, _told(card.input)
    sizes = ", ".join(f"{count:,} {split}" for split, count in card.data["entries"].items())
    largest = card.recipe.get("postprocess") == "largest"
    skimage = " scikit-image" if largest else ""
    sides = "of any size from 32 pixels"
    if what.backbone.startswith(TIMM):
        sides = f"of {what.image_size} × {what.image_size} (its trunk is a trace at that size)"
    lines = [
        f"# {card.name}",
        "",
        f"{what.network} on {what.backbone}: {what.num_classes} classes of each pixel, {told.unit} of"
        f" {what.in_channels} × {what.image_size} × {what.image_size}. **Not for clinical use.**",
        "",
        *warning(card),
        "| | |",
        "|---|---|",
        f"| network | {what.network}, trunk {what.backbone}, output stride {what.output_stride}, decoder {what.decoder}"
        f"{', auxiliary head' if what.auxiliary else ''} |",
        f"| classes, in index order | {', '.join(cell(name) for name in card.classes)} |",
        f"| input | {told.read}; {_way(card)[1]}; divided by {pixels.scale:g}; mean"
        f" {numbers(pixels.mean)} and standard deviation {numbers(pixels.std)} a channel |",
        f"| masks | {told.masks.format(', the largest piece of each class kept' if largest else '')} |",
        f"| trained on | {'PHANTOMS: the built-in sample of ' if card.data['sample'] else ''}{cell(card.data['name'])}"
        f" ({sizes} {told.unit}) |",
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
        f"pip install monai torch pytorch-ignite {' '.join(told.packages)}{skimage} fire",
        "```",
        "",
        "From this folder (from elsewhere add `--bundle_root DIR`):",
        "",
        "```",
        f"python -m monai.bundle run --config_file configs/inference.json --dataset_dir {told.folder} --output_dir OUT",
        "```",
        "",
        told.use,
        "",
        f"`models/model.ts` is TorchScript: pictures (n, {what.in_channels}, rows, columns) {sides}, prepared as above,"
        f" to logits (n, {what.num_classes}, rows, columns). `models/model.pt` and `models/model.safetensors` hold the"
        " same weights for medtl.",
        "",
        "**Training on needs medtl**: stock MONAI has no such network to build these weights into, and a TorchScript"
        " module cannot be given another trunk or other classes. So there is no train.json here; medtl's recipe"
        f" {card.source['name']} trains, evaluates (`--weights models/model.pt`) {told.also}.",
        "",
        "`sha256sum -c SHA256SUMS` shows that no file was changed. Configs of a bundle are code: run only those that"
        " you trust.",
    ]
    return "\n".join(lines) + "\n"
