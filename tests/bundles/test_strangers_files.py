"""Weights, links, logging and Python in a bundle: what would run, or leads out of it, is found by reading alone."""

import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from strange_bundles import Payload, bundle, saved, told

from medtl.bundles.check import check_bundle
from medtl.bundles.strangers.look import look
from medtl.bundles.strangers.pickles import TENSOR_GLOBALS

SUFFIXED = ("x.pt", "x.pkl", "x.npy", "x.safetensors", "x.npz", "x.ts", "x.dat")


def test_links_pipes_and_programs_are_found(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"x": "$os.system(1)"}')
    folder = bundle(
        tmp_path / "b", **{"run.sh": "#!/bin/sh\n", "lib.dat": b"\x7fELF\x02\x01\x01\0", "a.tgz": b"\x1f\x8b\x08"}
    )
    (folder / "configs" / "out.json").symlink_to(tmp_path / "secret.json")
    (folder / "loop").symlink_to("loop")
    (folder / "evil.txt").write_text('{"x": "$os.system(1)"}')
    (folder / "configs" / "inner.json").symlink_to("../evil.txt")
    os.mkfifo(folder / "configs" / "pipe.json")
    seen = look(folder)
    places = [each.place for each in seen.faults]
    for name in ("configs/out.json", "loop", "configs/pipe.json", "lib.dat", "a.tgz", "inner.json: x"):
        assert name in places
    assert not any("secret" in each.what and each.place == "out.json: x" for each in seen.faults)
    assert "run.sh" in {each.place for each in seen.notes}
    assert not check_bundle(folder).passed  # and the pipe holds nobody up


@pytest.mark.parametrize("name", ["torch.py", "numpy/__init__.py", "json.pyc", "typer.py"])
def test_python_in_the_place_of_packages_is_found(name: str, tmp_path: Path) -> None:
    assert "may be imported in its place" in told(look(bundle(tmp_path / "b", **{name: "x = 1"})))


def test_python_of_scripts_is_told_and_a_danger_once_it_is_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", {}, **{"scripts/trainer.py": "x = 1"})
    seen = look(folder)
    assert told(seen) == ""
    assert "scripts/trainer.py" in {each.place for each in seen.notes}
    (folder / "configs" / "train.json").write_text('{"imports": ["$from scripts.trainer import x"], "y": "$x"}')
    assert told(look(folder)).count("is Python that comes with the bundle") == 2


