"""Logits of the weights that come with medtl, on a drawn input; ``python tests/golden_logits.py`` writes them anew.

The input is a formula and the sums are made in double precision, so that the figures depend on no machine and on no
random numbers. A change of them is a change of the weights or of the network.
"""

import json
from pathlib import Path

import torch

from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.weights.read import read_state_dict

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_name("golden_logits.json")
TOLERANCE = 5e-4  # of float32: 1.3e-5 was seen; a filter of the first convolution changed by a tenth gives 0.02
SHOWN = 20
# weight file below the repository: backbone, classes, pixels
SHIPPED = {
    "bundles/medtl_mini_resnet18/models/model.pt": ("resnet18", 18, 64),
    "medtl/weights/shipped/mobilenet_v2_imagenet.safetensors": ("torchvision/mobilenet_v2", 1000, 96),
}


def drawn(pixels: int) -> torch.Tensor:
    """(2, 3, pixels, pixels) waves between -2 and 2, in double precision."""
    rows, columns = torch.meshgrid(*[torch.arange(pixels, dtype=torch.float64)] * 2, indexing="ij")
    waves = [torch.sin(0.21 * (c + 1) * rows + k) + torch.cos(0.13 * columns - c) for k in (0, 1) for c in range(3)]
    return torch.stack(waves).reshape(2, 3, pixels, pixels)


def network_of(name: str) -> torch.nn.Module:
    """The classifier of a shipped file, in evaluation mode and float32."""
    backbone, classes, pixels = SHIPPED[name]
    network = build_classifier(backbone, classes, image_size=pixels).eval()
    network.load_state_dict(read_state_dict(ROOT / name))
    return network


def logits_of(network: torch.nn.Module, picture: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(picture)
    return logits


def main() -> None:
    content: dict[str, object] = {"input": "drawn() of tests/golden_logits.py", "tolerance": TOLERANCE}
    for name, (backbone, classes, pixels) in SHIPPED.items():
        logits = logits_of(network_of(name).double(), drawn(pixels))
        content[name] = {
            "sha256": file_hash(ROOT / name),
            "backbone": backbone,
            "classes": classes,
            "pixels": pixels,
            "first_logits": [[round(value, 5) for value in row[:SHOWN].tolist()] for row in logits],
            "norm": [round(float(row.norm()), 5) for row in logits],
            "best": logits.argmax(1).tolist(),
        }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
