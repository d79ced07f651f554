"""Bundles that would do harm are told so, whatever hides it; nothing of them runs, and honest ones pass."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from released_bundles import made_run, small_list
from strange_bundles import Payload, bundle, saved, told
from typer.testing import CliRunner

from medtl.bundles.check import check_bundle
from medtl.bundles.release import release
from medtl.bundles.strangers.finding import printable
from medtl.bundles.strangers.look import look
from medtl.cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = {"brackets": "[" * 1100, "keys": '{"a":' * 1100, "digits": "1" * 5000, "itself": "a: &a [*a, *a]"}


@pytest.mark.parametrize(
    "net",
    [
        {"_target_": "subprocess.Popen", "args": ["x"]},
        {"_target_": "builtins.eval"},
        {"_target_": "eval"},
        {"_target_": "os.system", "command": "x"},
        {"_target_": "os..system", "command": "x"},
        {"_target_": "torch.os.system"},
        {"_target_": "torch.load", "f": "x"},
        {"_target_": "torch.load", "f": "x", "weights_only": "@no"},
        {"_target_": "run_cmd"},
        {"_target_": "optional_import", "module": "os"},
        {"_target_": "unheard_of.Net"},
        {"_target_": "scripts.net.Net"},
        {"_target_": "antigravity"},
        {"_target_": "json"},
        {"_target_": "@text"},
        {"_target_": "%text"},
        {"_target_": "$@text"},
        {"_target_": "@no_such_id"},
        {"_target_": "$'os.' + 'system'"},
        {"_target_": "$'os.system'"},
        {"_target_": "$pathlib.Path('os.system').name"},
        {"_target_": "$@object.mode"},
        {"_target_": "$torch.backends.cudnn.x", "a": "$setattr(torch.backends.cudnn, 'x', 'os.system')"},
        {"_target_": ["os.system"]},
        {"_target_": None},
        {"inner": [{"_target_": "Compose", "transforms": {"_target_": "os.system"}}]},
        {"_target_": "Compose", "_requires_": "$os.system('x')"},
        {"_target_": "Compose", "_disabled_": "$os.system('x')"},
        {"_target_": "PersistentDataset", "weights_only": False},
    ],
    ids=lambda net: str(net)[:50],
)
def test_classes_that_reach_further_are_found(net: dict[str, Any], tmp_path: Path) -> None:
    seen = look(bundle(tmp_path / "b", {"text": "os.system", "net": net}, **{"scripts/net.py": "Net = 1"}))
    assert "train.json: net" in told(seen)


def test_classes_may_be_known_ones_and_callables(tmp_path: Path) -> None:
    config = {
        "a": {"_target_": "SupervisedTrainer", "max_epochs": 1},
        "b": {"_target_": "torch.optim.AdamW", "_mode_": "callable"},
        "c": {"_target_": "$functools.partial(torch.nn.functional.relu, inplace=True)"},
        "d": {"_target_": "$torch.nn.functional.relu"},
        "e": {"_target_": "@known"},
        "known": "torch.nn.ReLU",
    }
    seen = look(bundle(tmp_path / "b", config))
    assert told(seen) == ""
    assert {"monai.engines.trainer.SupervisedTrainer", "torch.optim.AdamW", "torch.nn.ReLU"} <= set(seen.classes)
    assert seen.classes["monai.engines.trainer.SupervisedTrainer"] == ["train.json: a#_target_"]


def test_ids_may_reach_into_others_and_stand_twice(tmp_path: Path) -> None:
    text = '{"net": {"_target_": "Compose"}, "net#_target_": "os.system", "+x": ["$os.system(1)"], '
    text += '"a": "$eval(1)", "a": 1, "imports": ["$import os"]}'
    folder = bundle(tmp_path / "b")
    (folder / "configs" / "train.json").write_text(text)
    seen = look(folder)
    assert {each.place for each in seen.faults} == {"train.json: net#_target_", "train.json: x#0"}
    assert [each.what for each in seen.notes] == ["a"]  # MONAI takes the last


def test_ids_with_quotes_are_no_way_in(tmp_path: Path) -> None:
    """MONAI writes the ids around an expression into its text."""
    key = "');__import__('os').system('x'"
    seen = look(bundle(tmp_path / "b", {key: {"a": "$len('%#b')"}}))
    assert "relative references take in" in told(seen)


def test_metadata_and_configs_anywhere_are_looked_into(tmp_path: Path) -> None:
    evil = {"x": "$os.system('x')"}
    folder = bundle(tmp_path / "b", **{"configs/metadata.json": json.dumps(evil), "docs/other.json": json.dumps(evil)})
    (folder / "configs" / "more.yaml").write_text("x: $os.system('x')\ny: &a [*a]\n")
    (folder / "configs" / "tag.yml").write_text("x: !!python/object/apply:os.system [x]\n")
    text = told(look(folder))
    for name in ("metadata.json: x", "docs/other.json: x", "more.yaml", "tag.yml"):
        assert name in text
    assert "is no plain YAML" in text
    assert "stands for more than" in text


def test_yaml_is_read_as_monai_reads_it(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    (folder / "configs" / "train.yaml").write_text("imports: [$import os]\nnet: {_target_: os.system, command: x}\n")
    seen = look(folder)
    assert [each.place for each in seen.faults] == ["train.yaml: net#_target_"]
    assert len(seen.configs) == 2


@pytest.mark.parametrize("value", ["%../other/file.json::id", "%/etc/x.json", "%a/../../x.yaml#id", "%~/x.json"])
def test_references_to_files_outside_are_found(value: str, tmp_path: Path) -> None:
    assert "reads a config from outside the bundle" in told(look(bundle(tmp_path / "b", {"x": value})))


def test_paths_are_told(tmp_path: Path) -> None:
    config = {
        "dataset_dir": "/data/set",
        "output_dir": "../out",
        "weights": "../../someone/model.pt",
        "tracking": "https://example.org/x",
        "x": "$@bundle_root + '/models'",
        "y": "$@bundle_root + '/../../x'",
        "z": "%train.json::x",
        "ratio": "a/b",
    }
    seen = look(bundle(tmp_path / "b", config))
    assert [each.place for each in seen.faults] == ["train.json: weights"]
    assert {each.place.split(": ")[1] for each in seen.notes} == {"dataset_dir", "output_dir", "tracking", "y", "z"}


def test_nothing_is_imported_for_a_check(tmp_path: Path) -> None:
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
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "COLUMNS": "300"}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-2:] == ["1", "[]"], done.stdout + done.stderr
    assert not list(folder.rglob("ran"))
    text = " ".join(done.stdout.split())
    assert "is Python that comes with the bundle" in text
    assert "monai.py" in text


def run_check(path: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "400"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("folder", sorted((ROOT / "bundles").glob("[!_]*")), ids=lambda folder: folder.name)
def test_bundles_of_the_repository_reach_nothing(folder: Path) -> None:
    verdict = check_bundle(folder)
    seen = look(folder)
    assert told(seen) == ""
    assert verdict.passed, verdict.lines
    assert "nothing reaches outside data_prep, ignite, medtl, monai, torch" in verdict.lines[-1]
    configs = [json.loads(path.read_text()) for path in (folder / "configs").glob("*.json")]
    texts = json.dumps(configs)
    assert texts.count('"_target_"') == sum(map(len, seen.classes.values()))
    assert texts.count('"$') == sum(
        len(places) for each in (seen.imports, seen.expressions) for places in each.values()
    )


def test_released_bundles_pass_as_folder_and_as_zip(tmp_path: Path) -> None:
    made_run(tmp_path / "run", small_list(tmp_path / "data"), image_size=32)
    release(tmp_path / "run", tmp_path / "made", as_zip=True)
    for path in (tmp_path / "made", tmp_path / "made.zip"):
        status, printed = run_check(path)
        last = printed.splitlines()[-1]
        assert (status, "no problem found; nothing reaches outside" in last) == (0, True), printed
        assert last.startswith(f"{path}: 3 configs, ")
    (tmp_path / "made" / "models" / "model.pt").write_bytes(saved({"x": Payload("true")}))
    status, printed = run_check(tmp_path / "made")
    assert status == 1
    assert "models/model.pt is damaged or changed" in printed
    assert "holds code (" in printed
    assert printed.splitlines()[-1].startswith(f"error: {tmp_path / 'made'}: 1 danger and 1 problem in 3 configs")


def test_everything_is_listed_with_its_place(tmp_path: Path) -> None:
    config = {"train": {"handlers": ["$os.system('touch x')"]}, "net": {"_target_": "subprocess.Popen"}}
    status, printed = run_check(bundle(tmp_path / "b", config))
    assert status == 1
    assert "train.json: train#handlers#0" in printed
    assert "subprocess.Popen" in printed
    assert "train.json: net#_target_" in printed
    assert "2 dangers and 7 problems in 1 config, 1 class, 1 expression" in printed.splitlines()[-1]


def test_zips_that_lead_out_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil.json", "/evil.json")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr("b/configs/train.json", "{}")
            archive.writestr(name, "x")
        done = CliRunner().invoke(app, ["check", str(tmp_path / f"{number}.zip")])
        assert "evil.json" in str(done.exception)
    with zipfile.ZipFile(tmp_path / "no.zip", "w") as archive:
        archive.writestr("b/readme.txt", "{}")
    assert "holds no configs/" in str(CliRunner().invoke(app, ["check", str(tmp_path / "no.zip")]).exception)
    assert not list(tmp_path.rglob("evil*"))


def test_text_of_strangers_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    evil = "$'\x1b[2J\u202e[red]x[/red]\n' + eval('1')"
    _, printed = run_check(bundle(tmp_path / "b", {"a\x1b[1m": evil}))
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
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_crashes_the_check(train: Any, evaluate: Any, metadata: Any, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    more = {"configs/evaluate.json": json.dumps(evaluate), "configs/metadata.json": json.dumps(metadata)}
    folder = bundle(tmp_path / "b", **more)
    (folder / "configs" / "train.json").write_text(json.dumps(train))
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*.json")}
    assert not check_bundle(folder).passed  # it has no LICENSE, at least
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


@given(text=st.text(max_size=80))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_crashes_the_check(text: str, tmp_path: Path) -> None:
    check_text(text, tmp_path)


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_text_does_not_crash_the_check(name: str, tmp_path: Path) -> None:
    check_text(AWKWARD[name], tmp_path)


def check_text(text: str, folder: Path) -> None:
    for name in ("train.json", "more.yaml", "logging.conf"):
        shutil.rmtree(folder / "b", ignore_errors=True)
        body = text.encode("utf-8", "surrogatepass")
        assert not check_bundle(bundle(folder / "b", {}, **{f"configs/{name}": body})).passed
