"""What several processes do: in a module of its own, since a new process cannot import that of a test."""

import json
import os
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from resume_runs import run_bundle

from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.metrics.ignite import Scores
from medtl.transforms.batch import normalisation

SIZES = (4, 5, 7, 31)


def on_two_machines(told: list[str], first: Path, second: Path) -> None:
    """The second process runs elsewhere, and is the first of its machine."""
    if os.environ["RANK"] == "1":
        os.environ["LOCAL_RANK"] = "0"
    os.chdir(first if os.environ["RANK"] == "0" else second)
    run_bundle(told)


def evaluate_sizes(folder: Path) -> None:
    """Metrics of one network on sets of several sizes, written by each process."""
    world = 2 if "two" in folder.name else 1
    if world > 1:
        idist.initialize("gloo")
    torch.manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    for size in SIZES:
        draws = np.random.default_rng(size)
        labels = torch.from_numpy(np.arange(size) % 3)
        images = draws.integers(0, 256, (size, 1, 8, 8), dtype=np.uint8)
        loader = PackedLoader(
            Packed(images, labels), 3, rank=idist.get_rank(), world_size=world, transform=normalisation()
        )
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=loader,
            network=network,
            val_handlers=[Scores("val")],
            decollate=False,
        )
        evaluator.run()
        assert evaluator.state.predictions.index.tolist() == list(range(size))
        (folder / f"{size}_{idist.get_rank()}.json").write_text(json.dumps(evaluator.state.metrics))
    if world > 1:
        idist.barrier()  # who leaves first takes the others' connections along
        idist.finalize()
