"""Forward passes by shapes alone: what torch's meta device takes long for, at once.

On the meta device torch takes norms, activations and random numbers apart into small operations: milliseconds each, of
which a network has hundreds. Their shapes are known without that.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# these give their first argument's shape, whatever the others are
ALIKE = {
    *(functional.gelu, functional.silu, functional.relu, functional.hardswish, functional.sigmoid, functional.softmax),
    *(torch.sigmoid, torch.softmax, Tensor.sigmoid, Tensor.softmax),
    *(Tensor.normal_, Tensor.uniform_, Tensor.clamp_, Tensor.erfinv_),
}

NUMBERS = {torch.arange, torch.linspace, torch.tensor}


class ShapesOnly(TorchFunctionMode):
    """While it is entered, tensors of the meta device pass norms, activations, linear layers and random starts at once.

    Where shapes do not agree torch answers itself, with its own error.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func in ALIKE:
                return args[0]
            rule = RULES.get(func)
            shape = rule(*args, **named) if rule else None
            if shape is not None:
                return args[0].new_empty(shape)
        return func(*args, **named)


class NumbersOnCPU(TorchFunctionMode):
    """While it is entered, tensors that are made of known numbers lie on the CPU, whatever the default device is.

    torchvision's RegNets work out their widths with such tensors, which have no values on the meta device.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in NUMBERS:
            named = {"device": "cpu", **named}
        return func(*args, **named)


def _channels(images: Tensor, *rest: Any, **named: Any) -> torch.Size | None:
    """Of a norm of channels, whose statistics or weights come next."""
    given = [each for each in (*rest, *named.values()) if isinstance(each, Tensor)]
    fits = images.ndim > 1 and all(each.shape == (images.shape[1],) for each in given)
    return images.shape if fits else None


def _groups(images: Tensor, num_groups: int, *rest: Any, **named: Any) -> torch.Size | None:
    return _channels(images, *rest, **named) if images.ndim > 1 and images.shape[1] % num_groups == 0 else None


def _last(images: Tensor, normalized_shape: Any, *rest: Any, **named: Any) -> torch.Size | None:
    wanted = tuple(normalized_shape)
    return images.shape if tuple(images.shape[-len(wanted) :]) == wanted else None


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> torch.Size | None:
    fits = inputs.ndim > 0 and weight.ndim == 2 and inputs.shape[-1] == weight.shape[1]
    return torch.Size((*inputs.shape[:-1], weight.shape[0])) if fits else None


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> torch.Size | None:
    fits = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    fits = fits and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    return torch.Size((*query.shape[:-1], value.shape[-1])) if fits else None


RULES: dict[Callable[..., Any], Callable[..., torch.Size | None]] = {
    functional.batch_norm: _channels,
    functional.group_norm: _groups,
    functional.layer_norm: _last,
    functional.linear: _linear,
    functional.scaled_dot_product_attention: _attention,
}
