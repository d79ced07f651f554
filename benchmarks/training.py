"""Images a second of training: the bare network, medtl's way and the MONAI model zoo's way, side by side in one run.

    python benchmarks/training.py [--device cuda] [--backbone resnet50] [--batch_size 512] [--compile] [--profile]

* bare: a plain PyTorch loop on one batch that already lies on the device: nothing can be faster.
* medtl: packed images, PackedLoader, BatchTransform on the device, SupervisedTrainer with medtl.engines.training_step.
* zoo: Dataset, one dictionary transform an image on the CPU, DataLoader with a process a core, SupervisedTrainer(amp).
* torchvision: ImageFolder and DataLoader, the bare loop; only where torchvision can be imported.
* input: medtl's and the zoo's path without a network, batches ready on the device.

All ways train the same network with the same optimiser, in turn, round by round. The pictures are drawings (smooth grey
PNG files) in a temporary folder; the figures say nothing about accuracy.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import (
    Compose,
    EnsureTyped,
    NormalizeIntensityd,
    RandAffined,
    RandFlipd,
    RepeatChanneld,
    Resized,
    ScaleIntensityRanged,
)
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn

from medtl import engines
from medtl.data.packed import Packed, pack
from medtl.data.packed_loader import PackedLoader
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.transforms.batch import BatchTransform

CLASSES = 15
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AIMS = {"cpu": {"medtl/bare": 0.9}, "cuda": {"medtl/bare": 0.95, "medtl/zoo": 3.0}}
AIM_INPUT = 10.0
BEHIND = 8  # steps that a GPU may run behind the clock
BURSTS = 64  # times that each loading process is asked for a batch in one epoch, at least


@dataclass
class Rates:
    """Images a second of one way, one number a round."""

    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=0, help="default 512 on a GPU, 16 on a CPU")
    parser.add_argument("--images", type=int, default=0, help="default 8 batches")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, fp16")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="of the zoo's DataLoader and of packing"
    )
    parser.add_argument("--ways", default="bare,medtl,zoo,torchvision,input", help="comma-separated")
    parser.add_argument("--resident", default="auto", choices=("auto", "never", "always"))
    parser.add_argument("--compile", action="store_true", help="torch.compile the network of bare and medtl")
    parser.add_argument("--deterministic", action="store_true", help="repeatable cuDNN kernels, as in the bundles")
    parser.add_argument("--profile", action="store_true", help="print where medtl's and the bare loop's time goes")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def draw(folder: Path, count: int, size: int, workers: int) -> DataList:
    """Write ``count`` smooth grey PNG files and return their data list."""
    for label in range(CLASSES):
        (folder / f"class_{label:02d}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max(1, workers)) as pool:  # a process would import MONAI first
        entries = list(pool.map(_drawn, range(count), repeat(folder), repeat(size)))
    return DataList("drawn", tuple(f"{c}" for c in range(CLASSES)), 1, "", "", True, entries, [], [], folder)


def _drawn(number: int, folder: Path, size: int) -> dict[str, Any]:
    path = folder / f"class_{number % CLASSES:02d}" / f"{number:06d}.png"
    Image.fromarray(picture(number, size)).save(path, compress_level=4)
    name = path.relative_to(folder).as_posix()
    entry = {"image": name, "label": number % CLASSES, "patient": f"drawn/{number}", "source": "drawn"}
    return {**entry, "sha256": file_hash(path)}


def picture(number: int, size: int) -> np.ndarray:
    """Smooth blobs with a little noise: PNG compresses them about as well as radiographs."""
    rng = np.random.default_rng(number)
    coarse = torch.from_numpy(rng.random((1, 1, 8, 8), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0, 0].numpy()
    return np.clip(255 * smooth + rng.normal(0, 4, (size, size)), 0, 255).astype(np.uint8)


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Rig:
    """One network with optimiser and loss, the same for all ways."""

    def __init__(self, args: argparse.Namespace, compiled: bool) -> None:
        torch.manual_seed(0)
        self.device = torch.device(args.device)
        network = build_classifier(args.backbone, CLASSES, image_size=args.image_size).to(self.device)
        self.network = engines.prepare_network(network, True, compiled)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.01, 0.9, weight_decay=1e-4, fused=self.device.type == "cuda"
        )
        self.loss = nn.CrossEntropyLoss()
        self.dtype = engines.PRECISIONS[args.precision]

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.loss(self.network(images), labels)
        loss.backward()
        self.optimizer.step()


class Clock:
    """Counts images behind ``warm`` batches until ``seconds`` have gone by at the end of a group of ``every`` batches.

    A DataLoader with w processes gives its batches in bursts of w: only whole bursts are counted. A GPU may run a few
    steps behind, no more: otherwise the clock would stop long before the work.
    """

    def __init__(self, args: argparse.Namespace, every: int = 1, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.device = torch.device(args.device)
        self.seconds = args.seconds
        self.every = every
        self.warm = -(-args.warm // every) * every
        self.number = self.images = 0
        self.since = self.rate = 0.0
        self.events: list[Any] = []

    def tick(self, images: int) -> bool:
        """Take note of a batch; whether the measurement is over."""
        self.number += 1
        if self.number <= self.warm:
            if self.number == self.warm:
                sync(self.device)
                self.since = self.now()
            return False
        self.images += images
        if self.device.type == "cuda":
            self.events.append(torch.cuda.Event())
            self.events[-1].record()
            if len(self.events) > BEHIND:
                self.events.pop(0).synchronize()
        if self.number % self.every or self.now() - self.since < self.seconds:
            return False
        sync(self.device)
        self.rate = self.images / (self.now() - self.since)
        return True


def loop(
    batches: Iterable[Any],
    step: Callable[[Any], int],
    args: argparse.Namespace,
    every: int = 1,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Images a second of ``step``, which says how many images it took."""
    clock = Clock(args, every, now)
    for batch in batches:
        if clock.tick(step(batch)):
            break
    return clock.rate


