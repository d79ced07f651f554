"""Weights, links, logging and code in a bundle: what would run, or leads out of it, is told by reading alone."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audited_bundles import Payload, bundle, saved
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from released_bundles import made_run, small_list
from safetensors.torch import save_file
from typer.testing import CliRunner

from medtl.bundles import release_configs
from medtl.bundles.audit.bundle import audit
from medtl.bundles.audit.finding import printable
from medtl.bundles.check import check_bundle
from medtl.bundles.release import release
from medtl.cli import app
from medtl.files import file_hash
from medtl.weights.card import WeightsCard

SUFFIXED = ("x.pt", "x.pkl", "x.npy", "x.safetensors", "x.npz", "x.ts", "x.dat")
AWKWARD = {"brackets": "[" * 1100, "keys": '{"a":' * 1100, "digits": "1" * 5000, "itself": "a: &a [*a, *a]"}


def unreviewed(folder: Path) -> dict[str, str]:
    """Place to why."""
    return {each.place: each.why for each in audit(folder).unreviewed}


def listed(folder: Path) -> Path:
    """The same bundle with the hashes of all its files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    lines = [f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def test_files_of_other_kinds_are_unreviewed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"x": "$os.system(1)"}')
    strange = {
        "scripts/net.py": "Net = 1",
        "torch.pyc": b"\xa7\r\r\n",
        "run.sh": "#!/bin/sh\n",
        "lib.dat": b"\x7fELF\x02\x01\x01\0",
        "a.tgz": b"\x1f\x8b\x08",
        "x.onnx": b"\x08\x07",
        "hidden.txt": pickle.dumps([1]),
        "picture.png": saved({"w": torch.zeros(1)}),
        "array.npy": b"\x93NUMPY",
    }
    folder = bundle(
        tmp_path / "b", **strange, **{"docs/README.md": "# x", "LICENSE": "x", "docs/a.png": b"\x89PNG\r\n"}
    )
    (folder / "configs" / "out.json").symlink_to(tmp_path / "secret.json")
    (folder / "loop").symlink_to("loop")
    (folder / "evil.txt").write_text('{"x": "$os.system(1)"}')
    (folder / "configs" / "inner.json").symlink_to("../evil.txt")
    os.mkfifo(folder / "configs" / "pipe.json")
    found = unreviewed(folder)
    assert set(found) == {*strange, "configs/out.json", "loop", "configs/pipe.json", "inner.json: x"}
    assert not check_bundle(folder).passed  # and the pipe holds nobody up