def zipped_pickle(body: bytes, *more: str) -> bytes:
    """A file as torch.save writes it, with any pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.pkl", *more):
            archive.writestr(f"archive/{name}", body)
    return file.getvalue()


def npy(array: np.ndarray, **files: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=array, **files) if files else np.save(file, array)
    return file.getvalue()


def test_unsafe_weights_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    """torch refuses the same files; the command in them never ran."""
    ran = tmp_path / "ran"
    payload = Payload(f"touch {ran}")
    text = f"cos\nsystem\n(S'touch {ran}'\ntR."
    state = {"w": torch.zeros(2)}
    evil = {
        "model.pt": zipped_pickle(pickle.dumps(payload, protocol=2)),
        "two.pt": saved({"w": torch.zeros(2), "x": payload}),
        "four.pth": zipped_pickle(pickle.dumps(payload, protocol=4)),
        "old.pth": saved({"x": payload}, _use_new_zipfile_serialization=False),
        "text.bin": text.encode(),
        "cut.ckpt": text[:-4].encode(),  # whoever loads it runs it before it sees that the end is missing
        "after.pt": pickle.dumps({}, protocol=2) + pickle.dumps(payload, protocol=2),
        "whole.pt": saved(torch.nn.Linear(1, 1)),
        "none.pt": b"\0\0\0",
    }
    others = {
        "plain.pkl": pickle.dumps([1, 2]),
        "hidden.txt": pickle.dumps(payload),
        "objects.npy": npy(np.array([payload], dtype=object)),
        "objects.npz": npy(np.zeros(2), b=np.array([payload], dtype=object)),
        "damaged.safetensors": b"\xff" * 20,
        "inner.zip": zipped_pickle(b"").replace(b"data.pkl", b"data.txt"),
        "twice.pt": zipped_pickle(pickle.dumps({}, protocol=2), "data.pkl"),
        "script.ts": zipped_pickle(pickle.dumps(payload, protocol=2), "constants.pkl"),
    }
    files = {f"models/{name}": body for name, body in {**evil, **others}.items()}
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped_pickle(b"", "data.pkl")
    seen = look(bundle(tmp_path / "b", {}, **files))
    assert {each.place for each in seen.faults} == set(files)
    assert "posix.system" in told(seen) or "nt.system" in told(seen)
    assert not ran.exists()
    for name in evil:
        with pytest.raises(Exception):  # noqa: B017, PT011 - torch has many kinds
            torch.load(tmp_path / "b" / "models" / name, weights_only=True)
    assert not ran.exists()
    del state


def test_honest_weights_pass(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    half = {name: tensor.to(torch.bfloat16) for name, tensor in network.state_dict().items()}
    files = {
        "a.pt": saved(network.state_dict()),
        "b.pth": saved({"state_dict": half, "epoch": 3, "lr": 0.1, "name": "x"}),
        "c.ckpt": saved(network.state_dict(), _use_new_zipfile_serialization=False),
        "d.pt": saved({"parameter": torch.nn.Parameter(torch.zeros(3)), "shape": torch.zeros(2).shape, "none": None}),
        "e.npy": npy(np.zeros(3)),
        "f.npz": npy(np.zeros(3), b=np.ones(2)),
    }
    folder = bundle(tmp_path / "b", {}, **{f"models/{name}": body for name, body in files.items()})
    save_file(network.state_dict(), folder / "models" / "g.safetensors")
    torch.jit.script(network).save(str(folder / "models" / "h.ts"))
    seen = look(folder)
    assert told(seen) == ""
    assert {Path(each.place).name: each.why.split(":")[0] for each in seen.files} == {
        "a.pt": "plain tensors (torch)",
        "b.pth": "plain tensors (torch)",
        "c.ckpt": "plain tensors (torch's old format)",
        "d.pt": "plain tensors (torch)",
        "e.npy": "a NumPy array",
        "f.npz": "NumPy arrays",
        "g.safetensors": "7 plain tensors (safetensors)",
        "h.ts": "TorchScript",
    }
    for name in "abcd":
        torch.load(next((folder / "models").glob(f"{name}.*")), weights_only=True)


def test_torchscript_that_writes_is_found(tmp_path: Path) -> None:
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "stolen")
            return x

    folder = bundle(tmp_path / "b", {})
    (folder / "models").mkdir()
    torch.jit.script(Writes()).save(str(folder / "models" / "model.ts"))
    assert "which opens files" in told(look(folder))


def test_tensor_names_are_among_those_that_torch_allows() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    allowed = set(_get_allowed_globals())
    assert sum(bool(TENSOR_GLOBALS.fullmatch(name)) for name in allowed) > 60
    tried = {f"torch.{kind}{bits}" for kind in ("int", "uint", "float", "complex") for bits in (8, 16, 32, 64, 128)}
    tried |= {f"torch.{name}" for name in dir(torch)} | {f"torch._utils.{name}" for name in dir(torch._utils)}
    tried |= {f"torch.cuda.{name}" for name in dir(torch.cuda)} | {f"builtins.{name}" for name in dir(__builtins__)}
    assert {name for name in tried if TENSOR_GLOBALS.fullmatch(name)} <= allowed


@given(body=st.binary(max_size=60), name=st.sampled_from(SUFFIXED))
@example(body=b"\x93NUMPY\x01\x00\xff\xff", name="x.npy")
@example(body=b"PK\x03\x04", name="x.pt")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_crashes_the_check(body: bytes, name: str, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    seen = look(bundle(tmp_path / "b", {}, **{name: body}))
    assert seen.faults or name == "x.dat"


def conf(args: str = "(sys.stdout,)", kind: str = "StreamHandler", **more: str) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in more.items())
    return (
        "[loggers]\nkeys=root\n[handlers]\nkeys=console\n[formatters]\nkeys=plain\n[logger_root]\nlevel=INFO\n"
        f"handlers=console\n[handler_console]\nclass={kind}\nargs={args}\n{lines}[formatter_plain]\nformat=%(message)s\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        conf("(__import__('os').system('x'),)"),
        conf("(sys.stdout, '%(x)s')", x="',__import__('os').system('x'),'"),
        conf("(sys.stdout)", kwargs="{'stream': os.popen('x')}"),
        conf(kind="os.system"),
        conf(kind="logging.os.system"),
        conf(kind="eval", args="('1',)"),
        conf(kind="handlers.SocketHandler", args="('example.org', 80)"),
        conf(kind="scripts.Handler"),
        conf(kind="FileHandler", args="('/home/someone/.profile', 'a')"),
        conf(kind="logging.FileHandler", args="('../../.profile', 'a')"),
        conf("(%(missing)s,)"),
        conf().replace("format=%(message)s", "class=scripts.Formatter"),
        "[DEFAULT]\nargs=(os.getcwd(),)\n" + conf().replace("args=(sys.stdout,)\n", ""),
        "no section",
    ],
)
def test_evil_logging_is_found(text: str, tmp_path: Path) -> None:
    assert "logging.conf" in told(look(bundle(tmp_path / "b", {}, **{"configs/logging.conf": text})))


def test_honest_logging_passes(tmp_path: Path) -> None:
    text = conf() + conf(kind="logging.FileHandler", args="('log.txt', 'w')").replace("console", "file")
    seen = look(bundle(tmp_path / "b", {}, **{"configs/logging.conf": text}))
    assert told(seen) == ""
    assert [each.why for each in seen.notes] == ["writes a log file"]