def forever(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def bare(rig: Rig, args: argparse.Namespace) -> Callable[[], float]:
    shape = (args.batch_size, 3, args.image_size, args.image_size)
    images = torch.randn(shape, device=rig.device, dtype=rig.dtype).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch_size, device=rig.device) % CLASSES

    def step(_: Any) -> int:
        rig.step(images, labels)
        return args.batch_size

    return lambda: loop(forever([0]), step, args)


def packed_loader(args: argparse.Namespace, packed: Packed) -> PackedLoader:
    transform = BatchTransform(dtype=engines.image_dtype(args.precision), channels_last=True)
    return PackedLoader(
        packed, args.batch_size, True, device=args.device, drop_last=True, transform=transform, resident=args.resident
    )


def agreement(args: argparse.Namespace, packed: Packed) -> str:
    """Whether the CPU, the set in the GPU's memory and the set streamed to it give the same epoch."""

    def epoch(device: str, resident: str) -> Iterator[dict[str, torch.Tensor]]:
        transform = BatchTransform(brightness=0.2, contrast=0.2)
        return iter(PackedLoader(packed, 32, True, device=device, transform=transform, resident=resident))

    different, worst, total = 0, 0.0, 0
    for resident in ("always", "never"):
        for one, other in zip(epoch("cpu", "auto"), epoch(args.device, resident), strict=True):
            if not all(torch.equal(one[key], other[key].cpu()) for key in ("index", "label")):
                return f"NOT the same images on CPU and {args.device} ({resident} resident)"
            distance = (one["image"] - other["image"].cpu()).abs()
            worst = max(worst, float(distance.max()))
            different += int((distance > 1e-3).sum())
            total += distance.numel()
    amount = f"largest difference {worst:.2g}, {different} of {total:,} above 0.001"
    return f"CPU and {args.device} give the same batches: {amount}"


def train(trainer: SupervisedTrainer, args: argparse.Namespace, every: int = 1) -> float:
    """Images a second of a trainer."""
    clock = Clock(args, every)

    def watch(engine: Any) -> None:
        if clock.tick(len(engine.state.batch["image"])):
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch)
    trainer.run()
    return clock.rate


def medtl_way(rig: Rig, args: argparse.Namespace, packed: Packed) -> Callable[[], float]:
    loader = packed_loader(args, packed)

    def run() -> float:
        trainer = SupervisedTrainer(
            device=rig.device,
            max_epochs=10**6,
            train_data_loader=loader,
            network=rig.network,
            optimizer=rig.optimizer,
            loss_function=rig.loss,
            iteration_update=engines.training_step(args.precision),
            decollate=False,
        )
        return train(trainer, args)

    return run


