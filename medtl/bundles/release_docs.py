"""What a released bundle says of itself: metadata.json, its README and the licence of its data. Pure functions of a
WeightsCard; no torch."""

from collections.abc import Mapping
from typing import Any

from medtl.bundles.stock_parts import Config
from medtl.cards import dataset_cards
from medtl.networks.registry import backbone_of
from medtl.weights.card import WeightsCard

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
REQUIRED_PACKAGES = ("pytorch-ignite", "pillow")
NEEDS = "monai torch pytorch-ignite pillow fire"
LABELS = {"multilabel": "multi-hot", "regression": "a number"}
CLASSES = {"regression": "what is predicted"}
ANSWERS = {"multilabel": "each class by itself (sigmoid)", "regression": "the number itself, in the unit of its labels"}


def metadata(card: WeightsCard, recipe: Mapping[str, Any]) -> Config:
    """Return metadata.json.

    Args:
        card: of the released weights.
        recipe: metadata of the bundle that trained them.
    """
    what, pixels = card.architecture, card.input
    size = [what.image_size, what.image_size]
    names = ("red", "green", "blue") if pixels.file_channels == 3 else ("grey",) * what.in_channels
    modality = recipe.get("network_data_format", {}).get("inputs", {}).get("image", {}).get("modality", "any")
    phantoms = "PHANTOMS, not patients: the built-in sample of " if card.data["sample"] else ""
    sizes = ", ".join(f"{count:,} {split}" for split, count in card.data["entries"].items())
    return {
        "schema": SCHEMA,
        "version": card.version,
        "changelog": {card.version: f"released from a run of {card.source['name']} {card.source['version']}"},
        "monai_version": card.versions["monai"],
        "pytorch_version": card.versions["torch"],
        "numpy_version": card.versions["numpy"],
        "required_packages_version": {name: card.versions[name] for name in REQUIRED_PACKAGES},
        "supported_apps": {},
        "name": card.name,
        "task": "regression" if card.task == "regression" else recipe.get("task", "classification"),
        "description": f"{what.backbone} for {_subject(card)}, {what.in_channels} x {size[0]} x {size[1]},"
        f" trained on {phantoms}{card.data['name']}",
        "authors": recipe.get("authors", ""),
        "copyright": recipe.get("copyright", ""),
        "data_source": f"{phantoms}{card.data['name']} ({sizes}); {card.data['licence']}",
        "data_type": "8-bit PNG and JPEG",
        "image_classes": f"{'RGB' if pixels.file_channels == 3 else '8-bit grey'}, resized to a square"
        f" ({pixels.resize}{', rounded' if pixels.rounded else ''}), divided by {pixels.scale:g}, normalised by mean"
        " and standard deviation",
        "label_classes": LABELS.get(card.task, "class index, in the order of channel_def"),
        "pred_classes": "the number itself" if card.task == "regression" else "logits, in the order of channel_def",
        "eval_metrics": dict(card.metrics),
        "intended_use": card.intended_use,
        "references": list(recipe.get("references", [])),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": modality,
                    "num_channels": what.in_channels,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [round(end, 3) for end in pixels.value_range],
                    "is_patch_data": False,
                    "channel_def": {str(n): f"{name}, normalised" for n, name in enumerate(names)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "raw" if card.task == "regression" else "logits",
                    "format": "regression" if card.task == "regression" else "classification",
                    "num_channels": what.num_classes,
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(n): name for n, name in enumerate(card.classes)},
                }
            },
        },
    }


