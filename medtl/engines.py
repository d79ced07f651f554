"""The training step that the configs give to MONAI's SupervisedTrainer, and the network made ready for it."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medtl.errors import MedtlError, UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMED_IMAGES = 8  # of a bad batch, in the message

Tensors = list[Tensor] | tuple[Tensor, ...]


def precision(device: str | torch.device, wanted: str = "auto") -> str:
    """Return what to compute in, fp32, bf16 or fp16; "auto" is bf16 on a GPU that computes in it, otherwise fp32.

    Raises:
        UsageError: no such precision, or fp16 on a CPU.
    """
    kind = torch.device(str(device)).type
    if wanted == "auto":
        return "bf16" if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if wanted not in PRECISIONS:
        raise UsageError(f"precision {wanted!r} is not one of auto, {', '.join(PRECISIONS)}")
    if wanted == "fp16" and kind != "cuda":
        raise UsageError(f"precision fp16 needs a GPU; on {kind} take bf16 or fp32")
    return wanted


def image_dtype(precision: str) -> str:
    """Return the dtype in which a BatchTransform should give images to a step of that precision: float32, bfloat16 or
    float16."""
    return str(PRECISIONS[precision]).removeprefix("torch.")


def prepare_network(network: nn.Module, channels_last: bool = True, compile: bool = False) -> nn.Module:
    """Return the same network, its weights in the wanted memory format, compiled in place (state-dict names stay).

    Args:
        network: on its device.
        channels_last: what GPUs and modern CPUs compute convolutions in fastest.
        compile: by torch.compile; the first steps then take minutes.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    if compile:
        network.compile()
    return network


def fast_kernels(deterministic: bool = False) -> None:
    """Let cuDNN try its algorithms for the shapes at hand and keep the fastest, or only take repeatable ones.

    Call it behind ``monai.utils.set_determinism``, which always asks for repeatable ones.
    """
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def synchronised(network: nn.Module, wanted: bool = True) -> nn.Module:
    """Return the same network, where ``wanted`` with batch norm that takes its statistics over the images of all
    processes.

    Names and values of the state dict stay. Call it before anything is hooked to the network or copies it: its batch
    norm layers are replaced.
    """
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if wanted else network


def steps_an_epoch(batches: int, accumulate: int = 1) -> int:
    """Return the steps of the optimiser in an epoch of so many batches (of one process): an epoch's last group may be
    smaller."""
    return -(-batches // accumulate)


def moving_average(network: nn.Module, decay: float = 0.999) -> AveragedModel:
    """Return an exponential moving average of a network's weights and buffers, to be given to ``training_step``; its
    ``.module`` is what is validated and saved.

    It starts as the network after the first step. Then each step makes it ``decay`` of itself and ``1 - decay`` of the
    network; whole numbers (how many batches a batch norm has seen) are copied.

    Raises:
        UsageError: a decay that is not between 0 and 1.
    """
    if not 0 < decay < 1:
        raise UsageError(f"decay {decay}: expected a number between 0 and 1")
    towards = get_ema_multi_avg_fn(decay)

    def follow(averages: Tensors, current: Tensors, count: Tensor | int) -> None:
        if averages[0].is_floating_point():
            towards(averages, current, count)
        else:
            torch._foreach_copy_(averages, current)

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)


def training_step(
    precision: str = "fp32",
    channels_last: bool = True,
    accumulate: int = 1,
    ema: AveragedModel | None = None,
    check_every: int = 50,
    names: Sequence[str] | None = None,
) -> "TrainingStep":
    """Return what ``SupervisedTrainer(iteration_update=…)`` calls for each batch; see ``TrainingStep``."""
    return TrainingStep(precision, channels_last, accumulate, ema, check_every, names)