def zoo_loader(args: argparse.Namespace, listed: DataList, workers: int) -> DataLoader:
    from medtl.transforms import LoadPictured

    size = args.image_size
    chain = [
        LoadPictured("image"),
        Resized("image", [size, size], mode="area"),
        ScaleIntensityRanged("image", 0, 255, 0, 1),
        RandFlipd("image", 0.5, 1),
        RandAffined(
            "image",
            prob=1.0,
            rotate_range=0.15,
            scale_range=[0.1, 0.1],
            translate_range=[size * 0.05, size * 0.05],
            mode="bilinear",
            padding_mode="zeros",
        ),
        RepeatChanneld("image", 3),
        NormalizeIntensityd("image", list(MEAN), list(STD), channel_wise=True),
        EnsureTyped("image", track_meta=False),
    ]
    items = [{key: entry[key] for key in ("image", "label", "index")} for entry in listed.absolute("train")]
    items *= -(-BURSTS * max(1, workers) * args.batch_size // len(items))  # an epoch that outlasts the measurement
    return DataLoader(
        Dataset(items, Compose(chain)),
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=args.device.startswith("cuda"),
    )


def zoo_way(args: argparse.Namespace, loader: DataLoader) -> Callable[[], float]:
    rig = Rig(args, compiled=False)
    rig.network.to(memory_format=torch.contiguous_format)

    def run() -> float:
        trainer = SupervisedTrainer(
            device=rig.device,
            max_epochs=10**6,
            train_data_loader=loader,
            network=rig.network,
            optimizer=rig.optimizer,
            loss_function=rig.loss,
            amp=rig.device.type == "cuda",
            decollate=False,
        )
        return train(trainer, args, max(1, args.workers))

    return run


def torchvision_way(rig: Rig, args: argparse.Namespace, folder: Path) -> Callable[[], float] | None:
    try:
        from torchvision import datasets, transforms
    except Exception:  # a torchvision that does not fit its torch fails in many ways
        return None
    chain = transforms.Compose(
        [
            transforms.Grayscale(3),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(8.6, (0.05, 0.05), (0.9, 1.1)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    data = datasets.ImageFolder(str(folder), chain)
    data.samples *= -(-BURSTS * max(1, args.workers) * args.batch_size // len(data.samples))
    loader = torch.utils.data.DataLoader(
        data,
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        pin_memory=args.device.startswith("cuda"),
    )

    def step(batch: Any) -> int:
        images, labels = (part.to(rig.device, non_blocking=True) for part in batch)
        rig.step(images.contiguous(memory_format=torch.channels_last), labels)
        return len(labels)

    return lambda: loop(forever(loader), step, args, max(1, args.workers))


def input_way(loader: Iterable[Any], args: argparse.Namespace) -> Callable[[], float]:
    """A path alone, on one of torch's threads: batches ready on the device. On a CPU the seconds are those of its core,
    so that what else the machine does falls out; with a GPU, where that would hide its work, they are the wall's."""
    device = torch.device(args.device)
    now = time.perf_counter if device.type == "cuda" else time.process_time

    def step(batch: Any) -> int:
        return len(batch["image"].to(device, non_blocking=True))

    def run() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return loop(forever(loader), step, args, now=now)
        finally:
            torch.set_num_threads(threads)

    return run


def profile(name: str, run: Callable[[], float], args: argparse.Namespace) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if args.device.startswith("cuda") else [])
    seconds, args.seconds = args.seconds, 0.5
    with profiler(activities=activities) as found:
        run()
    args.seconds = seconds
    key = "self_cuda_time_total" if args.device.startswith("cuda") else "self_cpu_time_total"
    print(f"\n{name}:\n{found.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60)}")


def ways(args: argparse.Namespace, folder: Path) -> dict[str, Callable[[], float]]:
    """What is measured, by name; what cannot be is told and left out."""
    chosen = args.ways.split(",")
    since = time.perf_counter()
    listed = None
    if {"zoo", "torchvision"} & set(chosen):  # these read files
        listed = draw(folder / "pictures", args.images, args.image_size, args.workers)
        drawn = time.perf_counter()
        packed = pack(listed, "train", args.image_size, folder / "cache", 1, args.workers)
        rate = args.images / (time.perf_counter() - drawn)
        print(f"drew {args.images} images in {drawn - since:.1f} s; packed them at {rate:,.0f} images/s")
    else:
        few = np.stack([picture(number, args.image_size)[np.newaxis] for number in range(64)])
        packed = Packed(np.resize(few, (args.images, *few.shape[1:])), torch.arange(args.images) % CLASSES)
    if args.device.startswith("cuda"):
        print(agreement(args, Packed(packed.images[:640], packed.labels[:640])))
    rig = Rig(args, args.compile)
    found: dict[str, Callable[[], float]] = {}
    if "bare" in chosen:
        found["bare"] = bare(rig, args)
    if "medtl" in chosen:
        found["medtl"] = medtl_way(rig, args, packed)
    if listed and "zoo" in chosen:
        found["zoo"] = zoo_way(args, zoo_loader(args, listed, args.workers))
    if listed and "torchvision" in chosen:
        other = torchvision_way(rig, args, folder / "pictures")
        if other:
            found["torchvision"] = other
        else:
            print("torchvision cannot be imported: left out")
    if "input" in chosen:
        found["input medtl"] = input_way(packed_loader(args, packed), args)
        if listed:  # one batch takes seconds there: it warms up with one
            found["input zoo, a core"] = input_way(
                zoo_loader(args, listed, 0), argparse.Namespace(**vars(args) | {"warm": 1})
            )
    return found


def ratio(one: Rates, other: Rates) -> float:
    """Median of the rounds' ratios: what slows a whole round down falls out."""
    return statistics.median(a / b for a, b in zip(one.rounds, other.rounds, strict=True))


def verdicts(rates: dict[str, Rates], device: str) -> list[tuple[str, float, float]]:
    """(ratio's name, its value, its aim) for what was measured."""
    pairs = {"medtl/bare": ("medtl", "bare"), "medtl/zoo": ("medtl", "zoo")}
    aims = AIMS["cuda" if device.startswith("cuda") else "cpu"]
    found = [
        (name, ratio(rates[a], rates[b]), aims.get(name, 0.0))
        for name, (a, b) in pairs.items()
        if a in rates and b in rates
    ]
    if "input medtl" in rates and "input zoo, a core" in rates:
        found.append(
            ("input medtl/zoo, a core", rates["input medtl"].median / rates["input zoo, a core"].median, AIM_INPUT)
        )
    return found


def show(rates: dict[str, Rates], found: list[tuple[str, float, float]]) -> None:
    rows = [(name, f"{r.median:,.0f}", f"{min(r.rounds):,.0f}–{max(r.rounds):,.0f}") for name, r in rates.items()]
    table = Table("way", "images/s, median", "min–max")
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
    for name, value, aim in found:
        verdict = "" if not aim else f"  aim {aim:g}: {'met' if value >= aim else 'NOT met'}"
        print(f"{name:26} {value:8.2f}{verdict}")


def main() -> None:
    args = parse()
    warnings.filterwarnings("ignore")
    logging.getLogger("ignite").setLevel(logging.ERROR)
    is_gpu = args.device.startswith("cuda")
    args.batch_size = args.batch_size or (512 if is_gpu else 16)
    args.images = max(args.images, args.batch_size) if args.images else 8 * args.batch_size
    args.warm = 10 if is_gpu else 2
    args.precision = engines.precision(args.device, args.precision)
    engines.fast_kernels(args.deterministic)
    name = torch.cuda.get_device_name(args.device) if is_gpu else f"{torch.get_num_threads()} threads of a CPU"
    print(
        f"{args.backbone} at {args.image_size}², batch {args.batch_size}, {args.precision}, channels_last"
        f"{', compiled' if args.compile else ''}; {name}; {os.cpu_count()} cores; torch {torch.__version__}, Python "
        f"{platform.python_version()}"
    )
    with tempfile.TemporaryDirectory(prefix="medtl-training-") as folder:
        measured = ways(args, Path(folder))
        rates = {way: Rates() for way in measured}
        for number in range(args.rounds):
            for way, run in measured.items():
                rates[way].rounds.append(run())
                print(f"  round {number + 1}: {way} {rates[way].rounds[-1]:,.0f} images/s", file=sys.stderr, flush=True)
        found = verdicts(rates, args.device)
        show(rates, found)
        if is_gpu:
            print(f"peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        if args.profile:
            for way in ("bare", "medtl"):
                if way in measured:
                    profile(way, measured[way], args)
        if args.json:
            settings = {key: value for key, value in vars(args).items() if key != "json"}
            content = {
                "settings": settings,
                "device": name,
                "torch": torch.__version__,
                "images_per_second": {way: r.rounds for way, r in rates.items()},
                "ratios": {what: {"value": value, "aim": aim} for what, value, aim in found},
                "peak_gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if is_gpu else None,
            }
            args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        measured.clear()  # ends the loading processes before their files go


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
