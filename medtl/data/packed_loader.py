"""Batches of a packed set, ready on the device, without Python's looking at single images."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from medtl.data.packed import Packed
from medtl.errors import MedtlError, UsageError
from medtl.transforms.mixup import Mixup, running_shares

RESIDENT = ("auto", "never", "always")
SHARE_OF_FREE_MEMORY = 0.4  # of a GPU, that the images may take; activations need the rest
UPLOAD_BYTES = 64 * 2**20
AHEAD = 3  # batches that are gathered in host memory before they are asked for

Transform = Callable[[Tensor, Tensor, int], Tensor | Mapping[str, Tensor]]


class PackedLoader:
    """Iterates over ``{image, label, index}``: images as the transform gives them, labels (n,) int64 or multi-hot
    (n, n_classes) float32 (soft with mixup), places in the split (n,) int64, all on the device.

    Each iteration is an epoch. With ``shuffle`` an epoch has an order of its own from (seed, epoch), and the processes
    take disjoint parts of equal length (what does not divide is left out of that epoch); without it, every image comes
    once, in order, and parts may differ in length by one: nothing is repeated that a metric would count twice.

    On a GPU the whole set stays in its memory where it fits; otherwise a thread gathers batches into pinned memory
    ahead of time. Either way batches are made on a stream of their own, beside the training step.

    Args:
        packed: the images.
        batch_size: of this process.
        shuffle: for training.
        seed: of the orders.
        device: where batches are wanted.
        drop_last: leave out a last batch that is not full.
        rank, world_size: of this process and how many there are.
        transform: (uint8 images, index, epoch) to the network's images, or to ``{image, …}`` with more tensors of the
            batch; None leaves them as they are.
        mixup: blends images and labels, with partners drawn by ``weights`` as the images are; needs a transform.
        resident: "auto", "never" or "always" in the device's memory (for a CPU: "always" reads the file into memory,
            anything else maps it).
        weights: chance of each image (n,), up to a factor, in draws with replacement; an epoch has as many draws as
            there are images. None takes every image once. Only with ``shuffle``.

    Raises:
        UsageError: fewer images than processes, or an argument that cannot be.
    """

    def __init__(
        self,
        packed: Packed,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        transform: Transform | None = None,
        mixup: Mixup | None = None,
        resident: str = "auto",
        weights: Tensor | None = None,
    ) -> None:
        if resident not in RESIDENT:
            raise UsageError(f"resident {resident!r} is not one of {', '.join(RESIDENT)}")
        if batch_size < 1 or not 0 <= rank < world_size:
            raise UsageError(f"batch_size {batch_size} must be at least 1, rank {rank} below world_size {world_size}")
        if shuffle and len(packed) < world_size:
            raise UsageError(f"{len(packed)} images cannot be shared by {world_size} processes")
        if mixup is not None and transform is None:
            raise UsageError("mixup blends images that a transform has made: give one")
        self.dataset = packed
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.device = torch.device(device)
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.transform = transform
        self.mixup = mixup
        self.resident = resident
        self.weights = weights
        self.epoch = 0
        self.position = 0  # batches of the epoch that were handed out
        self._goes_on = False  # the next iteration starts at the position, not with a new epoch
        self._on_device: Tensor | None = None
        self._labels = packed.labels
        self._shares: dict[torch.device, Tensor] = {}
        self._stream: Any = None

    def __len__(self) -> int:
        """Batches an epoch of this process."""
        count, rest = divmod(self._own_count(), self.batch_size)
        return count if self.drop_last or not rest else count + 1

    def _own_count(self) -> int:
        count, rest = divmod(len(self.dataset), self.world_size)
        return count if self.shuffle else count + (self.rank < rest)

    def order(self, epoch: int) -> Tensor:
        """Return the places in the split that this process visits in an epoch (n,), int64."""
        if not self.shuffle:
            return torch.arange(self.rank, len(self.dataset), self.world_size)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        if self.weights is None:
            order = torch.randperm(len(self.dataset), generator=generator)
        else:
            order = torch.multinomial(self.weights, len(self.dataset), replacement=True, generator=generator)
        return order[self.rank :: self.world_size][: self._own_count()]

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of ``epoch``, from its start unless the loader is in the midst of it."""
        if epoch != self.epoch:
            self.epoch, self.position, self._goes_on = epoch, 0, False

    def state_dict(self) -> dict[str, int]:
        """Return where the loader is, and what makes its orders."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the last batch that was handed out when the state was taken.

        Raises:
            MedtlError: the state belongs to other images, or to another batch size, seed or number of processes.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise MedtlError(f"the saved run had {name} {state.get(name)}, this one has {value}: it cannot go on")
        self.epoch, self.position, self._goes_on = state["epoch"], state["position"], True

    def _identity(self) -> dict[str, int]:
        return {
            "images": len(self.dataset),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "world_size": self.world_size,
        }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        if self.position and not self._goes_on:
            self.epoch, self.position = self.epoch + 1, 0  # the last iteration was given up midway
        self._goes_on = False
        epoch, count = self.epoch, len(self)
        made = self._made(epoch, self.position)
        for number in range(self.position, count):
            batch = self._beside_the_step(made)
            # the last batch ends the epoch: nobody may ask for one more
            self.epoch, self.position = (epoch, number + 1) if number + 1 < count else (epoch + 1, 0)
            yield batch

    def _beside_the_step(self, made: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The next batch; on a GPU made on a stream of its own, which works while the training step still does."""
        if self.device.type != "cuda":
            return next(made)
        self._stream = self._stream or torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            batch = next(made)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        for tensor in batch.values():
            tensor.record_stream(current)
        return batch

    def _made(self, epoch: int, first: int) -> Iterator[dict[str, Tensor]]:
        if self._labels.device != self.device:
            self._labels = self._labels.to(self.device)
        order = self.order(epoch)
        parts = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        parts = parts[first : len(self)]
        if not self._is_resident():
            for part, images in self._staged(parts, epoch):
                yield self._batch(images, part.to(self.device, non_blocking=True), epoch)
            return
        images = self._held()
        on_device = order.to(self.device)
        for number in range(first, first + len(parts)):
            index = on_device[number * self.batch_size : (number + 1) * self.batch_size]
            yield self._batch(images.index_select(0, self._wanted(index, epoch)), index, epoch)

    def _wanted(self, index: Tensor, epoch: int) -> Tensor:
        """The images of a batch, with mixup followed by their partners."""
        if self.mixup is None:
            return index
        return torch.cat((index, self.mixup.partners(index, epoch, self._drawn(index.device))[0]))

    def _drawn(self, device: torch.device) -> Tensor:
        """What mixup draws partners by, kept on each device that asks: a copy for each batch would wait for it."""
        if device not in self._shares:
            self._shares[device] = running_shares(len(self.dataset), self.weights).to(device)
        return self._shares[device]

    def _batch(self, images: Tensor, index: Tensor, epoch: int) -> dict[str, Tensor]:
        label = self._labels.index_select(0, index)
        if self.transform is None:
            return {"image": images, "label": label, "index": index}
        image = self.transform(images[: len(index)], index, epoch)
        if isinstance(image, Mapping):
            if self.mixup is not None:
                raise UsageError("mixup blends images, and this transform makes more of them than that")
            return {**image, "label": label, "index": index}
        if self.mixup is not None:
            partner, weight = self.mixup.partners(index, epoch, self._drawn(index.device))
            other = self.transform(images[len(index) :], partner, epoch)
            assert isinstance(other, Tensor)  # as the image was
            image = self.mixup.blend(image, other, weight)
            soft = self.mixup.soft(self._labels.index_select(0, partner))
            label = self.mixup.blend(self.mixup.soft(label), soft, weight)
        return {"image": image, "label": label, "index": index}

    def _is_resident(self) -> bool:
        if self.device.type != "cuda":
            return True  # a mapped file is as good as memory: the system keeps what is used
        if self._on_device is not None or self.resident != "auto":
            return self._on_device is not None or self.resident == "always"
        return self.dataset.images.nbytes <= SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(self.device)[0]

    def _held(self) -> Tensor:
        """All images (n, channels, size, size), uint8, where they are gathered from."""
        if self._on_device is None:
            mapped = torch.from_numpy(self.dataset.images)
            if self.device.type == "cpu" and self.resident != "always":
                self._on_device = mapped
            else:
                held = torch.empty(mapped.shape, dtype=torch.uint8, device=self.device)
                step = max(1, UPLOAD_BYTES // max(1, mapped[:1].numel()))
                for start in range(0, len(mapped), step):
                    held[start : start + step] = mapped[start : start + step]
                self._on_device = held
        return self._on_device

    def _staged(self, parts: list[Tensor], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Each part with its images on the device: a thread gathers into pinned memory, the copy does not block."""
        mapped = torch.from_numpy(self.dataset.images)
        rows = self.batch_size * (1 if self.mixup is None else 2)
        buffers = [torch.empty((rows, *mapped.shape[1:]), dtype=torch.uint8, pin_memory=True) for _ in range(AHEAD + 1)]
        copied = [torch.cuda.Event() for _ in buffers]

        def gather(number: int) -> Tensor:
            wanted = self._wanted(parts[number], epoch)
            copied[number % len(buffers)].synchronize()  # its last content is on the device
            target = buffers[number % len(buffers)][: len(wanted)]
            return torch.index_select(mapped, 0, wanted, out=target)

        with ThreadPoolExecutor(1, "gather") as thread:
            waiting: deque[Future[Tensor]] = deque(thread.submit(gather, n) for n in range(min(AHEAD, len(parts))))
            try:
                for number, part in enumerate(parts):
                    images = waiting.popleft().result().to(self.device, non_blocking=True)
                    copied[number % len(buffers)].record()
                    if number + AHEAD < len(parts):
                        waiting.append(thread.submit(gather, number + AHEAD))
                    yield part, images
            finally:
                for future in waiting:
                    future.cancel()
