"""The pieces that the configs of a released bundle are made of: stock MONAI, Ignite and torch only.

Pure functions from a WeightsCard to what JSON files hold. No torch.
"""

from typing import Any

from medtl.networks.registry import backbone_of
from medtl.weights.card import WeightsCard

# greys of more than 8 bits are scaled as in training, by the bits used; Pillow alone would clip them at 255
DEEP = "image.point(lambda v: v * (255 / (2 ** max(8, int(image.getextrema()[1]).bit_length()) - 1)) + 0.5)"
GREY = f"({DEEP} if image.mode[0] in 'IF' else image).convert('L')"
COLOUR = f"{DEEP}.convert('L').convert('RGB') if image.mode[0] in 'IF' else"
# upright by the EXIF data (tag 274), and black where a picture is transparent, as medtl reads it
UPRIGHT = (
    "picture.transpose({2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[picture.getexif()[274]])"
    " if picture.getexif().get(274) in (2, 3, 4, 5, 6, 7, 8) else picture"
)
ON_BLACK = (
    "(lambda black, layered: [black.paste(layered, (0, 0), layered), black][1])"
    "(image.convert('RGBA').convert('RGB').point(lambda v: 0), image.convert('RGBA'))"
)
SHOWN = (
    f"(lambda image: {ON_BLACK} if image.mode[0] not in 'IF' and ('A' in image.getbands() or 'transparency' in"
    f" image.info) else image)({UPRIGHT})"
)
LOADED = {
    1: f"$lambda picture: (lambda image: {GREY})({SHOWN})",
    3: f"$lambda picture: (lambda image: {COLOUR} image.convert('RGB'))({SHOWN})",
}
SPLITS = "{'train': 'training', 'val': 'validation'}"
LABELLED = (
    "$[{{'image': entry['image'], 'label': entry['label']}} for entry in monai.data.load_decathlon_datalist("
    "os.path.join(@dataset_dir, 'datalist.json'), is_segmentation=False, data_list_key={key})]"
)
LISTED = (
    "$os.path.isfile(os.path.join(@dataset_dir, 'datalist.json'))"
    " or sys.exit('--dataset_dir %s holds no datalist.json' % (@dataset_dir or '(missing)'))"
)
INFERER = {"_target_": "SimpleInferer"}
MEASURED = {"key_val_metric": "key_metric", "additional_metrics": "additional_metrics"}  # argument to id
Config = dict[str, Any]


def networks(card: WeightsCard) -> Config:
    """Return ``network_def``, the stock network, and ``network``, the same on the device and giving logits alone."""
    what = card.architecture
    backbone = backbone_of(what.backbone)
    stock = backbone.stock(what.num_classes, what.in_channels, what.image_size)
    network = "$@network_def.to(@device)"
    if backbone.gives_tuple:
        hook = "lambda module, inputs, output: output[0] if isinstance(output, tuple) else output"
        network = f"$[@network_def.register_forward_hook({hook}), @network_def.to(@device)][1]"
    return {"network_def": stock, "network": network}


def loading(card: WeightsCard) -> list[Config]:
    """Return transforms that read a picture, rows first, and bring it to the network's size and to 0..1."""
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": "PILReader",
            "reverse_indexing": False,
            "converter": LOADED[card.input.file_channels],
            "ensure_channel_first": True,
        },
        {
            "_target_": "Resized",
            "keys": "image",
            "spatial_size": "$[@image_size, @image_size]",
            "mode": card.input.resize,
        },
        *([{"_target_": "Lambdad", "keys": "image", "func": "$torch.round"}] if card.input.rounded else []),
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": 0,
            "a_max": card.input.scale,
            "b_min": 0,
            "b_max": 1,
        },
    ]


def normalising(card: WeightsCard, *, labelled: bool = False) -> list[Config]:
    """Return transforms from 0..1 to what the network wants; multi-hot labels, and numbers, become tensors where there
    are labels."""
    label: dict[str, Config] = {
        "multilabel": {"_target_": "ToTensord", "keys": "label", "dtype": "$torch.float32", "track_meta": False},
        # as the network says it: (n, 1) in a batch
        "regression": {"_target_": "Lambdad", "keys": "label", "func": "$lambda label: torch.tensor([float(label)])"},
    }
    return [
        {
            "_target_": "RepeatChanneld",
            "keys": "image",
            "repeats": card.architecture.in_channels // card.input.file_channels,
        },
        {
            "_target_": "NormalizeIntensityd",
            "keys": "image",
            "subtrahend": list(card.input.mean),
            "divisor": list(card.input.std),
            "channel_wise": True,
        },
        {"_target_": "EnsureTyped", "keys": "image", "track_meta": False},
        *([label[card.task]] if labelled and card.task in label else []),
    ]


