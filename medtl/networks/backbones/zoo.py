"""Any classifier of timm or torchvision: ``timm/NAME``, ``torchvision/NAME``. Random weights only; nothing is fetched.

Both libraries are imported when the first such network is asked for, which takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medtl.errors import UsageError
from medtl.networks.registry import LIBRARIES, Backbone, Library, Published
from medtl.registry import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

    from medtl.networks.anatomy import Watched

PROBE = 1013  # classes of a trial network; no layer of the libraries' has as many channels
MOST_ON_CPU = 3e8  # parameters of a network that is tried out with real numbers where shapes alone do not do
# where a network is tried out, and where tensors of known numbers lie while it is built
WAYS = (("meta", "meta"), ("meta", "cpu"), ("cpu", "cpu"))
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# the same for a released bundle, which must open without medtl; MONAI has tried to import torchvision by then
DEFINED = (
    f"$[([library.define(schema) for schema in {SCHEMAS!r}], library) for library in ([] if torch.version.cuda or"
    " hasattr(torch.ops.torchvision, 'nms') else [torch.library.Library('torchvision', 'DEF')])]"
)
HALF = (0.5, 0.5, 0.5)
# torchvision builds these for its own weights with ``transform_input``, which turns ImageNet's mean and SD into 0.5
TURNED = ("googlenet", "inception_v3")
_kept: list[Any] = []  # once the library object is collected, its schemas vanish


@functools.cache
def torchvision() -> ModuleType:
    """Return torchvision.

    PyPI's is built for CUDA: beside a torch for the CPU its operators are missing, and importing it fails although no
    classifier needs them. Where that is so, they are declared first. Beside a torch for CUDA the failure means that the
    two are of different builds, and is told.

    Raises:
        UsageError: it cannot be imported.
    """
    import torch

    try:
        import torchvision as found
    except ImportError as error:
        raise UsageError(f"torchvision cannot be imported: {error}; pip install torchvision") from None
    except RuntimeError as error:
        if torch.version.cuda is not None:
            raise UsageError(
                f"torchvision does not fit this torch ({error}): install both from one index (README.md)"
            ) from None
        library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        _kept.append(library)
        import torchvision as found
    return found


@functools.cache
def timm() -> ModuleType:
    """Return timm.

    Raises:
        UsageError: it cannot be imported.
    """
    torchvision()  # timm imports it
    try:
        with warnings.catch_warnings(action="ignore"):
            import timm as found
    except ImportError as error:
        raise UsageError(f"timm cannot be imported: {error}; pip install timm") from None
    return found


@functools.cache
def _timm_names() -> tuple[str, ...]:
    return tuple(timm().list_models())


@functools.cache
def _torchvision_names() -> tuple[str, ...]:
    models = torchvision().models
    return tuple(models.list_models(module=models))


def _timm_arguments(name: str, num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return what timm's create_model must be told."""
    config = timm().get_pretrained_cfg(name)
    # networks with positions or windows are made for one size; others refuse the argument
    sized = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    return {"model_name": name, "pretrained": False, "num_classes": num_classes, "in_chans": in_channels, **sized}


