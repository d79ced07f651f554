"""Files of weights of a few kB that stand for gigabytes, or have no end; for the tests of what reads them."""

import io
import json
import math
import struct
from collections.abc import Callable

import torch
from bomb_files import DEEP, archive


def safetensors(shape: tuple[int, ...]) -> bytes:
    size = 4 * math.prod(shape)
    text = json.dumps({"conv1.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text


def saved(content: object, old: bool = False) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, _use_new_zipfile_serialization=not old)
    return written.getvalue()


class Expanded(torch.nn.Module):
    """A network saved as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(1).expand(10**10))


def endless() -> dict:
    """A mapping that holds itself."""
    content: dict = {}
    content["state_dict"] = content
    return content


WEIGHTS: dict[str, Callable[[], bytes]] = {
    "expanded.pt": lambda: saved({"conv1.weight": torch.zeros(1).expand(10**10)}),
    "expanded_nested.pth": lambda: saved({"state_dict": {"conv1.weight": torch.zeros(1).expand(10**5, 10**5)}}),
    "expanded_old.pt": lambda: saved({"conv1.weight": torch.zeros(1).expand(10**10)}, old=True),
    "expanded_module.pt": lambda: saved(Expanded()),
    "deflated.pt": lambda: archive({"archive/data.pkl": b"", "archive/version": b"3"}, 2**28),
    "endless.pt": lambda: saved(endless()),
    "claims.safetensors": lambda: safetensors((10**10,)),
    "deep.safetensors": lambda: struct.pack("<Q", 6 * DEEP + 1) + b'{"a":' * DEEP + b"1" + b"}" * DEEP,
}