def augmentation() -> list[Config]:
    """Return random changes that leave a picture's meaning alone."""
    return [
        {"_target_": "RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 1},
        {
            "_target_": "RandAffined",
            "keys": "image",
            "prob": 1.0,
            "rotate_range": 0.15,
            "scale_range": [0.1, 0.1],
            "translate_range": "$[@image_size * 0.05, @image_size * 0.05]",
            "mode": "bilinear",
            "padding_mode": "zeros",
        },
    ]


def common(card: WeightsCard, output: str) -> Config:
    """Return the ids that every config of a bundle has."""
    return {
        "imports": ["$import os", "$import pathlib", "$import sys", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "",
        "output_dir": f"$os.path.join(@bundle_root, '..', '{card.name}_{output}')",
        "weights": "$os.path.join(@bundle_root, 'models', 'model.pt')",
        "image_size": card.architecture.image_size,
        "batch_size": 32,
        "num_workers": 0,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    }


def answers(card: WeightsCard) -> str:
    """Return the expression from outputs to probabilities, or numbers, of a handler's ``output``."""
    if card.task == "regression":
        return "output['pred']"
    return "torch.sigmoid(output['pred'])" if card.task == "multilabel" else "torch.softmax(output['pred'], dim=1)"


def loss(card: WeightsCard) -> Config:
    """Return the loss that fine-tuning goes on with."""
    losses = {"regression": "SmoothL1Loss", "multilabel": "BCEWithLogitsLoss"}
    return {"_target_": f"torch.nn.{losses.get(card.task, 'CrossEntropyLoss')}"}


def dataloader(dataset: str, *, shuffle: bool = False) -> Config:
    """Return a loader; worker processes are forked, because the configs' lambdas cannot be sent to fresh ones."""
    return {
        "_target_": "DataLoader",
        "dataset": dataset,
        "batch_size": "@batch_size",
        "shuffle": shuffle,
        "num_workers": "@num_workers",
        "multiprocessing_context": "$'fork' if @num_workers > 0 else None",
    }


def weights_loader() -> Config:
    """Return the handler that fills the network when an engine starts; every name and shape must agree."""
    return {
        "_target_": "CheckpointLoader",
        "load_path": "@weights",
        "load_dict": {"model": "@network"},
        "map_location": "@device",
    }


def evaluator(room: str = "", **metrics: str) -> Config:
    """Return an engine that predicts, and measures where ``metrics`` names ids (MONAI wants references there).

    Args:
        room: what stands before its ids, such as ``validate#``.
        metrics: argument to id.
    """
    return {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": f"@{room}dataloader",
        "network": "@network",
        "inferer": f"@{room}inferer",
        **{argument: f"@{room}{id_}" for argument, id_ in metrics.items()},
        "val_handlers": f"@{room}handlers",
        "decollate": False,
    }


def metrics(card: WeightsCard, prefix: str) -> Config:
    """Return ``key_metric`` and what stands beside it.

    They are accuracy (of several labels the share of right yes-or-no answers) and AUC; of a regression the mean
    absolute error and the mean squared one.
    """
    if card.task == "regression":
        both = "$lambda output: (output['pred'], output['label'])"
        mae, mse = (
            {"_target_": f"ignite.metrics.{name}", "output_transform": both}
            for name in ("MeanAbsoluteError", "MeanSquaredError")
        )
        return {"key_metric": {f"{prefix}_mae": mae}, "additional_metrics": {f"{prefix}_mse": mse}}
    if card.task == "multilabel":
        accuracy = "((torch.sigmoid(output['pred']) > 0.5).flatten().long(), output['label'].flatten().long())"
        truth = "output['label']"
    else:
        accuracy = "(output['pred'], output['label'])"
        truth = "torch.nn.functional.one_hot(output['label'], output['pred'].shape[1])"
    return {
        "key_metric": {
            f"{prefix}_accuracy": {
                "_target_": "ignite.metrics.Accuracy",
                "output_transform": f"$lambda output: {accuracy}",
            }
        },
        "additional_metrics": {
            f"{prefix}_auc": {
                "_target_": "ROCAUC",
                "output_transform": f"$lambda output: ({answers(card)}, {truth})",
            }
        },
    }


def stats() -> Config:
    """Return the handler that prints a validation's metrics."""
    return {"_target_": "StatsHandler", "iteration_log": False}