def _torchvision_arguments(name: str, num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return what torchvision's get_model must be told."""
    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        more = {"aux_logits": False, "init_weights": True}  # auxiliary heads would make it return a tuple
    elif name.startswith("vit_"):
        more = {"image_size": image_size}
    elif name.startswith("maxvit"):
        more = {"input_size": [image_size, image_size]}
    return {"name": name, "weights": None, "num_classes": num_classes, **more}


def _torchvision_weights(name: str) -> dict[str, Published]:
    """Return the record of torchvision's own weights of a network: mean and SD, which are ImageNet's for most alone."""
    prepared = torchvision().models.get_model_weights(name).DEFAULT.transforms()
    mean, std = (HALF, HALF) if name in TURNED else (tuple(prepared.mean), tuple(prepared.std))
    return {"imagenet": Published("", "", mean, std)}


def _make(library: str, name: str, in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Return a network as its library makes it, for another number of channels than three with a new first layer."""
    with warnings.catch_warnings(action="ignore"):  # of deprecated names and initialisations
        if library == "timm":
            made: nn.Module = timm().create_model(**_timm_arguments(name, num_classes, in_channels, image_size))
            return made
        made = torchvision().models.get_model(**_torchvision_arguments(name, num_classes, in_channels, image_size))
    if in_channels != 3:
        _replace_first(made, in_channels)
    return made


def _replace_first(network: nn.Module, in_channels: int) -> None:
    """Give a network a first convolution for another number of input channels."""
    from torch import nn

    name, old = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    outer, _, last = name.rpartition(".")
    setattr(network.get_submodule(outer), last, new)


def _tried(
    library: str,
    name: str,
    in_channels: int,
    image_size: int,
    num_classes: int,
    ways: tuple[tuple[str, str], ...] = WAYS,
) -> tuple[nn.Module, Watched]:
    """Return a trial network and what it did with images: without numbers where it works so, else with small ones.

    Raises:
        UsageError: it does not take such images, or gives no logits for them.
    """
    import torch

    from medtl.networks import anatomy
    from medtl.networks.shapes import NumbersOnCPU, ShapesOnly

    reason = ""
    for device, numbers in ways:
        network = None
        try:
            with ShapesOnly(), torch.device(device):
                with NumbersOnCPU() if numbers != device else contextlib.nullcontext():
                    network = _make(library, name, in_channels, image_size, num_classes).eval().to(device)
                watched = anatomy.watch(network, torch.zeros(2, in_channels, image_size, image_size))
        except Exception as error:  # whatever a library raises at a size that it does not take
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if network is not None and sum(p.numel() for p in network.parameters()) > MOST_ON_CPU:
                break
            continue
        logits = watched.output
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
            kind = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UsageError(f"it gives {kind} instead of logits")
        return network, watched
    raise UsageError(f"it does not take {in_channels} × {image_size} × {image_size}: {reason}")


@functools.cache
def describe(library: str, name: str) -> Backbone:
    """Return the record of a library's network.

    Raises:
        UsageError: there is none of that name, or it cannot be used; says why.
    """
    word = f"{library}/{name}"
    known = _timm_names() if library == "timm" else _torchvision_names()
    if name not in known:
        words = tuple(f"{library}/{one}" for one in known)
        hint = did_you_mean(f"{library}/{name.partition('.')[0]}", words)  # timm writes weights behind a dot
        raise UsageError(f"backbone {word!r}: {library} has no such network{hint}")
    size, published, ends = 224, _torchvision_weights(name) if library == "torchvision" else {}, ()
    if library == "timm" and (config := timm().get_pretrained_cfg(name)) is not None:
        size = config.input_size[-1]
        address = config.url or (f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else "")
        licence = f"{config.license or 'not stated'} (timm)"
        published = {"imagenet": Published(address, "", tuple(config.mean), tuple(config.std), licence=licence)}
    try:
        from medtl.networks import anatomy

        network, watched = _tried(library, name, 3, size, PROBE)
        head = anatomy.head_of(network, PROBE)
        if library == "timm":
            info = getattr(network, "feature_info", ())
            ends = tuple(entry["module"] for entry in (info if isinstance(info, list) else getattr(info, "info", ())))
        found = anatomy.dissect(network, head, watched, size, ends)
    except UsageError as error:
        raise UsageError(f"backbone {word!r} cannot be used: {error}") from None
    return Backbone(
        name=word,
        title=f"{name} ({library})",
        reference=f"{name} as implemented by {library}",
        family=library,
        build=_builder(library, name, head),
        head=head,
        stages=found.stages,
        last_norm=found.last_norm,
        parts=found.parts,
        stock=_stock(library, name),
        requires=(library,) if library == "torchvision" else ("timm", "torchvision"),
        by_position=True,
        fit=_fit,
        weights=published,
    )


def _builder(library: str, name: str, head: str) -> Callable[[int, int, int], nn.Module]:
    def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
        try:
            _tried(library, name, in_channels, image_size, num_classes)
        except UsageError as error:
            others = _sizes(library, name, in_channels, image_size)
            hint = f"; sizes that it takes: {', '.join(map(str, others))}" if others else ""
            raise UsageError(f"backbone {library}/{name}: {error}{hint}") from None
        network = _make(library, name, in_channels, image_size, num_classes)
        # timm draws some heads in proportion to 1 / classes: with few classes the first losses are enormous
        network.get_submodule(head).reset_parameters()  # type: ignore[operator]
        return network

    return build


def _sizes(library: str, name: str, in_channels: int, image_size: int) -> list[int]:
    """Return image sizes that a network takes: the one that it was made for, and of the multiples of 32 the next below
    and above the size that was asked for."""
    config = timm().get_pretrained_cfg(name) if library == "timm" else None
    own = config.input_size[-1] if config is not None else 224

    def is_taken(size: int) -> bool:
        try:
            _tried(library, name, in_channels, size, PROBE, WAYS[:2])
        except UsageError:
            return False
        return True

    below, above = range(image_size // 32 * 32, 0, -32), range((image_size // 32 + 1) * 32, image_size + 4 * 32, 32)
    near = (next(filter(is_taken, sizes), 0) for sizes in (below[:3], above))
    return sorted({size for size in (*near, own if is_taken(own) else 0) if size})


def _stock(library: str, name: str) -> Callable[[int, int, int], dict[str, Any]]:
    def stock(num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
        if library == "timm":
            arguments = _timm_arguments(name, num_classes, in_channels, image_size)
            return {"_target_": "timm.create_model", "_requires_": DEFINED, **arguments}
        if in_channels != 3:
            raise UsageError(f"torchvision's {name} cannot be described for {in_channels} channels, only for 3")
        arguments = _torchvision_arguments(name, num_classes, in_channels, image_size)
        return {"_target_": "torchvision.models.get_model", "_requires_": DEFINED, **arguments}

    return stock


def _fit(name: str, there: torch.Tensor, here: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """Return a ViT's positions (1, n, width), a class token's first where there is one, for another square grid."""
    from torch.nn import functional

    if not name.endswith(("pos_embed", "pos_embedding")) or there.ndim != 3 or there.shape[2] != here.shape[2]:
        return None, ""
    for tokens in (0, 1):
        old, new = math.isqrt(there.shape[1] - tokens), math.isqrt(here.shape[1] - tokens)
        if old * old == there.shape[1] - tokens and new * new == here.shape[1] - tokens:
            import torch

            grid = there[:, tokens:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=new < old)
            patches = grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)
            told = f"positions interpolated from {old} × {old} to {new} × {new}"
            return torch.cat([there[:, :tokens].float(), patches], dim=1), told
    return None, ""


LIBRARIES.register(Library("timm", functools.partial(describe, "timm"), _timm_names))
LIBRARIES.register(Library("torchvision", functools.partial(describe, "torchvision"), _torchvision_names))
