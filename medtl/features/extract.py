"""Pictures into the features that a network's head would see, each picture by one forward pass.

What is computed is named by all that it depends on (code, weights, pixels, size, normalisation, precision) and kept in
medtl's cache, so that other seeds, fractions, heads and output folders cost no forward pass.
"""

import functools
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medtl import threads
from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.errors import MedtlError
from medtl.features.cache import Block, Stored, features_folder, kept, key_of
from medtl.features.code import code_of
from medtl.networks.registry import backbone_of
from medtl.transforms.batch import normalisation
from medtl.weights import starts
from medtl.weights.starts import Start

RANDOM_SEED = 0  # of the one network that stands for random weights
BATCH = {"cpu": 16}  # images of a forward pass: more leave a CPU's cache
GPU_BATCH = 256
BLOCK = 256  # rows that are kept at a time; a multiple of each batch


@dataclass(frozen=True)
class Model:
    """What turns pictures into features.

    Attributes:
        backbone: name of the network.
        start: where its weights come from.
        image_size: rows and columns of its pictures, in pixels.
        device: that computes.
    """

    backbone: str
    start: Start
    image_size: int
    device: str

    @property
    def precision(self) -> str:
        """Return the precision to compute in: fp32 on a CPU, what the device computes best in elsewhere."""
        if torch.device(self.device).type == "cpu":
            return "fp32"
        from medtl import engines  # imports MONAI, which takes seconds

        return engines.precision(self.device)

    def named(self, packed: Packed) -> dict[str, Any]:
        """Return all that the features of packed pictures depend on."""
        if packed.path is not None:  # which is named by its pixels
            pixels = packed.path.stem
        else:
            pixels = hashlib.sha256(np.ascontiguousarray(packed.images).data).hexdigest()
        return {
            "backbone": self.backbone,
            "code": code_of(self.backbone, self.start.sha256),
            "weights": self.start.sha256 or f"random seed {RANDOM_SEED}",
            "bgr": self.start.bgr,
            "pixels": pixels,
            "image_size": self.image_size,
            "mean": list(self.start.mean),
            "std": list(self.start.std),
            "precision": self.precision,
        }


class Extractor:
    """Gives the features of packed pictures by one model; its network is built when the first picture needs it.

    Args:
        model: what computes.

    Attributes:
        computed: pictures that have passed through the network, and not come from the cache.
        seconds: that these took.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.computed = 0
        self.seconds = 0.0
        self._report: dict[str, float] = {"coverage": 0.0, "used": 0.0, "parameters": 0}

    def __call__(self, packed: Packed) -> Stored:
        """Return the features of pictures, in their order: from the cache, or computed and kept there.

        Args:
            packed: pictures of the model's size, from ``medtl.data.packed.pack``.

        Raises:
            MedtlError: the weights do not fit the network, or its features are no numbers.
        """
        path = features_folder() / f"{key_of(self.model.named(packed))}.npy"
        return kept(path, len(packed), lambda begun: self._shown(packed, begun), self._facts)

    def _facts(self) -> dict[str, float]:
        """What loading the weights found; an earlier process may have computed all blocks, and told nobody."""
        _ = self.network
        return self._report

    @functools.cached_property
    def network(self) -> nn.Module:
        """Return the network, filled with the start's weights, on the device, in evaluation mode."""
        from medtl import engines
        from medtl.networks.classifier import build_classifier

        model = self.model
        with torch.random.fork_rng():
            torch.manual_seed(RANDOM_SEED)
            network = build_classifier(model.backbone, 2, image_size=model.image_size)
        loaded = starts.apply(network, model.start, model.backbone)
        card = backbone_of(model.backbone)
        count = sum(each.numel() for name, each in network.named_parameters() if card.is_trunk(name))
        self._report["parameters"] = count
        if loaded is not None:
            self._report |= {"coverage": loaded.coverage, "used": loaded.used}
        if model.device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads.chosen(threads.cores(), threads.busy_cores()))
        engines.fast_kernels()
        return engines.prepare_network(network.eval().requires_grad_(False).to(model.device))

    def _shown(self, packed: Packed, begun: int) -> Iterator[Block]:
        """The blocks from a row on, behind a progress bar where there is a terminal."""
        rest = len(packed) - begun
        blocks = self._blocks(packed, begun)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.markup import escape
            from rich.progress import Progress

            what = escape(f"{self.model.backbone} from {self.model.start.init}")
            with Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(f"embedding {rest:,} pictures: {what}", total=rest)
                for block in blocks:
                    yield self._counted(block)
                    bar.advance(task, len(block[0]))
        else:
            yield from map(self._counted, blocks)

    def _counted(self, block: Block) -> Block:
        self.computed, self.seconds = self.computed + len(block[0]), self.seconds + block[1]
        return block

    def _blocks(self, packed: Packed, begun: int) -> Iterator[Block]:
        from medtl import engines

        network = self.network
        device, precision = torch.device(self.model.device), self.model.precision
        rest = Packed(packed.images[begun:], packed.labels[begun:])
        prepared = normalisation(
            mean=self.model.start.mean,
            std=self.model.start.std,
            dtype=engines.image_dtype(precision),
            channels_last=True,
        )
        size, dtype = BATCH.get(device.type, GPU_BATCH), engines.PRECISIONS[precision]
        loader = PackedLoader(rest, size, device=device, transform=prepared)
        parts: list[Tensor] = []
        since = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for batch in loader:
                parts.append(before_head(network, self.model.backbone, batch["image"]).half())
                if sum(map(len, parts)) >= BLOCK:
                    yield self._block(parts), time.perf_counter() - since
                    parts, since = [], time.perf_counter()
            if parts:
                yield self._block(parts), time.perf_counter() - since

    def _block(self, parts: list[Tensor]) -> NDArray[np.float16]:
        values: NDArray[np.float16] = torch.cat(parts).cpu().numpy()
        if not np.isfinite(values).all():
            raise MedtlError(
                f"{self.model.backbone} from {self.model.start.init} gives features that are no numbers, or beyond"
                " float16: are the weights whole, and the pictures normalised as they expect?"
            )
        return values


def before_head(network: nn.Module, backbone: str, images: Tensor) -> Tensor:
    """Return what a network's head is given for a batch, averaged over places where the head is a convolution.

    Args:
        network: as ``build_classifier`` made it.
        backbone: its name.
        images: (n, channels, height, width).

    Returns:
        (n, width).
    """
    head = network.get_submodule(backbone_of(backbone).head)
    found: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0].detach()))
    try:
        network(images)
    finally:
        handle.remove()
    (features,) = found
    if isinstance(head, nn.Conv2d):
        return features.mean((2, 3))
    return features if features.ndim == 2 else features.flatten(1, -2).mean(1)