def zipped_pickle(body: bytes, name: str = "data.pkl") -> bytes:
    """A file as torch.save writes it, with any pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"archive/{name}", body)
    return file.getvalue()


def test_pickles_are_unreviewed_and_nothing_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    payload = Payload(f"touch {ran}")
    evil = {
        "model.pt": zipped_pickle(pickle.dumps(payload, protocol=2)),
        "two.pt": saved({"w": torch.zeros(2), "x": payload}),
        "four.pth": zipped_pickle(pickle.dumps(payload, protocol=4)),
        "old.pth": saved({"x": payload}, _use_new_zipfile_serialization=False),
        "text.bin": f"cos\nsystem\n(S'touch {ran}'\ntR.".encode(),
        "whole.pt": saved(torch.nn.Linear(1, 1)),
        "none.pt": b"\0\0\0",
        "plain.pkl": pickle.dumps([1, 2]),
        "damaged.safetensors": b"\xff" * 20,
        "script.ts": zipped_pickle(pickle.dumps(payload, protocol=2), "constants.pkl"),
        "objects.npz": zipped_pickle(pickle.dumps(payload), "a.npy"),
    }
    folder = listed(bundle(tmp_path / "b", {}, **{f"models/{name}": body for name, body in evil.items()}))
    found = unreviewed(folder)
    assert set(found) == {f"models/{name}" for name in evil}
    assert "posix.system" in found["models/two.pt"] or "nt.system" in found["models/two.pt"]
    assert not ran.exists()


def test_weights_pass_with_their_hash_and_only_so(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    files = {"a.pt": saved(network.state_dict()), "b.pth": saved({"state_dict": network.state_dict(), "lr": 0.1})}
    folder = bundle(tmp_path / "b", {}, **{f"models/{name}": body for name, body in files.items()})
    save_file(network.state_dict(), folder / "models" / "g.safetensors")
    torch.jit.script(network.eval()).save(str(folder / "models" / "h.ts"))
    assert set(unreviewed(folder)) == {"models/a.pt", "models/b.pth", "models/h.ts"}
    assert unreviewed(listed(folder)) == {}
    assert {each.place: each.why.split(":")[0] for each in audit(folder).weights} == {
        "models/a.pt": "plain tensors (torch)",
        "models/b.pth": "plain tensors (torch)",
        "models/g.safetensors": "7 plain tensors (safetensors)",
        "models/h.ts": "TorchScript",
    }
    (folder / "models" / "a.pt").write_bytes(files["b.pth"])
    assert any("a.pt" in problem for problem in check_bundle(folder).problems)


def test_torchscript_that_writes_is_unreviewed(tmp_path: Path) -> None:
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "stolen")
            return x

    folder = bundle(tmp_path / "b", {})
    (folder / "models").mkdir()
    torch.jit.script(Writes()).save(str(folder / "models" / "model.ts"))
    assert "save" in unreviewed(listed(folder))["models/model.ts"]


@pytest.mark.parametrize("aliased", ["f = torch\n    {}f.", "f = ops\n    {}f.aten.", "_0 = torch.from_file\n    {}_0"])
def test_torchscript_that_renames_operators_is_unreviewed(aliased: str, tmp_path: Path) -> None:
    """TorchScript lets a package of operators, or one of them, be called by another name; this one writes a file."""

    class Adds(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x)

    folder, content = bundle(tmp_path / "b", {}), io.BytesIO()
    (folder / "models").mkdir()
    torch.jit.save(torch.jit.script(Adds()), content)
    call = aliased.format("return ") + ("from_file" if aliased.endswith(".") else "")
    call += f"({str(tmp_path / 'made')!r}, True, 10)"
    with zipfile.ZipFile(content) as saved_, zipfile.ZipFile(folder / "models" / "model.ts", "w") as changed:
        for info in saved_.infolist():
            if not info.filename.endswith(".debug_pkl"):
                body = saved_.read(info)
                changed.writestr(info.filename, body.replace(b"return torch.relu(x)", call.encode()))
    why = unreviewed(listed(folder))["models/model.ts"]
    assert "operators that are not on the list" in why
    assert "handed on" in why
    assert not (tmp_path / "made").exists()
    torch.jit.load(str(folder / "models" / "model.ts"))(torch.zeros(10))
    assert (tmp_path / "made").exists()  # what it would have done


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
        conf(kind="eval", args="('1',)"),
        conf(kind="handlers.SocketHandler", args="('example.org', 80)"),
        conf(kind="FileHandler", args="('/home/someone/.profile', 'a')"),
        conf("(%(missing)s,)"),
        conf().replace("format=%(message)s", "class=scripts.Formatter"),
        "[DEFAULT]\nargs=(os.getcwd(),)\n" + conf().replace("args=(sys.stdout,)\n", ""),
        "no section",
    ],
)
def test_evil_logging_is_unreviewed(text: str, tmp_path: Path) -> None:
    assert any(
        "logging.conf" in place for place in unreviewed(bundle(tmp_path / "b", {}, **{"configs/logging.conf": text}))
    )


def test_plain_logging_passes(tmp_path: Path) -> None:
    assert unreviewed(bundle(tmp_path / "b", {}, **{"configs/logging.conf": conf()})) == {}


def test_configs_anywhere_and_in_yaml_are_read(tmp_path: Path) -> None:
    evil = {"x": "$os.system('x')"}
    folder = bundle(tmp_path / "b", **{"configs/metadata.json": json.dumps(evil), "docs/other.json": json.dumps(evil)})
    (folder / "configs" / "more.yaml").write_text("x: $os.system('x')\n")
    (folder / "configs" / "loop.yaml").write_text("y: &a [*a]\n")
    (folder / "configs" / "tag.yml").write_text("x: !!python/object/apply:os.system [x]\n")
    (folder / "configs" / "twice.json").write_text('{"a": 1, "a": 2}')
    found = unreviewed(folder)
    assert set(found) == {
        "metadata.json: x",
        "docs/other.json: x",
        "more.yaml: x",
        "loop.yaml",
        "tag.yml",
        "twice.json",
    }
    assert "is no plain YAML" in found["tag.yml"]


@pytest.mark.slow
def test_nothing_is_imported_for_an_audit(tmp_path: Path) -> None:
    """Neither torch nor MONAI, nor what the bundle brings along, not even in its own folder."""
    evil = "open('ran', 'w')"
    folder = bundle(
        tmp_path / "b",
        {"imports": ["$import torch", "$import evil"], "net": {"_target_": "evil.Net"}, "x": "$evil.thing"},
        **{"evil.py": evil, "monai.py": evil, "scripts/__init__.py": evil},
    )
    script = (
        "import sys; from medtl.cli import app\n"
        "print(app(['check', '.'], standalone_mode=False))\n"
        "print([name for name in ('torch', 'monai', 'evil', 'scripts') if name in sys.modules])"
    )
    words = [sys.executable, "-I", "-c", script]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-2:] == ["1", "[]"], done.stdout + done.stderr
    assert not list(folder.rglob("ran"))


@pytest.mark.slow
def test_released_bundles_pass_as_folder_and_as_zip(tmp_path: Path) -> None:
    made_run(tmp_path / "run", small_list(tmp_path / "data"), image_size=32)
    release(tmp_path / "run", tmp_path / "made", as_zip=True)
    for path in (tmp_path / "made", tmp_path / "made.zip"):
        done = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "400"})
        assert (done.exit_code, done.output.splitlines()[-1].startswith(f"{path}: 4 imports, ")) == (0, True), (
            done.output
        )
    (tmp_path / "made" / "models" / "model.pt").write_bytes(saved({"x": Payload("true")}))
    verdict = check_bundle(tmp_path / "made")
    assert [each.place for each in verdict.seen.unreviewed] == ["models/model.pt"]
    assert any("damaged or changed" in problem for problem in verdict.problems)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vit_b16", "vit_s14", "densenet121"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("channels", [1, 3])
def test_configs_of_every_kind_of_release_are_reviewed(
    card: WeightsCard, backbone: str, task: str, channels: int, tmp_path: Path
) -> None:
    network = replace(card.architecture, backbone=backbone, image_size=56 if backbone == "vit_s14" else 64)
    pixels = replace(card.input, file_channels=channels, resize="bicubic", rounded=True)
    made = replace(card, architecture=network, input=pixels, task=task)
    configs = [release_configs.train_config(made), release_configs.evaluate_config(made)]
    for config in (*configs, release_configs.inference_config(made)):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        folder = bundle(tmp_path / "b")
        (folder / "configs" / "train.json").write_text(json.dumps(config))
        assert unreviewed(folder) == {}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> WeightsCard:
    folder = tmp_path_factory.mktemp("card")
    made_run(folder / "run", small_list(folder / "data"), image_size=32)
    return release(folder / "run", folder / "made").card


def test_zips_that_lead_out_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil.json", "/evil.json")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr("b/configs/train.json", "{}")
            archive.writestr(name, "x")
        done = CliRunner().invoke(app, ["check", str(tmp_path / f"{number}.zip")])
        assert "evil.json" in str(done.exception)
    assert not list(tmp_path.rglob("evil*"))


def test_text_of_strangers_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    evil = "$'\x1b[2J\u202e[red]x[/red]\n' + eval('1')"
    folder = bundle(tmp_path / "b", {"a\x1b[1m": evil})
    printed = CliRunner().invoke(app, ["check", str(folder)], env={"COLUMNS": "400"}).output
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "\\x1b[2J\\u202e[red]x[/red]\\n" in printed
    assert len(printable("x" * 10_000)) < 500


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["$os.system(1)", "$@a#b", "@a", "%a", "%a.json::b", "$import os", "$[", "../..", "os.system"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=4)
        | st.sampled_from(["_target_", "_mode_", "_requires_", "a", "a#b", "a::0", "+a", "imports", "a#_target_"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(train=values, evaluate=values, metadata=values)
@example(train={"a": "x", "a#b": 1}, evaluate={"a": [1], "a#0#b": 2}, metadata=[])
@example(train={"a": {"_target_": "@a#_target_"}}, evaluate={}, metadata={})
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_crashes_the_check(train: Any, evaluate: Any, metadata: Any, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    more = {"configs/evaluate.json": json.dumps(evaluate), "configs/metadata.json": json.dumps(metadata)}
    folder = bundle(tmp_path / "b", **more)
    (folder / "configs" / "train.json").write_text(json.dumps(train))
    assert not check_bundle(folder).passed  # it has no LICENSE, at least


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_text_does_not_crash_the_check(name: str, tmp_path: Path) -> None:
    for file in ("train.json", "more.yaml", "logging.conf"):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        assert not check_bundle(bundle(tmp_path / "b", {}, **{f"configs/{file}": AWKWARD[name]})).passed


@given(body=st.binary(max_size=60), name=st.sampled_from(SUFFIXED))
@example(body=b"\x93NUMPY\x01\x00\xff\xff", name="x.npy")
@example(body=b"PK\x03\x04", name="x.pt")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_crashes_the_check(body: bytes, name: str, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    assert unreviewed(listed(bundle(tmp_path / "b", {}, **{name: body})))


def test_arrays_are_no_weights(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    assert "models/x.npy" in unreviewed(bundle(tmp_path / "b", {}, **{"models/x.npy": file.getvalue()}))
