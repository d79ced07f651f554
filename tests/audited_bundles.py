"""Bundles made by hand, for the tests of the audit: hostile ones, and ones as MONAI's users write them."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

IMPORTS = [
    "$import os",
    "$import sys",
    "$import glob",
    "$import pathlib",
    "$import json",
    "$import logging",
    "$import functools",
    "$import torch.distributed as dist",
]


class Payload:
    """Pickled, it runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def bundle(folder: Path, train: Any = None, **files: bytes | str) -> Path:
    """A bundle's folder; ``train`` is its train.json, beside imports."""
    (folder / "configs").mkdir(parents=True)
    config = {"imports": IMPORTS, **train} if isinstance(train, dict) else train
    (folder / "configs" / "train.json").write_text(json.dumps(config if config is not None else {}))
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def saved(content: object, **options: Any) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
IMAGE_AND_LABEL = ["image", "label"]
FROM_ENGINE = "$monai.handlers.from_engine(['pred', 'label'])"


def template_train() -> dict[str, Any]:
    """A train.json on the pattern of MONAI's tutorials: a 3-D segmentation of one organ."""
    load = [
        {"_target_": "LoadImaged", "keys": IMAGE_AND_LABEL},
        {"_target_": "EnsureChannelFirstd", "keys": IMAGE_AND_LABEL},
        {"_target_": "Orientationd", "keys": IMAGE_AND_LABEL, "axcodes": "RAS"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": 200, "b_min": 0, "b_max": 1},
        {"_target_": "EnsureTyped", "keys": IMAGE_AND_LABEL},
    ]
    return {
        "imports": ["$import glob", "$import os", "$import ignite"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/data/organ",
        "images": "$list(sorted(glob.glob(@dataset_dir + '/images/*.nii.gz')))",
        "labels": "$list(sorted(glob.glob(@dataset_dir + '/labels/*.nii.gz')))",
        "device": DEVICE,
        "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "strides": [2]},
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.001},
        "train": {
            "fixed": load,
            "random": [{"_target_": "RandFlipd", "keys": IMAGE_AND_LABEL, "prob": 0.5}],
            "preprocessing": {"_target_": "Compose", "transforms": "$@train#fixed + @train#random"},
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
                "transform": "@train#preprocessing",
            },
            "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2, "shuffle": True},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "keys": "pred"}]},
            "handlers": [
                {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": 5},
                {
                    "_target_": "TensorBoardStatsHandler",
                    "log_dir": "@output_dir",
                    "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
                },
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": 100,
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "postprocessing": "@train#postprocessing",
                "train_handlers": "@train#handlers",
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "%train#fixed"},
            "dataset": {"_target_": "Dataset", "data": "@images", "transform": "@validate#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset"},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4},
            "postprocessing": "%train#postprocessing",
            "handlers": [
                {"_target_": "StatsHandler", "iteration_log": False},
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@ckpt_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                    "key_metric_filename": "model.pt",
                },
            ],
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": "@validate#postprocessing",
                "key_val_metric": {"dice": {"_target_": "MeanDice", "output_transform": FROM_ENGINE}},
                "additional_metrics": {
                    "accuracy": {"_target_": "ignite.metrics.Accuracy", "output_transform": FROM_ENGINE}
                },
                "val_handlers": "@validate#handlers",
            },
        },
        "initialize": [
            "$monai.utils.set_determinism(seed=7)",
            "$setattr(torch.backends.cudnn, 'benchmark', True)",
        ],
        "run": ["$@train#trainer.run()"],
    }


def template_multi_gpu() -> dict[str, Any]:
    """What MONAI's tutorials lay over a train.json to run it on several GPUs."""
    return {
        "device": "$torch.device(f'cuda:{dist.get_rank()}')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": ["@device"],
        },
        "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "shuffle": True},
        "train#dataloader#sampler": "@train#sampler",
        "train#dataloader#shuffle": False,
        "train#trainer#train_handlers": "$@train#handlers[: -2 if dist.get_rank() > 0 else None]",
        "initialize": [
            "$import torch.distributed as dist",
            "$dist.is_initialized() or dist.init_process_group(backend='nccl')",
            "$torch.cuda.set_device(@device)",
            "$import logging",
            "$@train#trainer.logger.setLevel(logging.WARNING if dist.get_rank() > 0 else logging.INFO)",
        ],
        "run": ["$@train#trainer.run()"],
        "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
    }


def template_inference() -> dict[str, Any]:
    """An inference.json on the pattern of MONAI's tutorials, with masks saved."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/data/organ",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": DEVICE,
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "strides": [2]},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_ext": ".nii.gz"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "_disabled_": "$not os.path.exists(@ckpt_path)",
                "load_path": "@ckpt_path",
                "load_dict": {"model": "@network"},
            }
        ],
        "loader_of_weights": {
            "_target_": "CheckpointLoader",
            "load_path": "@ckpt_path",
            "load_dict": {"model": "@network"},
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "initialize": ["$monai.utils.set_determinism(seed=7)", "$@loader_of_weights(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }
