"""Weights into networks. Nothing is ever skipped silently: what does not fit is an error that says what and how
much."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medtl.bundle.boundary import one_line
from medtl.errors import MedtlError, UsageError


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.pt`` file: a plain state dict, read without executing anything in it.

    Raises:
        UsageError: no such file.
        MedtlError: damaged, or something else than names and tensors.
    """
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file; expected the model.pt of a run")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for unsafe files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MedtlError(f"--weights {path} is not a readable file of tensors: {reason}") from None
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise MedtlError(f"--weights {path} holds no plain state dict (names and tensors)")
    return dict(content)


@one_line
def load_exactly(network: torch.nn.Module, weights: str) -> None:
    """Load weights of this very architecture: every name and every shape must agree.

    Args:
        network: filled in place.
        weights: a ``.pt`` file.

    Raises:
        MedtlError: names the first disagreements and counts the rest.
    """
    state = read_state_dict(Path(str(weights)))
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if missing or unexpected or shapes:
        told = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
        told += [f"{len(unexpected)} unexpected (first {unexpected[0]})"] if unexpected else []
        told += [f"{len(shapes)} of another shape (first {shapes[0]})"] if shapes else []
        raise MedtlError(f"--weights {weights} are not of this network: of {len(wanted)} tensors {'; '.join(told)}")
    network.load_state_dict(state)