class TrainingStep:
    """Forward, backward and, after every ``accumulate`` batches and at an epoch's end, a step of the optimiser.

    Nothing in it waits for the device: the loss stays there, and whether it is still a number is looked at every
    ``check_every`` batches and at the end of each epoch, before anything is saved.

    Args:
        precision: fp32, bf16 (autocast, also on CPUs) or fp16 (autocast with scaled gradients, GPU only).
        channels_last: memory format of the images.
        accumulate: batches a step; gradients are those of the mean over all their images.
        ema: takes part after each step.
        check_every: batches between two looks at the losses (on a CPU: always 1).
        names: of the training images by their index; None names them by number.

    Raises:
        UsageError: an argument that cannot be.
    """

    def __init__(
        self,
        precision: str,
        channels_last: bool,
        accumulate: int,
        ema: AveragedModel | None,
        check_every: int,
        names: Sequence[str] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        if accumulate < 1 or check_every < 1:
            raise UsageError(f"accumulate {accumulate} and check_every {check_every} must be at least 1")
        self.precision = precision
        self.channels_last = channels_last
        self.accumulate = accumulate
        self.ema = ema
        self.check_every = check_every
        self.names = names
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
        self._gathered = 0.0  # images since the last step, counted in first batches
        self._first = 1
        self._losses: deque[tuple[int, Tensor, Tensor | None]] = deque()

    def state_dict(self) -> dict[str, Any]:
        """Return the gradient scaler's state, and the moving average's; either is empty without one."""
        return {"scaler": self.scaler.state_dict(), "ema": self.ema.state_dict() if self.ema is not None else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a scaler's and a moving average's state over."""
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])

    @property
    def is_whole(self) -> bool:
        """Return whether no gradients wait for the rest of their group: only then can a run be saved."""
        return not self._gathered

    def __call__(self, engine: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One batch.

        Args:
            engine: a SupervisedTrainer.
            batch: ``{image, label}`` and, to be named if the loss is no number, ``index``; or what else the engine's
                ``prepare_batch`` makes (what the network takes, labels) of.

        Returns:
            ``{image, label, pred, loss}`` on the device.

        Raises:
            MedtlError: the loss of a batch was NaN or infinite; names iteration and images.
        """
        device, network = engine.state.device, engine.network
        images, labels = engine.prepare_batch(batch, device, engine.non_blocking, **engine.to_kwargs)
        if self.channels_last and isinstance(images, Tensor) and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        output = engine.state.output = {"image": images, "label": labels}
        if not network.training:
            network.train()
        last = self._is_last(engine)
        if not self._gathered:
            engine.optimizer.zero_grad(set_to_none=True)
            self._first = len(labels)
        with self._apart(network, last):
            with torch.autocast(device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32"):
                output["pred"] = engine.inferer(images, network)
                engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                loss = engine.loss_function(output["pred"], labels).mean()
            output["loss"] = loss.detach()
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            share = len(labels) / self._first
            self.scaler.scale(loss if share == 1 else loss * share).backward()
            self._gathered += share
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if last:
            self._step(engine)
        self._watch(engine, batch.get("index"))
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    def _is_last(self, engine: Engine) -> bool:
        """Whether this batch is the last of its group: the ``accumulate``-th, or the epoch's last."""
        length = engine.state.epoch_length
        done = (engine.state.iteration - 1) % length + 1 if length else engine.state.iteration
        return done % self.accumulate == 0 or done == length

    def _apart(self, network: Any, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients with the last batch of a group only."""
        return nullcontext() if last or not hasattr(network, "no_sync") else network.no_sync()

    def _step(self, engine: Any) -> None:
        if self._gathered != 1:
            # the batches' sums to the mean over their images
            parameters = (p for group in engine.optimizer.param_groups for p in group["params"])
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / self._gathered)
        self._gathered = 0.0
        self.scaler.step(engine.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(getattr(engine.network, "module", engine.network))

    def _watch(self, engine: Any, index: Tensor | None) -> None:
        """Remember the loss; look at the remembered ones when it is time."""
        state = engine.state
        self._losses.append((state.iteration, state.output["loss"], index))
        ends = bool(state.epoch_length) and state.iteration % state.epoch_length == 0
        if len(self._losses) >= self.check_every or state.device.type == "cpu" or ends:
            self.look()

    def look(self) -> None:
        """Fetch the losses that nobody has looked at yet.

        Raises:
            MedtlError: one of them is no number.
        """
        if not self._losses:
            return
        good = torch.isfinite(torch.stack([loss for _, loss, _ in self._losses])).tolist()
        for fine, (iteration, loss, images) in zip(good, self._losses, strict=True):
            if not fine:
                raise MedtlError(
                    f"the loss is {loss.item()} at iteration {iteration}{_named(images, self.names)}: take a smaller "
                    "--learning_rate, or look at these images"
                )
        self._losses.clear()


def _named(index: Tensor | None, names: Sequence[str] | None) -> str:
    if index is None:
        return ""
    images = torch.as_tensor(index).flatten().tolist()
    if names is not None:
        images = [names[place] for place in images]
    more = f" and {len(images) - NAMED_IMAGES} more" if len(images) > NAMED_IMAGES else ""
    return f", training images {', '.join(map(str, images[:NAMED_IMAGES]))}{more}"
