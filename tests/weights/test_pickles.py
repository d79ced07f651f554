"""Pickles that also name code give up their tensors, in both formats; nothing is run, and hostile ones are refused."""

import argparse
import functools
import io
import os
import pathlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medtl.errors import MedtlError
from medtl.weights import pickles
from medtl.weights.read import read_checkpoint

FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old format"])


class Inner(torch.nn.Module):
    """A network of a program that medtl does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 2, 3)
        self.norm = torch.nn.BatchNorm2d(2)
        self.make = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.register_buffer("thresholds", torch.tensor([0.5, 0.25]))


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = torch.nn.ModuleList([Inner(), Inner()])
        self.head = torch.nn.Linear(4, 2)
        self.device = torch.device("cpu")
        self.path = pathlib.Path("somewhere")


def save(content: object, path: Path, as_zip: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


@FORMATS
def test_a_whole_network_gives_its_state_dict(as_zip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Outer()
    path = save(network, tmp_path / "network.pt", as_zip)
    built: list[str] = []
    monkeypatch.setattr(Outer, "__setstate__", lambda self, state: built.append("ran"), raising=False)
    monkeypatch.setattr(Inner, "__new__", lambda *words: built.append("ran"))
    found = read_checkpoint(path)
    wanted = network.state_dict()
    assert list(found.state) == list(wanted)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in wanted.items())
    assert built == []
    assert any(name.endswith("Outer") for name in found.code)
    assert any("was not run" in sentence for sentence in found.told)


@FORMATS
def test_what_a_training_leaves_beside_its_weights_is_left_out(as_zip: bool, tmp_path: Path) -> None:
    state = {"fc.weight": torch.rand(2, 3), "fc.bias": torch.rand(2)}
    extras = {"args": argparse.Namespace(lr=1, out=pathlib.Path("x")), "best": np.float64(0.9), "epoch": 3}
    found = read_checkpoint(save({"model": state, **extras}, tmp_path / "training.pth", as_zip))
    assert all(torch.equal(found.state[name], tensor) for name, tensor in state.items())
    assert found.code[:1] == ("argparse.Namespace",)
    whole = read_checkpoint(save({"model": torch.nn.Linear(3, 2), "epoch": 3}, tmp_path / "inner.pth", as_zip))
    assert set(whole.state) == {"weight", "bias"}


def test_plain_files_name_no_code(tmp_path: Path) -> None:
    found = read_checkpoint(save({"state_dict": {"w": torch.ones(2)}, "epoch": 1}, tmp_path / "plain.pt", True))
    assert found.code == found.told == ()


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *words: object) -> None:
        self.function, self.words = function, words

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.words


@FORMATS
@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda mark: Calls(os.system, f"touch {mark}"), "system"),
        (lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"), "builtins.eval"),
        (lambda mark: Calls(pathlib.Path.touch, mark), "builtins.getattr|pathlib"),
        (lambda mark: Calls(torch.load, mark), "torch.serialization.load"),
        (lambda mark: Calls(torch.hub.load, "a/b", "c"), "torch.hub.load"),
        (lambda mark: Calls(np.load, str(mark)), "load"),
        (lambda mark: Calls(argparse.Namespace, 1), "argparse.Namespace"),
        (lambda mark: print, "builtins.print"),
    ],
    ids=["system", "eval", "method", "torch.load", "hub", "numpy", "class", "name alone"],
)
def test_a_call_of_anything_is_refused_and_not_made(
    made: Callable[[Path], object], named: str, as_zip: bool, tmp_path: Path
) -> None:
    path = save({"w": torch.ones(1), "x": made(tmp_path / "mark")}, tmp_path / "hostile.pt", as_zip)
    with pytest.raises(MedtlError, match=f"holds code that (calls|names) .*({named}).*nothing of it was run") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_a_function_of_torchs_cannot_be_changed() -> None:
    """BUILD would set attributes of what a file names, such as the code of a function."""
    stream = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}U\x08__code__K\x01sb."
    with pytest.raises(pickles.Refused, match="changes a function"):
        pickles.Unpickler(io.BytesIO(stream)).load()


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a place in the memo that would take 16 GB
        b"\x80\x05\x96\x01" + bytes(7) + b"x.",  # an array, for which room is made before it is read
        b"(S'x'\nios\nsystem\n.",  # an instance, as pickles of the first protocol make it
    ],
    ids=["memo", "bytearray", "instance"],
)
def test_instructions_that_torch_never_writes_are_refused(stream: bytes, tmp_path: Path) -> None:
    mark = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    (tmp_path / "old.pt").write_bytes(mark + stream + pickle.dumps([], 2))
    with pytest.raises(pickles.Refused, match="has the instruction"):
        pickles.scan(tmp_path / "old.pt")
    with pytest.raises(MedtlError):
        read_checkpoint(tmp_path / "old.pt")


def test_files_that_are_no_weights_say_so(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    with tarfile.open(tmp_path / "first.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    whole = save(Outer(), tmp_path / "whole.pt", False).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("weights")
    for file, words in (
        ("script.pt", "TorchScript"),
        ("first.pt", "tar file"),
        ("cut.pt", "damaged, cut short"),
        ("text.pt", "damaged, cut short"),
    ):
        with pytest.raises(MedtlError, match=words):
            read_checkpoint(tmp_path / file)


def test_a_network_that_holds_itself_ends() -> None:
    network = pickles.Kind("Loop", (pickles.Inert,), {"path": "a.Loop"}).__new__(pickles.Inert)
    network.held = {"_modules": {"again": network}, "_parameters": {"w": torch.ones(1)}}
    assert list(pickles.tensors_of(network)) == ["w"]
