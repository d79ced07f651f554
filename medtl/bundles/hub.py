"""What a released bundle needs beside its files to be a repository of the Hugging Face Hub: a model card with front
matter, and config.json. Nothing is uploaded and no network is asked."""

import json
from collections.abc import Mapping
from typing import Any

from medtl.cards import dataset_cards
from medtl.weights.card import SegmentationArchitecture, WeightsCard

README, CONFIG = "README.md", "config.json"
# licences of images, as data lists and cards write them, by the names that the Hub gives them
LICENCES = {
    "Apache-2.0": "apache-2.0",
    "BSD-3-Clause": "bsd-3-clause",
    "MIT": "mit",
    "CC BY 3.0": "cc-by-3.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC BY-NC 4.0": "cc-by-nc-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC0 1.0": "cc0-1.0",
}
PERMISSIVE = ("Apache-2.0", "BSD-3-Clause", "MIT")  # of a start: they ask for nothing but their text
METRICS = {"accuracy": "accuracy", "auc": "roc_auc", "f1_macro": "f1", "mae": "mae", "mean_iou": "mean_iou"}
SPLITS = {"test": "test", "val": "validation"}  # in the order in which they are told


def files(card: WeightsCard, inference: Mapping[str, Any], readme: str) -> dict[str, str]:
    """Return the texts of README.md and config.json by name.

    Args:
        card: of the released weights.
        inference: the bundle's configs/inference.json.
        readme: its docs/README.md.
    """
    config = json.dumps(_config(card, inference), indent=2, ensure_ascii=False)
    return {README: f"---\n{front_matter(card)}\n---\n\n{readme}", CONFIG: f"{config}\n"}


def front_matter(card: WeightsCard) -> str:
    """Return the model card's YAML: licence, library, tags, data sets, metrics and what was measured."""
    from huggingface_hub import EvalResult, ModelCardData

    segments = isinstance(card.architecture, SegmentationArchitecture)
    task = "image-segmentation" if segments else "image-classification"
    split, measured = _measured(card)
    results = [
        EvalResult(
            task_type=task,
            dataset_type=str(card.data["name"]),
            dataset_name=str(card.data["name"]),
            dataset_split=SPLITS[split],
            metric_type=METRICS[name],
            metric_name=name,
            metric_value=value,
        )
        for name, value in measured.items()
    ]
    public = {name for name, one in dataset_cards().items() if one.url}
    seen = [str(name) for name in card.data.get("sources") or [card.data["name"]] if name in public]
    terms = licence(card)
    told = ModelCardData(
        license=terms["license"],
        license_name=terms.get("license_name"),
        license_link=terms.get("license_link"),
        library_name="monai",
        pipeline_tag=None if card.task == "regression" else task,
        tags=["monai", "medical", "not-for-clinical-use", card.architecture.backbone, *_phantoms(card)],
        datasets=None if card.data["sample"] else seen or None,
        metrics=list(dict.fromkeys(METRICS[name] for name in measured)),
        model_name=card.name,
        eval_results=results or None,
    )
    return str(told.to_yaml())


def licence(card: WeightsCard) -> dict[str, str]:
    """Return the licence of the weights in the Hub's words: that of the images where it is one that the Hub knows and
    the start adds nothing to it, else "other", with the file that tells it."""
    images, _, start = card.licence.removeprefix("images: ").partition("; start: ")
    name = "apache-2.0" if card.data["sample"] else LICENCES.get(images, "")
    if name and (not start or start in PERMISSIVE):
        return {"license": name}
    return {"license": "other", "license_name": "that-of-the-images", "license_link": "docs/data_license.txt"}


def _measured(card: WeightsCard) -> tuple[str, dict[str, float]]:
    """Return the split that is told, the test where there is one, and its metrics that the Hub has a name for."""
    for split in SPLITS:
        found = {name: card.metrics[key] for name in METRICS if (key := f"{split}_{name}") in card.metrics}
        if found:
            return split, found
    return "val", {}


def _phantoms(card: WeightsCard) -> list[str]:
    return ["phantoms"] if card.data["sample"] else []


def _config(card: WeightsCard, inference: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json: the network, its classes, and how a picture becomes its input."""
    what, pixels = card.architecture, card.input
    segments = isinstance(what, SegmentationArchitecture)
    return {
        "library_name": "monai",
        "backbone": what.backbone,
        "weights": "models/model.ts" if segments else "models/model.safetensors",
        **({} if segments else {"network_def": inference["network_def"]}),
        "task": card.task,
        "id2label": {str(n): name for n, name in enumerate(card.classes)},
        "num_channels": what.in_channels,
        "image_size": what.image_size,
        "file_channels": pixels.file_channels,
        "resize": pixels.resize,
        "scale": pixels.scale,
        "image_mean": list(pixels.mean),
        "image_std": list(pixels.std),
    }
