"""Images a second of frozen features: the bare forward pass, and the path from a packed set to features on the host.

    python benchmarks/embedding.py [--device cuda] [--backbones resnet18,resnet50,vit_b16] [--json FILE]

* bare: the network's forward pass, in half precision on a GPU, on one batch that already lies on the device.
* medtl: packed uint8 images → PackedLoader → normalisation on the device → the same pass → float16 on the host.

Both are measured in turn, round by round; the ratio is the median of the rounds'. The pictures are drawings.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from medtl import engines
from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.networks.classifier import backbone_of, build_classifier
from medtl.transforms.batch import normalisation

AIM = 0.9


def frozen(backbone: str, size: int, device: torch.device) -> nn.Module:
    """Return a network without its head, ready for features."""
    torch.manual_seed(0)
    network = build_classifier(backbone, 2, image_size=size)
    outer, _, last = backbone_of(backbone).head.rpartition(".")
    setattr(network.get_submodule(outer), last, nn.Identity())
    return engines.prepare_network(network.eval().requires_grad_(False).to(device))


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return images a second of a step that says how many it took."""
    sync(device)
    since, images = time.perf_counter(), 0
    while time.perf_counter() - since < seconds:
        images += step()
        sync(device)
    return images / (time.perf_counter() - since)


def bare(network: nn.Module, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], int]:
    images = torch.randn(batch, 3, size, size, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def step() -> int:
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for _ in range(8 if device.type == "cuda" else 1):
                network(images)
        return batch * (8 if device.type == "cuda" else 1)

    return step


def medtl(network: nn.Module, packed: Packed, batch: int, device: torch.device, precision: str) -> Callable[[], int]:
    dtype = engines.PRECISIONS[precision]
    transform = normalisation(dtype=engines.image_dtype(precision), channels_last=True)
    loader = PackedLoader(packed, batch, device=device, transform=transform)

    def step() -> int:
        found = []
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for images in loader:
                found.append(network(images["image"]).to(torch.float16))
            features = torch.cat(found).cpu()
        return len(features)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbones", default="resnet18,resnet50,vit_b16")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=0, help="default 512 on a GPU, 8 on a CPU")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = torch.device(args.device)
    is_gpu = device.type == "cuda"
    batch, precision = args.batch_size or (512 if is_gpu else 8), engines.precision(device)
    engines.fast_kernels()
    count = 16 * batch if is_gpu else batch
    images = torch.randint(0, 256, (count, 1, args.image_size, args.image_size), dtype=torch.uint8).numpy()
    packed = Packed(images, torch.zeros(count, dtype=torch.int64))
    name = torch.cuda.get_device_name(device) if is_gpu else f"{torch.get_num_threads()} threads of a CPU"
    print(f"frozen features at {args.image_size}², batch {batch}, {precision}; {name}; {os.cpu_count()} cores")
    found = {}
    for backbone in args.backbones.split(","):
        network = frozen(backbone, args.image_size, device)
        ways = {
            "bare": bare(network, batch, args.image_size, device, engines.PRECISIONS[precision]),
            "medtl": medtl(network, packed, batch, device, precision),
        }
        for step in ways.values():
            step()  # kernels are chosen, images are uploaded
        rounds = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, step in ways.items():
                rounds[way].append(rate(step, args.seconds, device))
        ratio = statistics.median(a / b for a, b in zip(rounds["medtl"], rounds["bare"], strict=True))
        found[backbone] = {"images_per_second": rounds, "medtl/bare": ratio}
        medians = {way: statistics.median(rates) for way, rates in rounds.items()}
        verdict = "met" if ratio >= AIM else "NOT met"
        rates = f"bare {medians['bare']:9,.0f}  medtl {medians['medtl']:9,.0f}  {ratio:.2f}"
        print(f"{backbone:14} {rates}  aim {AIM}: {verdict}")
    if args.json:
        content = {
            "device": name,
            "torch": torch.__version__,
            "precision": precision,
            "batch": batch,
            "networks": found,
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