def readme(card: WeightsCard) -> str:
    """Return docs/README.md: the card as text, and the commands."""
    what, pixels = card.architecture, card.input
    sizes = ", ".join(f"{count:,} {split}" for split, count in card.data["entries"].items())
    grey = "as RGB" if pixels.file_channels == 3 else f"as grey, repeated to {what.in_channels} channels"
    rounded = ", rounded to whole grey values" if pixels.rounded else ""
    run = "python -m monai.bundle run --config_file configs"
    backbone = backbone_of(what.backbone)
    trace = " --use_trace true" if backbone.gives_tuple or backbone.requires else ""
    count = backbone.classes_argument
    lines = [
        f"# {card.name}",
        "",
        f"{what.backbone}, {_subject(card)}, input {what.in_channels} × {what.image_size} ×"
        f" {what.image_size}. **Not for clinical use.**",
        "",
        *warning(card),
        "| | |",
        "|---|---|",
        f"| {CLASSES.get(card.task, 'classes, in index order')} | {', '.join(map(cell, card.classes))} |",
        f"| answers | {ANSWERS.get(card.task, 'one class (softmax)')} |",
        f"| input | PNG or JPEG read {grey}; resized to {what.image_size} × {what.image_size} ({pixels.resize}, aspect"
        f" ratio not kept){rounded}; divided by {pixels.scale:g}; mean {numbers(pixels.mean)} and standard deviation"
        f" {numbers(pixels.std)} a channel |",
        f"| trained on | {'PHANTOMS: the built-in sample of ' if card.data['sample'] else ''}{cell(card.data['name'])}"
        f" ({sizes}) |",
        *_training_images(card),
        *origin(card),
        "",
        f"{card.intended_use}",
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
        f"pip install {' '.join((NEEDS, *backbone.requires))}",
        "```",
        "",
        "From this folder (from elsewhere add `--bundle_root DIR`):",
        "",
        "```",
        f"{run}/inference.json --dataset_dir PICTURES --output_dir OUT",
        f"{run}/evaluate.json --dataset_dir LIST --split test --output_dir OUT",
        f"{run}/train.json --dataset_dir LIST --output_dir OUT",
        f"python -m monai.bundle ckpt_export network --config_file configs/inference.json --filepath model.ts{trace}",
        "```",
        "",
        "PICTURES is a folder (or one file) of PNG and JPEG; inference writes predictions.csv. LIST is a folder with a"
        " datalist.json in the decathlon format (`training`, `validation`, `test` lists of `image` and `label`).",
        "train.json fine-tunes from the released weights and keeps the best epoch on validation as OUT/model.pt; for N"
        f" other classes add `--network_def#{count} N --head new`.",
        "",
        "`sha256sum -c SHA256SUMS` shows that no file was changed. Configs of a bundle are code: run only those that"
        " you trust.",
    ]
    return "\n".join(lines) + "\n"


def _subject(card: WeightsCard) -> str:
    """What the network is for, in words."""
    return f"one number, {card.classes[0]}" if card.task == "regression" else f"{len(card.classes)} classes"


def warning(card: WeightsCard) -> list[str]:
    """Return a paragraph where the data are drawn."""
    if not card.data["sample"]:
        return []
    return ["**TRAINED AND MEASURED ON PHANTOMS: drawn pictures, not patients. No figure here is about patients.**", ""]


def measured(metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics as a table, with their intervals."""
    rows = ["| metric | value | 95 % interval |", "|---|---|---|"]
    for name, value in metrics.items():
        if name.endswith(("_lo", "_hi")):
            continue
        low, high = metrics.get(f"{name}_lo"), metrics.get(f"{name}_hi")
        interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
        rows.append(f"| {name} | {value:.3f} | {interval} |")
    return rows


def origin(card: WeightsCard) -> list[str]:
    """Return the rows of how weights came to be and who may use them."""
    return [
        f"| started from | {cell(str(card.start.get('init', 'not recorded')))} |",
        f"| trained by | {card.source['name']} {card.source['version']}, seed {card.seed} |",
        f"| recipe | {', '.join(f'{key} {cell(str(value))}' for key, value in card.recipe.items())} |",
        f"| software | {', '.join(f'{key} {value}' for key, value in card.versions.items())} |",
        f"| stored as | {card.dtype} |",
        f"| licence | {cell(card.licence)} |",
        f"| cite | {cell(card.citation)} |",
    ]


def _training_images(card: WeightsCard) -> list[str]:
    """Return a row of how many images of each class, where the run recorded it."""
    counts = card.data.get("training_images") or {}
    told = ", ".join(f"{cell(name)} {count:,}" for name, count in counts.items())
    return [f"| training images a class | {told} |"] if any(counts.values()) else []


def cell(text: str) -> str:
    """Return text that cannot break a table's row."""
    return " ".join(text.replace("|", "\\|").split())


def numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def data_license(card: WeightsCard, recipe: str) -> str:
    """Return docs/data_license.txt.

    Args:
        card: of the released weights.
        recipe: the text of the bundle that trained them.
    """
    lines = []
    if card.data["sample"]:
        lines += [
            "The weights in models/ were trained on PHANTOMS drawn by medtl, which show nobody,",
            f"in place of: {card.data['name']}.",
        ]
    else:
        lines += [f"The weights in models/ were trained on: {card.data['name']}."]
    lines += [f"Licence: {card.licence}"]
    if (known := dataset_cards().get(card.data["name"])) and not card.data["sample"]:
        lines += [f"{known.title}: {known.licence}", f"  {known.citation}", f"  {known.url}"]
    lines += ["", f"What the recipe that trained them ({card.source['name']}, without weights) says of its data:", ""]
    return "\n".join(lines) + "\n" + recipe
