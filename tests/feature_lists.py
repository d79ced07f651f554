"""Data lists whose classes a planted start tells and a random one does not; for the tests of frozen features."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.files import file_hash

SIZES = {"training": 64, "validation": 32, "test": 48}
SIDE = 32
PATTERN = np.random.default_rng(7).choice([-1.0, 1.0], size=(7, 7))
STRENGTH = 18.0  # grey values of the pattern, in noise of 30 to 50


def noisy_list(folder: Path, sizes: dict[str, int] = SIZES, task: str = "classification", folds: int = 0) -> DataList:
    """Noise of any strength, in every other picture with six copies of one pattern, each where a filter of stride 2
    sees it whole; two pictures a patient.

    Args:
        folder: of the data list.
        sizes: pictures a split.
        task: "classification", or "multilabel": the pattern, and a bright frame.
        folds: that the training pictures are dealt into.
    """
    random = np.random.default_rng(0)
    pattern = PATTERN - PATTERN.mean()
    (folder / "images").mkdir(parents=True)
    splits: dict[str, list[Entry]] = {}
    for split, size in sizes.items():
        splits[split] = []
        for number in range(size):
            pixels = 128 + random.uniform(30, 50) * random.normal(size=(SIDE, SIDE))
            for place in random.permutation(9)[: 6 * (number % 2)]:
                row, column = 1 + 8 * (place // 3), 1 + 8 * (place % 3)
                pixels[row : row + 7, column : column + 7] += STRENGTH * pattern
            framed = number // 2 % 2
            if task == "multilabel" and framed:
                pixels[:3] = pixels[-3:] = 250
            path = folder / "images" / f"{split}{number:03d}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
            entry = {
                "image": f"images/{path.name}",
                "label": [number % 2, framed] if task == "multilabel" else number % 2,
                "patient": f"{split}{number // 2}",
                "source": "drawn",
                "sha256": file_hash(path),
            }
            splits[split].append({**entry, "fold": number // 2 % folds} if folds and split == "training" else entry)
    classes = ("pattern", "frame") if task == "multilabel" else ("plain", "pattern")
    datalist.write(DataList("drawn", classes, 1, "none", "test", False, **splits), folder)
    return datalist.read(folder)


def planted_start(path: Path) -> Path:
    """A ResNet-18 whose first filter is the pattern, and whose blocks pass on what that answers, averaged."""
    from medtl.networks.classifier import build_classifier

    torch.manual_seed(0)
    state = build_classifier("resnet18", 2).state_dict()
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    state["conv1.weight"][0, 0] = torch.from_numpy(PATTERN - PATTERN.mean()) / 5  # noise comes out at about 1
    state["bn1.bias"][0] = -2
    for name, tensor in state.items():
        first = name.split(".")[0] in ("layer2", "layer3", "layer4") and name.split(".")[1:2] == ["0"]
        if name.endswith(".downsample.1.weight") or (name.endswith("bn2.weight") and not first):
            state[name] = torch.zeros_like(tensor)
        elif first and name.endswith("conv1.weight"):
            state[name] = torch.eye(*tensor.shape[:2])[:, :, None, None].repeat(1, 1, 3, 3) / 9
        elif first and name.endswith("conv2.weight"):
            state[name] = torch.zeros_like(tensor)
            state[name][:, :, 1, 1] = torch.eye(len(tensor))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path
